// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"golang.org/x/sys/unix"

	"noiommu-farm/suites/lab"
	"noiommu-farm/suites/uapi"
)

// ND-10: the mode counts when a device is bound, and only then.
func modeAtBind(t *lab.T) {
	kept, other := t.Devices[0], t.Devices[1]
	bound := len(t.List("/sys/class/vfio-dev"))
	t.Must(t.Unbind(other), "unbind %s", other.BDF)
	t.SetUnsafeMode(false)

	expectNodes(t, kept)
	if t.Facts.Config.NoiommuCdev {
		dev := t.Open(kept)
		lab.Equal(t, dev.Bind(t.IOMMUFD()), 1, "%s: bind of the cdev with the mode off: out_devid", kept.Model)
		t.Must(dev.Close(), "close the cdev")
	}
	if t.Facts.Config.Group {
		expectGroupAsBound(t, kept)
	}

	expectRefused(t, other)
	lab.Equal(t, len(t.List("/sys/class/vfio-dev")), bound-1, "number of VFIO devices after the failed bind")

	t.SetUnsafeMode(true)
	t.Must(t.Bind(other), "bind %s with the mode on again", other.BDF)
	expectNodes(t, other)
}

// expectGroupAsBound asserts that with the mode off a group is what it was bound
// as: one without an IOMMU, for those who have the capability.
func expectGroupAsBound(t *lab.T, d *lab.Device) {
	t.WithCaps(lab.AllCaps&^lab.RawIO, func() {
		group, err := t.TryOpenGroup(d)
		t.Fails(err, unix.EPERM, "%s: open the group with the mode off, without CAP_SYS_RAWIO", d.Model)
		if err == nil {
			t.Must(group.Close(), "close the group")
		}
	})
	group := t.OpenGroup(d)
	// A native container has no IOMMU for it then (GR-07); an iommufd needs none.
	if t.Facts.Config.IOMMUFD {
		container := t.IOMMUFD().Container()
		t.Must(group.SetContainer(container.Fd()), "%s: VFIO_GROUP_SET_CONTAINER of an iommufd with the mode off", d.Model)
		t.OK(container.SetIOMMU(uapi.VFIO_NOIOMMU_IOMMU), "%s: VFIO_SET_IOMMU(NOIOMMU) with the mode off", d.Model)
		dev, err := group.DeviceFd(d)
		t.Must(err, "%s: VFIO_GROUP_GET_DEVICE_FD with the mode off", d.Model)
		t.Must(dev.Close(), "close the device")
	}
	t.Must(group.Close(), "close the group")
}

// ND-11: nothing is left of an unbound device, and its names are free again.
func goneAfterUnbind(t *lab.T) {
	for _, d := range t.Devices {
		name := t.CdevName(d)
		gone := []string{"/dev/vfio/devices/" + name, "/sys/class/vfio-dev/" + name, d.Sysfs("vfio-dev"), d.Sysfs("iommu_group")}
		id, number, messages := "", "", 0
		if t.Facts.Config.Group {
			id, messages = t.GroupID(d), 1
			number = groupNumber(t, d)
			gone = append(gone, "/dev/vfio/"+prefix+id, "/sys/class/vfio/"+prefix+id, "/dev/vfio/"+id, "/sys/kernel/iommu_groups/"+id)
		}
		for range 3 {
			log := t.KernelLog()
			t.Must(t.Unbind(d), "unbind %s", d.BDF)
			lab.Equal(t, lab.Count(log.Messages(), d.BDF, "Removing from iommu group "+id), messages, "%s: messages of the unbind", d.Model)
			for _, path := range gone {
				t.Absent(path)
			}
			t.Must(t.Bind(d), "bind %s", d.BDF)
			lab.Equal(t, lab.Count(log.Messages(), d.BDF, "Adding to iommu group "+id), messages, "%s: messages of the bind", d.Model)
			lab.Equal(t, t.CdevName(d), name, "%s: name after the bind", d.Model)
			if t.Facts.Config.Group {
				lab.Equal(t, t.GroupID(d), id, "%s: id of the group after the bind", d.Model)
				lab.Equal(t, groupNumber(t, d), number, "%s: number of the group after the bind", d.Model)
			}
			expectNodes(t, d)
		}
	}
}
