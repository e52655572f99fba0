// SPDX-License-Identifier: Apache-2.0

// Package present proves that the unsafe mode changes nothing for a device
// behind an IOMMU, and what it changes when the IOMMU is off or beside the
// device.
package present

import (
	"strings"

	"golang.org/x/sys/unix"

	"noiommu-farm/suites/lab"
	"noiommu-farm/suites/uapi"
)

// Tests are the suite's tests.
var Tests = []lab.Test{
	{ID: "IP-01", Run: ordinary},
	{ID: "IP-02", Run: modeOff},
	{ID: "IP-03", Run: reservedIOVAs},
	{ID: "IP-04", Run: noAddress},
	{ID: "IP-05", Run: translated},
	{ID: "IP-06", Run: insecureInterrupts},
	{ID: "IP-07", Run: passthrough},
	{ID: "IP-08", Run: switchedOff},
	{ID: "IP-09", Run: besideEachOther},
	{ID: "IP-10", Run: otherIOMMUs},
}

// IP-01: no prefix, no taint, no capability.
func ordinary(t *lab.T) {
	lab.Equal(t, t.UnsafeMode(), "Y", "enable_unsafe_noiommu_mode")
	rebindOrdinary(t)
}

// IP-02: and the same with the mode off, or without any.
func modeOff(t *lab.T) {
	for _, d := range t.Devices {
		t.Must(t.Unbind(d), "unbind %s", d.BDF)
	}
	if t.Facts.Config.Noiommu {
		t.SetUnsafeMode(false)
	}
	rebindOrdinary(t)
}

// rebindOrdinary binds the devices anew, with the mode as it is, and asserts
// that it makes ordinary devices of them.
func rebindOrdinary(t *lab.T) {
	for _, d := range t.Devices {
		if d.Driver() != "" {
			t.Must(t.Unbind(d), "unbind %s", d.BDF)
		}
		bindOrdinary(t, d)
		useOrdinary(t, d)
	}
}

// bindOrdinary binds a device behind an IOMMU and asserts everything about its
// nodes: they have no prefix, and nothing is tainted.
func bindOrdinary(t *lab.T, d *lab.Device) {
	const prefix = "noiommu-"
	taint, log := t.Taint(), t.KernelLog()
	t.Must(t.Bind(d), "bind %s", d.BDF)
	lab.Equal(t, t.Taint(), taint, "%s: taint after the bind", d.Model)
	lab.Equal(t, lab.Count(log.Messages(), "Adding kernel taint"), 0, "%s: messages of a taint", d.Model)

	var nodes []string
	name, id := t.CdevName(d), t.GroupID(d)
	index, unprefixed := strings.CutPrefix(name, "vfio")
	lab.Equal(t, unprefixed && index != "" && strings.Trim(index, "0123456789") == "", true, "%s: %q is vfio and a number", d.Model, name)
	lab.Equal(t, t.ReadLink("/sys/class/vfio-dev/"+name) != "", true, "%s: /sys/class/vfio-dev/%s", d.Model, name)
	t.Absent("/sys/class/vfio-dev/" + prefix + name)
	t.Absent("/dev/vfio/devices/" + prefix + name)
	t.Absent("/dev/vfio/" + prefix + id)
	t.Absent("/sys/class/vfio/" + prefix + id)
	t.Absent("/sys/kernel/iommu_groups/" + id + "/name")
	if t.Facts.Config.Cdev {
		nodes = append(nodes, "/dev/vfio/devices/"+name)
	}
	if t.Facts.Config.Group {
		nodes = append(nodes, "/dev/vfio/"+id)
		lab.Equal(t, t.ReadLink("/sys/class/vfio/"+id) != "", true, "%s: /sys/class/vfio/%s", d.Model, id)
	}
	for _, path := range nodes {
		node, err := t.Stat(path)
		if t.OK(err, "stat %s", path) {
			lab.Equal(t, node.Mode, lab.Mode(unix.S_IFCHR|0o600), "%s: type and mode of %s", d.Model, path)
			lab.Equal(t, node.UID, 0, "%s: owner of %s", d.Model, path)
		}
	}
}

// useOrdinary opens the device in each way: root owns the nodes, and no
// capability is asked for on top of that. The kernel has nothing to say of it.
func useOrdinary(t *lab.T, d *lab.Device) {
	config, log := t.Facts.Config, t.KernelLog()
	t.WithCaps(0, func() {
		if config.Cdev {
			dev, err := t.TryOpen(t.CdevPath(d), d)
			if t.OK(err, "%s: open the cdev without capabilities", d.Model) {
				dev.Bind(t.IOMMUFD())
				_, err := dev.Info()
				t.OK(err, "%s: VFIO_DEVICE_GET_INFO without capabilities", d.Model)
				t.Must(dev.Close(), "close the cdev")
			}
		}
		if config.Group && config.Container {
			useGroup(t, d, "native container", t.OpenContainer(), unix.ENODEV)
		}
		if config.Group && config.IOMMUFD {
			useGroup(t, d, "compat container", t.IOMMUFD().Container(), unix.EINVAL)
		}
	})
	lab.Equal(t, lab.Count(log.Messages(), "vfio-noiommu"), 0, "%s: messages of vfio-noiommu", d.Model)
}

// useGroup opens the device through its group in a container, which has
// translation to offer, and refuses the lack of it with an errno of its own.
func useGroup(t *lab.T, d *lab.Device, way string, container *lab.Container, refusal unix.Errno) {
	group := t.OpenGroup(d)
	t.Must(group.SetContainer(container.Fd()), "%s, %s: VFIO_GROUP_SET_CONTAINER without capabilities", d.Model, way)
	t.Fails(container.SetIOMMU(uapi.VFIO_NOIOMMU_IOMMU), refusal, "%s, %s: VFIO_SET_IOMMU(NOIOMMU)", d.Model, way)
	t.Must(container.SetIOMMU(uapi.VFIO_TYPE1v2_IOMMU), "%s, %s: VFIO_SET_IOMMU(TYPE1v2) without capabilities", d.Model, way)
	dev, err := group.DeviceFd(d)
	t.Must(err, "%s, %s: VFIO_GROUP_GET_DEVICE_FD without capabilities", d.Model, way)
	_, err = dev.Info()
	t.OK(err, "%s, %s: VFIO_DEVICE_GET_INFO", d.Model, way)
	t.Must(dev.Close(), "close the device")
	t.Must(group.Close(), "close the group")
	t.Must(container.Close(), "close the container")
}

// IP-04: no physical address, whatever is asked.
func noAddress(t *lab.T) {
	for _, d := range t.Devices {
		dev, ioas := t.ToAttached(d)
		huge, small := t.Hugepages(1), t.Pages(4)
		const atHuge, atSmall = 0x40000000, 0x80000000
		ioas.Map(huge, atHuge)
		ioas.Map(small, atSmall)
		expect := func() {
			for _, iova := range []uint64{atHuge, atHuge + 0xabc, atHuge + lab.HugeSize - 1, atSmall, atSmall + lab.PageSize} {
				for _, length := range []uint64{1, lab.PageSize, lab.MaxLength} {
					ioas.ExpectNoPA(iova, length, unix.EOPNOTSUPP)
				}
			}
			// What is not mapped is not mapped, here too.
			ioas.ExpectNoPA(atHuge-1, lab.MaxLength, unix.ENOENT)
			ioas.ExpectNoPA(atHuge+lab.HugeSize, lab.MaxLength, unix.ENOENT)
		}
		expect()
		t.Must(dev.Detach(), "detach")
		expect()
		dev.Attach(ioas)
		expect()
		t.Must(dev.Close(), "close the cdev")
	}
}
