// SPDX-License-Identifier: Apache-2.0

package group

import (
	"unsafe"

	"golang.org/x/sys/unix"

	"noiommu-farm/suites/lab"
	"noiommu-farm/suites/uapi"
)

// The compat container is an iommufd in the place of a container. What it
// promises, it promises at each path that leads to one.

// GR-10: the mode does not matter for what it offers, the group does.
func compatExtensions(t *lab.T) {
	everyCompat(t, func(d *lab.Device, c compat, who string) {
		group, container := t.OpenGroup(d), c.open().Container()
		expect := func(when string, type1 int) {
			for _, e := range []struct {
				name   string
				number uintptr
				want   int
			}{
				{"TYPE1", uapi.VFIO_TYPE1_IOMMU, type1},
				{"TYPE1v2", uapi.VFIO_TYPE1v2_IOMMU, type1},
				{"UNMAP_ALL", uapi.VFIO_UNMAP_ALL, type1},
				{"NOIOMMU", uapi.VFIO_NOIOMMU_IOMMU, 1},
				{"an unknown number", 1000, 0},
			} {
				got, err := container.Extension(e.number)
				t.OK(err, "%s: VFIO_CHECK_EXTENSION(%s) %s", who, e.name, when)
				lab.Equal(t, got, e.want, "%s: VFIO_CHECK_EXTENSION(%s) %s", who, e.name, when)
			}
			_, err := container.Extension(uapi.VFIO_DMA_CC_IOMMU)
			t.Fails(err, unix.ENODEV, "%s: VFIO_CHECK_EXTENSION(DMA_CC) %s", who, when)
		}
		expect("without a group", 1)
		t.SetUnsafeMode(false)
		expect("without a group, with the mode off", 1)
		t.SetUnsafeMode(true)
		t.Must(group.SetContainer(container.Fd()), "VFIO_GROUP_SET_CONTAINER")
		expect("with the group", 0)
		t.Must(group.Close(), "close the group")
		expect("after the group left", 0)
	})
}

// GR-11: the one IOMMU, as often as it is asked for.
func compatSetIOMMU(t *lab.T) {
	everyCompat(t, func(d *lab.Device, c compat, who string) {
		group, container := t.OpenGroup(d), c.open().Container()
		t.Fails(container.SetIOMMU(uapi.VFIO_NOIOMMU_IOMMU), unix.EINVAL, "%s: VFIO_SET_IOMMU(NOIOMMU) without a group", who)
		t.Fails(container.SetIOMMU(uapi.VFIO_TYPE1v2_IOMMU), unix.ENODEV, "%s: VFIO_SET_IOMMU(TYPE1v2) without a group", who)
		t.Must(group.SetContainer(container.Fd()), "VFIO_GROUP_SET_CONTAINER")
		for range 3 {
			t.OK(container.SetIOMMU(uapi.VFIO_NOIOMMU_IOMMU), "%s: VFIO_SET_IOMMU(NOIOMMU)", who)
			for _, kind := range []uintptr{uapi.VFIO_TYPE1_IOMMU, uapi.VFIO_TYPE1v2_IOMMU, 1000} {
				t.Fails(container.SetIOMMU(kind), unix.EINVAL, "%s: VFIO_SET_IOMMU(%d)", who, kind)
			}
		}
		t.Must(group.Close(), "close the group")
	})
}

// GR-12: the device comes without VFIO_SET_IOMMU; there is nothing to map with.
func compatDeviceFd(t *lab.T) {
	everyCompat(t, func(d *lab.Device, c compat, who string) {
		group, container := t.OpenGroup(d), c.open().Container()
		_, err := group.DeviceFd(d)
		t.Fails(err, unix.EINVAL, "%s: VFIO_GROUP_GET_DEVICE_FD without a container", who)
		t.Must(group.SetContainer(container.Fd()), "VFIO_GROUP_SET_CONTAINER")
		dev, err := group.DeviceFd(d)
		t.Must(err, "%s: VFIO_GROUP_GET_DEVICE_FD without VFIO_SET_IOMMU", who)
		info, err := dev.Info()
		t.OK(err, "%s: VFIO_DEVICE_GET_INFO", who)
		lab.Equal(t, info.NumRegions, uapi.VFIO_PCI_NUM_REGIONS, "%s: num_regions", who)
		dev.FollowsMemorySpace()

		for _, set := range []bool{false, true} {
			if set {
				t.OK(container.SetIOMMU(uapi.VFIO_NOIOMMU_IOMMU), "%s: VFIO_SET_IOMMU(NOIOMMU)", who)
			}
			buffer := t.Pages(1)
			dmaMap := uapi.IOMMUType1DMAMap{Argsz: 32, Flags: 3, Vaddr: uint64(buffer.VA()), IOVA: 1 << 20, Size: lab.PageSize}
			_, err = container.Ioctl(uapi.VFIO_IOMMU_MAP_DMA, unsafe.Pointer(&dmaMap))
			t.Fails(err, unix.ENODEV, "%s: VFIO_IOMMU_MAP_DMA, IOMMU set: %v", who, set)
			iommuInfo := uapi.IOMMUType1Info{Argsz: 24}
			_, err = container.Ioctl(uapi.VFIO_IOMMU_GET_INFO, unsafe.Pointer(&iommuInfo))
			t.Fails(err, unix.ENODEV, "%s: VFIO_IOMMU_GET_INFO, IOMMU set: %v", who, set)
		}
		t.Must(dev.Close(), "close the device")
		t.Must(group.Close(), "close the group")
	})
}

// GR-13: who has an address space for the container expects translation.
func compatIOAS(t *lab.T) {
	everyCompat(t, func(d *lab.Device, c compat, who string) {
		group, fd := t.OpenGroup(d), c.open()
		_, err := fd.VFIOIOAS(uapi.IOMMU_VFIO_IOAS_GET, 0)
		t.Fails(err, unix.ENODEV, "%s: IOMMU_VFIO_IOAS(GET) of a fresh iommufd", who)
		ioas := fd.IOAS()
		set := func() {
			_, err := fd.VFIOIOAS(uapi.IOMMU_VFIO_IOAS_SET, ioas.ID)
			t.Must(err, "%s: IOMMU_VFIO_IOAS(SET)", who)
			id, err := fd.VFIOIOAS(uapi.IOMMU_VFIO_IOAS_GET, 0)
			t.OK(err, "%s: IOMMU_VFIO_IOAS(GET)", who)
			lab.Equal(t, id, ioas.ID, "%s: IOMMU_VFIO_IOAS(GET)", who)
		}
		clear := func() {
			_, err := fd.VFIOIOAS(uapi.IOMMU_VFIO_IOAS_CLEAR, 0)
			t.Must(err, "%s: IOMMU_VFIO_IOAS(CLEAR)", who)
		}
		set()
		t.Fails(group.SetContainer(fd.Fd()), unix.EINVAL, "%s: VFIO_GROUP_SET_CONTAINER with a compat IOAS", who)
		flags, err := group.Status()
		t.OK(err, "%s: VFIO_GROUP_GET_STATUS", who)
		lab.Equal(t, flags, viable, "%s: flags after the refusal", who)
		clear()
		t.Must(group.SetContainer(fd.Fd()), "%s: VFIO_GROUP_SET_CONTAINER without a compat IOAS", who)
		set()
		_, err = group.DeviceFd(d)
		t.Fails(err, unix.EPERM, "%s: VFIO_GROUP_GET_DEVICE_FD with a compat IOAS", who)
		clear()
		dev, err := group.DeviceFd(d)
		t.Must(err, "%s: VFIO_GROUP_GET_DEVICE_FD without a compat IOAS", who)
		t.Must(dev.Close(), "close the device")
		t.Must(group.Close(), "close the group")
		t.OK(fd.Destroy(ioas.ID), "%s: IOMMU_DESTROY(ioas)", who)
	})
}

// GR-15: the compat container can be left with the device open.
func compatLeave(t *lab.T) {
	t.NoWarning()
	everyCompat(t, func(d *lab.Device, c compat, who string) {
		group, fd := t.OpenGroup(d), c.open()
		t.Must(group.SetContainer(fd.Fd()), "VFIO_GROUP_SET_CONTAINER")
		dev, err := group.DeviceFd(d)
		t.Must(err, "%s: VFIO_GROUP_GET_DEVICE_FD", who)
		t.OK(group.UnsetContainer(), "%s: VFIO_GROUP_UNSET_CONTAINER with the device open", who)
		flags, err := group.Status()
		t.OK(err, "%s: VFIO_GROUP_GET_STATUS", who)
		lab.Equal(t, flags, viable, "%s: flags after VFIO_GROUP_UNSET_CONTAINER", who)
		t.Fails(group.UnsetContainer(), unix.EINVAL, "%s: VFIO_GROUP_UNSET_CONTAINER again", who)
		_, err = group.DeviceFd(d)
		t.Fails(err, unix.EINVAL, "%s: VFIO_GROUP_GET_DEVICE_FD afterwards", who)

		t.Must(fd.Close(), "close the iommufd")
		_, err = dev.Info()
		t.OK(err, "%s: VFIO_DEVICE_GET_INFO afterwards", who)
		var id [2]byte
		_, err = dev.Pread(id[:], uapi.VFIO_PCI_CONFIG_REGION_INDEX<<40)
		t.OK(err, "%s: pread of the config region afterwards", who)
		lab.Equal(t, uint64(id[0])|uint64(id[1])<<8, d.Vendor(t), "%s: vendor id", who)
		t.Must(dev.Close(), "close the device")
		t.Must(group.Close(), "close the group")

		// Nothing is left of it: the group can be used again.
		group, fd = t.OpenGroup(d), c.open()
		t.Must(group.SetContainer(fd.Fd()), "%s: VFIO_GROUP_SET_CONTAINER of the reopened group", who)
		t.Must(group.Close(), "close the group")
	})
}

// GR-19: the device is no object of the iommufd.
func compatNoObject(t *lab.T) {
	t.NoWarning()
	everyCompat(t, func(d *lab.Device, c compat, who string) {
		group, fd := t.OpenGroup(d), c.open()
		t.Must(group.SetContainer(fd.Fd()), "VFIO_GROUP_SET_CONTAINER")
		dev, err := group.DeviceFd(d)
		t.Must(err, "%s: VFIO_GROUP_GET_DEVICE_FD", who)
		t.Fails(fd.Destroy(1), unix.ENOENT, "%s: IOMMU_DESTROY(1)", who)
		lab.Equal(t, fd.IOAS().ID, 1, "%s: id of the first object", who)
		t.Must(dev.Close(), "close the device")
		t.Must(fd.Close(), "close the iommufd")
		t.Must(group.Close(), "close the group")
	})
}

// GR-14: an iommufd that has had a no-IOMMU group is for such groups alone.
func compatSticky(t *lab.T) {
	ordinary := t.IOMMUDevices()[0]
	for _, d := range t.NoIOMMUDevices() {
		for _, c := range compats(t) {
			who := d.Model + ", " + c.name
			group, other, fd := t.OpenGroup(d), t.OpenGroup(ordinary), c.open()
			refused := func(when string) {
				t.Fails(other.SetContainer(fd.Fd()), unix.EINVAL, "%s: VFIO_GROUP_SET_CONTAINER of a group with an IOMMU %s", who, when)
				flags, err := other.Status()
				t.OK(err, "%s: VFIO_GROUP_GET_STATUS of the group with an IOMMU", who)
				lab.Equal(t, flags, viable, "%s: flags of the group with an IOMMU after the refusal", who)
				_, err = fd.VFIOIOAS(uapi.IOMMU_VFIO_IOAS_GET, 0)
				t.Fails(err, unix.ENODEV, "%s: IOMMU_VFIO_IOAS(GET) after the refusal", who)
			}
			t.Must(group.SetContainer(fd.Fd()), "%s: VFIO_GROUP_SET_CONTAINER", who)
			refused("while the no-IOMMU group is in it")
			t.Must(group.UnsetContainer(), "%s: VFIO_GROUP_UNSET_CONTAINER", who)
			refused("after the no-IOMMU group left")
			t.Must(group.Close(), "close the group")
			refused("after the no-IOMMU group was closed")

			// For a no-IOMMU group it is as good as ever, and for the other
			// one any other iommufd is.
			group = t.OpenGroup(d)
			t.Must(group.SetContainer(fd.Fd()), "%s: VFIO_GROUP_SET_CONTAINER of the reopened group", who)
			dev, err := group.DeviceFd(d)
			t.Must(err, "%s: VFIO_GROUP_GET_DEVICE_FD", who)
			t.OK(other.SetContainer(c.open().Fd()), "%s: VFIO_GROUP_SET_CONTAINER of the group with an IOMMU, another iommufd", who)
			t.Must(dev.Close(), "close the device")
			t.Must(group.Close(), "close the group")
			t.Must(other.Close(), "close the group with an IOMMU")
		}
	}
}
