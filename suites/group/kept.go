// SPDX-License-Identifier: Apache-2.0

package group

import (
	"golang.org/x/sys/unix"

	"noiommu-farm/suites/lab"
	"noiommu-farm/suites/leak"
	"noiommu-farm/suites/uapi"
)

// rounds are as many as show what is lost in each of them.
const rounds = 32

// GR-22: a container is let go however a group leaves it, and when it was
// refused.
func nothingKept(t *lab.T) {
	d := t.Devices[0]
	leak.Forget(t)
	for _, kind := range kinds(t) {
		containersLeft(t, d, kind)
	}
	for _, compat := range compats(t) {
		containersRefused(t, d, compat)
	}
	leak.None(t, "after containers were left and refused")
}

// containersLeft also has opens of the device refused.
func containersLeft(t *lab.T, d *lab.Device, kind kind) {
	slab := leak.CountSlab(t)
	for range slab.Rounds(rounds) {
		g, left, held := t.OpenGroup(d), kind.open(), kind.open()
		_, err := g.DeviceFd(d)
		t.Fails(err, unix.EINVAL, "%s: VFIO_GROUP_GET_DEVICE_FD without a container", kind.name)
		t.Must(g.SetContainer(left.Fd()), "%s: VFIO_GROUP_SET_CONTAINER", kind.name)
		t.Must(g.UnsetContainer(), "%s: VFIO_GROUP_UNSET_CONTAINER", kind.name)
		t.Must(g.SetContainer(held.Fd()), "%s: VFIO_GROUP_SET_CONTAINER of another", kind.name)
		t.Must(g.Close(), "close the group")
		t.Must(left.Close(), "close the container that was left")
		t.Must(held.Close(), "close the container that the group was closed in")
	}
	slab.Flat(rounds*3/4, kind.name+": after containers were left")
}

func containersRefused(t *lab.T, d *lab.Device, compat compat) {
	group := t.OpenGroup(d)
	slab := leak.CountSlab(t)
	for range slab.Rounds(rounds) {
		fd := compat.open()
		_, err := fd.VFIOIOAS(uapi.IOMMU_VFIO_IOAS_SET, fd.IOAS().ID)
		t.Must(err, "%s: IOMMU_VFIO_IOAS(SET)", compat.name)
		t.Fails(group.SetContainer(fd.Fd()), unix.EINVAL, "%s: VFIO_GROUP_SET_CONTAINER with a compat IOAS", compat.name)
		t.Must(fd.Close(), "close the iommufd")
	}
	slab.Flat(rounds*3/4, compat.name+": after refused iommufds")
	t.Must(group.Close(), "close the group")
}
