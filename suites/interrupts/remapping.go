// SPDX-License-Identifier: Apache-2.0

package interrupts

import (
	"noiommu-farm/suites/edu"
	"noiommu-farm/suites/igb"
	"noiommu-farm/suites/lab"
)

// IR-07: where nothing remaps interrupts they arrive all the same, and nobody
// has to allow it.
func nothingRemaps(t *lab.T) {
	for _, module := range []string{"iommufd", "vfio_iommu_type1"} {
		path := "/sys/module/" + module + "/parameters/allow_unsafe_interrupts"
		if _, err := t.Stat(path); err != nil {
			continue // this kernel is without it
		}
		was := t.ReadFile(path)
		t.Cleanup(func() { t.OK(t.WriteFile(path, was), "cleanup: %s", path) })
		t.Must(t.WriteFile(path, "N"), "write N to %s", path)
		lab.Equal(t, t.ReadFile(path), "N", "%s", path)
	}
	for _, way := range t.Ways() {
		for _, d := range t.Devices {
			dev, done := way.Open(d)
			raiseEach(t, dev, way.Name)
			done()
		}
	}
}

// raiseEach has the device itself raise an interrupt of each kind that the
// test knows how to make it raise, and the kernel the others.
func raiseEach(t *lab.T, dev *lab.Cdev, way string) {
	d := dev.Device
	for _, kind := range kindsOf(d) {
		event := t.Event()
		t.Must(dev.Arm(kind, event), "%s, %s: arm index %d", d.Model, way, kind)
		lab.Equal(t, requested(t, d), 1, "%s, %s: lines of /proc/interrupts while index %d is armed", d.Model, way, kind)
		switch {
		case d.Model == "edu":
			device := edu.New(dev)
			device.Raise(5)
			event.Expect("edu, %s: index %d raised", way, kind)
			device.Acknowledge(5)
		case d.Model == "igb" && kind == msixIndex:
			igb.Messages(dev).Raise(0)
			event.Expect("igb, %s: MSI-X raised", way)
		default:
			t.OK(dev.Loopback(kind, 0), "%s, %s: loopback of index %d", d.Model, way, kind)
			event.Expect("%s, %s: index %d", d.Model, way, kind)
		}
		t.OK(dev.Disarm(kind), "%s, %s: disarm index %d", d.Model, way, kind)
		lab.Equal(t, event.Signals(), 0, "%s, %s: signals of index %d after all", d.Model, way, kind)
	}
}

// kindsOf are the indexes of the interrupts that the function can raise.
func kindsOf(d *lab.Device) []uint32 {
	var kinds []uint32
	for _, kind := range []struct {
		index uint32
		has   bool
	}{{intxIndex, d.Has.INTx}, {msiIndex, d.Has.MSI}, {msixIndex, d.Has.MSIX}} {
		if kind.has {
			kinds = append(kinds, kind.index)
		}
	}
	return kinds
}
