// SPDX-License-Identifier: Apache-2.0

package contract

// onNoiommu is what a promise about a device without an IOMMU that is used
// through its cdev requires.
var onNoiommu = []Requirement{NoiommuCdev, UnsafeMode, NoIOMMU}

// onCompat is what a promise about a group of such a device in a compat
// container, an iommufd, requires.
var onCompat = []Requirement{Group, IOMMUFD, Noiommu, UnsafeMode, NoIOMMU}

// also adds requirements to a common list.
func also(common []Requirement, more ...Requirement) []Requirement {
	return append(append([]Requirement(nil), common...), more...)
}

// Statements are the promises that have a test, in the order in which the
// suites run.
var Statements = []Statement{
	// Suite taint, before anything was bound.
	{
		ID: "TL-01", Suite: "taint", Phase: Unbound,
		Promise:  "Booting with the unsafe mode on does not taint the kernel while no device is bound.",
		Source:   []string{"drivers/vfio/vfio_main.c:369-373", "drivers/vfio/group.c:651-655"},
		Requires: []Requirement{Noiommu, UnsafeMode},
		Evidence: []string{"sysfs.reads", "proc.reads"},
	},
	{
		ID: "TL-02", Suite: "taint", Phase: Unbound,
		Promise:  "A bind that fails does not taint the kernel; the first bind of a device without an IOMMU sets TAINT_USER and no other bit.",
		Source:   []string{"drivers/vfio/vfio_main.c:369-373", "drivers/vfio/group.c:651-660"},
		Requires: []Requirement{Noiommu, UnsafeMode, NoIOMMU},
		Evidence: []string{"pci.bind", "pci.bind:EINVAL", "pci.unbind", "proc.reads"},
	},

	// Suite nodes: device nodes and sysfs.
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

	// Suite group: the group interface and the native container.
	{
		ID: "GR-01", Suite: "group",
		Promise:  "A fresh group is VIABLE; with a container it is VIABLE|CONTAINER_SET; without it again, VIABLE.",
		Source:   []string{"drivers/vfio/group.c:325-364"},
		Requires: []Requirement{Group, NativeContainer, Noiommu, UnsafeMode, NoIOMMU},
		Evidence: []string{"VFIO_GROUP_GET_STATUS", "VFIO_GROUP_SET_CONTAINER", "VFIO_GROUP_UNSET_CONTAINER"},
	},
	{
		ID: "GR-02", Suite: "group",
		Promise:  "A group that is open cannot be opened again: EBUSY.",
		Source:   []string{"drivers/vfio/group.c:438-444"},
		Requires: []Requirement{Group, Noiommu, UnsafeMode, NoIOMMU},
		Evidence: []string{"open", "open:EBUSY", "VFIO_GROUP_GET_STATUS"},
	},
	{
		ID: "GR-03", Suite: "group",
		Promise:  "VFIO_GROUP_GET_DEVICE_FD without a container is EINVAL, and with a name that is no device of the group ENODEV.",
		Source:   []string{"drivers/vfio/group.c:31-57", "drivers/vfio/group.c:170-179"},
		Requires: []Requirement{Group, NativeContainer, Noiommu, UnsafeMode, NoIOMMU},
		Evidence: []string{"VFIO_GROUP_GET_DEVICE_FD:EINVAL", "VFIO_GROUP_GET_DEVICE_FD:ENODEV", "VFIO_GROUP_GET_DEVICE_FD"},
	},
	{
		ID: "GR-04", Suite: "group",
		Promise:  "A native container without a group offers TYPE1 and TYPE1v2, and NOIOMMU exactly while the unsafe mode is on.",
		Source:   []string{"drivers/vfio/container.c:46-53", "drivers/vfio/container.c:184-232"},
		Requires: []Requirement{Group, NativeContainer, Noiommu},
		Evidence: []string{"VFIO_CHECK_EXTENSION", "sysfs.reads"},
	},
	{
		ID: "GR-05", Suite: "group",
		Promise:  "A native container with a no-IOMMU group offers NOIOMMU and none of TYPE1, TYPE1v2, UNMAP_ALL.",
		Source:   []string{"drivers/vfio/container.c:46-53", "drivers/vfio/container.c:76-86", "drivers/vfio/container.c:209-212"},
		Requires: []Requirement{Group, NativeContainer, Noiommu, UnsafeMode, NoIOMMU},
		Evidence: []string{"VFIO_CHECK_EXTENSION", "VFIO_GROUP_SET_CONTAINER"},
	},
	{
		ID: "GR-06", Suite: "group",
		Promise:  "VFIO_SET_IOMMU(NOIOMMU) needs a group and works once; a no-IOMMU container takes no other IOMMU.",
		Source:   []string{"drivers/vfio/container.c:260-325"},
		Requires: []Requirement{Group, NativeContainer, Noiommu, UnsafeMode, NoIOMMU},
		Evidence: []string{"VFIO_SET_IOMMU", "VFIO_SET_IOMMU:EINVAL", "VFIO_SET_IOMMU:ENODEV"},
	},
	{
		ID: "GR-07", Suite: "group",
		Promise:  "With the unsafe mode switched off after the bind, a group still takes a container but the container gets no IOMMU: ENODEV.",
		Source:   []string{"drivers/vfio/container.c:46-53"},
		Requires: []Requirement{Group, NativeContainer, Noiommu, UnsafeMode, NoIOMMU},
		Evidence: []string{"VFIO_GROUP_SET_CONTAINER", "VFIO_CHECK_EXTENSION", "VFIO_SET_IOMMU:ENODEV", "VFIO_SET_IOMMU"},
	},
	{
		ID: "GR-08", Suite: "group",
		Promise:  "VFIO_GROUP_GET_DEVICE_FD needs VFIO_SET_IOMMU first; a no-IOMMU container has no mapping ioctls.",
		Source:   []string{"drivers/vfio/container.c:46-53", "drivers/vfio/container.c:503-520"},
		Requires: []Requirement{Group, NativeContainer, Noiommu, UnsafeMode, NoIOMMU},
		Evidence: []string{
			"VFIO_GROUP_GET_DEVICE_FD:EINVAL", "VFIO_SET_IOMMU", "VFIO_GROUP_GET_DEVICE_FD",
			"VFIO_IOMMU_MAP_DMA:ENOTTY", "VFIO_IOMMU_GET_INFO:ENOTTY", "VFIO_DEVICE_GET_INFO",
		},
	},
	{
		ID: "GR-09", Suite: "group",
		Promise:  "An open device holds its container: VFIO_GROUP_UNSET_CONTAINER is EBUSY, another VFIO_GROUP_SET_CONTAINER EINVAL.",
		Source:   []string{"drivers/vfio/group.c:81-105", "drivers/vfio/group.c:122-126"},
		Requires: []Requirement{Group, NativeContainer, Noiommu, UnsafeMode, NoIOMMU},
		Evidence: []string{"VFIO_GROUP_UNSET_CONTAINER:EBUSY", "VFIO_GROUP_UNSET_CONTAINER", "VFIO_GROUP_SET_CONTAINER:EINVAL"},
	},
	{
		ID: "GR-10", Suite: "group",
		Promise:  "A compat container offers NOIOMMU in any mode, and TYPE1, TYPE1v2 and UNMAP_ALL until it has had a no-IOMMU group; DMA_CC is ENODEV.",
		Source:   []string{"drivers/iommu/iommufd/vfio_compat.c:279-308"},
		Requires: onCompat,
		Evidence: []string{"VFIO_CHECK_EXTENSION", "VFIO_CHECK_EXTENSION:ENODEV", "VFIO_GROUP_SET_CONTAINER"},
	},
	{
		ID: "GR-11", Suite: "group",
		Promise:  "VFIO_SET_IOMMU(NOIOMMU) of a compat container needs a no-IOMMU group and can be repeated; it takes no other IOMMU then: EINVAL.",
		Source:   []string{"drivers/iommu/iommufd/vfio_compat.c:310-349"},
		Requires: onCompat,
		Evidence: []string{"VFIO_SET_IOMMU", "VFIO_SET_IOMMU:EINVAL"},
	},
	{
		ID: "GR-12", Suite: "group",
		Promise:  "With a compat container VFIO_GROUP_GET_DEVICE_FD needs no VFIO_SET_IOMMU, and VFIO_IOMMU_MAP_DMA and VFIO_IOMMU_GET_INFO are ENODEV.",
		Source:   []string{"drivers/iommu/iommufd/vfio_compat.c:181", "drivers/iommu/iommufd/vfio_compat.c:459"},
		Requires: onCompat,
		Evidence: []string{"VFIO_GROUP_GET_DEVICE_FD", "VFIO_IOMMU_MAP_DMA:ENODEV", "VFIO_IOMMU_GET_INFO:ENODEV", "VFIO_DEVICE_GET_INFO"},
	},
	{
		ID: "GR-13", Suite: "group",
		Promise:  "An iommufd with a compat IOAS takes no no-IOMMU group (EINVAL), and one that gets it afterwards gives no device (EPERM) until it is cleared.",
		Source:   []string{"drivers/iommu/iommufd/vfio_compat.c:55-68", "drivers/vfio/group.c:193-204"},
		Requires: onCompat,
		Evidence: []string{"IOMMU_VFIO_IOAS", "VFIO_GROUP_SET_CONTAINER:EINVAL", "VFIO_GROUP_GET_DEVICE_FD:EPERM", "VFIO_GROUP_GET_DEVICE_FD"},
	},
	{
		ID: "GR-15", Suite: "group",
		Promise:  "A compat container can be unset with the device open, unlike a native one; the device keeps working and closes cleanly.",
		Source:   []string{"drivers/vfio/group.c:97-100", "drivers/vfio/iommufd.c:60-70"},
		Requires: onCompat,
		Evidence: []string{"VFIO_GROUP_UNSET_CONTAINER", "VFIO_DEVICE_GET_INFO", "VFIO_GROUP_GET_DEVICE_FD:EINVAL", "pread"},
	},
	{
		ID: "GR-16", Suite: "group",
		Promise:  "A device descriptor from the group is no cdev: it cannot be bound (EINVAL) or attached (ENOTTY), and answers all else.",
		Source:   []string{"drivers/vfio/device_cdev.c:119-121", "drivers/vfio/vfio_main.c:1388-1399"},
		Requires: []Requirement{Group, NativeContainer, NoiommuCdev, UnsafeMode, NoIOMMU},
		Evidence: []string{"VFIO_DEVICE_BIND_IOMMUFD:EINVAL", "VFIO_DEVICE_ATTACH_IOMMUFD_PT:ENOTTY", "VFIO_DEVICE_GET_INFO"},
	},
	{
		ID: "GR-17", Suite: "group",
		Promise:  "The group gives several descriptors of one device, and the last one closed releases it.",
		Source:   []string{"drivers/vfio/vfio_main.c:599-620"},
		Requires: []Requirement{Group, NativeContainer, Noiommu, UnsafeMode, NoIOMMU},
		Evidence: []string{"VFIO_GROUP_GET_DEVICE_FD", "VFIO_DEVICE_GET_INFO", "VFIO_GROUP_UNSET_CONTAINER:EBUSY", "VFIO_GROUP_UNSET_CONTAINER"},
	},
	{
		ID: "GR-18", Suite: "group",
		Promise:  "Every VFIO_GROUP_GET_DEVICE_FD that succeeds is logged once, with the name of the process.",
		Source:   []string{"drivers/vfio/group.c:286-288"},
		Requires: []Requirement{Group, NativeContainer, Noiommu, UnsafeMode, NoIOMMU},
		Evidence: []string{"VFIO_GROUP_GET_DEVICE_FD", "kmsg.reads"},
	},
	{
		ID: "GR-19", Suite: "group",
		Promise:  "A device opened through a compat container is no object of the iommufd: the first object made there has the id 1.",
		Source:   []string{"drivers/vfio/iommufd.c:28-30", "drivers/vfio/iommufd.c:65-66"},
		Requires: onCompat,
		Evidence: []string{"VFIO_GROUP_GET_DEVICE_FD", "IOMMU_IOAS_ALLOC", "IOMMU_DESTROY:ENOENT"},
	},
	{
		ID: "GR-20", Suite: "group",
		Promise:  "Container, group and device can be closed in any order, native and compat: the device works until it is closed, and the group can be opened again after group and device are.",
		Source:   []string{"drivers/vfio/group.c:438-480", "drivers/vfio/group.c:81-105"},
		Requires: also(onCompat, NativeContainer),
		Evidence: []string{"VFIO_GROUP_GET_DEVICE_FD", "VFIO_DEVICE_GET_INFO", "open:EBUSY", "open"},
	},

	// Suite cdev: the device's own node.
	{
		ID: "CD-01", Suite: "cdev",
		Promise:  "Before VFIO_DEVICE_BIND_IOMMUFD every other use of a cdev fails with EINVAL: ioctls, attach, detach, read, write, mmap.",
		Source:   []string{"drivers/vfio/vfio_main.c:1380-1382", "drivers/vfio/vfio_main.c:1422-1468"},
		Requires: []Requirement{Cdev, NoiommuCdev, UnsafeMode},
		Evidence: []string{
			"open", "VFIO_DEVICE_GET_INFO:EINVAL", "VFIO_DEVICE_GET_REGION_INFO:EINVAL", "VFIO_DEVICE_ATTACH_IOMMUFD_PT:EINVAL",
			"VFIO_DEVICE_DETACH_IOMMUFD_PT:EINVAL", "pread:EINVAL", "pwrite:EINVAL", "mmap:EINVAL",
		},
	},
	{
		ID: "CD-02", Suite: "cdev",
		Promise:  "VFIO_DEVICE_BIND_IOMMUFD refuses a negative or closed descriptor, a file that is no iommufd, an unknown flag, a short argsz and a non-zero tail, each with its own errno.",
		Source:   []string{"drivers/vfio/device_cdev.c:92-140"},
		Requires: []Requirement{Cdev, NoiommuCdev, UnsafeMode},
		Evidence: []string{
			"VFIO_DEVICE_BIND_IOMMUFD:EINVAL", "VFIO_DEVICE_BIND_IOMMUFD:EBADF", "VFIO_DEVICE_BIND_IOMMUFD:EBADFD",
			"VFIO_DEVICE_BIND_IOMMUFD:E2BIG", "VFIO_DEVICE_BIND_IOMMUFD",
		},
	},
	{
		ID: "CD-03", Suite: "cdev",
		Promise:  "A failed bind has no effect: the group can be opened, a good bind works, and the device can be unbound without a warning.",
		Source:   []string{"drivers/vfio/device_cdev.c:170-179", "drivers/vfio/group.c:504-514"},
		Requires: also(onNoiommu, Group, Cdev),
		Evidence: []string{"VFIO_DEVICE_BIND_IOMMUFD:EBADFD", "VFIO_DEVICE_BIND_IOMMUFD", "open:EBUSY", "pci.unbind"},
	},
	{
		ID: "CD-04", Suite: "cdev",
		Promise:  "VFIO_DEVICE_BIND_IOMMUFD returns the id of the new device object, 1 in a fresh iommufd.",
		Source:   []string{"drivers/iommu/iommufd/device.c:310-357", "drivers/vfio/device_cdev.c:156-159"},
		Requires: []Requirement{Cdev, NoiommuCdev, UnsafeMode},
		Evidence: []string{"VFIO_DEVICE_BIND_IOMMUFD", "IOMMU_IOAS_ALLOC", "IOMMU_DESTROY:EBUSY", "IOMMU_DESTROY:ENOENT"},
	},
	{
		ID: "CD-05", Suite: "cdev",
		Promise:  "A cdev is bound once: a second bind on the descriptor, or on a second descriptor of the same device, fails with EINVAL until the first is closed.",
		Source:   []string{"drivers/vfio/device_cdev.c:127-131", "drivers/vfio/vfio_main.c:599-620"},
		Requires: []Requirement{Cdev, NoiommuCdev, UnsafeMode},
		Evidence: []string{"open", "VFIO_DEVICE_BIND_IOMMUFD", "VFIO_DEVICE_BIND_IOMMUFD:EINVAL"},
	},
	{
		ID: "CD-07", Suite: "cdev",
		Promise:  "IOMMU_GET_HW_INFO for a device without an IOMMU is EOPNOTSUPP.",
		Source:   []string{"drivers/iommu/iommufd/device.c:1654"},
		Requires: onNoiommu,
		Evidence: []string{"IOMMU_GET_HW_INFO:EOPNOTSUPP", "IOMMU_GET_HW_INFO:ENOENT"},
	},
	{
		ID: "CD-13", Suite: "cdev",
		Promise:  "A bound device keeps its iommufd: with the iommufd closed first it still answers and can be detached, and closing it frees everything.",
		Source:   []string{"drivers/iommu/iommufd/device.c:330-335"},
		Requires: []Requirement{Cdev, NoiommuCdev, UnsafeMode},
		Evidence: []string{"VFIO_DEVICE_GET_INFO", "VFIO_DEVICE_DETACH_IOMMUFD_PT", "IOMMU_IOAS_MAP"},
	},

	// Suite ioas: address spaces and attachment.
	{
		ID: "IA-01", Suite: "ioas",
		Promise:  "A device without an IOMMU reserves nothing of the IOVA space: [0,U64_MAX] before and after attach, alignment 1 before and 4096 after.",
		Source:   []string{"drivers/iommu/iommufd/hwpt_noiommu.c:50-56", "drivers/iommu/iommufd/device.c:681-682"},
		Requires: onNoiommu,
		Evidence: []string{"IOMMU_IOAS_IOVA_RANGES", "VFIO_DEVICE_ATTACH_IOMMUFD_PT", "VFIO_DEVICE_DETACH_IOMMUFD_PT"},
	},
	{
		ID: "IA-02", Suite: "ioas",
		Promise:  "VFIO_DEVICE_ATTACH_IOMMUFD_PT with an IOAS returns the id of a new HWPT; neither can be destroyed while attached; detach destroys the HWPT.",
		Source:   []string{"drivers/iommu/iommufd/device.c:939-1015"},
		Requires: []Requirement{Cdev, NoiommuCdev, UnsafeMode},
		Evidence: []string{"VFIO_DEVICE_ATTACH_IOMMUFD_PT", "VFIO_DEVICE_DETACH_IOMMUFD_PT", "IOMMU_DESTROY:EBUSY", "IOMMU_DESTROY:ENOENT", "IOMMU_DESTROY"},
	},
	{
		ID: "IA-03", Suite: "ioas",
		Promise:  "Attaching to an unknown id is ENOENT, to a device EINVAL, with an unknown flag or a short argsz EINVAL; none of them attaches.",
		Source:   []string{"drivers/iommu/iommufd/device.c:1017-1060", "drivers/vfio/device_cdev.c:203-232"},
		Requires: []Requirement{Cdev, NoiommuCdev, UnsafeMode},
		Evidence: []string{"VFIO_DEVICE_ATTACH_IOMMUFD_PT:ENOENT", "VFIO_DEVICE_ATTACH_IOMMUFD_PT:EINVAL", "VFIO_DEVICE_ATTACH_IOMMUFD_PT", "IOMMU_DESTROY"},
	},
	{
		ID: "IA-04", Suite: "ioas",
		Promise:  "Detaching succeeds whether the device is attached or not.",
		Source:   []string{"drivers/vfio/iommufd.c:177-187"},
		Requires: []Requirement{Cdev, NoiommuCdev, UnsafeMode},
		Evidence: []string{"VFIO_DEVICE_DETACH_IOMMUFD_PT", "VFIO_DEVICE_ATTACH_IOMMUFD_PT"},
	},
	{
		ID: "IA-05", Suite: "ioas",
		Promise:  "Attaching an attached device to another IOAS replaces: a new HWPT, the old one gone, addresses on the new IOAS and none on the old; to the same IOAS it changes nothing.",
		Source:   []string{"drivers/iommu/iommufd/device.c:857-921"},
		Requires: also(onNoiommu, Hugepages),
		Evidence: []string{"VFIO_DEVICE_ATTACH_IOMMUFD_PT", "IOMMU_DESTROY:ENOENT", "IOMMU_IOAS_NOIOMMU_GET_PA", "IOMMU_IOAS_NOIOMMU_GET_PA:EOPNOTSUPP"},
	},
	{
		ID: "IA-06", Suite: "ioas",
		Promise:  "A HWPT from IOMMU_HWPT_ALLOC gives addresses without an attach, can be attached to, and outlives detach and close until it is destroyed.",
		Source:   []string{"drivers/iommu/iommufd/hw_pagetable.c:117-215"},
		Requires: also(onNoiommu, Hugepages),
		Evidence: []string{"IOMMU_HWPT_ALLOC", "VFIO_DEVICE_ATTACH_IOMMUFD_PT", "IOMMU_IOAS_NOIOMMU_GET_PA", "IOMMU_IOAS_NOIOMMU_GET_PA:EOPNOTSUPP", "IOMMU_DESTROY"},
	},
	{
		ID: "IA-07", Suite: "ioas",
		Promise:  "IOMMU_HWPT_ALLOC for a device without an IOMMU refuses every flag and every kind of driver data with EOPNOTSUPP.",
		Source:   []string{"drivers/iommu/iommufd/hw_pagetable.c:135-144", "drivers/iommu/iommufd/hwpt_noiommu.c:47-48"},
		Requires: onNoiommu,
		Evidence: []string{"IOMMU_HWPT_ALLOC:EOPNOTSUPP", "IOMMU_DESTROY"},
	},
	{
		ID: "IA-09", Suite: "ioas",
		Promise:  "A device without an IOMMU has no PASIDs: VFIO_DEVICE_ATTACH_PASID is EINVAL for an IOAS and a HWPT, and the device stays usable.",
		Source:   []string{"drivers/iommu/iommufd/device.c:530-539"},
		Requires: also(onNoiommu, Hugepages),
		Evidence: []string{"VFIO_DEVICE_ATTACH_IOMMUFD_PT:EINVAL", "VFIO_DEVICE_ATTACH_IOMMUFD_PT", "IOMMU_IOAS_NOIOMMU_GET_PA"},
	},
	{
		ID: "IA-11", Suite: "ioas",
		Promise:  "With a device without an IOMMU attached, every page of the 64-bit IOVA space can be mapped at a fixed IOVA, and what would wrap is EOVERFLOW.",
		Source:   []string{"drivers/iommu/iommufd/io_pagetable.c:183-204", "drivers/iommu/iommufd/ioas.c:257-258", "drivers/iommu/iommufd/hwpt_noiommu.c:50-56"},
		Requires: also(onNoiommu, Hugepages),
		Evidence: []string{"IOMMU_IOAS_MAP", "IOMMU_IOAS_MAP:EOVERFLOW", "IOMMU_IOAS_NOIOMMU_GET_PA", "IOMMU_IOAS_UNMAP"},
	},
	{
		ID: "IA-12", Suite: "ioas",
		Promise:  "With a device attached a mapping must be aligned to pages, not empty, readable or writeable, of memory that is there and allows it, and over no other; each failure has its errno and leaves nothing.",
		Source:   []string{"drivers/iommu/iommufd/io_pagetable.c:183-221", "drivers/iommu/iommufd/ioas.c:244-281"},
		Requires: also(onNoiommu, Hugepages),
		Evidence: []string{"IOMMU_IOAS_MAP:EINVAL", "IOMMU_IOAS_MAP:EEXIST", "IOMMU_IOAS_MAP:EFAULT", "IOMMU_IOAS_MAP:EOPNOTSUPP", "IOMMU_IOAS_MAP:ENOENT", "IOMMU_IOAS_MAP", "IOMMU_IOAS_UNMAP"},
	},
	{
		ID: "IA-14", Suite: "ioas",
		Promise:  "IOMMU_IOAS_UNMAP takes whole areas: a range that cuts one is ENOENT and leaves it, more than an area returns the bytes that were mapped, (0,U64_MAX) takes everything.",
		Source:   []string{"drivers/iommu/iommufd/io_pagetable.c:744-864", "drivers/iommu/iommufd/ioas.c:340-376"},
		Requires: also(onNoiommu, Hugepages),
		Evidence: []string{"IOMMU_IOAS_UNMAP", "IOMMU_IOAS_UNMAP:ENOENT", "IOMMU_IOAS_UNMAP:EINVAL", "IOMMU_IOAS_NOIOMMU_GET_PA"},
	},
	{
		ID: "IA-15", Suite: "ioas",
		Promise:  "IOMMU_IOAS_MAP without IOMMU_IOAS_MAP_FIXED_IOVA picks an IOVA from PAGE_SIZE on, and its address can be asked for.",
		Source:   []string{"drivers/iommu/iommufd/io_pagetable.c:116-181"},
		Requires: also(onNoiommu, Hugepages),
		Evidence: []string{"IOMMU_IOAS_MAP", "IOMMU_IOAS_NOIOMMU_GET_PA"},
	},

	// Suite get_pa: IOMMU_IOAS_NOIOMMU_GET_PA.
	{
		ID: "PA-01", Suite: "get_pa",
		Promise:  "IOMMU_IOAS_NOIOMMU_GET_PA returns the physical address that /proc/self/pagemap shows for the mapped page.",
		Source:   []string{"drivers/iommu/iommufd/io_pagetable.c:899"},
		Requires: also(onNoiommu, Hugepages),
		Evidence: []string{"IOMMU_IOAS_MAP", "VFIO_DEVICE_ATTACH_IOMMUFD_PT", "IOMMU_IOAS_NOIOMMU_GET_PA", "pagemap.reads"},
	},
	{
		ID: "PA-02", Suite: "get_pa",
		Promise:  "An IOVA inside a page gives the same offset in the physical address, and a length that is shorter by it.",
		Source:   []string{"drivers/iommu/iommufd/io_pagetable.c:900-901"},
		Requires: also(onNoiommu, Hugepages),
		Evidence: []string{"IOMMU_IOAS_MAP", "IOMMU_IOAS_NOIOMMU_GET_PA", "pagemap.reads"},
	},
	{
		ID: "PA-03", Suite: "get_pa",
		Promise:  "The length is that of the longest physically contiguous run from the IOVA inside the area, never longer and never shorter, through any mixture of pages.",
		Source:   []string{"drivers/iommu/iommufd/io_pagetable.c:907-932"},
		Requires: also(onNoiommu, Hugepages),
		Evidence: []string{"IOMMU_IOAS_MAP", "IOMMU_IOAS_NOIOMMU_GET_PA", "pagemap.reads"},
	},
	{
		ID: "PA-04", Suite: "get_pa",
		Promise:  "A 2 MiB hugepage mapped as one area is one run: 0x200000 bytes, and 0x1ff001 from offset 0xfff.",
		Source:   []string{"drivers/iommu/iommufd/io_pagetable.c:907-932"},
		Requires: also(onNoiommu, Hugepages),
		Evidence: []string{"IOMMU_IOAS_MAP", "IOMMU_IOAS_NOIOMMU_GET_PA", "pagemap.reads"},
	},
	{
		ID: "PA-05", Suite: "get_pa",
		Promise:  "The length asked for caps the length returned, to the byte.",
		Source:   []string{"drivers/iommu/iommufd/io_pagetable.c:911-912", "drivers/iommu/iommufd/io_pagetable.c:931-933"},
		Requires: also(onNoiommu, Hugepages),
		Evidence: []string{"IOMMU_IOAS_MAP", "IOMMU_IOAS_NOIOMMU_GET_PA"},
	},
	{
		ID: "PA-06", Suite: "get_pa",
		Promise:  "The run ends with the area, even if the next area goes on in IOVA and in memory.",
		Source:   []string{"drivers/iommu/iommufd/io_pagetable.c:917-918"},
		Requires: also(onNoiommu, Hugepages),
		Evidence: []string{"IOMMU_IOAS_MAP", "IOMMU_IOAS_NOIOMMU_GET_PA"},
	},
	{
		ID: "PA-07", Suite: "get_pa",
		Promise:  "The last byte of an area has an address and the length 1; one past it is ENOENT.",
		Source:   []string{"drivers/iommu/iommufd/io_pagetable.c:880-901"},
		Requires: also(onNoiommu, Hugepages),
		Evidence: []string{"IOMMU_IOAS_NOIOMMU_GET_PA", "IOMMU_IOAS_NOIOMMU_GET_PA:ENOENT"},
	},
	{
		ID: "PA-08", Suite: "get_pa",
		Promise:  "A run ends at the top of the IOVA space and does not wrap to IOVA 0.",
		Source:   []string{"drivers/iommu/iommufd/io_pagetable.c:914-915"},
		Requires: also(onNoiommu, Hugepages),
		Evidence: []string{"IOMMU_IOAS_MAP", "IOMMU_IOAS_NOIOMMU_GET_PA"},
	},
	{
		ID: "PA-09", Suite: "get_pa",
		Promise:  "A length of zero is EINVAL, never \"no limit\".",
		Source:   []string{"drivers/iommu/iommufd/ioas.c:391-392"},
		Requires: also(onNoiommu, Hugepages),
		Evidence: []string{"IOMMU_IOAS_NOIOMMU_GET_PA:EINVAL", "IOMMU_IOAS_NOIOMMU_GET_PA"},
	},
	{
		ID: "PA-10", Suite: "get_pa",
		Promise:  "Bad arguments are refused in this order: flags or reserved EOPNOTSUPP, length 0 EINVAL, iova U64_MAX EOVERFLOW, an id that is no IOAS ENOENT.",
		Source:   []string{"drivers/iommu/iommufd/ioas.c:388-399"},
		Requires: also(onNoiommu, Hugepages),
		Evidence: []string{
			"IOMMU_IOAS_NOIOMMU_GET_PA:EOPNOTSUPP", "IOMMU_IOAS_NOIOMMU_GET_PA:EINVAL", "IOMMU_IOAS_NOIOMMU_GET_PA:EOVERFLOW",
			"IOMMU_IOAS_NOIOMMU_GET_PA:ENOENT", "IOMMU_IOAS_NOIOMMU_GET_PA",
		},
	},
	{
		ID: "PA-11", Suite: "get_pa",
		Promise:  "A short size is EINVAL, a longer one E2BIG unless its tail is zero, a bad pointer EFAULT.",
		Source:   []string{"drivers/iommu/iommufd/main.c:506", "drivers/iommu/iommufd/main.c:548-555"},
		Requires: also(onNoiommu, Hugepages),
		Evidence: []string{"IOMMU_IOAS_NOIOMMU_GET_PA:EINVAL", "IOMMU_IOAS_NOIOMMU_GET_PA:E2BIG", "IOMMU_IOAS_NOIOMMU_GET_PA:EFAULT", "IOMMU_IOAS_NOIOMMU_GET_PA"},
	},
	{
		ID: "PA-12", Suite: "get_pa",
		Promise:  "An IOVA that is not mapped is ENOENT, before the first map and after unmap; a new map at the same IOVA gives the new physical address.",
		Source:   []string{"drivers/iommu/iommufd/io_pagetable.c:880-884"},
		Requires: also(onNoiommu, Hugepages),
		Evidence: []string{"IOMMU_IOAS_MAP", "IOMMU_IOAS_UNMAP", "IOMMU_IOAS_NOIOMMU_GET_PA", "IOMMU_IOAS_NOIOMMU_GET_PA:ENOENT", "pagemap.reads"},
	},
	{
		ID: "PA-13", Suite: "get_pa",
		Promise:  "Without an attached device or a HWPT there is no address: EOPNOTSUPP before attach and after detach, the same address after attaching again.",
		Source:   []string{"drivers/iommu/iommufd/io_pagetable.c:893-897"},
		Requires: also(onNoiommu, Hugepages),
		Evidence: []string{"IOMMU_IOAS_NOIOMMU_GET_PA", "IOMMU_IOAS_NOIOMMU_GET_PA:EOPNOTSUPP", "VFIO_DEVICE_DETACH_IOMMUFD_PT"},
	},
	{
		ID: "PA-16", Suite: "get_pa",
		Promise:  "A mapped page stays pinned: after munmap its address is the same and nobody else gets it.",
		Source:   []string{"drivers/iommu/iommufd/io_pagetable.c:899"},
		Requires: also(onNoiommu, Hugepages),
		Evidence: []string{"IOMMU_IOAS_NOIOMMU_GET_PA", "IOMMU_IOAS_UNMAP", "pagemap.reads"},
	},

	// Suite dma: a device moves bytes to the addresses.
	{
		ID: "DM-01", Suite: "dma",
		Promise:  "A device that reads from one address of IOMMU_IOAS_NOIOMMU_GET_PA and writes to another copies the one buffer to the other.",
		Source:   []string{"drivers/iommu/iommufd/io_pagetable.c:899"},
		Requires: also(onNoiommu, Hugepages, Edu),
		Evidence: []string{"IOMMU_IOAS_MAP", "IOMMU_IOAS_NOIOMMU_GET_PA", "dma.bytes"},
	},
	{
		ID: "DM-02", Suite: "dma",
		Promise:  "A device's write to the address that was returned lands on those bytes and no others, at any offset and across pages.",
		Source:   []string{"drivers/iommu/iommufd/io_pagetable.c:899-933"},
		Requires: also(onNoiommu, Hugepages, Edu),
		Evidence: []string{"IOMMU_IOAS_MAP", "IOMMU_IOAS_NOIOMMU_GET_PA", "dma.bytes"},
	},

	// Suite interrupts: from the device to an eventfd.
	{
		ID: "IR-01", Suite: "interrupts",
		Promise:  "INTx signals its eventfd once and is masked; unmasked with the line asserted it signals again, and a masked one signals when it is unmasked.",
		Source:   []string{"drivers/vfio/pci/vfio_pci_intrs.c:583-680"},
		Requires: also(onNoiommu, Edu),
		Evidence: []string{"irq.events", "VFIO_DEVICE_SET_IRQS", "VFIO_DEVICE_GET_IRQ_INFO"},
	},
	{
		ID: "IR-02", Suite: "interrupts",
		Promise:  "MSI signals its eventfd once for each message of the device and for each loopback; edu and igb have one vector.",
		Source:   []string{"drivers/vfio/pci/vfio_pci_intrs.c:681-733"},
		Requires: also(onNoiommu, Edu),
		Evidence: []string{"irq.events", "VFIO_DEVICE_SET_IRQS", "VFIO_DEVICE_SET_IRQS:EINVAL", "VFIO_DEVICE_SET_IRQS:ENOTTY"},
	},
	{
		ID: "IR-03", Suite: "interrupts",
		Promise:  "igb has 10 MSI-X vectors, and the loopback of each signals its own eventfd once and no other.",
		Source:   []string{"drivers/vfio/pci/vfio_pci_intrs.c:681-733"},
		Requires: also(onNoiommu, IGB),
		Evidence: []string{"irq.events", "VFIO_DEVICE_SET_IRQS", "VFIO_DEVICE_SET_IRQS:EINVAL"},
	},
	{
		ID: "IR-04", Suite: "interrupts",
		Promise:  "The interrupt indexes ERR and REQ have a count of 1, and the loopback of each signals its eventfd.",
		Source:   []string{"drivers/vfio/pci/vfio_pci_intrs.c:734-822", "drivers/vfio/pci/vfio_pci_core.c:858-892"},
		Requires: onNoiommu,
		Evidence: []string{"irq.events", "VFIO_DEVICE_SET_IRQS", "VFIO_DEVICE_SET_IRQS:EINVAL"},
	},
	{
		ID: "IR-05", Suite: "interrupts",
		Promise:  "INTx, MSI and MSI-X exclude each other and can be switched any number of times; disarmed or closed, no interrupt of the device is left in /proc/interrupts.",
		Source:   []string{"drivers/vfio/pci/vfio_pci_intrs.c:634-733"},
		Requires: onNoiommu,
		Evidence: []string{"irq.events", "VFIO_DEVICE_SET_IRQS", "VFIO_DEVICE_SET_IRQS:EINVAL", "proc.reads"},
	},
	{
		ID: "IR-06", Suite: "interrupts",
		Promise:  "The native container, the compat container and the cdev give the same answers for every interrupt index.",
		Source:   []string{"drivers/vfio/pci/vfio_pci_intrs.c:825-880"},
		Requires: also(onNoiommu, Group, NativeContainer, Cdev),
		Evidence: []string{"irq.events", "VFIO_DEVICE_SET_IRQS", "VFIO_DEVICE_GET_IRQ_INFO", "VFIO_GROUP_GET_DEVICE_FD", "VFIO_DEVICE_BIND_IOMMUFD"},
	},

	// Suite permission: CAP_SYS_RAWIO.
	{
		ID: "PE-01", Suite: "permission",
		Promise:  "Opening the cdev of a device without an IOMMU needs CAP_SYS_RAWIO, root or not; with it the open works.",
		Source:   []string{"drivers/vfio/device_cdev.c:38-41"},
		Requires: onNoiommu,
		Evidence: []string{"open", "open:EPERM", "capset"},
	},
	{
		ID: "PE-02", Suite: "permission",
		Promise:  "Opening the group of a device without an IOMMU needs CAP_SYS_RAWIO, before anything else is looked at.",
		Source:   []string{"drivers/vfio/group.c:428-431"},
		Requires: []Requirement{Group, Noiommu, UnsafeMode, NoIOMMU},
		Evidence: []string{"open", "open:EPERM", "capset"},
	},
	{
		ID: "PE-03", Suite: "permission",
		Promise:  "Each step of the native container needs CAP_SYS_RAWIO: VFIO_GROUP_SET_CONTAINER, VFIO_SET_IOMMU and VFIO_GROUP_GET_DEVICE_FD are EPERM without it.",
		Source:   []string{"drivers/vfio/container.c:424-425", "drivers/vfio/container.c:36-37", "drivers/vfio/container.c:514-515"},
		Requires: []Requirement{Group, NativeContainer, Noiommu, UnsafeMode, NoIOMMU},
		Evidence: []string{"VFIO_GROUP_SET_CONTAINER:EPERM", "VFIO_SET_IOMMU:EPERM", "VFIO_GROUP_GET_DEVICE_FD:EPERM", "VFIO_GROUP_GET_DEVICE_FD", "capset"},
	},
	{
		ID: "PE-04", Suite: "permission",
		Promise:  "The compat container takes a no-IOMMU group without CAP_SYS_RAWIO, but VFIO_SET_IOMMU and VFIO_GROUP_GET_DEVICE_FD are EPERM without it.",
		Source:   []string{"drivers/iommu/iommufd/vfio_compat.c:55-68", "drivers/iommu/iommufd/vfio_compat.c:321-326", "drivers/vfio/group.c:193-204"},
		Requires: onCompat,
		Evidence: []string{"VFIO_GROUP_SET_CONTAINER", "VFIO_SET_IOMMU:EPERM", "VFIO_GROUP_GET_DEVICE_FD:EPERM", "VFIO_GROUP_GET_DEVICE_FD", "capset"},
	},
	{
		ID: "PE-05", Suite: "permission",
		Promise:  "Binding, attaching, mapping and unmapping through files that are open already need no CAP_SYS_RAWIO.",
		Source:   []string{"drivers/vfio/device_cdev.c:92-180", "drivers/iommu/iommufd/ioas.c:244-376"},
		Requires: also(onNoiommu, Hugepages),
		Evidence: []string{"VFIO_DEVICE_BIND_IOMMUFD", "VFIO_DEVICE_ATTACH_IOMMUFD_PT", "IOMMU_IOAS_MAP", "IOMMU_IOAS_UNMAP", "capset"},
	},
	{
		ID: "PE-06", Suite: "permission",
		Promise:  "IOMMU_IOAS_NOIOMMU_GET_PA without CAP_SYS_RAWIO is EPERM, whatever else is wrong with its arguments.",
		Source:   []string{"drivers/iommu/iommufd/ioas.c:385-386"},
		Requires: []Requirement{Cdev, NoiommuCdev, UnsafeMode, Hugepages},
		Evidence: []string{"IOMMU_IOAS_NOIOMMU_GET_PA:EPERM", "IOMMU_IOAS_NOIOMMU_GET_PA:EOPNOTSUPP", "IOMMU_IOAS_MAP", "capset"},
	},
	{
		ID: "PE-09", Suite: "permission",
		Promise:  "The nodes of devices without an IOMMU are for their owner alone (0600), /dev/iommu for owner and group (0660), /dev/vfio/vfio for all (0666).",
		Source:   []string{"drivers/vfio/group.c:588-618", "drivers/vfio/container.c:585-592", "drivers/iommu/iommufd/main.c:755-775"},
		Requires: also(onNoiommu, Group, NativeContainer, Cdev),
		Evidence: []string{"stat"},
	},
	{
		ID: "PE-10", Suite: "permission",
		Promise:  "Without CAP_IPC_LOCK a mapping beyond RLIMIT_MEMLOCK is ENOMEM and leaves nothing mapped, pinned or counted; one within it works.",
		Source:   []string{"drivers/iommu/iommufd/pages.c:957-975"},
		Requires: onNoiommu,
		Evidence: []string{"IOMMU_IOAS_MAP:ENOMEM", "IOMMU_IOAS_MAP", "IOMMU_IOAS_UNMAP", "capset"},
	},

	// Suite coexistence: group and cdev, and two devices.
	{
		ID: "CX-01", Suite: "coexistence",
		Promise:  "A device is used through its group or its cdev: bind is EBUSY while the group is open, opening the group is EBUSY while the cdev is bound, opening the cdev alone is allowed.",
		Source:   []string{"drivers/vfio/group.c:384-409", "drivers/vfio/group.c:433-436"},
		Requires: also(onNoiommu, Group, Cdev),
		Evidence: []string{"VFIO_DEVICE_BIND_IOMMUFD:EBUSY", "open:EBUSY", "VFIO_DEVICE_BIND_IOMMUFD"},
	},
	{
		ID: "CX-03", Suite: "coexistence",
		Promise:  "Two devices without an IOMMU in one IOAS share one HWPT, and addresses are valid until the last one leaves.",
		Source:   []string{"drivers/iommu/iommufd/device.c:961-985"},
		Requires: also(onNoiommu, TwoDevices, Hugepages),
		Evidence: []string{"VFIO_DEVICE_ATTACH_IOMMUFD_PT", "IOMMU_IOAS_NOIOMMU_GET_PA", "IOMMU_IOAS_NOIOMMU_GET_PA:EOPNOTSUPP", "IOMMU_DESTROY:ENOENT"},
	},

	// Suite iommu_present: what the unsafe mode must not change.
	{
		ID: "IP-01", Suite: "iommu_present",
		Promise:  "Behind an IOMMU the unsafe mode changes nothing: the nodes are vfioX and N without a prefix, the kernel is not tainted, opening needs no CAP_SYS_RAWIO.",
		Source:   []string{"drivers/vfio/vfio_main.c:326-328", "drivers/vfio/group.c:643-644"},
		Requires: []Requirement{Group, Cdev, Noiommu, UnsafeMode, IOMMU},
		Evidence: []string{"sysfs.reads", "stat", "open", "capset", "pci.bind"},
	},
	{
		ID: "IP-04", Suite: "iommu_present",
		Promise:  "Behind an IOMMU no physical address is given away: IOMMU_IOAS_NOIOMMU_GET_PA on an attached IOAS is EOPNOTSUPP even with CAP_SYS_RAWIO.",
		Source:   []string{"drivers/iommu/iommufd/io_pagetable.c:893-897"},
		Requires: []Requirement{NoiommuCdev, UnsafeMode, IOMMU, Hugepages},
		Evidence: []string{"IOMMU_IOAS_MAP", "VFIO_DEVICE_ATTACH_IOMMUFD_PT", "IOMMU_IOAS_NOIOMMU_GET_PA:EOPNOTSUPP", "IOMMU_IOAS_NOIOMMU_GET_PA:ENOENT"},
	},

	// Suite taint, while devices are bound.
	{
		ID: "TL-03", Suite: "taint",
		Promise:  "A bind logs once for the group and once for the cdev that the kernel is tainted.",
		Source:   []string{"drivers/vfio/vfio_main.c:371-372", "drivers/vfio/group.c:654"},
		Requires: also(onNoiommu, Group, Cdev),
		Evidence: []string{"pci.bind", "pci.unbind", "kmsg.reads"},
	},

	// Suite taint, after everything else.
	{
		ID: "TL-05", Suite: "taint", Phase: AtEnd,
		Promise:  "Nothing in the cell made the kernel warn or die: taint contains none of W, D, B.",
		Source:   []string{"kernel/panic.c"},
		Requires: []Requirement{Noiommu},
		Evidence: []string{"proc.reads"},
	},
}
