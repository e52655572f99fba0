// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"noiommu-farm/suites/lab"
	"noiommu-farm/suites/mtty"
	"noiommu-farm/suites/uapi"
)

// ND-14: a device that does no DMA needs no IOMMU, so it lacks none.
func emulated(t *lab.T) {
	for _, on := range []bool{true, false} {
		t.SetUnsafeMode(on)
		taint := t.Taint()
		lab.Equal(t, taint&lab.TaintUser, 0, "taint before, bit U")
		log := t.KernelLog()
		d := mtty.New(t)
		paths := expectUnprefixed(t, d)
		lab.Equal(t, lab.Count(log.Messages(), "Adding kernel taint"), 0, "mode %v: messages of a taint", on)
		lab.Equal(t, t.Taint(), taint, "mode %v: taint after the device was created", on)

		t.WithCaps(0, func() { useUnprivileged(t, d) })
		lab.Equal(t, lab.Count(log.Messages(), "vfio-noiommu"), 0, "mode %v: messages of vfio-noiommu", on)
		lab.Equal(t, t.Taint(), taint, "mode %v: taint after the device was used", on)

		mtty.Remove(t, d)
		for _, path := range paths {
			t.Absent(path)
		}
	}
}

// expectUnprefixed asserts that the device's nodes are those of an ordinary
// device, and returns what there is of them.
func expectUnprefixed(t *lab.T, d *lab.Device) []string {
	name := t.CdevName(d)
	index, ordinary := strings.CutPrefix(name, "vfio")
	_, err := strconv.ParseUint(index, 10, 32)
	lab.Equal(t, ordinary && err == nil, true, "%q is vfio and a number", name)
	paths := []string{"/sys/class/vfio-dev/" + name}
	nodes := make(map[string]string) // and where their numbers stand
	t.Absent("/sys/class/vfio-dev/" + prefix + name)
	t.Absent("/dev/vfio/devices/" + prefix + name)
	if t.Facts.Config.Cdev {
		nodes["/dev/vfio/devices/"+name] = d.Sysfs("vfio-dev/" + name + "/dev")
	} else {
		t.Absent("/dev/vfio/devices/" + name)
	}
	if t.Facts.Config.Group {
		id := t.GroupID(d)
		lab.Equal(t, strings.Join(t.List("/sys/kernel/iommu_groups/"+id+"/devices"), " "), d.BDF, "devices of group %s", id)
		lab.Equal(t, filepath.Base(t.ReadLink("/sys/class/vfio/"+id)), id, "/sys/class/vfio/%s", id)
		nodes["/dev/vfio/"+id] = "/sys/class/vfio/" + id + "/dev"
		paths = append(paths, "/sys/class/vfio/"+id, "/sys/kernel/iommu_groups/"+id)
		t.Absent("/sys/class/vfio/" + prefix + id)
		t.Absent("/dev/vfio/" + prefix + id)
	} else {
		t.Absent(d.Sysfs("iommu_group"))
	}
	for path, number := range nodes {
		node, err := t.Stat(path)
		if t.OK(err, "stat %s", path) {
			lab.Equal(t, node.Mode, privateNode, "type and mode of %s", path)
			lab.Equal(t, node.Dev(), t.ReadFile(number), "number of %s", path)
		}
		paths = append(paths, path)
	}
	return paths
}

// useUnprivileged opens and uses the device in each way that the kernel has.
// The thread has no capabilities: it owns the nodes, which is enough.
func useUnprivileged(t *lab.T, d *lab.Device) {
	if t.Facts.Config.Cdev {
		dev := t.Open(d)
		fd := t.IOMMUFD()
		dev.Bind(fd)
		mtty.Answers(t, dev, "cdev")
		ioas := fd.IOAS()
		lab.Equal(t, dev.Attach(ioas), ioas.ID, "pt_id of an attached mdev")
		t.Must(dev.Close(), "close the cdev")
	}
	if t.Facts.Config.Group && t.Facts.Config.Container {
		group, container := t.OpenGroup(d), t.OpenContainer()
		t.Must(group.SetContainer(container.Fd()), "VFIO_GROUP_SET_CONTAINER")
		t.Fails(container.SetIOMMU(uapi.VFIO_NOIOMMU_IOMMU), unix.ENODEV, "VFIO_SET_IOMMU(NOIOMMU) of a container with an mdev")
		t.Must(container.SetIOMMU(uapi.VFIO_TYPE1v2_IOMMU), "VFIO_SET_IOMMU(TYPE1v2)")
		throughGroup(t, d, group, "native container")
	}
	if t.Facts.Config.Group && t.Facts.Config.IOMMUFD {
		group, container := t.OpenGroup(d), t.IOMMUFD().Container()
		t.Must(group.SetContainer(container.Fd()), "VFIO_GROUP_SET_CONTAINER of an iommufd")
		t.Fails(container.SetIOMMU(uapi.VFIO_NOIOMMU_IOMMU), unix.EINVAL, "VFIO_SET_IOMMU(NOIOMMU) of an iommufd with an mdev")
		t.Must(container.SetIOMMU(uapi.VFIO_TYPE1v2_IOMMU), "VFIO_SET_IOMMU(TYPE1v2) of an iommufd")
		throughGroup(t, d, group, "compat container")
	}
}

// throughGroup uses the device that a group in a container gives, and closes
// both.
func throughGroup(t *lab.T, d *lab.Device, group *lab.Group, way string) {
	dev, err := group.DeviceFd(d)
	t.Must(err, "%s: VFIO_GROUP_GET_DEVICE_FD", way)
	mtty.Answers(t, dev, "%s", way)
	t.Must(dev.Close(), "close the device")
	t.Must(group.Close(), "close the group")
}
