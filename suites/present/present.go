// SPDX-License-Identifier: Apache-2.0

// Package present proves that the unsafe mode changes nothing for a device
// behind an IOMMU.
package present

import (
	"strings"

	"golang.org/x/sys/unix"

	"noiommu-farm/suites/lab"
)

// Tests are the suite's tests.
var Tests = []lab.Test{
	{ID: "IP-01", Run: ordinaryNodes},
	{ID: "IP-02", Run: modeOff},
	{ID: "IP-03", Run: reservedIOVAs},
	{ID: "IP-04", Run: noAddress},
}

// IP-01: no prefix, no taint, no capability.
func ordinaryNodes(t *lab.T) {
	lab.Equal(t, t.UnsafeMode(), "Y", "enable_unsafe_noiommu_mode")
	expectOrdinary(t)
}

// IP-02: and the same with the mode off.
func modeOff(t *lab.T) {
	t.SetUnsafeMode(false)
	expectOrdinary(t)
}

// expectOrdinary asserts everything about the nodes of the devices, bound with
// the mode as it is.
func expectOrdinary(t *lab.T) {
	for _, d := range t.Devices {
		t.Must(t.Unbind(d), "unbind %s", d.BDF)
		t.Must(t.Bind(d), "bind %s", d.BDF)

		name, id := t.CdevName(d), t.GroupID(d)
		index, ordinary := strings.CutPrefix(name, "vfio")
		lab.Equal(t, ordinary && index != "" && strings.Trim(index, "0123456789") == "", true, "%s: %q is vfio and a number", d.Model, name)
		t.Absent("/sys/kernel/iommu_groups/" + id + "/name")
		for _, path := range []string{"/dev/vfio/" + id, "/dev/vfio/devices/" + name} {
			node, err := t.Stat(path)
			if t.OK(err, "stat %s", path) {
				lab.Equal(t, node.Mode, lab.Mode(unix.S_IFCHR|0o600), "%s: type and mode of %s", d.Model, path)
			}
		}
		lab.Equal(t, t.ReadLink("/sys/class/vfio-dev/"+name) != "", true, "%s: /sys/class/vfio-dev/%s", d.Model, name)
		lab.Equal(t, t.ReadLink("/sys/class/vfio/"+id) != "", true, "%s: /sys/class/vfio/%s", d.Model, id)
		t.Absent("/dev/vfio/noiommu-" + id)
		t.Absent("/dev/vfio/devices/noiommu-" + name)
		lab.Equal(t, t.Taint()&lab.TaintUser, 0, "taint after the bind, bit U")

		// Root owns the nodes; no capability is asked for on top of that.
		path := t.CdevPath(d)
		t.WithCaps(0, func() {
			dev, err := t.TryOpen(path, d)
			if t.OK(err, "%s: open the cdev without capabilities", d.Model) {
				t.Must(dev.Close(), "close the cdev")
			}
			t.Must(t.OpenGroup(d).Close(), "close the group")
		})
	}
	for _, name := range append(t.List("/dev/vfio"), t.List("/dev/vfio/devices")...) {
		lab.Equal(t, strings.HasPrefix(name, "noiommu"), false, "%q in /dev/vfio begins with noiommu", name)
	}
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
