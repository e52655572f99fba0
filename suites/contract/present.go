// SPDX-License-Identifier: Apache-2.0

package contract

// present is suite iommu_present: what the unsafe mode must not change.
var present = []Statement{
	{
		ID: "IP-01", Suite: "iommu_present",
		Promise:  "Behind an IOMMU the unsafe mode changes nothing: the nodes are vfioX and N without a prefix, the kernel is not tainted, opening needs no CAP_SYS_RAWIO.",
		Source:   []string{"drivers/vfio/vfio_main.c:326-328", "drivers/vfio/group.c:643-644"},
		Requires: []Requirement{Group, Cdev, Noiommu, UnsafeMode, IOMMU},
		Evidence: []string{"sysfs.reads", "stat", "open", "capset", "pci.bind"},
	},
	{
		ID: "IP-02", Suite: "iommu_present",
		Promise:  "Behind an IOMMU everything about the nodes is the same with the unsafe mode off.",
		Source:   []string{"drivers/vfio/vfio_main.c:326-328", "drivers/vfio/group.c:643-644"},
		Requires: []Requirement{Group, Cdev, Noiommu, UnsafeMode, IOMMU},
		Evidence: []string{"sysfs.reads", "stat", "open", "capset", "pci.bind"},
	},
	{
		ID: "IP-03", Suite: "iommu_present",
		Promise:  "Behind an IOMMU of x86 the IOVAs leave out 0xfee00000 to 0xfeefffff and, with VT-d, end at its width; what is outside cannot be mapped: EINVAL.",
		Source:   []string{"drivers/iommu/iommufd/io_pagetable.c:183-204"},
		Requires: []Requirement{Cdev, NoiommuCdev, UnsafeMode, IOMMU},
		Evidence: []string{"IOMMU_IOAS_IOVA_RANGES", "IOMMU_IOAS_MAP:EINVAL", "IOMMU_IOAS_MAP"},
	},
	{
		ID: "IP-04", Suite: "iommu_present",
		Promise:  "Behind an IOMMU no physical address is given away: IOMMU_IOAS_NOIOMMU_GET_PA on an attached IOAS is EOPNOTSUPP even with CAP_SYS_RAWIO.",
		Source:   []string{"drivers/iommu/iommufd/io_pagetable.c:893-897"},
		Requires: []Requirement{NoiommuCdev, UnsafeMode, IOMMU, Hugepages},
		Evidence: []string{"IOMMU_IOAS_MAP", "VFIO_DEVICE_ATTACH_IOMMUFD_PT", "IOMMU_IOAS_NOIOMMU_GET_PA:EOPNOTSUPP", "IOMMU_IOAS_NOIOMMU_GET_PA:ENOENT"},
	},
}
