// SPDX-License-Identifier: Apache-2.0

package contract

// getPA is suite get_pa: IOMMU_IOAS_NOIOMMU_GET_PA.
var getPA = []Statement{
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
	{
		ID: "PA-17", Suite: "get_pa",
		Promise:  "After a fork and a write by the parent, the addresses of the parent's mapped memory are the same: a pinned page is not copied away.",
		Source:   []string{"drivers/iommu/iommufd/io_pagetable.c:899"},
		Requires: also(onNoiommu, Hugepages),
		Evidence: []string{"IOMMU_IOAS_MAP", "IOMMU_IOAS_NOIOMMU_GET_PA", "pagemap.reads"},
	},
	{
		ID: "PA-18", Suite: "get_pa",
		Promise:  "A call that fails changes no byte of its argument or around it; one that succeeds sets out_phys and length alone.",
		Source:   []string{"drivers/iommu/iommufd/ioas.c:403-406"},
		Requires: also(onNoiommu, Hugepages),
		Evidence: []string{"IOMMU_IOAS_NOIOMMU_GET_PA", "IOMMU_IOAS_NOIOMMU_GET_PA:EPERM", "IOMMU_IOAS_NOIOMMU_GET_PA:EOPNOTSUPP", "IOMMU_IOAS_NOIOMMU_GET_PA:EINVAL", "IOMMU_IOAS_NOIOMMU_GET_PA:E2BIG", "IOMMU_IOAS_NOIOMMU_GET_PA:EOVERFLOW", "IOMMU_IOAS_NOIOMMU_GET_PA:ENOENT"},
	},
}
