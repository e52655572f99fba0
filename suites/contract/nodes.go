// SPDX-License-Identifier: Apache-2.0

package contract

// nodesUnbound is suite nodes, before anything was bound: what a refused bind
// must not taint, is not tainted yet.
var nodesUnbound = []Statement{
	{
		ID: "ND-01", Suite: "nodes", Phase: Unbound,
		Promise:  "With the unsafe mode off a device without an IOMMU cannot be bound: EINVAL, one line in the log, no node, no group, no taint.",
		Source:   []string{"drivers/vfio/group.c:643-660", "drivers/vfio/vfio_main.c:365-367"},
		Requires: []Requirement{Group, Noiommu, NoIOMMU},
		Evidence: []string{"pci.bind:EINVAL", "kmsg.reads", "stat:ENOENT", "proc.reads"},
	},
	{
		ID: "ND-02", Suite: "nodes", Phase: Unbound,
		Promise:  "Without groups too: with the unsafe mode off a device without an IOMMU cannot be bound, EINVAL, because its DMA is not known to be coherent.",
		Source:   []string{"drivers/vfio/vfio_main.c:375-384"},
		Requires: []Requirement{NoGroup, Noiommu, NoIOMMU},
		Evidence: []string{"pci.bind:EINVAL", "kmsg.reads", "stat:ENOENT", "proc.reads"},
	},
	{
		ID: "ND-03", Suite: "nodes", Phase: Unbound,
		Promise:  "A kernel without VFIO_NOIOMMU has no module parameter for it, no container offers it, and a device without an IOMMU cannot be bound: EINVAL, no node, no taint.",
		Source:   []string{"drivers/vfio/vfio_main.c:57-62", "drivers/vfio/vfio.h:39-43", "drivers/vfio/container.c:76-86"},
		Requires: []Requirement{NoNoiommu, NoIOMMU},
		Evidence: []string{"pci.bind:EINVAL", "kmsg.reads", "stat:ENOENT", "proc.reads", "VFIO_CHECK_EXTENSION"},
	},
	{
		ID: "ND-14", Suite: "nodes", Phase: Unbound,
		Promise:  "An emulated device (mdev) is never a no-IOMMU one, whatever the mode: its nodes have no prefix, it taints nothing, and using it takes no capability.",
		Source:   []string{"drivers/vfio/vfio_main.c:326-328", "drivers/vfio/group.c:565-567"},
		Requires: []Requirement{Noiommu, Mtty},
		Evidence: []string{"sysfs.reads", "sysfs.writes", "stat", "stat:ENOENT", "open", "capset", "VFIO_DEVICE_GET_INFO", "pread", "proc.reads"},
	},
	{
		ID: "ND-16", Suite: "nodes", Phase: Unbound,
		Promise:  "/dev/vfio/vfio is there when the kernel has a container, for all (0666); where iommufd provides it, it is an iommufd, and its first open since boot says so in the log.",
		Source:   []string{"drivers/iommu/iommufd/main.c:327-331", "drivers/iommu/iommufd/main.c:769-775", "drivers/vfio/container.c:408-414"},
		Requires: []Requirement{IOMMUFD},
		Evidence: []string{"stat", "open"},
	},
}

// nodes is suite nodes: device nodes and sysfs.
var nodes = []Statement{
	{
		ID: "ND-04", Suite: "nodes",
		Promise:  "A bound device without an IOMMU has the cdev noiommu-vfioX, mode 0600, in sysfs and in /dev/vfio/devices, X being the first free index.",
		Source:   []string{"drivers/vfio/vfio_main.c:324-340", "drivers/vfio/device_cdev.c:12-21"},
		Requires: onNoiommu,
		Evidence: []string{"sysfs.reads", "stat", "pci.bind"},
	},
	{
		ID: "ND-05", Suite: "nodes",
		Promise:  "A bound device without an IOMMU has the group noiommu-N, mode 0600, N being the id of an IOMMU group named vfio-noiommu that holds this device alone.",
		Source:   []string{"drivers/vfio/group.c:565-567", "drivers/vfio/group.c:588-618"},
		Requires: onGroup,
		Evidence: []string{"sysfs.reads", "stat"},
	},
	{
		ID: "ND-06", Suite: "nodes",
		Promise:  "Without groups the cdev of a device without an IOMMU is all there is: no group node, no container, no class vfio, no IOMMU group.",
		Source:   []string{"drivers/vfio/vfio.h:127-131", "drivers/vfio/vfio_main.c:324-340"},
		Requires: also(onNoiommu, NoGroup),
		Evidence: []string{"sysfs.reads", "stat", "stat:ENOENT"},
	},
	{
		ID: "ND-07", Suite: "nodes",
		Promise:  "Without the cdev the group of a device without an IOMMU is all there is: its name in sysfs is vfioX without a prefix and without a device number, and there is no /dev/vfio/devices.",
		Source:   []string{"drivers/vfio/vfio_main.c:326-340", "drivers/vfio/group.c:565-567"},
		Requires: also(onGroup, NoCdev),
		Evidence: []string{"sysfs.reads", "stat", "stat:ENOENT", "pci.bind", "pci.unbind"},
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
		Promise:  "The unsafe mode counts when a device is bound: a bound one keeps its nodes and can be used with the mode off, another cannot be bound (EINVAL) until it is on again.",
		Source:   []string{"drivers/vfio/vfio_main.c:324-340", "drivers/vfio/group.c:643-660", "drivers/vfio/group.c:138-149", "drivers/vfio/group.c:428-431"},
		Requires: also(onEither, TwoDevices),
		Evidence: []string{"pci.bind", "pci.bind:EINVAL", "open", "stat:ENOENT"},
	},
	{
		ID: "ND-11", Suite: "nodes",
		Promise:  "After unbind no node, sysfs entry or IOMMU group of the device is left, and the kernel says so; binding gives the same names again.",
		Source:   []string{"drivers/vfio/group.c:697-741"},
		Requires: onEither,
		Evidence: []string{"pci.bind", "pci.unbind", "stat", "stat:ENOENT", "kmsg.reads"},
	},
	{
		ID: "ND-12", Suite: "nodes",
		Promise:  "The IOMMU group that VFIO makes for a device is inert: its type is unknown and cannot be changed, it reserves nothing.",
		Source:   []string{"drivers/vfio/group.c:588-618", "drivers/iommu/iommu.c:962"},
		Requires: onGroup,
		Evidence: []string{"sysfs.reads", "sysfs.writes:EINVAL"},
	},
	{
		ID: "ND-13", Suite: "nodes",
		Promise:  "Two devices without an IOMMU get two groups, never a shared one, and two cdevs, and both can be used at once.",
		Source:   []string{"drivers/vfio/group.c:588-618"},
		Requires: also(onEither, TwoDevices),
		Evidence: []string{"sysfs.reads", "stat", "open"},
	},
	{
		ID: "ND-15", Suite: "nodes",
		Promise:  "The fdinfo of an open cdev names the device, bound or not: vfio-device-syspath is its directory in sysfs.",
		Source:   []string{"drivers/vfio/vfio_main.c:1471-1483"},
		Requires: onNoiommu,
		Evidence: []string{"open", "proc.reads"},
	},
}
