// SPDX-License-Identifier: Apache-2.0

package lab

import "noiommu-farm/suites/uapi"

// Way is one of the ways to an open device without an IOMMU.
type Way struct {
	Name string
	// Open opens the device; the test ends when it cannot. What close closes
	// must be closed before another way is tried: they exclude each other.
	Open func(d *Device) (dev *Cdev, close func())
}

// Ways are those that this kernel has: the group in a native container, in an
// iommufd from /dev/iommu, in one from /dev/vfio/vfio, and the cdev. The test
// ends when there is none.
func (t *T) Ways() []Way {
	config := t.Facts.Config
	var ways []Way
	add := func(there bool, name string, open func(d *Device) (*Cdev, func())) {
		if there {
			ways = append(ways, Way{name, open})
		}
	}
	add(config.Group && config.Container, "native container", func(d *Device) (*Cdev, func()) { return t.throughGroup(d, t.OpenContainer()) })
	add(config.Group && config.IOMMUFD, "compat container", func(d *Device) (*Cdev, func()) { return t.throughGroup(d, t.IOMMUFD().Container()) })
	add(config.Group && config.CompatContainer, "compat container at /dev/vfio/vfio", func(d *Device) (*Cdev, func()) { return t.throughGroup(d, t.OpenContainer()) })
	add(config.NoiommuCdev, "cdev", func(d *Device) (*Cdev, func()) {
		dev := t.Open(d)
		dev.Bind(t.IOMMUFD())
		return dev, func() { t.Must(dev.Close(), "close the cdev") }
	})
	if len(ways) == 0 {
		t.Fatalf("this kernel has no way to open a device")
	}
	return ways
}

// AnyContainer opens a container of a kernel with groups: a native one, or an
// iommufd where there is none.
func (t *T) AnyContainer() *Container {
	if t.Facts.Config.Container {
		return t.OpenContainer()
	}
	return t.IOMMUFD().Container()
}

func (t *T) throughGroup(d *Device, container *Container) (*Cdev, func()) {
	group := t.OpenGroup(d)
	t.Must(group.SetContainer(container.Fd()), "VFIO_GROUP_SET_CONTAINER")
	t.Must(container.SetIOMMU(uapi.VFIO_NOIOMMU_IOMMU), "VFIO_SET_IOMMU(NOIOMMU)")
	dev, err := group.DeviceFd(d)
	t.Must(err, "%s: VFIO_GROUP_GET_DEVICE_FD", d.Model)
	return dev, func() {
		t.Must(dev.Close(), "close the device")
		t.Must(group.Close(), "close the group")
		t.Must(container.Close(), "close the container")
	}
}
