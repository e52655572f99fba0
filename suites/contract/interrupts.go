// SPDX-License-Identifier: Apache-2.0

package contract

// interrupts is suite interrupts: from the device to an eventfd.
var interrupts = []Statement{
	{
		ID: "IR-01", Suite: "interrupts",
		Promise:  "INTx signals its eventfd once and is masked; unmasked with the line asserted, by the user or by an eventfd, it signals again, and a masked one signals when it is unmasked, as one does that the command register switched off.",
		Source:   []string{"drivers/vfio/pci/vfio_pci_intrs.c:583-680"},
		Requires: also(onEither, Edu, INTx),
		Evidence: []string{"irq.events", "VFIO_DEVICE_SET_IRQS", "VFIO_DEVICE_GET_IRQ_INFO"},
	},
	{
		ID: "IR-02", Suite: "interrupts",
		Promise:  "MSI signals its eventfd once for each message of the device and for each loopback; the one vector that each device has can be armed, and no more.",
		Source:   []string{"drivers/vfio/pci/vfio_pci_intrs.c:681-733"},
		Requires: also(onEither, Unremapped, MSI),
		Evidence: []string{"irq.events", "VFIO_DEVICE_SET_IRQS", "VFIO_DEVICE_SET_IRQS:EINVAL", "VFIO_DEVICE_SET_IRQS:ENOTTY"},
	},
	{
		ID: "IR-03", Suite: "interrupts",
		Promise:  "Each MSI-X vector, 10 of igb, signals its own eventfd once and no other, by loopback and by the device's message, and can be let go and armed again alone.",
		Source:   []string{"drivers/vfio/pci/vfio_pci_intrs.c:681-733"},
		Requires: also(onEither, Unremapped, MSIX),
		Evidence: []string{"irq.events", "VFIO_DEVICE_SET_IRQS", "VFIO_DEVICE_SET_IRQS:EINVAL"},
	},
	{
		ID: "IR-04", Suite: "interrupts",
		Promise:  "The interrupt indexes ERR and REQ have a count of 1, and the loopback of each signals its eventfd.",
		Source:   []string{"drivers/vfio/pci/vfio_pci_intrs.c:734-822", "drivers/vfio/pci/vfio_pci_core.c:858-892"},
		Requires: onEither,
		Evidence: []string{"irq.events", "VFIO_DEVICE_SET_IRQS", "VFIO_DEVICE_SET_IRQS:EINVAL"},
	},
	{
		ID: "IR-05", Suite: "interrupts",
		Promise:  "INTx, MSI and MSI-X exclude each other and can be switched any number of times; disarmed or closed, no interrupt of the device is left in /proc/interrupts.",
		Source:   []string{"drivers/vfio/pci/vfio_pci_intrs.c:634-733"},
		Requires: also(onEither, Unremapped),
		Evidence: []string{"irq.events", "VFIO_DEVICE_SET_IRQS", "VFIO_DEVICE_SET_IRQS:EINVAL", "proc.reads"},
	},
	{
		ID: "IR-06", Suite: "interrupts",
		Promise:  "The native container, the compat container and the cdev, as many of them as the kernel has, give the same answers for every interrupt index.",
		Source:   []string{"drivers/vfio/pci/vfio_pci_intrs.c:825-880"},
		Requires: also(onEither, Group, IOMMUFD),
		Evidence: []string{"irq.events", "VFIO_DEVICE_SET_IRQS", "VFIO_DEVICE_GET_IRQ_INFO", "VFIO_GROUP_GET_DEVICE_FD"},
	},
	{
		ID: "IR-07", Suite: "interrupts",
		Promise:  "Where nothing remaps interrupts, those of a device without an IOMMU arrive by every way to it, and no allow_unsafe_interrupts is needed.",
		Source:   []string{"drivers/iommu/iommufd/device.c:283-292", "drivers/vfio/container.c:260-325"},
		Requires: also(onEither, Unremapped),
		Evidence: []string{"irq.events", "VFIO_DEVICE_SET_IRQS", "proc.reads"},
	},
	{
		ID: "IR-08", Suite: "interrupts",
		Promise:  "An interrupt that is disarmed, or armed with another eventfd, keeps none that it had, of whatever index.",
		Source:   []string{"drivers/vfio/pci/vfio_pci_intrs.c:634-822"},
		Requires: also(onEither, Unremapped, LeakCheck),
		Evidence: []string{"VFIO_DEVICE_SET_IRQS", "leak.checks"},
	},
}
