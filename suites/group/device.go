// SPDX-License-Identifier: Apache-2.0

package group

import (
	"fmt"

	"golang.org/x/sys/unix"

	"noiommu-farm/suites/lab"
	"noiommu-farm/suites/uapi"
)

// GR-09: an open device holds the container.
func heldContainer(t *lab.T) {
	for _, d := range t.Devices {
		group, container := native(t).ready(t, d)
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
	everywhere(t, func(d *lab.Device, k kind, who string) {
		group, _ := k.ready(t, d)
		dev, err := group.DeviceFd(d)
		t.Must(err, "%s: VFIO_GROUP_GET_DEVICE_FD", who)
		fd := t.IOMMUFD()
		ioas := fd.IOAS()
		arg := dev.BindArg(fd)
		t.Fails(dev.TryBind(&arg), unix.EINVAL, "%s: VFIO_DEVICE_BIND_IOMMUFD", who)
		_, err = dev.TryAttach(ioas.ID)
		t.Fails(err, unix.ENOTTY, "%s: VFIO_DEVICE_ATTACH_IOMMUFD_PT", who)
		t.Fails(dev.Detach(), unix.ENOTTY, "%s: VFIO_DEVICE_DETACH_IOMMUFD_PT", who)
		info, err := dev.Info()
		t.OK(err, "%s: VFIO_DEVICE_GET_INFO", who)
		lab.Equal(t, info.NumRegions, uapi.VFIO_PCI_NUM_REGIONS, "%s: num_regions", who)
		t.Must(dev.Close(), "close the device")
		t.Must(group.Close(), "close the group")

		// The refused bind did not count as one: the group is free, and so is
		// the cdev.
		cdev := t.Open(d)
		lab.Equal(t, cdev.Bind(fd), ioas.ID+1, "%s: out_devid of the cdev's bind afterwards", who)
		t.Must(cdev.Close(), "close the cdev")
	})
}

// GR-17: the group path opens a device as often as it is asked to.
func manyFds(t *lab.T) {
	everywhere(t, func(d *lab.Device, k kind, who string) {
		group, container := k.ready(t, d)
		var devs []*lab.Cdev
		for range 3 {
			dev, err := group.DeviceFd(d)
			t.Must(err, "%s: VFIO_GROUP_GET_DEVICE_FD number %d", who, len(devs)+1)
			devs = append(devs, dev)
		}
		for i, dev := range devs {
			_, err := dev.Info()
			t.OK(err, "%s: VFIO_DEVICE_GET_INFO of number %d", who, i+1)
			t.Must(dev.Close(), "close number %d", i+1)
			if k.native && i < len(devs)-1 {
				t.Fails(group.UnsetContainer(), unix.EBUSY, "%s: VFIO_GROUP_UNSET_CONTAINER with %d open", who, len(devs)-1-i)
			}
		}
		t.OK(group.UnsetContainer(), "%s: VFIO_GROUP_UNSET_CONTAINER with none open", who)

		// The last one released the device: it can be opened from the start.
		t.Must(group.SetContainer(container.Fd()), "%s: VFIO_GROUP_SET_CONTAINER again", who)
		t.Must(container.SetIOMMU(uapi.VFIO_NOIOMMU_IOMMU), "%s: VFIO_SET_IOMMU(NOIOMMU) again", who)
		dev, err := group.DeviceFd(d)
		t.Must(err, "%s: VFIO_GROUP_GET_DEVICE_FD again", who)
		_, err = dev.Info()
		t.OK(err, "%s: VFIO_DEVICE_GET_INFO of the last", who)
		t.Must(dev.Close(), "close the device")
		t.Must(group.Close(), "close the group")
		unbindInUse(t, d, k, who)
	})
}

// GR-18: the group path says in the log who opened the device, the cdev says
// nothing.
func openIsLogged(t *lab.T) {
	const opened = "vfio-noiommu device opened by user"
	everywhere(t, func(d *lab.Device, k kind, who string) {
		log := t.KernelLog()
		group := t.OpenGroup(d)
		_, err := group.DeviceFd(d)
		t.Fails(err, unix.EINVAL, "%s: VFIO_GROUP_GET_DEVICE_FD without a container", who)
		t.Must(group.Close(), "close the group")
		group, _ = k.ready(t, d)
		_, err = group.DeviceFd(&lab.Device{BDF: "0000:ff:1f.7"})
		t.Fails(err, unix.ENODEV, "%s: VFIO_GROUP_GET_DEVICE_FD of another name", who)
		lab.Equal(t, lab.Count(log.Messages(), opened), 0, "%s: messages before a VFIO_GROUP_GET_DEVICE_FD succeeds", who)
		for range 2 {
			dev, err := group.DeviceFd(d)
			t.Must(err, "%s: VFIO_GROUP_GET_DEVICE_FD", who)
			comm := fmt.Sprintf("%s (%s:", opened, t.ReadFile("/proc/thread-self/comm"))
			messages := log.Messages()
			lab.Equal(t, lab.Count(messages, opened), 1, "%s: messages after VFIO_GROUP_GET_DEVICE_FD", who)
			lab.Equal(t, lab.Count(messages, d.BDF, comm), 1, "%s: messages %q after VFIO_GROUP_GET_DEVICE_FD", who, comm)
			threads := 0
			for _, id := range t.List("/proc/self/task") {
				threads += lab.Count(messages, comm+id+")")
			}
			lab.Equal(t, threads, 1, "%s: messages %q with the id of a thread", who, comm)
			t.Must(dev.Close(), "close the device")
		}
		t.Must(group.Close(), "close the group")
		if t.Facts.Config.NoiommuCdev {
			dev := t.Open(d)
			dev.Bind(t.IOMMUFD())
			t.Must(dev.Close(), "close the cdev")
			lab.Equal(t, lab.Count(log.Messages(), opened), 0, "%s: messages of a cdev opened and bound", who)
		}
	})
}

// GR-04: an empty container offers what the kernel has.
func emptyContainer(t *lab.T) {
	if !t.Facts.Config.Noiommu {
		expectEmpty(t, "without the mode", 0)
		return
	}
	for _, on := range []bool{true, false, true} {
		t.SetUnsafeMode(on)
		if on {
			expectEmpty(t, "mode on", 1)
		} else {
			expectEmpty(t, "mode off", 0)
		}
	}
}

// expectEmpty asserts what a new native container offers.
func expectEmpty(t *lab.T, when string, noiommu int) {
	container := t.OpenContainer()
	version, err := container.IoctlValue(uapi.VFIO_GET_API_VERSION, 0)
	t.OK(err, "%s: VFIO_GET_API_VERSION", when)
	lab.Equal(t, version, uapi.VFIO_API_VERSION, "%s: VFIO_GET_API_VERSION", when)
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
		t.OK(err, "%s: VFIO_CHECK_EXTENSION(%s)", when, e.name)
		lab.Equal(t, got, e.want, "%s: VFIO_CHECK_EXTENSION(%s)", when, e.name)
	}
	t.Must(container.Close(), "close the container")
}

// GR-07: with the mode off a bound group gets no IOMMU.
func modeOff(t *lab.T) {
	for _, d := range t.Devices {
		t.SetUnsafeMode(false)
		group, container := t.OpenGroup(d), t.OpenContainer()
		t.OK(group.SetContainer(container.Fd()), "%s: VFIO_GROUP_SET_CONTAINER with the mode off", d.Model)
		// Nor one of those that translate: the group is what it was bound as.
		for _, kind := range []uintptr{uapi.VFIO_NOIOMMU_IOMMU, uapi.VFIO_TYPE1_IOMMU, uapi.VFIO_TYPE1v2_IOMMU, uapi.VFIO_UNMAP_ALL} {
			got, err := container.Extension(kind)
			t.OK(err, "%s: VFIO_CHECK_EXTENSION(%d) with the mode off", d.Model, kind)
			lab.Equal(t, got, 0, "%s: VFIO_CHECK_EXTENSION(%d) with the mode off", d.Model, kind)
			t.Fails(container.SetIOMMU(kind), unix.ENODEV, "%s: VFIO_SET_IOMMU(%d) with the mode off", d.Model, kind)
		}
		t.SetUnsafeMode(true)
		t.OK(container.SetIOMMU(uapi.VFIO_NOIOMMU_IOMMU), "%s: VFIO_SET_IOMMU(NOIOMMU) with the mode on again", d.Model)
		t.Must(group.Close(), "close the group")
	}
}
