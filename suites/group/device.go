// SPDX-License-Identifier: Apache-2.0

package group

import (
	"fmt"

	"golang.org/x/sys/unix"

	"noiommu-farm/suites/lab"
	"noiommu-farm/suites/uapi"
)

// ready opens the group of a device and puts it into a no-IOMMU container.
func ready(t *lab.T, d *lab.Device) (*lab.Group, *lab.Container) {
	group, container := t.OpenGroup(d), t.OpenContainer()
	t.Must(group.SetContainer(container.Fd()), "VFIO_GROUP_SET_CONTAINER")
	t.Must(container.SetIOMMU(uapi.VFIO_NOIOMMU_IOMMU), "VFIO_SET_IOMMU(NOIOMMU)")
	return group, container
}

// GR-09: an open device holds the container.
func heldContainer(t *lab.T) {
	for _, d := range t.Devices {
		group, container := ready(t, d)
		dev, err := group.DeviceFd(d)
		t.Must(err, "%s: VFIO_GROUP_GET_DEVICE_FD", d.Model)
		t.Fails(group.UnsetContainer(), unix.EBUSY, "%s: VFIO_GROUP_UNSET_CONTAINER with the device open", d.Model)
		t.Fails(group.SetContainer(container.Fd()), unix.EINVAL, "%s: VFIO_GROUP_SET_CONTAINER again", d.Model)
		t.Fails(group.SetContainer(t.OpenContainer().Fd()), unix.EINVAL, "%s: VFIO_GROUP_SET_CONTAINER of another container", d.Model)
		_, err = dev.Info()
		t.OK(err, "%s: VFIO_DEVICE_GET_INFO after the refusals", d.Model)
		t.Must(dev.Close(), "close the device")
		t.OK(group.UnsetContainer(), "%s: VFIO_GROUP_UNSET_CONTAINER with the device closed", d.Model)
		t.Must(group.Close(), "close the group")
	}
}

// GR-16: what a group gave is no cdev.
func noCdev(t *lab.T) {
	for _, d := range t.Devices {
		group, _ := ready(t, d)
		dev, err := group.DeviceFd(d)
		t.Must(err, "%s: VFIO_GROUP_GET_DEVICE_FD", d.Model)
		fd := t.IOMMUFD()
		ioas := fd.IOAS()
		arg := dev.BindArg(fd)
		t.Fails(dev.TryBind(&arg), unix.EINVAL, "%s: VFIO_DEVICE_BIND_IOMMUFD", d.Model)
		_, err = dev.TryAttach(ioas.ID)
		t.Fails(err, unix.ENOTTY, "%s: VFIO_DEVICE_ATTACH_IOMMUFD_PT", d.Model)
		t.Fails(dev.Detach(), unix.ENOTTY, "%s: VFIO_DEVICE_DETACH_IOMMUFD_PT", d.Model)
		_, err = dev.Info()
		t.OK(err, "%s: VFIO_DEVICE_GET_INFO", d.Model)
		t.Must(dev.Close(), "close the device")
		t.Must(group.Close(), "close the group")
	}
}

// GR-17: the group path opens a device as often as it is asked to.
func manyFds(t *lab.T) {
	for _, d := range t.Devices {
		group, _ := ready(t, d)
		var devs []*lab.Cdev
		for range 3 {
			dev, err := group.DeviceFd(d)
			t.Must(err, "%s: VFIO_GROUP_GET_DEVICE_FD number %d", d.Model, len(devs)+1)
			devs = append(devs, dev)
		}
		for i, dev := range devs {
			_, err := dev.Info()
			t.OK(err, "%s: VFIO_DEVICE_GET_INFO of number %d", d.Model, i+1)
			t.Must(dev.Close(), "close number %d", i+1)
			if i < len(devs)-1 {
				t.Fails(group.UnsetContainer(), unix.EBUSY, "%s: VFIO_GROUP_UNSET_CONTAINER with %d open", d.Model, len(devs)-1-i)
			}
		}
		t.OK(group.UnsetContainer(), "%s: VFIO_GROUP_UNSET_CONTAINER with none open", d.Model)
		t.Must(group.Close(), "close the group")
	}
}

// GR-18: the group path says in the log who opened the device.
func openIsLogged(t *lab.T) {
	const opened = "vfio-noiommu device opened by user"
	for _, d := range t.Devices {
		log := t.KernelLog()
		group, _ := ready(t, d)
		lab.Equal(t, lab.Count(log.Messages(), opened), 0, "%s: messages before VFIO_GROUP_GET_DEVICE_FD", d.Model)
		for range 2 {
			dev, err := group.DeviceFd(d)
			t.Must(err, "%s: VFIO_GROUP_GET_DEVICE_FD", d.Model)
			who := fmt.Sprintf("%s (%s:", opened, t.ReadFile("/proc/thread-self/comm"))
			lab.Equal(t, lab.Count(log.Messages(), d.BDF, who), 1, "%s: messages %q after VFIO_GROUP_GET_DEVICE_FD", d.Model, who)
			t.Must(dev.Close(), "close the device")
		}
		t.Must(group.Close(), "close the group")
	}
}

// GR-04: an empty container offers what the kernel has.
func emptyContainer(t *lab.T) {
	for _, on := range []bool{true, false, true} {
		t.SetUnsafeMode(on)
		noiommu := 0
		if on {
			noiommu = 1
		}
		container := t.OpenContainer()
		for _, e := range []struct {
			name   string
			number uintptr
			want   int
		}{
			{"TYPE1", uapi.VFIO_TYPE1_IOMMU, 1},
			{"TYPE1v2", uapi.VFIO_TYPE1v2_IOMMU, 1},
			{"NOIOMMU", uapi.VFIO_NOIOMMU_IOMMU, noiommu},
			{"an unknown number", 1000, 0},
		} {
			got, err := container.Extension(e.number)
			t.OK(err, "mode %v: VFIO_CHECK_EXTENSION(%s)", on, e.name)
			lab.Equal(t, got, e.want, "mode %v: VFIO_CHECK_EXTENSION(%s)", on, e.name)
		}
	}
}

// GR-07: with the mode off a bound group gets no IOMMU.
func modeOff(t *lab.T) {
	for _, d := range t.Devices {
		t.SetUnsafeMode(false)
		group, container := t.OpenGroup(d), t.OpenContainer()
		t.OK(group.SetContainer(container.Fd()), "%s: VFIO_GROUP_SET_CONTAINER with the mode off", d.Model)
		got, err := container.Extension(uapi.VFIO_NOIOMMU_IOMMU)
		t.OK(err, "%s: VFIO_CHECK_EXTENSION(NOIOMMU) with the mode off", d.Model)
		lab.Equal(t, got, 0, "%s: VFIO_CHECK_EXTENSION(NOIOMMU) with the mode off", d.Model)
		t.Fails(container.SetIOMMU(uapi.VFIO_NOIOMMU_IOMMU), unix.ENODEV, "%s: VFIO_SET_IOMMU(NOIOMMU) with the mode off", d.Model)
		t.SetUnsafeMode(true)
		t.OK(container.SetIOMMU(uapi.VFIO_NOIOMMU_IOMMU), "%s: VFIO_SET_IOMMU(NOIOMMU) with the mode on again", d.Model)
		t.Must(group.Close(), "close the group")
	}
}
