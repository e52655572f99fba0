// SPDX-License-Identifier: Apache-2.0

// Package group proves what the group of a device without an IOMMU promises in
// each kind of container that the kernel has: VFIO's own (CONFIG_VFIO_CONTAINER)
// and an iommufd in its place.
package group

import (
	"unsafe"

	"golang.org/x/sys/unix"

	"noiommu-farm/suites/lab"
	"noiommu-farm/suites/uapi"
)

// Tests are the suite's tests.
var Tests = []lab.Test{
	{ID: "GR-01", Run: status},
	{ID: "GR-02", Run: openOnce},
	{ID: "GR-03", Run: noDevice},
	{ID: "GR-04", Run: emptyContainer},
	{ID: "GR-05", Run: extensions},
	{ID: "GR-06", Run: setIOMMU},
	{ID: "GR-07", Run: modeOff},
	{ID: "GR-08", Run: deviceFd},
	{ID: "GR-09", Run: heldContainer},
	{ID: "GR-10", Run: compatExtensions},
	{ID: "GR-11", Run: compatSetIOMMU},
	{ID: "GR-12", Run: compatDeviceFd},
	{ID: "GR-13", Run: compatIOAS},
	{ID: "GR-14", Run: compatSticky},
	{ID: "GR-15", Run: compatLeave},
	{ID: "GR-16", Run: noCdev},
	{ID: "GR-17", Run: manyFds},
	{ID: "GR-18", Run: openIsLogged},
	{ID: "GR-19", Run: compatNoObject},
	{ID: "GR-20", Run: closeInAnyOrder},
	{ID: "GR-21", Run: oneOfTwoLeaves},
	{ID: "GR-22", Run: nothingKept},
}

const (
	viable       = uapi.VFIO_GROUP_FLAGS_VIABLE
	containerSet = uapi.VFIO_GROUP_FLAGS_CONTAINER_SET
)

// GR-01: the flags follow the container.
func status(t *lab.T) {
	everywhere(t, func(d *lab.Device, k kind, who string) {
		group, container := t.OpenGroup(d), k.open()
		expect := func(when string, want uint32) {
			flags, err := group.Status()
			t.OK(err, "%s: VFIO_GROUP_GET_STATUS %s", who, when)
			lab.Equal(t, flags, want, "%s: flags %s", who, when)
		}
		expect("of a fresh group", viable)
		short := uapi.GroupStatus{Argsz: 7}
		_, err := group.Ioctl(uapi.VFIO_GROUP_GET_STATUS, unsafe.Pointer(&short))
		t.Fails(err, unix.EINVAL, "%s: VFIO_GROUP_GET_STATUS with argsz 7", who)
		t.Fails(group.UnsetContainer(), unix.EINVAL, "%s: VFIO_GROUP_UNSET_CONTAINER of a fresh group", who)

		t.OK(group.SetContainer(container.Fd()), "%s: VFIO_GROUP_SET_CONTAINER", who)
		expect("with a container", viable|containerSet)
		t.Fails(group.SetContainer(container.Fd()), unix.EINVAL, "%s: VFIO_GROUP_SET_CONTAINER again", who)
		t.OK(container.SetIOMMU(uapi.VFIO_NOIOMMU_IOMMU), "%s: VFIO_SET_IOMMU", who)
		expect("with a container and its IOMMU set", viable|containerSet)

		t.OK(group.UnsetContainer(), "%s: VFIO_GROUP_UNSET_CONTAINER", who)
		expect("after the container was unset", viable)
		t.Fails(group.UnsetContainer(), unix.EINVAL, "%s: VFIO_GROUP_UNSET_CONTAINER again", who)
		t.Must(group.Close(), "close the group")

		// A group that was closed with a container is fresh when it is opened
		// again, and the container is free.
		group = t.OpenGroup(d)
		t.OK(group.SetContainer(container.Fd()), "%s: VFIO_GROUP_SET_CONTAINER of the reopened group", who)
		t.Must(group.Close(), "close the group")
		group = t.OpenGroup(d)
		expect("of the group reopened after it was closed with a container", viable)

		// What is no container is refused, and leaves the group as it was.
		t.Fails(group.SetContainer(-1), unix.EBADF, "%s: VFIO_GROUP_SET_CONTAINER of descriptor -1", who)
		t.Fails(group.SetContainer(t.Pipe().Fd()), unix.EBADFD, "%s: VFIO_GROUP_SET_CONTAINER of a pipe", who)
		expect("after a container was refused", viable)
		t.Must(group.Close(), "close the group")
	})
}

// GR-05: a container with such a group has one extension.
func extensions(t *lab.T) {
	for _, d := range t.Devices {
		group, container := t.OpenGroup(d), t.OpenContainer()
		expect := func(when string) {
			for _, e := range []struct {
				name   string
				number uintptr
				want   int
			}{
				{"TYPE1", uapi.VFIO_TYPE1_IOMMU, 0},
				{"TYPE1v2", uapi.VFIO_TYPE1v2_IOMMU, 0},
				{"UNMAP_ALL", uapi.VFIO_UNMAP_ALL, 0},
				{"DMA_CC", uapi.VFIO_DMA_CC_IOMMU, 0},
				{"NOIOMMU", uapi.VFIO_NOIOMMU_IOMMU, 1},
				{"an unknown number", 1000, 0},
			} {
				got, err := container.Extension(e.number)
				t.OK(err, "%s: VFIO_CHECK_EXTENSION(%s) %s", d.Model, e.name, when)
				lab.Equal(t, got, e.want, "%s: VFIO_CHECK_EXTENSION(%s) %s", d.Model, e.name, when)
			}
		}
		t.Must(group.SetContainer(container.Fd()), "VFIO_GROUP_SET_CONTAINER")
		expect("with the group in the container")
		t.Fails(container.SetIOMMU(uapi.VFIO_TYPE1v2_IOMMU), unix.ENODEV, "%s: VFIO_SET_IOMMU(TYPE1v2)", d.Model)
		t.OK(container.SetIOMMU(uapi.VFIO_NOIOMMU_IOMMU), "%s: VFIO_SET_IOMMU(NOIOMMU)", d.Model)
		expect("with the IOMMU set")

		// Without the group the container is like new.
		t.OK(group.UnsetContainer(), "%s: VFIO_GROUP_UNSET_CONTAINER", d.Model)
		t.Fails(container.SetIOMMU(uapi.VFIO_NOIOMMU_IOMMU), unix.EINVAL, "%s: VFIO_SET_IOMMU(NOIOMMU) without a group", d.Model)
		for _, e := range []uintptr{uapi.VFIO_TYPE1_IOMMU, uapi.VFIO_TYPE1v2_IOMMU, uapi.VFIO_NOIOMMU_IOMMU} {
			got, err := container.Extension(e)
			t.OK(err, "%s: VFIO_CHECK_EXTENSION(%d) without a group", d.Model, e)
			lab.Equal(t, got, 1, "%s: VFIO_CHECK_EXTENSION(%d) without a group", d.Model, e)
		}
		t.Must(group.Close(), "close the group")
	}
}

// GR-08: first VFIO_SET_IOMMU, then the device; and nothing to map with.
func deviceFd(t *lab.T) {
	for _, d := range t.Devices {
		group, container := t.OpenGroup(d), t.OpenContainer()
		t.Must(group.SetContainer(container.Fd()), "VFIO_GROUP_SET_CONTAINER")
		_, err := group.DeviceFd(d)
		t.Fails(err, unix.EINVAL, "%s: VFIO_GROUP_GET_DEVICE_FD before VFIO_SET_IOMMU", d.Model)

		t.Must(container.SetIOMMU(uapi.VFIO_NOIOMMU_IOMMU), "VFIO_SET_IOMMU(NOIOMMU)")
		dev, err := group.DeviceFd(d)
		t.Must(err, "%s: VFIO_GROUP_GET_DEVICE_FD after VFIO_SET_IOMMU", d.Model)
		info, err := dev.Info()
		t.OK(err, "%s: VFIO_DEVICE_GET_INFO", d.Model)
		lab.Equal(t, info.Flags&uapi.VFIO_DEVICE_FLAGS_PCI, uapi.VFIO_DEVICE_FLAGS_PCI, "%s: flag PCI", d.Model)
		lab.Equal(t, info.NumRegions, uapi.VFIO_PCI_NUM_REGIONS, "%s: num_regions", d.Model)
		lab.Equal(t, info.NumIRQs, uapi.VFIO_PCI_NUM_IRQS, "%s: num_irqs", d.Model)
		dev.FollowsMemorySpace()

		buffer := t.Pages(1)
		dmaMap := uapi.IOMMUType1DMAMap{Argsz: 32, Flags: 3, Vaddr: uint64(buffer.VA()), IOVA: 1 << 20, Size: lab.PageSize}
		_, err = container.Ioctl(uapi.VFIO_IOMMU_MAP_DMA, unsafe.Pointer(&dmaMap))
		t.Fails(err, unix.ENOTTY, "%s: VFIO_IOMMU_MAP_DMA", d.Model)
		iommuInfo := uapi.IOMMUType1Info{Argsz: 24}
		_, err = container.Ioctl(uapi.VFIO_IOMMU_GET_INFO, unsafe.Pointer(&iommuInfo))
		t.Fails(err, unix.ENOTTY, "%s: VFIO_IOMMU_GET_INFO", d.Model)

		// The open device holds the container.
		t.Fails(group.UnsetContainer(), unix.EBUSY, "%s: VFIO_GROUP_UNSET_CONTAINER with the device open", d.Model)
		t.Must(dev.Close(), "close the device")
		t.OK(group.UnsetContainer(), "%s: VFIO_GROUP_UNSET_CONTAINER with the device closed", d.Model)
		t.Must(group.Close(), "close the group")
	}
}
