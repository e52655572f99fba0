// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"strings"

	"golang.org/x/sys/unix"

	"noiommu-farm/suites/lab"
	"noiommu-farm/suites/uapi"
)

// ND-01: with the mode off there is no group for the device.
func refusedWithGroups(t *lab.T) { refusedWithModeOff(t) }

// ND-02: without groups the test of DMA's coherency refuses it.
func refusedWithoutGroups(t *lab.T) { refusedWithModeOff(t) }

func refusedWithModeOff(t *lab.T) {
	t.SetUnsafeMode(false)
	for range 2 { // the first refusal left nothing that could change the second
		for _, d := range t.Devices {
			expectRefused(t, d)
		}
	}
	lab.Equal(t, t.Taint()&lab.TaintUser, 0, "taint, bit U")
}

// ND-03: a kernel without the mode has no switch for it and no use for such a
// device.
func notBuilt(t *lab.T) {
	t.Absent("/sys/module/vfio/parameters/enable_unsafe_noiommu_mode")
	for range 2 {
		for _, d := range t.Devices {
			expectRefused(t, d)
		}
	}
	lab.Equal(t, t.Taint()&lab.TaintUser, 0, "taint, bit U")

	offers := func(name string, container *lab.Container) {
		got, err := container.Extension(uapi.VFIO_NOIOMMU_IOMMU)
		t.OK(err, "%s: VFIO_CHECK_EXTENSION(NOIOMMU)", name)
		lab.Equal(t, got, 0, "%s: VFIO_CHECK_EXTENSION(NOIOMMU)", name)
	}
	if t.Facts.Config.Container {
		offers("native container", t.OpenContainer())
	}
	if t.Facts.Config.IOMMUFD {
		offers("iommufd", t.IOMMUFD().Container())
	}
}

// expectRefused asserts that the device, which must not be bound, cannot be:
// EINVAL, one line in the log, and nothing new anywhere.
func expectRefused(t *lab.T, d *lab.Device) {
	where := []string{"/dev/vfio", "/dev/vfio/devices", "/sys/class/vfio", "/sys/class/vfio-dev", "/sys/kernel/iommu_groups"}
	list := func() string {
		var all []string
		for _, dir := range where {
			all = append(all, dir+": "+strings.Join(t.List(dir), " "))
		}
		return strings.Join(all, "; ")
	}
	if d.Driver() == "vfio-pci" {
		t.Fatalf("%s is bound", d.BDF)
	}
	before, taint, log := list(), t.Taint(), t.KernelLog()

	t.Fails(t.Bind(d), unix.EINVAL, "bind %s", d.BDF)
	messages := log.Messages()
	lab.Equal(t, lab.Count(messages, "vfio-pci "+d.BDF+": probe with driver vfio-pci failed with error -22"), 1, "%s: messages of the failure", d.Model)
	lab.Equal(t, lab.Count(messages, "Adding kernel taint"), 0, "%s: messages of a taint", d.Model)
	lab.Equal(t, d.Driver(), "", "%s: driver after the failed bind", d.Model)
	t.Absent(d.Sysfs("vfio-dev"))
	t.Absent(d.Sysfs("iommu_group"))
	lab.Equal(t, list(), before, "%s: nodes, classes and groups after the failed bind", d.Model)
	lab.Equal(t, t.Taint(), taint, "%s: taint after the failed bind", d.Model)
}
