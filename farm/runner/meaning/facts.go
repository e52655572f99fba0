// SPDX-License-Identifier: Apache-2.0

package meaning

import (
	"cmp"
	"slices"
	"strings"

	"noiommu-farm/farm/machine"
	"noiommu-farm/farm/matrix"
	"noiommu-farm/kernels"
	"noiommu-farm/results"
	"noiommu-farm/suites/contract"
)

// Hardware is what a machine is in the words of the contract, under a kernel
// with that configuration.
func Hardware(m machine.Machine, config contract.Config) matrix.Hardware {
	hw := matrix.Hardware{MemoryAbove4G: m.MemoryAbove4G()}
	functions := m.Functions()
	slices.SortFunc(functions, func(a, b machine.Function) int { return cmp.Compare(a.BDF, b.BDF) })
	behind := false
	for _, f := range functions {
		has := f.Device.Capabilities()
		hw.Devices = append(hw.Devices, contract.Device{
			Model:     Model(f.Device),
			Behind:    f.Behind,
			Port:      f.Device.RootPort() && config.HotplugPCIPCIe,
			Functions: f.Device.Functions(),
			FLR:       has.FLR,
			INTx:      has.INTx && m.Topology.Pins(f.Device),
			MSI:       has.MSI > 0,
			MSIX:      has.MSIX > 0,
		})
		behind = behind || f.Behind
	}
	if !m.Topology.IOMMU() {
		hw.IOMMU.Off = m.Topology.Hardware() != ""
		return hw
	}
	hw.IOMMU = contract.IOMMUFacts{
		Kind:     contract.IOMMUKind(m.Topology.Hardware()),
		IntRemap: m.Topology.InterruptRemapping(),
		// Seen in the guest by the IOMMU group of a device under test.
		Passthrough: behind && passthrough(m.KernelArgs(), config),
	}
	return hw
}

// passthrough says whether the kernel's own drivers get identity mappings
// (Documentation/admin-guide/kernel-parameters.txt, iommu and
// iommu.passthrough). The last word counts.
func passthrough(args []string, config contract.Config) bool {
	pt := config.IOMMUPassthrough
	for _, arg := range args {
		if list, ok := strings.CutPrefix(arg, "iommu="); ok {
			for word := range strings.SplitSeq(list, ",") {
				pt = word == "pt" || pt && word != "nopt"
			}
		}
		switch arg {
		case "iommu.passthrough=1":
			pt = true
		case "iommu.passthrough=0":
			pt = false
		}
	}
	return pt
}

// UnderTest are a machine's functions under test, as the agent must find them.
func UnderTest(m machine.Machine) []results.Function {
	var all []results.Function
	for _, f := range m.Functions() {
		all = append(all, results.Function{ID: PCIID(f.Device), Behind: f.Behind})
	}
	return all
}

// Facts foretells what a cell's facts will be under a kernel of that release
// (uname -r), from what its configuration asks for and without building
// anything. The cell's own source is not looked at. A bad name on an axis is a
// *fault.Usage.
func Facts(release string) func(matrix.Cell) (contract.Facts, error) {
	return func(c matrix.Cell) (contract.Facts, error) { return foretell(c, release) }
}

func foretell(c matrix.Cell, release string) (contract.Facts, error) {
	m, err := Machine(c)
	if err != nil {
		return contract.Facts{}, err
	}
	asked, err := kernels.LoadConfiguration(c.Config)
	if err != nil {
		return contract.Facts{}, err
	}
	config := foretoldConfig(asked.Text(release), release)
	return c.Facts(contract.HasGetPA(release), config, Hardware(m, config)), nil
}

// foretoldConfig is what a configuration will come to, from what its fragments
// ask for.
func foretoldConfig(text, release string) contract.Config {
	config := contract.ParseConfig(text)
	// What other options select is in no fragment (drivers/vfio/Kconfig,
	// arch/x86/kvm/Kconfig, kernel/power/Kconfig, drivers/dma-buf/Kconfig).
	config.NoiommuCdev = config.Noiommu && config.Cdev && contract.HasGetPA(release)
	config.KVMVFIO = config.KVM
	config.PM = strings.Contains(text, "CONFIG_SUSPEND=y\n")
	config.DMASharedBuffer = strings.Contains(text, "CONFIG_SYNC_FILE=y\n")
	return config
}
