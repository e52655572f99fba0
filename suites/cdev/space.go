// SPDX-License-Identifier: Apache-2.0

package cdev

import (
	"bytes"
	"encoding/binary"
	"os"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"noiommu-farm/suites/lab"
	"noiommu-farm/suites/uapi"
)

const (
	interruptPin   = 0x3d  // in the configuration space
	resourceMemory = 0x200 // bit of a resource in sysfs (include/linux/ioport.h)
)

// CD-06: a bound cdev is the whole device: what it says of itself is what
// sysfs says, and its spaces can be read, written and mapped.
func wholeDevice(t *lab.T) {
	for _, d := range t.Devices {
		dev := t.Open(d)
		dev.Bind(t.IOMMUFD())

		info, err := dev.Info()
		t.Must(err, "%s: VFIO_DEVICE_GET_INFO", d.Model)
		lab.Equal(t, info.Flags&^uapi.VFIO_DEVICE_FLAGS_RESET, uapi.VFIO_DEVICE_FLAGS_PCI, "%s: flags but RESET", d.Model)
		lab.Equal(t, info.NumRegions, uapi.VFIO_PCI_NUM_REGIONS, "%s: regions", d.Model)
		lab.Equal(t, info.NumIRQs, uapi.VFIO_PCI_NUM_IRQS, "%s: interrupt indexes", d.Model)

		pin := configuration(t, dev)
		dev.FollowsMemorySpace()
		mapped := 0
		resources := t.Lines(d.Sysfs("resource"))
		for bar := range uint32(uapi.VFIO_PCI_BAR5_REGION_INDEX + 1) {
			if memory(t, dev, bar, resources[bar]) {
				mapped++
			}
		}
		lab.Above(t, mapped, 0, "%s: BARs mapped", d.Model)
		for _, index := range []uint32{uapi.VFIO_PCI_NUM_REGIONS, ^uint32(0)} {
			_, err := dev.Region(index)
			t.Fails(err, unix.EINVAL, "%s: VFIO_DEVICE_GET_REGION_INFO(%d)", d.Model, index)
		}

		// Without arming anything; suite interrupts has them signalled.
		const eventfd, noResize = uapi.VFIO_IRQ_INFO_EVENTFD, uapi.VFIO_IRQ_INFO_NORESIZE
		for _, c := range []struct {
			index, flags uint32
			has          bool
		}{
			{uapi.VFIO_PCI_INTX_IRQ_INDEX, eventfd | uapi.VFIO_IRQ_INFO_MASKABLE | uapi.VFIO_IRQ_INFO_AUTOMASKED, pin},
			{uapi.VFIO_PCI_MSI_IRQ_INDEX, eventfd | noResize, d.Has.MSI},
			{uapi.VFIO_PCI_MSIX_IRQ_INDEX, eventfd, d.Has.MSIX}, // may be resized or not
			{uapi.VFIO_PCI_ERR_IRQ_INDEX, eventfd | noResize, true},
			{uapi.VFIO_PCI_REQ_IRQ_INDEX, eventfd | noResize, true},
		} {
			irq, err := dev.IRQ(c.index)
			if !t.OK(err, "%s: VFIO_DEVICE_GET_IRQ_INFO(%d)", d.Model, c.index) {
				continue
			}
			lab.Equal(t, irq.Count > 0, c.has, "%s: interrupt index %d has any", d.Model, c.index)
			flags := irq.Flags
			if c.index == uapi.VFIO_PCI_MSIX_IRQ_INDEX {
				flags &^= noResize
			}
			lab.Equal(t, flags, c.flags, "%s: flags of interrupt index %d", d.Model, c.index)
		}
		_, err = dev.IRQ(uapi.VFIO_PCI_NUM_IRQS)
		t.Fails(err, unix.EINVAL, "%s: VFIO_DEVICE_GET_IRQ_INFO(%d)", d.Model, uapi.VFIO_PCI_NUM_IRQS)
		t.Must(dev.Close(), "close the cdev")
	}
}

// configuration reads the configuration space as sysfs shows it, and writes
// the command register. It says whether the function has an interrupt pin.
func configuration(t *lab.T, dev *lab.Cdev) (pin bool) {
	d := dev.Device
	region, err := dev.Region(uapi.VFIO_PCI_CONFIG_REGION_INDEX)
	t.Must(err, "%s: VFIO_DEVICE_GET_REGION_INFO(config)", d.Model)
	config, err := os.ReadFile(d.Sysfs("config"))
	t.Tally.Did("sysfs.reads", err)
	t.Must(err, "read the configuration in sysfs")
	lab.Equal(t, region.Size, uint64(len(config)), "%s: size of the configuration space", d.Model)
	lab.Equal(t, region.Flags, uapi.VFIO_REGION_INFO_FLAG_READ|uapi.VFIO_REGION_INFO_FLAG_WRITE, "%s: flags of the configuration space", d.Model)
	at := int64(region.Offset)

	// What says what the function is: vendor, device, revision and class,
	// subsystem. All at once, and each piece by its own size.
	for _, field := range []struct{ from, n int }{{0, 4}, {8, 4}, {0x2c, 4}, {0, 1}, {1, 1}, {2, 2}, {9, 3}} {
		got := make([]byte, field.n)
		n, err := dev.Pread(got, at+int64(field.from))
		t.OK(err, "%s: read %d bytes of the configuration at %#x", d.Model, field.n, field.from)
		lab.Equal(t, n, field.n, "%s: bytes read of the configuration at %#x", d.Model, field.from)
		lab.Equal(t, bytes.Equal(got, config[field.from:field.from+field.n]), true, "%s: configuration at %#x is %x, which sysfs shows", d.Model, field.from, got)
	}
	n, err := dev.Pread(make([]byte, 1), at+int64(region.Size))
	t.Fails(err, unix.EFAULT, "%s: read one byte behind the configuration (%d bytes read)", d.Model, n)

	for _, bits := range []uint16{lab.CommandMemory, lab.CommandMemory | lab.CommandBusMaster, lab.CommandBusMaster, 0, lab.CommandMemory} {
		var register [2]byte
		binary.LittleEndian.PutUint16(register[:], bits)
		_, err := dev.Pwrite(register[:], at+lab.CommandRegister)
		t.OK(err, "%s: write %#x to the command register", d.Model, bits)
		_, err = dev.Pread(register[:], at+lab.CommandRegister)
		t.OK(err, "%s: read the command register", d.Model)
		got := binary.LittleEndian.Uint16(register[:]) & (lab.CommandMemory | lab.CommandBusMaster)
		lab.Equal(t, got, bits, "%s: command register after %#x was written", d.Model, bits)
		lab.Equal(t, d.BusMaster(t), bits&lab.CommandBusMaster != 0, "%s: bus master as sysfs shows it, after %#x was written", d.Model, bits)
	}
	var wired [1]byte // VFIO hides a pin that leads nowhere
	_, err = dev.Pread(wired[:], at+interruptPin)
	t.OK(err, "%s: read the interrupt pin", d.Model)
	return wired[0] != 0
}

// memory compares a BAR with its resource, and reads it mapped and not; it
// says whether the BAR can be mapped.
func memory(t *lab.T, dev *lab.Cdev, bar uint32, resource string) bool {
	d := dev.Device
	var start, last, flags uint64
	for i, word := range strings.Fields(resource) {
		n, err := strconv.ParseUint(word, 0, 64)
		t.Must(err, "parse resource %q", resource)
		*[]*uint64{&start, &last, &flags}[i] = n
	}
	size := uint64(0)
	if last != 0 {
		size = last - start + 1
	}
	region, err := dev.Region(bar)
	t.Must(err, "%s: VFIO_DEVICE_GET_REGION_INFO(BAR%d)", d.Model, bar)
	lab.Equal(t, region.Size, size, "%s: size of BAR%d", d.Model, bar)
	if size == 0 {
		lab.Equal(t, region.Flags, 0, "%s: flags of BAR%d, which is not there", d.Model, bar)
		return false
	}
	want := uint32(uapi.VFIO_REGION_INFO_FLAG_READ | uapi.VFIO_REGION_INFO_FLAG_WRITE)
	mappable := flags&resourceMemory != 0 && size >= lab.PageSize
	if mappable {
		want |= uapi.VFIO_REGION_INFO_FLAG_MMAP
	}
	lab.Equal(t, region.Flags&^uapi.VFIO_REGION_INFO_FLAG_CAPS, want, "%s: flags of BAR%d but CAPS", d.Model, bar)
	if !mappable {
		_, err := dev.Mmap(int64(region.Offset), lab.PageSize)
		t.Fails(err, unix.EINVAL, "%s: mmap BAR%d", d.Model, bar)
		return false
	}
	view, err := dev.Mmap(int64(region.Offset), int(size))
	if !t.OK(err, "%s: mmap BAR%d", d.Model, bar) {
		return false
	}
	if bar == 0 { // its first register does not change by itself
		var word [4]byte
		n, err := dev.Pread(word[:], int64(region.Offset))
		t.OK(err, "%s: read BAR0", d.Model)
		lab.Equal(t, n, len(word), "%s: bytes read of BAR0", d.Model)
		lab.Equal(t, load(view), binary.NativeEndian.Uint32(word[:]), "%s: first word of BAR0 as mapped", d.Model)
		lab.Differ(t, load(view), ^uint32(0), "%s: first word of BAR0", d.Model)
	}
	t.OK(unix.Munmap(view), "%s: munmap BAR%d", d.Model, bar)
	_, err = dev.Mmap(int64(region.Offset), int(size)+lab.PageSize)
	t.Fails(err, unix.EINVAL, "%s: mmap more than BAR%d", d.Model, bar)
	return true
}

// load reads the first word of a BAR with one access.
//
//go:noinline
func load(bar []byte) uint32 { return *(*uint32)(unsafe.Pointer(&bar[0])) }
