// SPDX-License-Identifier: Apache-2.0

package contract

// stress is suite stress: many at once.
var stress = []Statement{
	{
		ID: "ST-01", Suite: "stress",
		Promise:  "While one thread maps and unmaps at an IOVA, every answer that another gets there is the whole address and length of one mapping, or ENOENT.",
		Source:   []string{"drivers/iommu/iommufd/io_pagetable.c:870-935"},
		Requires: also(onNoiommu, Hugepages),
		Evidence: []string{"IOMMU_IOAS_MAP", "IOMMU_IOAS_UNMAP", "IOMMU_IOAS_NOIOMMU_GET_PA:ENOENT"},
	},
	{
		ID: "ST-02", Suite: "stress",
		Promise:  "While a device is attached, moved to another IOAS and detached, every answer for an IOVA is its address or EOPNOTSUPP.",
		Source:   []string{"drivers/iommu/iommufd/io_pagetable.c:893-897", "drivers/iommu/iommufd/device.c:857-921"},
		Requires: also(onNoiommu, Hugepages),
		Evidence: []string{"VFIO_DEVICE_ATTACH_IOMMUFD_PT", "VFIO_DEVICE_DETACH_IOMMUFD_PT", "IOMMU_IOAS_NOIOMMU_GET_PA:EOPNOTSUPP"},
	},
	{
		ID: "ST-03", Suite: "stress",
		Promise:  "Of several users of one device at once, by cdev and by group, one has it at a time; the others get EINVAL or EBUSY, and no count is lost.",
		Source:   []string{"drivers/vfio/group.c:384-409", "drivers/vfio/device_cdev.c:119-180"},
		Requires: also(onNoiommu, Group, Cdev),
		Evidence: []string{"open", "VFIO_DEVICE_BIND_IOMMUFD", "VFIO_DEVICE_GET_INFO", "pci.unbind"},
	},
	{
		ID: "ST-06", Suite: "stress",
		Promise:  "While the unsafe mode is switched on and off, each bind works as a whole, with a group and a cdev that needs CAP_SYS_RAWIO, or fails with EINVAL and leaves nothing.",
		Source:   []string{"drivers/vfio/vfio_main.c:324-400", "drivers/vfio/group.c:643-660"},
		Requires: also(onNoiommu, Group, Cdev, Edu),
		Evidence: []string{"pci.bind", "pci.unbind", "sysfs.writes", "stat", "open:EPERM", "VFIO_DEVICE_BIND_IOMMUFD"},
	},
	{
		ID: "ST-09", Suite: "stress",
		Promise:  "Ten thousand ioctls with random ids, flags, addresses and lengths, on an iommufd with a device, leave the kernel without a warning and the device usable.",
		Source:   []string{"drivers/iommu/iommufd/main.c:480-560"},
		Requires: also(onNoiommu, Hugepages),
		Evidence: []string{"IOMMU_IOAS_MAP", "IOMMU_IOAS_NOIOMMU_GET_PA", "VFIO_DEVICE_GET_INFO", "proc.reads"},
	},
}
