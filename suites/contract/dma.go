// SPDX-License-Identifier: Apache-2.0

package contract

// dma is suite dma: a device moves bytes to the addresses.
var dma = []Statement{
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
	{
		ID: "DM-03", Suite: "dma",
		Promise:  "After a fork and a write by the parent, a device's write to the address from before lands in the parent's memory.",
		Source:   []string{"drivers/iommu/iommufd/pages.c"},
		Requires: also(onNoiommu, Hugepages, Edu),
		Evidence: []string{"IOMMU_IOAS_NOIOMMU_GET_PA", "dma.bytes"},
	},
	{
		ID: "DM-04", Suite: "dma",
		Promise:  "There is no isolation: after detach and IOMMU_DESTROY of the IOAS a device still writes to an address it was given.",
		Source:   []string{"drivers/iommu/iommufd/hwpt_noiommu.c:85-109"},
		Requires: also(onNoiommu, Hugepages, Edu),
		Evidence: []string{"IOMMU_IOAS_NOIOMMU_GET_PA", "VFIO_DEVICE_DETACH_IOMMUFD_PT", "IOMMU_DESTROY", "dma.bytes"},
	},
	{
		ID: "DM-05", Suite: "dma",
		Promise:  "Without bus master in its command register a device writes nothing.",
		Source:   []string{"drivers/vfio/pci/vfio_pci_config.c"},
		Requires: also(onNoiommu, Hugepages, Edu),
		Evidence: []string{"IOMMU_IOAS_NOIOMMU_GET_PA", "pwrite", "dma.bytes"},
	},
	{
		ID: "DM-06", Suite: "dma",
		Promise:  "An IOVA is no address for the device: one that is the physical address of other memory makes it write there, and not to what is mapped at the IOVA.",
		Source:   []string{"drivers/iommu/iommufd/hwpt_noiommu.c:85-109"},
		Requires: also(onNoiommu, Hugepages, Edu),
		Evidence: []string{"IOMMU_IOAS_MAP", "IOMMU_IOAS_NOIOMMU_GET_PA", "dma.bytes"},
	},
	{
		ID: "DM-07", Suite: "dma",
		Promise:  "One address and length of a hugepage are enough for a list of descriptors over all of it: the device reaches every page, also when the IOVA is the address.",
		Source:   []string{"drivers/iommu/iommufd/io_pagetable.c:907-932"},
		Requires: also(onNoiommu, Hugepages, IGB),
		Evidence: []string{"IOMMU_IOAS_MAP", "IOMMU_IOAS_NOIOMMU_GET_PA", "dma.bytes"},
	},
	{
		ID: "DM-08", Suite: "dma",
		Promise:  "Closing a device takes bus master from it; opened again it has none until its user sets it, and then DMA works as before. After a reset nothing moves until the device is set up anew.",
		Source:   []string{"drivers/vfio/pci/vfio_pci_core.c"},
		Requires: also(onNoiommu, Hugepages, Edu, IGB), // which resets itself, and forgets what it was told
		Evidence: []string{"IOMMU_IOAS_NOIOMMU_GET_PA", "dma.bytes", "sysfs.reads", "VFIO_DEVICE_RESET"},
	},
	{
		ID: "DM-09", Suite: "dma",
		Promise:  "Behind the IOMMU a device's address is the IOVA, beside it the physical one; the other one gives no data, and behind the IOMMU a fault in the kernel's log.",
		Source:   []string{"drivers/iommu/iommufd/hwpt_noiommu.c:85-109", "drivers/iommu/intel/dmar.c:1983"},
		Requires: []Requirement{NoiommuCdev, UnsafeMode, Mixed, EduEachSide, IOMMUIntel, Hugepages},
		Evidence: []string{"IOMMU_IOAS_MAP", "IOMMU_IOAS_NOIOMMU_GET_PA", "dma.bytes", "kmsg.reads"},
	},
}
