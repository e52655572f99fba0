// SPDX-License-Identifier: Apache-2.0

package group

import (
	"unsafe"

	"golang.org/x/sys/unix"

	"noiommu-farm/suites/lab"
	"noiommu-farm/suites/uapi"
)

// The compat container is an iommufd in the place of a container.

// compatReady opens the group of a device and puts it into a compat container.
func compatReady(t *lab.T, d *lab.Device) (*lab.Group, *lab.Container) {
	group, container := t.OpenGroup(d), t.IOMMUFD().Container()
	t.Must(group.SetContainer(container.Fd()), "VFIO_GROUP_SET_CONTAINER of an iommufd")
	t.Must(container.SetIOMMU(uapi.VFIO_NOIOMMU_IOMMU), "VFIO_SET_IOMMU(NOIOMMU)")
	return group, container
}

// GR-10: the mode does not matter for what it offers, the group does.
func compatExtensions(t *lab.T) {
	for _, d := range t.Devices {
		group, container := t.OpenGroup(d), t.IOMMUFD().Container()
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
				t.OK(err, "%s: VFIO_CHECK_EXTENSION(%s) %s", d.Model, e.name, when)
				lab.Equal(t, got, e.want, "%s: VFIO_CHECK_EXTENSION(%s) %s", d.Model, e.name, when)
			}
			_, err := container.Extension(uapi.VFIO_DMA_CC_IOMMU)
			t.Fails(err, unix.ENODEV, "%s: VFIO_CHECK_EXTENSION(DMA_CC) %s", d.Model, when)
		}
		expect("without a group", 1)
		t.SetUnsafeMode(false)
		expect("without a group, with the mode off", 1)
		t.SetUnsafeMode(true)
		t.Must(group.SetContainer(container.Fd()), "VFIO_GROUP_SET_CONTAINER")
		expect("with the group", 0)
		t.Must(group.Close(), "close the group")
		expect("after the group left", 0)
	}
}

// GR-11: the one IOMMU, as often as it is asked for.
func compatSetIOMMU(t *lab.T) {
	for _, d := range t.Devices {
		group, container := t.OpenGroup(d), t.IOMMUFD().Container()
		t.Fails(container.SetIOMMU(uapi.VFIO_NOIOMMU_IOMMU), unix.EINVAL, "%s: VFIO_SET_IOMMU(NOIOMMU) without a group", d.Model)
		t.Fails(container.SetIOMMU(uapi.VFIO_TYPE1v2_IOMMU), unix.ENODEV, "%s: VFIO_SET_IOMMU(TYPE1v2) without a group", d.Model)
		t.Must(group.SetContainer(container.Fd()), "VFIO_GROUP_SET_CONTAINER")
		for range 3 {
			t.OK(container.SetIOMMU(uapi.VFIO_NOIOMMU_IOMMU), "%s: VFIO_SET_IOMMU(NOIOMMU)", d.Model)
			for _, kind := range []uintptr{uapi.VFIO_TYPE1_IOMMU, uapi.VFIO_TYPE1v2_IOMMU, 1000} {
				t.Fails(container.SetIOMMU(kind), unix.EINVAL, "%s: VFIO_SET_IOMMU(%d)", d.Model, kind)
			}
		}
		t.Must(group.Close(), "close the group")
	}
}

// GR-12: the device comes without VFIO_SET_IOMMU; there is nothing to map with.
func compatDeviceFd(t *lab.T) {
	for _, d := range t.Devices {
		group, container := t.OpenGroup(d), t.IOMMUFD().Container()
		_, err := group.DeviceFd(d)
		t.Fails(err, unix.EINVAL, "%s: VFIO_GROUP_GET_DEVICE_FD without a container", d.Model)
		t.Must(group.SetContainer(container.Fd()), "VFIO_GROUP_SET_CONTAINER")
		dev, err := group.DeviceFd(d)
		t.Must(err, "%s: VFIO_GROUP_GET_DEVICE_FD without VFIO_SET_IOMMU", d.Model)
		info, err := dev.Info()
		t.OK(err, "%s: VFIO_DEVICE_GET_INFO", d.Model)
		lab.Equal(t, info.NumRegions, uapi.VFIO_PCI_NUM_REGIONS, "%s: num_regions", d.Model)

		for _, set := range []bool{false, true} {
			if set {
				t.OK(container.SetIOMMU(uapi.VFIO_NOIOMMU_IOMMU), "%s: VFIO_SET_IOMMU(NOIOMMU)", d.Model)
			}
			buffer := t.Pages(1)
			dmaMap := uapi.IOMMUType1DMAMap{Argsz: 32, Flags: 3, Vaddr: uint64(buffer.VA()), IOVA: 1 << 20, Size: lab.PageSize}
			_, err = container.Ioctl(uapi.VFIO_IOMMU_MAP_DMA, unsafe.Pointer(&dmaMap))
			t.Fails(err, unix.ENODEV, "%s: VFIO_IOMMU_MAP_DMA, IOMMU set: %v", d.Model, set)
			iommuInfo := uapi.IOMMUType1Info{Argsz: 24}
			_, err = container.Ioctl(uapi.VFIO_IOMMU_GET_INFO, unsafe.Pointer(&iommuInfo))
			t.Fails(err, unix.ENODEV, "%s: VFIO_IOMMU_GET_INFO, IOMMU set: %v", d.Model, set)
		}
		t.Must(dev.Close(), "close the device")
		t.Must(group.Close(), "close the group")
	}
}

// GR-13: who has an address space for the container expects translation.
func compatIOAS(t *lab.T) {
	for _, d := range t.Devices {
		group, fd := t.OpenGroup(d), t.IOMMUFD()
		_, err := fd.VFIOIOAS(uapi.IOMMU_VFIO_IOAS_GET, 0)
		t.Fails(err, unix.ENODEV, "%s: IOMMU_VFIO_IOAS(GET) of a fresh iommufd", d.Model)
		ioas := fd.IOAS()
		set := func() {
			_, err := fd.VFIOIOAS(uapi.IOMMU_VFIO_IOAS_SET, ioas.ID)
			t.Must(err, "%s: IOMMU_VFIO_IOAS(SET)", d.Model)
			id, err := fd.VFIOIOAS(uapi.IOMMU_VFIO_IOAS_GET, 0)
			t.OK(err, "%s: IOMMU_VFIO_IOAS(GET)", d.Model)
			lab.Equal(t, id, ioas.ID, "%s: IOMMU_VFIO_IOAS(GET)", d.Model)
		}
		clear := func() {
			_, err := fd.VFIOIOAS(uapi.IOMMU_VFIO_IOAS_CLEAR, 0)
			t.Must(err, "%s: IOMMU_VFIO_IOAS(CLEAR)", d.Model)
		}
		set()
		t.Fails(group.SetContainer(fd.Fd()), unix.EINVAL, "%s: VFIO_GROUP_SET_CONTAINER with a compat IOAS", d.Model)
		flags, err := group.Status()
		t.OK(err, "%s: VFIO_GROUP_GET_STATUS", d.Model)
		lab.Equal(t, flags, viable, "%s: flags after the refusal", d.Model)
		clear()
		t.Must(group.SetContainer(fd.Fd()), "%s: VFIO_GROUP_SET_CONTAINER without a compat IOAS", d.Model)
		set()
		_, err = group.DeviceFd(d)
		t.Fails(err, unix.EPERM, "%s: VFIO_GROUP_GET_DEVICE_FD with a compat IOAS", d.Model)
		clear()
		dev, err := group.DeviceFd(d)
		t.Must(err, "%s: VFIO_GROUP_GET_DEVICE_FD without a compat IOAS", d.Model)
		t.Must(dev.Close(), "close the device")
		t.Must(group.Close(), "close the group")
		t.OK(fd.Destroy(ioas.ID), "%s: IOMMU_DESTROY(ioas)", d.Model)
	}
}

// GR-15: the compat container can be left with the device open.
func compatLeave(t *lab.T) {
	t.NoWarning()
	for _, d := range t.Devices {
		group, fd := t.OpenGroup(d), t.IOMMUFD()
		t.Must(group.SetContainer(fd.Fd()), "VFIO_GROUP_SET_CONTAINER")
		dev, err := group.DeviceFd(d)
		t.Must(err, "%s: VFIO_GROUP_GET_DEVICE_FD", d.Model)
		t.OK(group.UnsetContainer(), "%s: VFIO_GROUP_UNSET_CONTAINER with the device open", d.Model)
		flags, err := group.Status()
		t.OK(err, "%s: VFIO_GROUP_GET_STATUS", d.Model)
		lab.Equal(t, flags, viable, "%s: flags after VFIO_GROUP_UNSET_CONTAINER", d.Model)
		t.Fails(group.UnsetContainer(), unix.EINVAL, "%s: VFIO_GROUP_UNSET_CONTAINER again", d.Model)
		_, err = group.DeviceFd(d)
		t.Fails(err, unix.EINVAL, "%s: VFIO_GROUP_GET_DEVICE_FD afterwards", d.Model)

		t.Must(fd.Close(), "close the iommufd")
		_, err = dev.Info()
		t.OK(err, "%s: VFIO_DEVICE_GET_INFO afterwards", d.Model)
		var id [2]byte
		_, err = dev.Pread(id[:], uapi.VFIO_PCI_CONFIG_REGION_INDEX<<40)
		t.OK(err, "%s: pread of the config region afterwards", d.Model)
		lab.Equal(t, uint64(id[0])|uint64(id[1])<<8, d.Vendor(t), "%s: vendor id", d.Model)
		t.Must(dev.Close(), "close the device")
		t.Must(group.Close(), "close the group")

		// Nothing is left of it: the group can be used again.
		group, _ = compatReady(t, d)
		t.Must(group.Close(), "close the group")
	}
}

// GR-19: the device is no object of the iommufd.
func compatNoObject(t *lab.T) {
	t.NoWarning()
	for _, d := range t.Devices {
		group, fd := t.OpenGroup(d), t.IOMMUFD()
		t.Must(group.SetContainer(fd.Fd()), "VFIO_GROUP_SET_CONTAINER")
		dev, err := group.DeviceFd(d)
		t.Must(err, "%s: VFIO_GROUP_GET_DEVICE_FD", d.Model)
		t.Fails(fd.Destroy(1), unix.ENOENT, "%s: IOMMU_DESTROY(1)", d.Model)
		lab.Equal(t, fd.IOAS().ID, 1, "%s: id of the first object", d.Model)
		t.Must(dev.Close(), "close the device")
		t.Must(fd.Close(), "close the iommufd")
		t.Must(group.Close(), "close the group")
	}
}
