// SPDX-License-Identifier: Apache-2.0

package runner

import (
	"strings"

	"noiommu-farm/farm/matrix"
	"noiommu-farm/suites/contract"
)

// Facts foretells what a cell's facts will be under a kernel of that release
// (uname -r), from what its configuration asks for and without building
// anything. The cell's own source is not looked at. A bad name on an axis is a
// *fault.Usage.
func Facts(release string) func(matrix.Cell) (contract.Facts, error) {
	return func(c matrix.Cell) (contract.Facts, error) { return foretell(c, release) }
}

func foretell(c matrix.Cell, release string) (contract.Facts, error) {
	c.Source = "debian:7.3" // any: it is not looked at
	cells, err := check(matrix.Plan{Cells: []matrix.Cell{c}})
	if err != nil {
		return contract.Facts{}, err
	}
	p := cells[0]
	config := foretoldConfig(p.request.Config.Text(release), release)
	return p.Cell.Facts(contract.HasGetPA(release), config, hardware(p.machine, config)), nil
}

// foretoldConfig is what a configuration will come to, from what its fragments
// ask for.
func foretoldConfig(text, release string) contract.Config {
	config := contract.ParseConfig(text)
	// What other options select is in no fragment (drivers/vfio/Kconfig,
	// arch/x86/kvm/Kconfig, kernel/power/Kconfig).
	config.NoiommuCdev = config.Noiommu && config.Cdev && contract.HasGetPA(release)
	config.KVMVFIO = config.KVM
	config.PM = strings.Contains(text, "CONFIG_SUSPEND=y\n")
	return config
}
