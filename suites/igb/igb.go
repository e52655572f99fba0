// SPDX-License-Identifier: Apache-2.0

// Package igb is what a test must know to make QEMU's igb (8086:10c9, the
// Intel 82576 network adapter) do DMA by lists of descriptors and raise its
// MSI-X interrupts. The adapter sends to itself, so what it reads from one
// address it writes to another.
//
// In comes an opened VFIO device; out go copies that the device itself says
// are finished. Whether the bytes arrived, and where, is for the test to see.
package igb

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"time"
	"unsafe"

	"noiommu-farm/suites/lab"
)

// Registers in BAR0, from the 82576's data sheet. Those of a queue are those
// of queue 0.
const (
	controlRegister      = 0x0000
	statusRegister       = 0x0008
	phyRegister          = 0x0020 // MDIC
	receiveControl       = 0x0100
	transmitControl      = 0x0400
	interruptMode        = 0x1514 // GPIE
	interruptSet         = 0x1520 // EICS
	interruptEnable      = 0x1524 // EIMS
	interruptAutoClear   = 0x152c // EIAC
	receiveRing          = 0x2800
	receiveBufferControl = 0x280c // SRRCTL
	transmitRing         = 0x3800

	// From a ring's first register, the low half of its address.
	ringHigh    = 0x04
	ringLength  = 0x08
	ringHead    = 0x10
	ringTail    = 0x18
	ringControl = 0x28
)

// Bits of them.
const (
	controlLinkUp   = 1 << 6
	controlReset    = 1 << 26
	statusLinkUp    = 1 << 1
	phyWrite        = 1<<26 | 1<<21 // to register 0 of the PHY
	phyReady        = 1 << 28
	phyNegotiate    = 0x1200
	phyLoopback     = 0x4140
	receiveAll      = 1<<1 | 1<<3 | 1<<4 | 1<<15 // on, for frames of whatever address
	receiveLoopback = 1 << 6                     // QEMU looks here and not at the PHY
	receiveStrip    = 1 << 26                    // of the checksum
	transmitOn      = 1<<1 | 1<<3
	ringEnable      = 1 << 25
	oneBuffer       = 1 << 25 // a descriptor names one buffer
	multipleVectors = 1 << 4  // MSI-X, each cause a vector
)

// A descriptor of the newer format that is data, a whole frame, and has a
// checksum added; and what is written back when a frame has arrived.
const (
	transmitCommand     = 0x3<<20 | 1<<24 | 1<<25 | 1<<29
	transmitLengthShift = 14
	receiveDone         = 1 << 0

	descriptors = 1024      // of a ring
	descriptor  = 16        // bytes
	ring        = 1024 * 16 // bytes
)

// RingBytes is how much physically contiguous memory the rings take.
const RingBytes = 2 * ring

// What one descriptor can copy, in bytes, and how many a list may have.
const (
	MinCopy  = 64
	MaxCopy  = 1024
	MaxCount = descriptors - 1
)

// limit bounds what the device is given to do; see [lab.Patience].
const limit = 20 * time.Second

// Device is an igb that sends to itself.
type Device struct {
	t     *lab.T
	bar   []byte
	rings []byte
	tail  int
}

// Find is the first igb under test; the test ends when there is none.
func Find(t *lab.T) *lab.Device {
	for _, d := range t.Devices {
		if d.Model == "igb" {
			return d
		}
	}
	t.Fatalf("no igb under test")
	return nil
}

// New makes an opened and bound device ready: bus master on, and its rings in
// memory that the device finds at address, the physical one or an IOVA.
func New(c *lab.Cdev, memory []byte, address uint64) *Device {
	d := Messages(c)
	d.rings = memory[:RingBytes]
	d.write(controlRegister, d.read(controlRegister)|controlReset)
	d.await("the reset", func() bool { return d.read(controlRegister)&controlReset == 0 })
	d.linkUp()
	clear(d.rings)
	for i, queue := range []int{transmitRing, receiveRing} {
		at := address + uint64(i*ring)
		d.write(queue, uint32(at))
		d.write(queue+ringHigh, uint32(at>>32))
		d.write(queue+ringLength, ring)
		d.write(queue+ringHead, 0)
		d.write(queue+ringTail, 0)
		d.write(queue+ringControl, ringEnable)
	}
	d.write(receiveBufferControl, oneBuffer)
	d.write(receiveControl, receiveAll|receiveLoopback|receiveStrip)
	d.write(transmitControl, transmitOn)
	return d
}

// Messages makes an opened and bound device ready to send the messages of its
// MSI-X vectors, and for no copies.
func Messages(c *lab.Cdev) *Device {
	c.EnableDMA()
	return &Device{t: c.T(), bar: c.BAR0()}
}

// linkUp brings the link up, which only a negotiation does, and loops it back.
func (d *Device) linkUp() {
	phy := func(value uint32) {
		d.write(phyRegister, phyWrite|value)
		d.await("the PHY", func() bool { return d.read(phyRegister)&phyReady != 0 })
	}
	d.write(controlRegister, d.read(controlRegister)|controlLinkUp)
	phy(phyNegotiate)
	d.await("the link", func() bool { return d.read(statusRegister)&statusLinkUp != 0 })
	phy(phyLoopback)
}

// Copy is one descriptor's work: N bytes from one address to another.
type Copy struct {
	From, To uint64
	N        int
}

// Run has the device carry out a list of copies, given to it as a whole, and
// waits until the last is done. It asserts that the device says of each that
// it is done, and how long it was.
func (d *Device) Run(list []Copy) {
	first := d.Start(list)
	written := func(i int) []byte { return d.rings[ring+(first+i)%descriptors*descriptor:] }
	done := func(i int) bool { return load32(&written(i)[8])&receiveDone != 0 }
	d.await("the last copy", func() bool { return done(len(list) - 1) })
	finished, whole := 0, 0
	for i, c := range list {
		if done(i) {
			finished++
		}
		if int(binary.LittleEndian.Uint16(written(i)[12:])) == c.N {
			whole++
		}
	}
	lab.Equal(d.t, finished, len(list), "igb: copies done")
	lab.Equal(d.t, whole, len(list), "igb: copies of the whole length")
}

// Start gives the device a list of copies, and returns the place of the first
// in the rings. It does not wait; but the device has seen the list: it sends
// while it is told to.
func (d *Device) Start(list []Copy) (first int) {
	if len(list) == 0 || len(list) > MaxCount {
		panic(fmt.Sprintf("igb: a list of %d copies", len(list)))
	}
	first = d.tail
	for _, c := range list {
		if c.N < MinCopy || c.N > MaxCopy {
			panic(fmt.Sprintf("igb: a copy of %d bytes", c.N))
		}
		put := func(queue int, low, high uint64) {
			at := queue*ring + d.tail*descriptor
			binary.LittleEndian.PutUint64(d.rings[at:], low)
			binary.LittleEndian.PutUint64(d.rings[at+8:], high)
		}
		put(0, c.From, uint64(transmitCommand|c.N)|uint64(c.N)<<(32+transmitLengthShift))
		put(1, c.To, 0)
		d.tail = (d.tail + 1) % descriptors
	}
	d.write(receiveRing+ringTail, uint32(d.tail))
	d.write(transmitRing+ringTail, uint32(d.tail))
	return first
}

// Moved asserts that got is want after a run, and counts the bytes as
// "dma.bytes" when it is.
func (d *Device) Moved(got, want []byte, what string, args ...any) {
	if lab.Equal(d.t, bytes.Equal(got, want), true, what+": are right", args...) {
		d.t.Tally.Add("dma.bytes", uint64(len(want)))
	}
}

// Raise has the device send the message of one MSI-X vector, which must be
// armed.
func (d *Device) Raise(vector uint32) {
	d.write(interruptMode, multipleVectors)
	d.write(interruptAutoClear, 1<<vector)
	d.write(interruptEnable, 1<<vector)
	d.write(interruptSet, 1<<vector)
}

func (d *Device) await(what string, happened func() bool) {
	for deadline := time.Now().Add(lab.Patience(limit)); !happened(); {
		if time.Now().After(deadline) {
			d.t.Fatalf("igb: %s took more than %v", what, lab.Patience(limit))
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func (d *Device) read(register int) uint32 { return load32(&d.bar[register]) }

// One access of their own size, which is why these are not inlined into
// anything that could merge them.

//go:noinline
func load32(at *byte) uint32 { return *(*uint32)(unsafe.Pointer(at)) }

//go:noinline
func (d *Device) write(register int, value uint32) {
	*(*uint32)(unsafe.Pointer(&d.bar[register])) = value
}
