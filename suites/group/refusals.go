// SPDX-License-Identifier: Apache-2.0

package group

import (
	"golang.org/x/sys/unix"

	"noiommu-farm/suites/lab"
	"noiommu-farm/suites/uapi"
)

// GR-02: a group has one user.
func openOnce(t *lab.T) {
	for _, d := range t.Devices {
		group := t.OpenGroup(d)
		for range 2 {
			_, err := t.TryOpenGroup(d)
			t.Fails(err, unix.EBUSY, "%s: open the group again", d.Model)
		}
		flags, err := group.Status()
		t.OK(err, "%s: VFIO_GROUP_GET_STATUS of the first", d.Model)
		lab.Equal(t, flags, viable, "%s: flags of the first", d.Model)
		t.Must(group.Close(), "close the group")
		t.Must(t.OpenGroup(d).Close(), "close the reopened group")
	}
}

// GR-03: no device without a container, and no device of another name.
func noDevice(t *lab.T) {
	everywhere(t, func(d *lab.Device, k kind, who string) {
		group, container := t.OpenGroup(d), k.open()
		_, err := group.DeviceFd(d)
		t.Fails(err, unix.EINVAL, "%s: VFIO_GROUP_GET_DEVICE_FD without a container", who)
		t.Must(group.SetContainer(container.Fd()), "VFIO_GROUP_SET_CONTAINER")
		t.Must(container.SetIOMMU(uapi.VFIO_NOIOMMU_IOMMU), "VFIO_SET_IOMMU(NOIOMMU)")
		for _, name := range []string{"", "0000:ff:1f.7", d.BDF + "0", d.BDF[:len(d.BDF)-1]} {
			_, err := group.DeviceFd(&lab.Device{BDF: name})
			t.Fails(err, unix.ENODEV, "%s: VFIO_GROUP_GET_DEVICE_FD(%q)", who, name)
		}
		for _, other := range t.Devices {
			if other != d {
				_, err := group.DeviceFd(other)
				t.Fails(err, unix.ENODEV, "%s: VFIO_GROUP_GET_DEVICE_FD of the device of another group", who)
			}
		}
		dev, err := group.DeviceFd(d)
		t.Must(err, "%s: VFIO_GROUP_GET_DEVICE_FD", who)
		t.Must(dev.Close(), "close the device")
		t.Must(group.Close(), "close the group")
		// The refusals took no reference of the device: it can go.
		t.Must(t.Unbind(d), "unbind %s", d.BDF)
		t.Must(t.Bind(d), "bind %s", d.BDF)
	})
}

// GR-06: the container takes this one IOMMU, once, and only with a group.
func setIOMMU(t *lab.T) {
	for _, d := range t.Devices {
		group, container := t.OpenGroup(d), t.OpenContainer()
		t.Fails(container.SetIOMMU(uapi.VFIO_NOIOMMU_IOMMU), unix.EINVAL, "%s: VFIO_SET_IOMMU(NOIOMMU) without a group", d.Model)
		t.Must(group.SetContainer(container.Fd()), "VFIO_GROUP_SET_CONTAINER")
		for _, kind := range []uintptr{uapi.VFIO_TYPE1_IOMMU, uapi.VFIO_TYPE1v2_IOMMU, 1000} {
			t.Fails(container.SetIOMMU(kind), unix.ENODEV, "%s: VFIO_SET_IOMMU(%d)", d.Model, kind)
		}
		t.OK(container.SetIOMMU(uapi.VFIO_NOIOMMU_IOMMU), "%s: VFIO_SET_IOMMU(NOIOMMU)", d.Model)
		t.Fails(container.SetIOMMU(uapi.VFIO_NOIOMMU_IOMMU), unix.EINVAL, "%s: VFIO_SET_IOMMU(NOIOMMU) again", d.Model)
		t.Fails(container.SetIOMMU(uapi.VFIO_TYPE1v2_IOMMU), unix.EINVAL, "%s: VFIO_SET_IOMMU(TYPE1v2) afterwards", d.Model)
		t.Must(group.Close(), "close the group")
	}
}
