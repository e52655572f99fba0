// SPDX-License-Identifier: Apache-2.0

package contract

// onGroup is what a promise about the group of a device without an IOMMU
// requires: each kind of container that the kernel has is tried.
var onGroup = []Requirement{Group, Noiommu, UnsafeMode, NoIOMMU}

// onNative is what one about VFIO's own container requires.
var onNative = also(onGroup, NativeContainer)

// group is suite group: the group interface and its containers.
var group = []Statement{
	{
		ID: "GR-01", Suite: "group",
		Promise:  "A fresh group is VIABLE; with a container of any kind it is VIABLE|CONTAINER_SET; without it again, VIABLE.",
		Source:   []string{"drivers/vfio/group.c:325-364"},
		Requires: onGroup,
		Evidence: []string{"VFIO_GROUP_GET_STATUS", "VFIO_GROUP_SET_CONTAINER", "VFIO_GROUP_UNSET_CONTAINER", "VFIO_GROUP_SET_CONTAINER:EBADFD"},
	},
	{
		ID: "GR-02", Suite: "group",
		Promise:  "A group that is open cannot be opened again: EBUSY.",
		Source:   []string{"drivers/vfio/group.c:438-444"},
		Requires: onGroup,
		Evidence: []string{"open", "open:EBUSY", "VFIO_GROUP_GET_STATUS"},
	},
	{
		ID: "GR-03", Suite: "group",
		Promise:  "VFIO_GROUP_GET_DEVICE_FD without a container is EINVAL, and, whatever the container, with a name that is no device of the group ENODEV.",
		Source:   []string{"drivers/vfio/group.c:31-57", "drivers/vfio/group.c:170-179"},
		Requires: onGroup,
		Evidence: []string{"VFIO_GROUP_GET_DEVICE_FD:EINVAL", "VFIO_GROUP_GET_DEVICE_FD:ENODEV", "VFIO_GROUP_GET_DEVICE_FD"},
	},
	{
		ID: "GR-04", Suite: "group",
		Promise:  "A native container without a group offers TYPE1 and TYPE1v2, and NOIOMMU exactly while the unsafe mode is on, which a kernel without it never is.",
		Source:   []string{"drivers/vfio/container.c:46-53", "drivers/vfio/container.c:184-232"},
		Requires: []Requirement{Group, NativeContainer},
		Evidence: []string{"VFIO_CHECK_EXTENSION", "VFIO_GET_API_VERSION"},
	},
	{
		ID: "GR-05", Suite: "group",
		Promise:  "A native container with a no-IOMMU group offers NOIOMMU and none of TYPE1, TYPE1v2, UNMAP_ALL.",
		Source:   []string{"drivers/vfio/container.c:46-53", "drivers/vfio/container.c:76-86", "drivers/vfio/container.c:209-212"},
		Requires: onNative,
		Evidence: []string{"VFIO_CHECK_EXTENSION", "VFIO_GROUP_SET_CONTAINER"},
	},
	{
		ID: "GR-06", Suite: "group",
		Promise:  "VFIO_SET_IOMMU(NOIOMMU) needs a group and works once; a no-IOMMU container takes no other IOMMU.",
		Source:   []string{"drivers/vfio/container.c:260-325"},
		Requires: onNative,
		Evidence: []string{"VFIO_SET_IOMMU", "VFIO_SET_IOMMU:EINVAL", "VFIO_SET_IOMMU:ENODEV"},
	},
	{
		ID: "GR-07", Suite: "group",
		Promise:  "With the unsafe mode switched off after the bind, a group still takes a container but the container gets no IOMMU: ENODEV.",
		Source:   []string{"drivers/vfio/container.c:46-53", "drivers/vfio/container.c:76-86"},
		Requires: onNative,
		Evidence: []string{"VFIO_GROUP_SET_CONTAINER", "VFIO_CHECK_EXTENSION", "VFIO_SET_IOMMU:ENODEV", "VFIO_SET_IOMMU"},
	},
	{
		ID: "GR-08", Suite: "group",
		Promise:  "VFIO_GROUP_GET_DEVICE_FD needs VFIO_SET_IOMMU first; a no-IOMMU container has no mapping ioctls.",
		Source:   []string{"drivers/vfio/container.c:46-53", "drivers/vfio/container.c:503-520"},
		Requires: onNative,
		Evidence: []string{
			"VFIO_GROUP_GET_DEVICE_FD:EINVAL", "VFIO_SET_IOMMU", "VFIO_GROUP_GET_DEVICE_FD",
			"VFIO_IOMMU_MAP_DMA:ENOTTY", "VFIO_IOMMU_GET_INFO:ENOTTY", "VFIO_DEVICE_GET_INFO",
		},
	},
	{
		ID: "GR-09", Suite: "group",
		Promise:  "An open device holds its container: VFIO_GROUP_UNSET_CONTAINER is EBUSY, another VFIO_GROUP_SET_CONTAINER EINVAL.",
		Source:   []string{"drivers/vfio/group.c:81-105", "drivers/vfio/group.c:122-126"},
		Requires: onNative,
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
		ID: "GR-14", Suite: "group",
		Promise:  "An iommufd that has had a no-IOMMU group takes no group with an IOMMU any more (EINVAL), even after the no-IOMMU group left; it goes on taking no-IOMMU groups.",
		Source:   []string{"drivers/iommu/iommufd/vfio_compat.c:94-97", "drivers/iommu/iommufd/vfio_compat.c:55-68"},
		Requires: []Requirement{Group, IOMMUFD, Noiommu, UnsafeMode, Mixed},
		Evidence: []string{"VFIO_GROUP_SET_CONTAINER:EINVAL", "VFIO_GROUP_SET_CONTAINER", "VFIO_GROUP_UNSET_CONTAINER", "VFIO_GROUP_GET_DEVICE_FD", "IOMMU_VFIO_IOAS:ENODEV"},
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
		Promise:  "A device descriptor from the group, whatever its container, is no cdev: it cannot be bound (EINVAL) or attached (ENOTTY), and answers all else.",
		Source:   []string{"drivers/vfio/device_cdev.c:119-121", "drivers/vfio/vfio_main.c:1388-1399"},
		Requires: also(onNoiommu, Group),
		Evidence: []string{"VFIO_DEVICE_BIND_IOMMUFD:EINVAL", "VFIO_DEVICE_ATTACH_IOMMUFD_PT:ENOTTY", "VFIO_DEVICE_GET_INFO", "VFIO_DEVICE_BIND_IOMMUFD"},
	},
	{
		ID: "GR-17", Suite: "group",
		Promise:  "The group gives several descriptors of one device, whatever the container, and the last one closed releases it.",
		Source:   []string{"drivers/vfio/vfio_main.c:599-620", "drivers/vfio/vfio_main.c:421-471"},
		Requires: onGroup,
		Evidence: []string{"VFIO_GROUP_GET_DEVICE_FD", "VFIO_DEVICE_GET_INFO", "VFIO_GROUP_UNSET_CONTAINER", "pci.unbind", "kmsg.reads"},
	},
	{
		ID: "GR-18", Suite: "group",
		Promise:  "Every VFIO_GROUP_GET_DEVICE_FD that succeeds is logged once, with the name and the id of the process, whatever the container; one that fails is not, nor is the open of a cdev.",
		Source:   []string{"drivers/vfio/group.c:286-288"},
		Requires: onGroup,
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
		Promise:  "Container, group and device can be closed in any order, in each kind of container: the device works until it is closed, and then the group can be opened again, of a compat container as soon as the group is closed.",
		Source:   []string{"drivers/vfio/group.c:438-480", "drivers/vfio/group.c:81-105"},
		Requires: onGroup,
		Evidence: []string{"VFIO_GROUP_GET_DEVICE_FD", "VFIO_DEVICE_GET_INFO", "open:EBUSY", "open"},
	},
	{
		ID: "GR-21", Suite: "group",
		Promise:  "Of two no-IOMMU groups in a native container the first to leave takes nothing from the other: its device works and can be opened anew, and VFIO_SET_IOMMU is EINVAL as before.",
		Source:   []string{"drivers/vfio/container.c:490-496"},
		Requires: also(onNative, TwoDevices),
		Evidence: []string{"VFIO_GROUP_UNSET_CONTAINER", "VFIO_GROUP_UNSET_CONTAINER:EBUSY", "VFIO_DEVICE_GET_INFO", "VFIO_GROUP_GET_DEVICE_FD", "VFIO_SET_IOMMU:EINVAL"},
	},
	{
		ID: "GR-22", Suite: "group",
		Promise:  "A container of any kind that a group left, with VFIO_GROUP_UNSET_CONTAINER or by being closed, is let go, and so is an iommufd that was refused; a VFIO_GROUP_GET_DEVICE_FD that fails loses nothing.",
		Source:   []string{"drivers/vfio/group.c:81-105", "drivers/vfio/group.c:122-160", "drivers/vfio/group.c:438-480"},
		Requires: also(onGroup, LeakCheck),
		Evidence: []string{"VFIO_GROUP_SET_CONTAINER", "VFIO_GROUP_UNSET_CONTAINER", "VFIO_GROUP_GET_DEVICE_FD:EINVAL", "leak.checks"},
	},
}
