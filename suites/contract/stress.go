// SPDX-License-Identifier: Apache-2.0

package contract

import "time"

// stress is suite stress: many at once.
var stress = []Statement{
	{
		ID: "ST-01", Suite: "stress",
		Promise:  "While one thread maps and unmaps at an IOVA, every answer that another gets there is the whole address and length of one mapping, or ENOENT.",
		Source:   []string{"drivers/iommu/iommufd/io_pagetable.c:870-935"},
		Requires: also(onNoiommu, Hugepages),
		Evidence: []string{"IOMMU_IOAS_MAP", "IOMMU_IOAS_UNMAP", "IOMMU_IOAS_NOIOMMU_GET_PA", "IOMMU_IOAS_NOIOMMU_GET_PA:ENOENT"},
	},
	{
		ID: "ST-02", Suite: "stress",
		Promise:  "While a device is attached, moved to another IOAS and detached, every answer for an IOVA is its address or EOPNOTSUPP.",
		Source:   []string{"drivers/iommu/iommufd/io_pagetable.c:893-897", "drivers/iommu/iommufd/device.c:857-921"},
		Requires: also(onNoiommu, Hugepages),
		Evidence: []string{"VFIO_DEVICE_ATTACH_IOMMUFD_PT", "VFIO_DEVICE_DETACH_IOMMUFD_PT", "IOMMU_IOAS_NOIOMMU_GET_PA", "IOMMU_IOAS_NOIOMMU_GET_PA:EOPNOTSUPP"},
	},
	{
		ID: "ST-03", Suite: "stress",
		Promise:  "Of several users of one device at once, by cdev and by group where there is one, one has it at a time; the others get EINVAL or EBUSY, and no count is lost.",
		Source:   []string{"drivers/vfio/group.c:384-409", "drivers/vfio/device_cdev.c:119-180"},
		Requires: also(onNoiommu, Cdev),
		Evidence: []string{"open", "VFIO_DEVICE_BIND_IOMMUFD", "VFIO_DEVICE_GET_INFO", "pci.unbind"},
	},
	{
		ID: "ST-04", Suite: "stress",
		Promise:  "Whichever allocation fails in a step of a user, from opening the iommufd to closing it, the step is ENOMEM and without effect or it works; a close always works, and nothing is lost.",
		Source:   []string{"drivers/iommu/iommufd/device.c:300-1060", "drivers/iommu/iommufd/io_pagetable.c:230-420", "drivers/iommu/iommufd/hwpt_noiommu.c:38-74"},
		Requires: also(onNoiommu, Cdev, Hugepages, Edu, Failslab, LeakCheck),
		Evidence: []string{"faults", "leak.checks", "open:ENOMEM", "VFIO_DEVICE_BIND_IOMMUFD:ENOMEM", "VFIO_DEVICE_ATTACH_IOMMUFD_PT:ENOMEM", "IOMMU_HWPT_ALLOC:ENOMEM", "IOMMU_IOAS_MAP:ENOMEM", "IOMMU_IOAS_NOIOMMU_GET_PA"},
	},
	{
		ID: "ST-05", Suite: "stress",
		Promise:  "What the kernel needs for mappings is charged to the control group of the user: at its limit a map is ENOMEM, what was mapped stays, and all of it can be undone.",
		Source:   []string{"drivers/iommu/iommufd/io_pagetable.c:248", "drivers/iommu/iommufd/pages.c:1380"},
		Requires: also(onNoiommu, Cdev, Edu, Memcg),
		Evidence: []string{"IOMMU_IOAS_MAP:ENOMEM", "IOMMU_IOAS_MAP", "IOMMU_IOAS_UNMAP", "IOMMU_IOAS_NOIOMMU_GET_PA", "IOMMU_IOAS_NOIOMMU_GET_PA:ENOENT"},
	},
	{
		ID: "ST-06", Suite: "stress",
		Promise:  "While the unsafe mode is switched on and off, each bind works as a whole, with a cdev that needs CAP_SYS_RAWIO and with a group where there are any, or fails with EINVAL and leaves nothing.",
		Source:   []string{"drivers/vfio/vfio_main.c:324-400", "drivers/vfio/group.c:643-660"},
		Requires: also(onNoiommu, Cdev, Edu),
		Evidence: []string{"pci.bind", "pci.bind:EINVAL", "pci.unbind", "sysfs.writes", "stat:ENOENT", "open:EPERM", "VFIO_DEVICE_BIND_IOMMUFD"},
	},
	{
		ID: "ST-07", Suite: "stress", Nightly: true,
		Promise:  "While others open, bind and close a device again and again, it can be unbound and bound each time; they find no device or a whole one.",
		Source:   []string{"drivers/vfio/vfio_main.c:421-471", "drivers/vfio/device_cdev.c:26-60"},
		Requires: also(onNoiommu, Cdev, Edu),
		Evidence: []string{"pci.unbind", "pci.bind", "open", "open:ENOENT", "VFIO_DEVICE_BIND_IOMMUFD"},
	},
	{
		ID: "ST-09", Suite: "stress",
		Promise:  "Ten thousand ioctls with random ids, flags, addresses and lengths, on an iommufd with a device, leave the kernel without a warning and the device usable.",
		Source:   []string{"drivers/iommu/iommufd/main.c:480-560"},
		Requires: also(onNoiommu, Hugepages),
		Evidence: []string{"random.reached", "IOMMU_DESTROY", "IOMMU_IOAS_UNMAP", "IOMMU_HWPT_ALLOC", "IOMMU_IOAS_NOIOMMU_GET_PA", "VFIO_DEVICE_GET_INFO", "proc.reads"},
	},
	{
		ID: "ST-10", Suite: "stress",
		Promise:  "For a 32-bit program the ioctls of VFIO work as for any other, and those of an iommufd are ENOTTY.",
		Source:   []string{"drivers/vfio/vfio_main.c:1493", "drivers/vfio/group.c:478", "drivers/iommu/iommufd/main.c:636-642"},
		Requires: also(onNoiommu, Cdev, IA32),
		Evidence: []string{"VFIO_DEVICE_BIND_IOMMUFD", "VFIO_DEVICE_GET_INFO", "VFIO_DEVICE_ATTACH_IOMMUFD_PT", "IOMMU_IOAS_ALLOC:ENOTTY", "IOMMU_IOAS_NOIOMMU_GET_PA:ENOTTY"},
	},
	{
		ID: "ST-08", Suite: "stress", Nightly: true, Limit: 15 * time.Minute,
		Promise:  "Binding a device to an iommufd and closing both, 100,000 times (5,000 with KASAN), loses no object and no memory.",
		Source:   []string{"drivers/iommu/iommufd/device.c:60-140", "drivers/iommu/iommufd/device.c:300-400"},
		Requires: also(onNoiommu, Cdev, Edu, LeakCheck),
		Evidence: []string{"VFIO_DEVICE_BIND_IOMMUFD", "open", "proc.reads", "leak.checks"},
	},
}
