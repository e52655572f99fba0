// SPDX-License-Identifier: Apache-2.0

package contract

// present is suite iommu_present: what the unsafe mode must not change.
var present = []Statement{
	{
		ID: "IP-01", Suite: "iommu_present",
		Promise:  "Behind an IOMMU the unsafe mode changes nothing: the nodes are vfioX and N without a prefix, the bind neither taints nor says so, opening and binding need no CAP_SYS_RAWIO.",
		Source:   []string{"drivers/vfio/vfio_main.c:326-328", "drivers/vfio/group.c:643-644"},
		Requires: []Requirement{Noiommu, UnsafeMode, IOMMU},
		Evidence: []string{"sysfs.reads", "stat", "stat:ENOENT", "open", "capset", "pci.bind", "proc.reads"},
	},
	{
		ID: "IP-02", Suite: "iommu_present",
		Promise:  "Behind an IOMMU everything about the nodes is the same with the unsafe mode off, and in a kernel without it.",
		Source:   []string{"drivers/vfio/vfio_main.c:326-328", "drivers/vfio/group.c:643-644"},
		Requires: []Requirement{IOMMU},
		Evidence: []string{"sysfs.reads", "stat", "stat:ENOENT", "open", "capset", "pci.bind", "proc.reads"},
	},
	{
		ID: "IP-03", Suite: "iommu_present",
		Promise:  "Behind an IOMMU of x86 the IOVAs leave out 0xfee00000 to 0xfeefffff and, with VT-d, end at its width; what is outside cannot be mapped: EINVAL.",
		Source:   []string{"drivers/iommu/iommufd/io_pagetable.c:183-204"},
		Requires: []Requirement{Cdev, IOMMU},
		Evidence: []string{"IOMMU_IOAS_IOVA_RANGES", "IOMMU_IOAS_MAP:EINVAL", "IOMMU_IOAS_MAP"},
	},
	{
		ID: "IP-04", Suite: "iommu_present",
		Promise:  "Behind an IOMMU no physical address is given away: IOMMU_IOAS_NOIOMMU_GET_PA on an attached IOAS is EOPNOTSUPP even with CAP_SYS_RAWIO.",
		Source:   []string{"drivers/iommu/iommufd/io_pagetable.c:893-897"},
		Requires: []Requirement{NoiommuCdev, IOMMU, Hugepages},
		Evidence: []string{"IOMMU_IOAS_MAP", "VFIO_DEVICE_ATTACH_IOMMUFD_PT", "IOMMU_IOAS_NOIOMMU_GET_PA:EOPNOTSUPP", "IOMMU_IOAS_NOIOMMU_GET_PA:ENOENT"},
	},
	{
		ID: "IP-05", Suite: "iommu_present",
		Promise:  "Behind VT-d a device reaches memory by its IOVA alone: a physical address is a fault that the kernel logs with the device and the address, and no byte is written or read.",
		Source:   []string{"drivers/iommu/iommufd/device.c:571-600", "drivers/iommu/intel/dmar.c:1983-1988"},
		Requires: []Requirement{Cdev, IOMMU, IOMMUIntel, Hugepages, Edu},
		Evidence: []string{"IOMMU_IOAS_MAP", "VFIO_DEVICE_ATTACH_IOMMUFD_PT", "dma.bytes", "kmsg.reads"},
	},
	{
		ID: "IP-06", Suite: "iommu_present",
		Promise:  "Behind an IOMMU that does not remap interrupts a device is bound to an iommufd or put into a container only with allow_unsafe_interrupts=1 (EPERM), whatever the unsafe mode.",
		Source:   []string{"drivers/iommu/iommufd/device.c:241-262", "drivers/vfio/vfio_iommu_type1.c:2340-2346"},
		Requires: []Requirement{Cdev, IOMMU, NoIntRemap},
		Evidence: []string{"VFIO_DEVICE_BIND_IOMMUFD:EPERM", "VFIO_DEVICE_BIND_IOMMUFD", "sysfs.writes", "kmsg.reads"},
	},
	{
		ID: "IP-07", Suite: "iommu_present",
		Promise:  "With iommu=pt a device behind VT-d is an ordinary one all the same: nodes without a prefix, and DMA by IOVA alone.",
		Source:   []string{"drivers/vfio/vfio_main.c:326-328", "drivers/iommu/iommufd/device.c:571-600"},
		Requires: []Requirement{Cdev, IOMMU, IOMMUIntel, Passthrough, Hugepages, Edu},
		Evidence: []string{"sysfs.reads", "stat", "pci.bind", "IOMMU_IOAS_MAP", "dma.bytes", "kmsg.reads"},
	},
	{
		ID: "IP-08", Suite: "iommu_present",
		Promise:  "An IOMMU that the command line switches off is none: its devices are no-IOMMU ones, with the prefix, the taint, physical addresses and DMA to them.",
		Source:   []string{"drivers/vfio/vfio_main.c:326-328", "drivers/vfio/group.c:643-655"},
		Requires: []Requirement{NoiommuCdev, UnsafeMode, NoIOMMU, IOMMUOff, Hugepages, Edu},
		Evidence: []string{"pci.bind", "stat", "open:EPERM", "kmsg.reads", "IOMMU_IOAS_NOIOMMU_GET_PA", "dma.bytes"},
	},
	{
		ID: "IP-09", Suite: "iommu_present",
		Promise:  "Of a device behind an IOMMU and one beside it, bound in either order, only the one beside it had no IOMMU group, gets the prefix, needs CAP_SYS_RAWIO, makes the kernel say that it is tainted, and cannot be bound with the mode off.",
		Source:   []string{"drivers/vfio/vfio_main.c:326-328", "drivers/vfio/group.c:643-655"},
		Requires: []Requirement{Noiommu, UnsafeMode, Mixed},
		Evidence: []string{"pci.bind", "pci.bind:EINVAL", "stat", "stat:ENOENT", "open", "open:EPERM", "capset", "kmsg.reads"},
	},
	{
		ID: "IP-10", Suite: "iommu_present",
		Promise:  "Behind an IOMMU without interrupt remapping (AMD-Vi and virtio-iommu as QEMU has them) a device is as ordinary as behind VT-d, in either mode, and no physical address is given away.",
		Source:   []string{"drivers/vfio/vfio_main.c:326-328", "drivers/iommu/iommufd/io_pagetable.c:893-897"},
		Requires: []Requirement{NoiommuCdev, UnsafeMode, IOMMU, NoIntRemap},
		Evidence: []string{"sysfs.reads", "stat", "open", "capset", "pci.bind", "IOMMU_IOAS_MAP", "VFIO_DEVICE_ATTACH_IOMMUFD_PT", "IOMMU_IOAS_NOIOMMU_GET_PA:EOPNOTSUPP"},
	},
}
