// SPDX-License-Identifier: Apache-2.0

// Package edu is what a test must know to make QEMU's edu device (1234:11e8,
// docs/specs/edu.rst of QEMU) do DMA and raise interrupts. The device must have been given
// dma_mask=0xffffffffffffffff.
//
// In comes an opened VFIO device; out go transfers that the device itself says
// are finished. Whether the bytes arrived, and where, is for the test to see.
package edu

import (
	"bytes"
	"fmt"
	"time"
	"unsafe"

	"noiommu-farm/suites/lab"
)

// Registers in BAR0.
const (
	identRegister       = 0x00
	statusRegister      = 0x24 // of the interrupt
	raiseRegister       = 0x60
	acknowledgeRegister = 0x64
	sourceRegister      = 0x80
	targetRegister      = 0x88
	countRegister       = 0x90
	commandRegister     = 0x98
	bufferAddress       = 0x40000 // of the device's own buffer, as source or target

	ident = 0x010000ed

	runCommand   = 1 << 0 // stays set while the transfer runs
	toRAMCommand = 1 << 1
)

// BufferSize is the size of the device's own buffer, in bytes, and so of the
// largest transfer.
const BufferSize = 4096

// limit bounds a transfer, see [lab.Patience]; the device needs about 100 ms for
// one.
const limit = 10 * time.Second

// Device is an edu device that is ready for DMA.
type Device struct {
	t   *lab.T
	bar []byte
}

// Find is the first edu device under test; the test ends when there is none.
func Find(t *lab.T) *lab.Device {
	for _, d := range t.Devices {
		if d.Model == "edu" {
			return d
		}
	}
	t.Fatalf("no edu device under test")
	return nil
}

// New makes an opened and bound device ready: memory space and bus master on,
// BAR0 mapped.
func New(c *lab.Cdev) *Device {
	t := c.T()
	c.EnableDMA()
	d := &Device{t: t, bar: c.BAR0()}
	lab.Equal(t, d.read32(identRegister), ident, "edu: identification register")
	return d
}

// Fetch has the device read n bytes from the physical address (or IOVA, with
// an IOMMU) source into its buffer, and waits until it has.
func (d *Device) Fetch(source uint64, n int) {
	d.transfer(source, bufferAddress, n, 0)
}

// Store has the device write n bytes of its buffer to target, and waits
// until it has.
func (d *Device) Store(target uint64, n int) {
	d.transfer(bufferAddress, target, n, toRAMCommand)
}

// Raise has the device raise its interrupt, with a value to tell it by.
func (d *Device) Raise(value uint32) { d.write32(raiseRegister, value) }

// Status are the values of the interrupts raised and not yet acknowledged.
func (d *Device) Status() uint32 { return d.read32(statusRegister) }

// Acknowledge takes a raised interrupt back.
func (d *Device) Acknowledge(value uint32) { d.write32(acknowledgeRegister, value) }

// transfer runs one DMA to its end. It must not be given more than the buffer
// holds: the device would not check it for us.
func (d *Device) transfer(source, target uint64, n int, direction uint64) {
	if n <= 0 || n > BufferSize {
		panic(fmt.Sprintf("edu: a transfer of %d bytes", n))
	}
	d.write64(sourceRegister, source)
	d.write64(targetRegister, target)
	d.write64(countRegister, uint64(n))
	d.write64(commandRegister, runCommand|direction)
	for deadline := time.Now().Add(lab.Patience(limit)); d.read64(commandRegister)&runCommand != 0; {
		if time.Now().After(deadline) {
			d.t.Fatalf("edu: the transfer still runs after %v", lab.Patience(limit))
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// Moved asserts that got is want after a transfer, and counts the bytes as
// "dma.bytes" when it is.
func (d *Device) Moved(got, want []byte, what string, args ...any) {
	if lab.Equal(d.t, FirstDifference(got, want), -1, what+": first wrong byte", args...) {
		d.t.Tally.Add("dma.bytes", uint64(len(want)))
	}
}

// FirstDifference is the index of the first byte that differs, -1 for none.
func FirstDifference(a, b []byte) int {
	if bytes.Equal(a, b) {
		return -1
	}
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}

// The registers are read and written with one access of their own size, which
// is why these are not inlined into anything that could merge them.

//go:noinline
func (d *Device) read32(register int) uint32 { return *(*uint32)(unsafe.Pointer(&d.bar[register])) }

//go:noinline
func (d *Device) write32(register int, value uint32) {
	*(*uint32)(unsafe.Pointer(&d.bar[register])) = value
}

//go:noinline
func (d *Device) read64(register int) uint64 { return *(*uint64)(unsafe.Pointer(&d.bar[register])) }

//go:noinline
func (d *Device) write64(register int, value uint64) {
	*(*uint64)(unsafe.Pointer(&d.bar[register])) = value
}
