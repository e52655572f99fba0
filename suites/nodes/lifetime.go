// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"golang.org/x/sys/unix"

	"noiommu-farm/suites/lab"
)

// ND-10: the mode counts when a device is bound, and only then.
func modeAtBind(t *lab.T) {
	kept, other := t.Devices[0], t.Devices[1]
	t.Must(t.Unbind(other), "unbind %s", other.BDF)
	t.SetUnsafeMode(false)

	expectCdev(t, kept)
	expectGroup(t, kept)
	dev := t.Open(kept)
	lab.Equal(t, dev.Bind(t.IOMMUFD()), 1, "%s: bind of the cdev with the mode off: out_devid", kept.Model)
	t.Must(dev.Close(), "close the cdev")

	t.Fails(t.Bind(other), unix.EINVAL, "bind %s with the mode off", other.BDF)
	lab.Equal(t, other.Driver(), "", "%s: driver after the failed bind", other.Model)
	t.Absent(other.Sysfs("vfio-dev"))
	t.Absent(other.Sysfs("iommu_group"))
	lab.Equal(t, len(t.List("/dev/vfio/devices")), len(t.Devices)-1, "number of cdevs after the failed bind")

	t.SetUnsafeMode(true)
	t.Must(t.Bind(other), "bind %s with the mode on again", other.BDF)
	expectCdev(t, other)
	expectGroup(t, other)
}

// ND-11: nothing is left of an unbound device, and its names are free again.
func goneAfterUnbind(t *lab.T) {
	for _, d := range t.Devices {
		name, id := t.CdevName(d), t.GroupID(d)
		for range 3 {
			t.Must(t.Unbind(d), "unbind %s", d.BDF)
			for _, path := range []string{
				"/dev/vfio/devices/" + name, "/sys/class/vfio-dev/" + name, d.Sysfs("vfio-dev"),
				"/dev/vfio/" + prefix + id, "/sys/class/vfio/" + prefix + id, "/dev/vfio/" + id,
				"/sys/kernel/iommu_groups/" + id, d.Sysfs("iommu_group"),
			} {
				t.Absent(path)
			}
			t.Must(t.Bind(d), "bind %s", d.BDF)
			lab.Equal(t, t.CdevName(d), name, "%s: name of the cdev after the bind", d.Model)
			lab.Equal(t, t.GroupID(d), id, "%s: id of the group after the bind", d.Model)
			expectCdev(t, d)
			expectGroup(t, d)
		}
	}
}
