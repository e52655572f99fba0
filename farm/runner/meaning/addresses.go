// SPDX-License-Identifier: Apache-2.0

package meaning

import (
	"fmt"

	"noiommu-farm/farm/machine"
)

// Address, in a program's arguments, stands for the address of the first device
// of a model. The guest decides on addresses, so it is filled in there.
func Address(model string) string { return "{" + model + "}" }

// EveryAddress, as an argument of its own, stands for the addresses of all
// functions under test: the suites are told, because a kernel without no-IOMMU
// mode does not bind all of them, and those must be looked at too.
const EveryAddress = "{...}"

// Sided is the name of a model on one side of the IOMMU: "igb@iommu".
func Sided(model string, behind bool) string {
	if behind {
		return model + "@iommu"
	}
	return model + "@no-iommu"
}

// Model is what the tests call a device: they know it by its PCI ids, wherever
// it is plugged in.
func Model(d machine.Device) string {
	if PCIID(d) == PCIID(machine.Edu) {
		return string(machine.Edu)
	}
	return string(d)
}

// PCIID is how a model is found in a guest.
func PCIID(d machine.Device) string {
	c := d.Capabilities()
	return fmt.Sprintf("%04x:%04x", c.Vendor, c.Device)
}
