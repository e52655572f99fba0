// SPDX-License-Identifier: Apache-2.0

package contract

// lifecycle is suite lifecycle: devices that go, and what they leave.
var lifecycle = []Statement{
	{
		ID: "LC-01", Suite: "lifecycle",
		Promise:  "Unbinding a device whose cdev is open waits until it is closed, and the kernel says so; the node is gone at once (ENOENT), the open file keeps working.",
		Source:   []string{"drivers/vfio/vfio_main.c:421-471", "drivers/vfio/pci/vfio_pci_core.c:1896-1916"},
		Requires: also(onNoiommu, Cdev),
		Evidence: []string{"VFIO_DEVICE_GET_INFO", "open:ENOENT", "pci.unbind", "pci.bind", "kmsg.reads"},
	},
	{
		ID: "LC-02", Suite: "lifecycle",
		Promise:  "With a REQ eventfd armed, an unbind signals it at once and the kernel logs that it relays the request instead of that it is blocked.",
		Source:   []string{"drivers/vfio/vfio_main.c:421-471", "drivers/vfio/pci/vfio_pci_core.c:1896-1916"},
		Requires: also(onNoiommu, Cdev),
		Evidence: []string{"VFIO_DEVICE_SET_IRQS", "irq.events", "pci.unbind", "kmsg.reads"},
	},
	{
		ID: "LC-03", Suite: "lifecycle",
		Promise: "A device that is unplugged while it is used asks its user to let go and takes no new one; the open file and the addresses work until it is closed, then the device is gone.",
		Source:  []string{"drivers/vfio/vfio_main.c:421-471", "drivers/vfio/pci/vfio_pci_core.c:1896-1916", "drivers/iommu/iommufd/io_pagetable.c:893-897"},
		// The button of a slot is an interrupt of its root port. Lockdep finds fault
		// with pciehp itself, and looks no further afterwards:
		// docs/findings/pciehp-lock-order.md.
		Requires: also(onNoiommu, Cdev, Hugepages, HotPlug, Unremapped, NoLockdep),
		Evidence: []string{"irq.events", "host.unplug", "host.unplugged", "VFIO_DEVICE_GET_INFO", "IOMMU_IOAS_NOIOMMU_GET_PA", "IOMMU_IOAS_NOIOMMU_GET_PA:EOPNOTSUPP", "IOMMU_DESTROY"},
	},
	{
		ID: "LC-04", Suite: "lifecycle", Nightly: true,
		Promise:  "A device that was unplugged and is plugged in again can be bound as before: its nodes have the same names, and the kernel stays tainted.",
		Source:   []string{"drivers/vfio/vfio_main.c:280-340", "drivers/vfio/group.c:588-741"},
		Requires: also(onNoiommu, Cdev, Hugepages, HotPlug, Unremapped, NoLockdep),
		Evidence: []string{"host.unplug", "host.unplugged", "host.plug", "pci.bind", "IOMMU_IOAS_NOIOMMU_GET_PA"},
	},
	{
		ID: "LC-05", Suite: "lifecycle",
		Promise:  "Unbinding and binding 200 times (20 with KASAN), with and without use in between, gives the same names each time and leaves no page table, no pin, no object and no warning.",
		Source:   []string{"drivers/vfio/group.c:588-741", "drivers/vfio/vfio_main.c:324-400"},
		Requires: also(onNoiommu, Cdev, Edu, LeakCheck),
		Evidence: []string{"pci.bind", "pci.unbind", "VFIO_DEVICE_ATTACH_IOMMUFD_PT", "IOMMU_IOAS_MAP", "leak.checks"},
	},
	{
		ID: "LC-06", Suite: "lifecycle",
		Promise:  "vfio_pci cannot be removed while a device is bound (EAGAIN) and waits while one is open; then the modules go one after the other without a trace, and come back with the unsafe mode off.",
		Source:   []string{"drivers/vfio/vfio_main.c:555", "drivers/vfio/vfio_main.c:421-471", "drivers/vfio/container.c:467-500"},
		Requires: also(onNoiommu, Cdev, Edu, Modules),
		Evidence: []string{"module.remove:EAGAIN", "module.remove", "module.load", "pci.bind:EINVAL", "VFIO_DEVICE_BIND_IOMMUFD"},
	},
	{
		ID: "LC-07", Suite: "lifecycle",
		Promise:  "A user who is killed while it maps memory and has the device do DMA leaves nothing: no pin, no hugepage, no page table, no bus master, and a device that the next one can use.",
		Source:   []string{"drivers/vfio/vfio_main.c:661-680", "drivers/iommu/iommufd/main.c:350-410"},
		Requires: also(onNoiommu, Cdev, Hugepages, Edu),
		Evidence: []string{"IOMMU_IOAS_MAP", "IOMMU_IOAS_UNMAP", "IOMMU_IOAS_NOIOMMU_GET_PA", "VFIO_DEVICE_ATTACH_IOMMUFD_PT", "pwrite"},
	},
	{
		ID: "LC-08", Suite: "lifecycle",
		Promise:  "Closing a device and its iommufd with memory mapped frees it all, 50 times over: hugepages, pins and the pages of the table.",
		Source:   []string{"drivers/iommu/iommufd/hwpt_noiommu.c:76-83", "drivers/iommu/iommufd/io_pagetable.c:1063"},
		Requires: also(onNoiommu, Hugepages, Edu),
		Evidence: []string{"IOMMU_OPTION", "IOMMU_IOAS_MAP", "VFIO_DEVICE_ATTACH_IOMMUFD_PT", "sysfs.reads", "proc.reads"},
	},
	{
		ID: "LC-09", Suite: "lifecycle",
		Promise:  "A bind that fails, with the unsafe mode off (EINVAL) or for want of memory (ENOMEM), leaves no node, no group, no object and no index behind; the next one works.",
		Source:   []string{"drivers/vfio/vfio_main.c:342-400", "drivers/vfio/group.c:588-660"},
		Requires: also(onNoiommu, Cdev, Edu, Failslab, LeakCheck),
		Evidence: []string{"pci.bind:EINVAL", "pci.bind:ENOMEM", "pci.bind", "faults", "stat:ENOENT", "leak.checks"},
	},
	{
		ID: "LC-10", Suite: "lifecycle",
		Promise:  "An unmap gives the leaves of the page table back at once: with HUGE_PAGES=0, 4 MiB take two of them and the unmap returns two.",
		Source:   []string{"drivers/iommu/iommufd/hwpt_noiommu.c:85-89"},
		Requires: also(onNoiommu, Edu),
		Evidence: []string{"IOMMU_OPTION", "IOMMU_IOAS_MAP", "IOMMU_IOAS_UNMAP", "proc.reads"},
	},
	{
		ID: "LC-11", Suite: "lifecycle",
		Promise:  "A device that nobody has open is suspended, in D3hot if it knows that state; binding it to an iommufd wakes it up to D0, closing it lets it sleep again.",
		Source:   []string{"drivers/vfio/pci/vfio_pci_core.c:596-602", "drivers/vfio/pci/vfio_pci_core.c:812-815"},
		Requires: also(onNoiommu, Cdev, IGB, PM),
		Evidence: []string{"VFIO_DEVICE_BIND_IOMMUFD", "VFIO_DEVICE_GET_INFO", "pread", "sysfs.reads"},
	},
}
