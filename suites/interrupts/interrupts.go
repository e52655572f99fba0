// SPDX-License-Identifier: Apache-2.0

// Package interrupts proves that the interrupts of a device without an IOMMU
// reach the eventfds that they were given.
package interrupts

import (
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"noiommu-farm/suites/edu"
	"noiommu-farm/suites/igb"
	"noiommu-farm/suites/lab"
	"noiommu-farm/suites/leak"
	"noiommu-farm/suites/uapi"
)

// Tests are the suite's tests.
var Tests = []lab.Test{
	{ID: "IR-01", Run: intx},
	{ID: "IR-02", Run: msi},
	{ID: "IR-03", Run: msix},
	{ID: "IR-04", Run: errorAndRequest},
	{ID: "IR-05", Run: switchKinds},
	{ID: "IR-06", Run: sameThreeWays},
	{ID: "IR-07", Run: nothingRemaps},
	{ID: "IR-08", Run: nothingKept},
}

const (
	intxIndex = uapi.VFIO_PCI_INTX_IRQ_INDEX
	msiIndex  = uapi.VFIO_PCI_MSI_IRQ_INDEX
	msixIndex = uapi.VFIO_PCI_MSIX_IRQ_INDEX
	errIndex  = uapi.VFIO_PCI_ERR_IRQ_INDEX
	reqIndex  = uapi.VFIO_PCI_REQ_IRQ_INDEX
)

// open opens the device: through its cdev, and where there is none through its
// group. IR-06 compares the two.
func open(t *lab.T, d *lab.Device) (dev *lab.Cdev, done func()) {
	ways := t.Ways()
	return ways[len(ways)-1].Open(d)
}

// IR-01: INTx stays asserted until the device is told, so it is masked after
// each event.
func intx(t *lab.T) {
	d := edu.Find(t)
	dev, done := open(t, d)
	info, err := dev.IRQ(intxIndex)
	t.Must(err, "VFIO_DEVICE_GET_IRQ_INFO(INTx)")
	lab.Equal(t, info.Count, 1, "INTx: count")
	lab.Equal(t, info.Flags, uapi.VFIO_IRQ_INFO_EVENTFD|uapi.VFIO_IRQ_INFO_MASKABLE|uapi.VFIO_IRQ_INFO_AUTOMASKED, "INTx: flags")

	device := edu.New(dev)
	event := t.Event()
	t.Must(dev.Arm(intxIndex, event), "arm INTx")
	for _, value := range []uint32{1, 0x80000000} {
		device.Raise(value)
		event.Expect("INTx raised with %#x", value)
		lab.Equal(t, device.Status(), value, "interrupt status of the device")
		// The line is still asserted, but it is masked; unmasked it comes again.
		t.OK(dev.Unmask(intxIndex), "unmask INTx with the line asserted")
		event.Expect("INTx unmasked with the line asserted")
		device.Acknowledge(value)
		lab.Equal(t, device.Status(), 0, "interrupt status after the acknowledgement")
		t.OK(dev.Unmask(intxIndex), "unmask INTx")
	}

	// Masked by the user, it comes with the unmask and not before.
	t.OK(dev.Mask(intxIndex), "mask INTx")
	device.Raise(2)
	lab.Equal(t, device.Status(), 2, "interrupt status of the device")
	lab.Equal(t, event.Signals(), 0, "signals of a masked INTx")
	t.OK(dev.Unmask(intxIndex), "unmask INTx")
	event.Expect("INTx raised while it was masked")
	device.Acknowledge(2)

	// Unmasked by an eventfd, as a hypervisor does it.
	unmask := t.Event()
	t.Must(dev.UnmaskWith(intxIndex, unmask), "give INTx an eventfd to unmask it")
	unmask.Signal()
	// To take it away waits for what it has set off.
	t.OK(dev.UnmaskWith(intxIndex, nil), "take the eventfd away that unmasked INTx")
	lab.Equal(t, event.Signals(), 0, "signals after an eventfd unmasked an INTx that is not asserted")
	t.Must(dev.UnmaskWith(intxIndex, unmask), "give INTx the eventfd again")
	device.Raise(4)
	event.Expect("INTx raised after an eventfd unmasked it")
	unmask.Signal()
	event.Expect("INTx unmasked by an eventfd with the line asserted")
	device.Acknowledge(4)
	t.OK(dev.UnmaskWith(intxIndex, nil), "take the eventfd away")
	t.OK(dev.Unmask(intxIndex), "unmask INTx")

	// Switched off in the command register, it comes when it is switched on.
	dev.SetINTxDisable(true)
	device.Raise(16)
	lab.Equal(t, device.Status(), 16, "interrupt status of the device")
	lab.Equal(t, event.Signals(), 0, "signals of an INTx that the command register switches off")
	t.OK(dev.Unmask(intxIndex), "unmask INTx that the command register switches off")
	lab.Equal(t, event.Signals(), 0, "signals of an INTx that the command register switches off, unmasked")
	dev.SetINTxDisable(false)
	event.Expect("INTx switched on with the line asserted")
	device.Acknowledge(16)
	t.OK(dev.Unmask(intxIndex), "unmask INTx")

	// Given another eventfd, it signals that one.
	other := t.Event()
	t.Must(dev.Arm(intxIndex, other), "arm INTx with another eventfd")
	device.Raise(8)
	other.Expect("INTx with another eventfd")
	device.Acknowledge(8)

	// Its last signal has masked it, which is forgotten when it is armed anew.
	t.OK(dev.Disarm(intxIndex), "disarm INTx while it is masked")
	t.Must(dev.Arm(intxIndex, event), "arm INTx anew")
	device.Raise(32)
	event.Expect("INTx armed anew")
	device.Acknowledge(32)

	// Disarmed, it takes nothing from the eventfd that unmasked it.
	t.Must(dev.UnmaskWith(intxIndex, unmask), "give INTx armed anew an eventfd to unmask it")
	t.OK(dev.Disarm(intxIndex), "disarm INTx")
	unmask.Signal()
	lab.Equal(t, unmask.Signals(), 1, "signals left in the eventfd that unmasked INTx")

	// What one user switched off is switched on for the next.
	dev.SetINTxDisable(true)
	done()
	dev, done = open(t, d)
	t.Must(dev.Arm(intxIndex, event), "arm INTx of the device opened anew")
	t.OK(dev.Loopback(intxIndex, 0), "loopback of INTx of the device opened anew")
	event.Expect("INTx of the device opened anew")
	done()
	lab.Equal(t, event.Signals(), 0, "signals after all")
	lab.Equal(t, other.Signals(), 0, "signals of the other eventfd after all")
}

// IR-02: one message, one event.
func msi(t *lab.T) {
	for _, d := range t.Devices {
		if !d.Has.MSI {
			continue
		}
		dev, done := open(t, d)
		info, err := dev.IRQ(msiIndex)
		t.Must(err, "%s: VFIO_DEVICE_GET_IRQ_INFO(MSI)", d.Model)
		lab.Equal(t, info.Flags, uapi.VFIO_IRQ_INFO_EVENTFD|uapi.VFIO_IRQ_INFO_NORESIZE, "%s: MSI: flags", d.Model)
		lab.Equal(t, info.Count, 1, "%s: MSI: count", d.Model)

		event := t.Event()
		t.Fails(dev.Loopback(msiIndex, 0), unix.EINVAL, "%s: loopback before MSI is armed", d.Model)
		t.Fails(dev.Arm(msiIndex, event, event), unix.EINVAL, "%s: arm more vectors than there are", d.Model)
		t.Must(dev.Arm(msiIndex, event), "%s: arm MSI", d.Model)
		t.OK(dev.Loopback(msiIndex, 0), "%s: loopback", d.Model)
		event.Expect("%s: MSI loopback", d.Model)
		if d.Model == "edu" {
			device := edu.New(dev)
			for value := uint32(1); value <= 8; value++ {
				device.Raise(value)
				event.Expect("MSI raised with %#x", value)
				device.Acknowledge(value)
			}
		}
		other := t.Event()
		t.Must(dev.Arm(msiIndex, other), "%s: arm MSI with another eventfd", d.Model)
		t.OK(dev.Loopback(msiIndex, 0), "%s: loopback with another eventfd", d.Model)
		other.Expect("%s: MSI loopback with another eventfd", d.Model)
		t.Fails(dev.Mask(msiIndex), unix.ENOTTY, "%s: mask MSI", d.Model)
		t.OK(dev.Disarm(msiIndex), "%s: disarm MSI", d.Model)
		t.Fails(dev.Loopback(msiIndex, 0), unix.EINVAL, "%s: loopback after MSI was disarmed", d.Model)
		lab.Equal(t, event.Signals(), 0, "%s: signals after all", d.Model)
		done()
	}
}

// vectorsOf is how many MSI-X vectors QEMU's models have.
var vectorsOf = map[string]int{"igb": 10, "e1000e": 5, "nvme": 65}

// IR-03: each vector has its eventfd.
func msix(t *lab.T) {
	for _, d := range t.Devices {
		if !d.Has.MSIX {
			continue
		}
		dev, done := open(t, d)
		info, err := dev.IRQ(msixIndex)
		t.Must(err, "%s: VFIO_DEVICE_GET_IRQ_INFO(MSI-X)", d.Model)
		vectors := int(info.Count)
		if want, known := vectorsOf[d.Model]; known {
			lab.Equal(t, vectors, want, "%s: MSI-X: count", d.Model)
		}
		lab.Equal(t, info.Flags&uapi.VFIO_IRQ_INFO_EVENTFD, uapi.VFIO_IRQ_INFO_EVENTFD, "%s: MSI-X: flag EVENTFD", d.Model)

		var events []*lab.Event
		for range vectors {
			events = append(events, t.Event())
		}
		t.Fails(dev.Arm(msixIndex, append(slices.Clone(events), events[0])...), unix.EINVAL, "%s: arm a vector too many", d.Model)
		t.Must(dev.Arm(msixIndex, events...), "%s: arm MSI-X", d.Model)
		t.Fails(dev.Arm(msiIndex, events[0]), unix.EINVAL, "%s: arm MSI while MSI-X is armed", d.Model)
		lab.Equal(t, requested(t, d), vectors, "%s: lines of /proc/interrupts", d.Model)
		alone := func(how string, vector int) {
			for i, event := range events {
				if i != vector {
					lab.Equal(t, event.Signals(), 0, "%s: signals of vector %d after %s of %d", d.Model, i, how, vector)
				}
			}
		}
		for vector := range vectors {
			t.OK(dev.Loopback(msixIndex, uint32(vector)), "%s: loopback of vector %d", d.Model, vector)
			events[vector].Expect("%s: loopback of vector %d", d.Model, vector)
			alone("the loopback", vector)
		}
		t.Fails(dev.Loopback(msixIndex, info.Count), unix.EINVAL, "%s: loopback of vector %d", d.Model, vectors)
		if d.Model == "igb" { // which can be told to send any of its messages
			device := igb.Messages(dev)
			for vector := range vectors {
				device.Raise(uint32(vector))
				events[vector].Expect("igb: vector %d raised", vector)
				alone("a message", vector)
			}
		}
		// One of them can be let go and given another eventfd, without the others.
		if vectors > 2 {
			t.OK(dev.Let(msixIndex, 1), "%s: let vector 1 go", d.Model)
			lab.Equal(t, requested(t, d), vectors-1, "%s: lines of /proc/interrupts without vector 1", d.Model)
			t.OK(dev.Loopback(msixIndex, 1), "%s: loopback of vector 1, let go", d.Model)
			alone("nothing", -1)
			t.OK(dev.Loopback(msixIndex, 2), "%s: loopback of vector 2", d.Model)
			events[2].Expect("%s: loopback of vector 2, without vector 1", d.Model)
			events[1] = t.Event()
			t.Must(dev.Give(msixIndex, 1, events[1]), "%s: give vector 1 another eventfd", d.Model)
			t.OK(dev.Loopback(msixIndex, 1), "%s: loopback of vector 1, given", d.Model)
			events[1].Expect("%s: loopback of vector 1, given", d.Model)
			alone("the loopback", 1)
			if d.Model == "igb" {
				igb.Messages(dev).Raise(1)
				events[1].Expect("igb: vector 1 raised, given")
			}
		}
		t.OK(dev.Disarm(msixIndex), "%s: disarm MSI-X", d.Model)
		lab.Equal(t, requested(t, d), 0, "%s: lines of /proc/interrupts after it was disarmed", d.Model)
		done()
	}
}

// IR-04: the two indexes that no device raises.
func errorAndRequest(t *lab.T) {
	for _, d := range t.Devices {
		dev, done := open(t, d)
		for _, c := range []struct {
			name  string
			index uint32
		}{{"ERR", errIndex}, {"REQ", reqIndex}} {
			info, err := dev.IRQ(c.index)
			if c.index == errIndex && mayLackErrors(t, d) && errors.Is(err, unix.EINVAL) {
				t.Fails(dev.Arm(c.index, t.Event()), unix.EINVAL, "%s: arm %s, which it does not have", d.Model, c.name)
				continue
			}
			t.Must(err, "%s: VFIO_DEVICE_GET_IRQ_INFO(%s)", d.Model, c.name)
			lab.Equal(t, info.Count, 1, "%s: %s: count", d.Model, c.name)
			lab.Equal(t, info.Flags, uapi.VFIO_IRQ_INFO_EVENTFD|uapi.VFIO_IRQ_INFO_NORESIZE, "%s: %s: flags", d.Model, c.name)
			event := t.Event()
			t.Fails(dev.Loopback(c.index, 0), unix.EINVAL, "%s: %s loopback before it is armed", d.Model, c.name)
			t.Must(dev.Arm(c.index, event), "%s: arm %s", d.Model, c.name)
			for range 3 {
				t.OK(dev.Loopback(c.index, 0), "%s: %s loopback", d.Model, c.name)
				event.Expect("%s: %s loopback", d.Model, c.name)
			}
			t.OK(dev.Disarm(c.index), "%s: disarm %s", d.Model, c.name)
			t.Fails(dev.Loopback(c.index, 0), unix.EINVAL, "%s: %s loopback after it was disarmed", d.Model, c.name)

			// What one user armed is not armed for the next.
			t.Must(dev.Arm(c.index, event), "%s: arm %s before the close", d.Model, c.name)
			done()
			dev, done = open(t, d)
			t.Fails(dev.Loopback(c.index, 0), unix.EINVAL, "%s: %s loopback of the device opened anew", d.Model, c.name)
			lab.Equal(t, event.Signals(), 0, "%s: signals of the %s of the user before", d.Model, c.name)
		}
		_, err := dev.IRQ(uapi.VFIO_PCI_NUM_IRQS)
		t.Fails(err, unix.EINVAL, "%s: VFIO_DEVICE_GET_IRQ_INFO(%d)", d.Model, uapi.VFIO_PCI_NUM_IRQS)
		done()
	}
}

// mayLackErrors says whether a function may be without the index ERR: before
// Linux 7.3 those of PCI Express alone have it (vfio_pci_ioctl_get_irq_info in
// drivers/vfio/pci/vfio_pci_core.c of 7.2).
func mayLackErrors(t *lab.T, d *lab.Device) bool { return !t.Facts.GetPA && !d.Express(t) }

// IR-05: one kind at a time, switched at will; closing disarms what is armed.
func switchKinds(t *lab.T) {
	t.NoWarning()
	for _, d := range t.Devices {
		dev, done := open(t, d)
		event, pipe := t.Event(), &lab.Event{File: t.Pipe()}
		kinds := kindsOf(d)
		for i, kind := range kinds {
			// One that could not be armed is as before, and in nobody's way.
			t.Fails(dev.Arm(kind, pipe), unix.EINVAL, "%s: arm index %d with a pipe", d.Model, kind)
			t.Fails(dev.Loopback(kind, 0), unix.EINVAL, "%s: loopback of index %d, which was not armed", d.Model, kind)
			other := kinds[(i+1)%len(kinds)]
			t.Must(dev.Arm(other, event), "%s: arm index %d after index %d was not armed", d.Model, other, kind)
			t.OK(dev.Disarm(other), "%s: disarm index %d", d.Model, other)
		}
		for range 10 {
			for i, kind := range kinds {
				t.Must(dev.Arm(kind, event), "%s: arm index %d", d.Model, kind)
				if len(kinds) > 1 {
					t.Fails(dev.Arm(kinds[(i+1)%len(kinds)], event), unix.EINVAL, "%s: arm another index than %d", d.Model, kind)
				}
				t.OK(dev.Loopback(kind, 0), "%s: loopback of index %d", d.Model, kind)
				event.Expect("%s: index %d", d.Model, kind)
				lab.Equal(t, requested(t, d), 1, "%s: lines of /proc/interrupts while index %d is armed", d.Model, kind)
				if kind == intxIndex {
					t.OK(dev.Unmask(kind), "%s: unmask INTx", d.Model)
				}
				t.OK(dev.Disarm(kind), "%s: disarm index %d", d.Model, kind)
				lab.Equal(t, requested(t, d), 0, "%s: lines of /proc/interrupts while index %d is disarmed", d.Model, kind)
			}
		}
		done()
		for _, kind := range kinds {
			dev, done := open(t, d)
			t.Must(dev.Arm(kind, event), "%s: arm index %d of the device opened anew", d.Model, kind)
			lab.Equal(t, requested(t, d), 1, "%s: lines of /proc/interrupts while index %d is armed", d.Model, kind)
			done()
			lab.Equal(t, requested(t, d), 0, "%s: lines of /proc/interrupts after close with index %d armed", d.Model, kind)
		}
		lab.Equal(t, event.Signals(), 0, "%s: signals after all", d.Model)
	}
}

// IR-08: each kind lets go of the eventfds that it had, of those that took
// another's place too.
func nothingKept(t *lab.T) {
	const rounds = 64
	d := t.Devices[0]
	dev, done := open(t, d)
	kinds := append(kindsOf(d), reqIndex)
	if _, err := dev.IRQ(errIndex); err == nil || !mayLackErrors(t, d) {
		kinds = append(kinds, errIndex)
	}
	leak.Forget(t)
	slab := leak.CountSlab(t)
	for range slab.Rounds(rounds) {
		for _, kind := range kinds {
			first, second, unmask := t.Event(), t.Event(), t.Event()
			t.Must(dev.Arm(kind, first), "%s: arm index %d", d.Model, kind)
			t.Must(dev.Arm(kind, second), "%s: arm index %d with another eventfd", d.Model, kind)
			if kind == intxIndex {
				t.Must(dev.UnmaskWith(kind, unmask), "%s: give INTx an eventfd to unmask it", d.Model)
			}
			t.OK(dev.Disarm(kind), "%s: disarm index %d", d.Model, kind)
			for _, event := range []*lab.Event{first, second, unmask} {
				t.Must(event.Close(), "close the eventfd")
			}
		}
	}
	slab.Flat(rounds*3/4, "after interrupts were armed and disarmed")
	leak.None(t, "after interrupts were armed and disarmed")
	done()
}

// requested is how many interrupts VFIO has requested for the device.
func requested(t *lab.T, d *lab.Device) int {
	lines := t.Lines("/proc/interrupts")
	return lab.Count(lines, "vfio-", fmt.Sprintf("(%s)", d.BDF))
}
