// SPDX-License-Identifier: Apache-2.0

package guests

import (
	"fmt"
	"slices"
	"strings"

	"noiommu-farm/farm/machine"
	"noiommu-farm/guestagent/wire"
)

// Address, in a program's arguments, stands for the address of the first device
// of a model. The guest decides on addresses, so it is filled in there.
func Address(model string) string { return "{" + model + "}" }

// EveryAddress, as an argument of its own, stands for the addresses of all
// functions under test: the suites are told, because a kernel without no-IOMMU
// mode does not bind all of them, and those must be looked at too.
const EveryAddress = "{...}"

// fillIn replaces {model} in the arguments by the address of the first such
// function of this guest, and the argument {...} by all that are under test.
func fillIn(argv []string, bdfs map[string][]string, all []string) []string {
	var out []string
	for _, a := range argv {
		if a == EveryAddress {
			out = append(out, all...)
			continue
		}
		for model, list := range bdfs {
			if len(list) > 0 {
				a = strings.ReplaceAll(a, Address(model), list[0])
			}
		}
		out = append(out, a)
	}
	return out
}

// addresses finds the functions under test in the guest: by model, and all of
// them in the order of their addresses.
func addresses(devices []machine.Device, pci []wire.PCI) (byModel map[string][]string, all []string) {
	byModel = make(map[string][]string)
	for _, f := range pci {
		for _, d := range devices {
			if PCIID(d) == fmt.Sprintf("%04x:%04x", f.Vendor, f.Device) {
				for _, name := range []string{Model(d), Sided(Model(d), f.IOMMU)} {
					byModel[name] = append(byModel[name], f.BDF)
				}
				all = append(all, f.BDF)
				break
			}
		}
	}
	slices.Sort(all)
	return byModel, slices.Compact(all)
}

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
