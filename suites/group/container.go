// SPDX-License-Identifier: Apache-2.0

package group

import (
	"noiommu-farm/suites/lab"
	"noiommu-farm/suites/uapi"
)

// kind is a kind of container that a group can be put into.
type kind struct {
	name   string
	native bool
	open   func() *lab.Container
}

// kinds are those that the kernel has: VFIO's own container, an iommufd, and
// an iommufd that stands at the path of VFIO's own.
func kinds(t *lab.T) []kind {
	var all []kind
	if t.Facts.Config.Container {
		all = append(all, native(t))
	}
	for _, c := range compats(t) {
		all = append(all, kind{c.name, false, func() *lab.Container { return c.open().Container() }})
	}
	if len(all) == 0 {
		t.Fatalf("a kernel with groups and without a container")
	}
	return all
}

// native is VFIO's own container.
func native(t *lab.T) kind { return kind{"native", true, t.OpenContainer} }

// compat is a way to an iommufd that serves as a container.
type compat struct {
	name string
	open func() *lab.IOMMUFD
}

// compats are the ways that the kernel has.
func compats(t *lab.T) []compat {
	var all []compat
	if t.Facts.Config.IOMMUFD {
		all = append(all, compat{"iommufd", t.IOMMUFD})
	}
	if t.Facts.Config.CompatContainer {
		all = append(all, compat{"iommufd at /dev/vfio/vfio", t.CompatIOMMUFD})
	}
	return all
}

// ready opens the group of a device and puts it into a container with its
// IOMMU set.
func (k kind) ready(t *lab.T, d *lab.Device) (*lab.Group, *lab.Container) {
	group, container := t.OpenGroup(d), k.open()
	t.Must(group.SetContainer(container.Fd()), "%s: VFIO_GROUP_SET_CONTAINER", k.name)
	t.Must(container.SetIOMMU(uapi.VFIO_NOIOMMU_IOMMU), "%s: VFIO_SET_IOMMU(NOIOMMU)", k.name)
	return group, container
}

// everywhere runs f for each device in each kind of container.
func everywhere(t *lab.T, f func(d *lab.Device, k kind, who string)) {
	for _, d := range t.Devices {
		for _, k := range kinds(t) {
			f(d, k, d.Model+", "+k.name)
		}
	}
}

// everyCompat runs f for each device in each iommufd.
func everyCompat(t *lab.T, f func(d *lab.Device, c compat, who string)) {
	for _, d := range t.Devices {
		for _, c := range compats(t) {
			f(d, c, d.Model+", "+c.name)
		}
	}
}
