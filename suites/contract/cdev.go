// SPDX-License-Identifier: Apache-2.0

package contract

// cdev is suite cdev: the device's own node.
var cdev = []Statement{
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
			"VFIO_DEVICE_BIND_IOMMUFD:E2BIG", "VFIO_DEVICE_BIND_IOMMUFD:EFAULT", "VFIO_DEVICE_BIND_IOMMUFD",
		},
	},
	{
		ID: "CD-03", Suite: "cdev",
		Promise:  "A bind that fails, be it with a wrong file or because the id cannot be said, has no effect: the group can be opened, a good bind works, and the device can be unbound without a warning.",
		Source:   []string{"drivers/vfio/device_cdev.c:170-179", "drivers/vfio/group.c:504-514"},
		Requires: onNoiommu,
		Evidence: []string{"VFIO_DEVICE_BIND_IOMMUFD:EBADFD", "VFIO_DEVICE_BIND_IOMMUFD:EFAULT", "VFIO_DEVICE_BIND_IOMMUFD", "pci.unbind"},
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
		ID: "CD-06", Suite: "cdev",
		Promise:  "A bound cdev is the whole device, with an IOMMU or without: its information, its configuration space read and written, its BARs mapped, as long as memory space is on, and its interrupt indexes are those that sysfs shows.",
		Source:   []string{"drivers/vfio/pci/vfio_pci_core.c:1054-1277", "drivers/vfio/pci/vfio_pci_core.c:1816-1890"},
		Requires: []Requirement{Cdev, NoiommuCdev, UnsafeMode},
		Evidence: []string{"VFIO_DEVICE_GET_INFO", "VFIO_DEVICE_GET_REGION_INFO", "VFIO_DEVICE_GET_REGION_INFO:EINVAL", "VFIO_DEVICE_GET_IRQ_INFO", "pread", "pwrite", "mmap", "sysfs.reads"},
	},
	{
		ID: "CD-07", Suite: "cdev",
		Promise:  "IOMMU_GET_HW_INFO for a device without an IOMMU is EOPNOTSUPP.",
		Source:   []string{"drivers/iommu/iommufd/device.c:1654"},
		Requires: onNoiommu,
		Evidence: []string{"IOMMU_GET_HW_INFO:EOPNOTSUPP", "IOMMU_GET_HW_INFO:ENOENT"},
	},
	{
		ID: "CD-08", Suite: "cdev",
		Promise:  "A device without an IOMMU has no virtual one: IOMMU_VIOMMU_ALLOC is EOPNOTSUPP, IOMMU_VDEVICE_ALLOC finds none (ENOENT), and the kernel does not warn.",
		Source:   []string{"drivers/iommu/iommufd/iommufd_private.h:525-533", "drivers/iommu/iommufd/viommu.c:36-44"},
		Requires: onNoiommu,
		Evidence: []string{"IOMMU_VIOMMU_ALLOC:EOPNOTSUPP", "IOMMU_VDEVICE_ALLOC:ENOENT", "proc.reads"},
	},
	{
		ID: "CD-09", Suite: "cdev",
		Promise:  "IOMMU_DESTROY of a device is EBUSY as long as its cdev is bound, which it does not disturb, and ENOENT after close.",
		Source:   []string{"drivers/iommu/iommufd/main.c:273"},
		Requires: []Requirement{Cdev, NoiommuCdev, UnsafeMode},
		Evidence: []string{"IOMMU_DESTROY:EBUSY", "IOMMU_DESTROY:ENOENT", "VFIO_DEVICE_ATTACH_IOMMUFD_PT"},
	},
	{
		ID: "CD-10", Suite: "cdev",
		Promise:  "VFIO_DEVICE_RESET works exactly when the flag RESET says so: for a device that can reset itself or is alone below a port, and not on the root bus, EINVAL. Mappings and addresses survive it.",
		Source:   []string{"drivers/vfio/pci/vfio_pci_core.c:1315-1343"},
		Requires: also(onNoiommu, Hugepages, Reset),
		Evidence: []string{"VFIO_DEVICE_RESET", "IOMMU_IOAS_NOIOMMU_GET_PA", "VFIO_DEVICE_DETACH_IOMMUFD_PT"},
	},
	{
		ID: "CD-11", Suite: "cdev",
		Promise:  "A lone device below a port can be hot reset through its cdev, which says that it owns the device by its id; on the root bus there is no hot reset: ENODEV.",
		Source:   []string{"drivers/vfio/pci/vfio_pci_core.c:1345-1420", "drivers/vfio/iommufd.c:93-113"},
		Requires: also(onNoiommu, Hugepages, Reset),
		Evidence: []string{"VFIO_DEVICE_GET_PCI_HOT_RESET_INFO", "VFIO_DEVICE_GET_PCI_HOT_RESET_INFO:ENOSPC", "VFIO_DEVICE_PCI_HOT_RESET", "IOMMU_IOAS_NOIOMMU_GET_PA"},
	},
	{
		ID: "CD-12", Suite: "cdev",
		Promise:  "Two functions of one slot can be hot reset only when both are bound to the same iommufd; otherwise EINVAL, and the one that is not has the devid NOT_OWNED.",
		Source:   []string{"drivers/vfio/pci/vfio_pci_core.c:2554-2566", "drivers/vfio/iommufd.c:93-113"},
		Requires: also(onNoiommu, Multifunction),
		Evidence: []string{"VFIO_DEVICE_GET_PCI_HOT_RESET_INFO", "VFIO_DEVICE_GET_PCI_HOT_RESET_INFO:ENOSPC", "VFIO_DEVICE_PCI_HOT_RESET", "VFIO_DEVICE_PCI_HOT_RESET:EINVAL", "IOMMU_IOAS_NOIOMMU_GET_PA"},
	},
	{
		ID: "CD-13", Suite: "cdev",
		Promise:  "A bound device keeps its iommufd: with the iommufd closed first it still answers and can be detached, and closing it frees everything.",
		Source:   []string{"drivers/iommu/iommufd/device.c:330-335"},
		Requires: []Requirement{Cdev, NoiommuCdev, UnsafeMode},
		Evidence: []string{"VFIO_DEVICE_GET_INFO", "VFIO_DEVICE_DETACH_IOMMUFD_PT", "IOMMU_IOAS_MAP", "proc.reads"},
	},
	{
		ID: "CD-14", Suite: "cdev",
		Promise:  "A device without an IOMMU is bound whether or not iommufd allows interrupts that nothing isolates, and without a word about them.",
		Source:   []string{"drivers/iommu/iommufd/device.c:249-261", "drivers/iommu/iommufd/device.c:283-292"},
		Requires: onNoiommu,
		Evidence: []string{"VFIO_DEVICE_BIND_IOMMUFD", "sysfs.reads", "sysfs.writes"},
	},
	{
		ID: "CD-15", Suite: "cdev",
		Promise:  "A bound cdev stays bound until the last descriptor of it is closed, be it one that was passed on through a socket or one that a child inherited.",
		Source:   []string{"drivers/vfio/vfio_main.c:599-640"},
		Requires: onNoiommu,
		Evidence: []string{"VFIO_DEVICE_BIND_IOMMUFD", "VFIO_DEVICE_BIND_IOMMUFD:EINVAL", "VFIO_DEVICE_GET_INFO"},
	},
	{
		ID: "CD-16", Suite: "cdev",
		Promise:  "A bind that fails, be it with a wrong file or because the id cannot be said, loses no object and keeps no iommufd.",
		Source:   []string{"drivers/vfio/device_cdev.c:170-179"},
		Requires: also(onNoiommu, Edu, LeakCheck),
		Evidence: []string{"VFIO_DEVICE_BIND_IOMMUFD:EBADFD", "VFIO_DEVICE_BIND_IOMMUFD:EFAULT", "leak.checks"},
	},
}
