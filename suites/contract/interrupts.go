// SPDX-License-Identifier: Apache-2.0

package contract

// interrupts is suite interrupts: from the device to an eventfd.
var interrupts = []Statement{
	{
		ID: "IR-01", Suite: "interrupts",
		Promise:  "INTx signals its eventfd once and is masked; unmasked with the line asserted it signals again, and a masked one signals when it is unmasked.",
		Source:   []string{"drivers/vfio/pci/vfio_pci_intrs.c:583-680"},
		Requires: also(onNoiommu, Edu),
		Evidence: []string{"irq.events", "VFIO_DEVICE_SET_IRQS", "VFIO_DEVICE_GET_IRQ_INFO"},
	},
	{
		ID: "IR-02", Suite: "interrupts",
		Promise:  "MSI signals its eventfd once for each message of the device and for each loopback; edu and igb have one vector.",
		Source:   []string{"drivers/vfio/pci/vfio_pci_intrs.c:681-733"},
		Requires: also(onNoiommu, Edu),
		Evidence: []string{"irq.events", "VFIO_DEVICE_SET_IRQS", "VFIO_DEVICE_SET_IRQS:EINVAL", "VFIO_DEVICE_SET_IRQS:ENOTTY"},
	},
	{
		ID: "IR-03", Suite: "interrupts",
		Promise:  "igb has 10 MSI-X vectors, and the loopback of each signals its own eventfd once and no other.",
		Source:   []string{"drivers/vfio/pci/vfio_pci_intrs.c:681-733"},
		Requires: also(onNoiommu, IGB),
		Evidence: []string{"irq.events", "VFIO_DEVICE_SET_IRQS", "VFIO_DEVICE_SET_IRQS:EINVAL"},
	},
	{
		ID: "IR-04", Suite: "interrupts",
		Promise:  "The interrupt indexes ERR and REQ have a count of 1, and the loopback of each signals its eventfd.",
		Source:   []string{"drivers/vfio/pci/vfio_pci_intrs.c:734-822", "drivers/vfio/pci/vfio_pci_core.c:858-892"},
		Requires: onNoiommu,
		Evidence: []string{"irq.events", "VFIO_DEVICE_SET_IRQS", "VFIO_DEVICE_SET_IRQS:EINVAL"},
	},
	{
		ID: "IR-05", Suite: "interrupts",
		Promise:  "INTx, MSI and MSI-X exclude each other and can be switched any number of times; disarmed or closed, no interrupt of the device is left in /proc/interrupts.",
		Source:   []string{"drivers/vfio/pci/vfio_pci_intrs.c:634-733"},
		Requires: onNoiommu,
		Evidence: []string{"irq.events", "VFIO_DEVICE_SET_IRQS", "VFIO_DEVICE_SET_IRQS:EINVAL", "proc.reads"},
	},
	{
		ID: "IR-06", Suite: "interrupts",
		Promise:  "The native container, the compat container and the cdev give the same answers for every interrupt index.",
		Source:   []string{"drivers/vfio/pci/vfio_pci_intrs.c:825-880"},
		Requires: also(onNoiommu, Group, NativeContainer, Cdev),
		Evidence: []string{"irq.events", "VFIO_DEVICE_SET_IRQS", "VFIO_DEVICE_GET_IRQ_INFO", "VFIO_GROUP_GET_DEVICE_FD", "VFIO_DEVICE_BIND_IOMMUFD"},
	},
}
