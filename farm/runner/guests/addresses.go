// SPDX-License-Identifier: Apache-2.0

package guests

import (
	"fmt"
	"slices"
	"strings"

	"noiommu-farm/farm/machine"
	"noiommu-farm/farm/runner/meaning"
	"noiommu-farm/guestagent/wire"
)

// fillIn replaces {model} in the arguments by the address of the first such
// function of this guest, and the argument {...} by all that are under test.
func fillIn(argv []string, bdfs map[string][]string, all []string) []string {
	var out []string
	for _, a := range argv {
		if a == meaning.EveryAddress {
			out = append(out, all...)
			continue
		}
		for model, list := range bdfs {
			if len(list) > 0 {
				a = strings.ReplaceAll(a, meaning.Address(model), list[0])
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
			if meaning.PCIID(d) == fmt.Sprintf("%04x:%04x", f.Vendor, f.Device) {
				for _, name := range []string{meaning.Model(d), meaning.Sided(meaning.Model(d), f.IOMMU)} {
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
