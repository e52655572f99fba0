// SPDX-License-Identifier: Apache-2.0

package contract

// nodes is suite nodes: device nodes and sysfs.
var nodes = []Statement{
	{
		ID: "ND-04", Suite: "nodes",
		Promise:  "A bound device without an IOMMU has the cdev noiommu-vfioX, mode 0600, in sysfs and in /dev/vfio/devices, X being the first free index.",
		Source:   []string{"drivers/vfio/vfio_main.c:324-340", "drivers/vfio/device_cdev.c:12-21"},
		Requires: also(onNoiommu, Cdev),
		Evidence: []string{"sysfs.reads", "stat", "pci.bind"},
	},
	{
		ID: "ND-05", Suite: "nodes",
		Promise:  "A bound device without an IOMMU has the group noiommu-N, mode 0600, N being the id of an IOMMU group named vfio-noiommu that holds this device alone.",
		Source:   []string{"drivers/vfio/group.c:565-567", "drivers/vfio/group.c:588-618"},
		Requires: []Requirement{Group, Noiommu, UnsafeMode, NoIOMMU},
		Evidence: []string{"sysfs.reads", "stat"},
	},
	{
		ID: "ND-09", Suite: "nodes",
		Promise:  "The unsafe mode is a module parameter, mode 0644, that reads Y or N as it was written and refuses anything else.",
		Source:   []string{"drivers/vfio/vfio_main.c:57-62"},
		Requires: []Requirement{Noiommu},
		Evidence: []string{"stat", "sysfs.reads", "sysfs.writes:EINVAL"},
	},
	{
		ID: "ND-10", Suite: "nodes",
		Promise:  "The unsafe mode counts when a device is bound: a bound one keeps its nodes and works with the mode off, another cannot be bound until it is on again.",
		Source:   []string{"drivers/vfio/vfio_main.c:324-340", "drivers/vfio/group.c:643-660"},
		Requires: also(onNoiommu, Group, Cdev, TwoDevices),
		Evidence: []string{"pci.bind", "pci.bind:EINVAL", "VFIO_DEVICE_BIND_IOMMUFD", "stat:ENOENT"},
	},
	{
		ID: "ND-11", Suite: "nodes",
		Promise:  "After unbind no node, sysfs entry or IOMMU group of the device is left, and binding gives the same names again.",
		Source:   []string{"drivers/vfio/group.c:697-741"},
		Requires: also(onNoiommu, Group, Cdev),
		Evidence: []string{"pci.bind", "pci.unbind", "stat", "stat:ENOENT"},
	},
	{
		ID: "ND-12", Suite: "nodes",
		Promise:  "The IOMMU group that VFIO makes for a device is inert: its type is unknown and cannot be changed, it reserves nothing.",
		Source:   []string{"drivers/vfio/group.c:588-618", "drivers/iommu/iommu.c:962"},
		Requires: []Requirement{Group, Noiommu, UnsafeMode, NoIOMMU},
		Evidence: []string{"sysfs.reads", "sysfs.writes:EINVAL"},
	},
	{
		ID: "ND-13", Suite: "nodes",
		Promise:  "Two devices without an IOMMU get two groups, never a shared one, and two cdevs.",
		Source:   []string{"drivers/vfio/group.c:588-618"},
		Requires: also(onNoiommu, Group, Cdev, TwoDevices),
		Evidence: []string{"sysfs.reads", "stat"},
	},
	{
		ID: "ND-15", Suite: "nodes",
		Promise:  "The fdinfo of an open cdev names the device, bound or not: vfio-device-syspath is its directory in sysfs.",
		Source:   []string{"drivers/vfio/vfio_main.c:1471-1483"},
		Requires: also(onNoiommu, Cdev),
		Evidence: []string{"open", "proc.reads"},
	},
}
