// SPDX-License-Identifier: Apache-2.0

package meaning

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"noiommu-farm/farm/machine"
	"noiommu-farm/farm/matrix"
	"noiommu-farm/suites/contract"
)

// What the suites find on these machines is in suites/lab/facts_test.go; that
// both agree, real guests show: a difference is infra.
func TestHardware(t *testing.T) {
	edu := contract.Device{Model: "edu", Functions: 1, INTx: true, MSI: true}
	igb := contract.Device{Model: "igb", Functions: 1, INTx: true, MSI: true, MSIX: true, FLR: true, Port: true}
	behind := func(d contract.Device) contract.Device { d.Behind = true; return d }
	port := func(d contract.Device) contract.Device { d.Port = true; return d }
	pair := port(edu)
	pair.Functions = 2
	pinless := func(d contract.Device) contract.Device { d.INTx = false; return d }
	for _, c := range []struct {
		name   string
		m      machine.Machine
		config contract.Config
		want   matrix.Hardware
	}{
		{"no IOMMU", machine.Machine{Topology: machine.None, Devices: []machine.Device{machine.IGB, machine.Edu}, MemoryMiB: 2815}, kAll,
			matrix.Hardware{Devices: []contract.Device{edu, igb}}},
		{"no hotplug", machine.Machine{Topology: machine.None, Devices: []machine.Device{machine.EduPort}}, contract.Config{},
			matrix.Hardware{Devices: []contract.Device{edu}}},
		{"Intel", machine.Machine{Topology: machine.Intel, Devices: []machine.Device{machine.Edu, machine.IGB}, MemoryMiB: 5120}, kAll,
			matrix.Hardware{IOMMU: contract.IOMMUFacts{Kind: contract.Intel, IntRemap: true}, Devices: []contract.Device{behind(edu), behind(igb)}, MemoryAbove4G: true}},
		{"passthrough", machine.Machine{Topology: machine.IntelPT, Devices: []machine.Device{machine.Edu}}, kAll,
			matrix.Hardware{IOMMU: contract.IOMMUFacts{Kind: contract.Intel, IntRemap: true, Passthrough: true}, Devices: []contract.Device{behind(edu)}}},
		{"passthrough by a parameter", machine.Machine{Topology: machine.AMD, Devices: []machine.Device{machine.Edu}, Append: []string{"iommu=force,pt"}}, kAll,
			matrix.Hardware{IOMMU: contract.IOMMUFacts{Kind: contract.AMD, Passthrough: true}, Devices: []contract.Device{behind(edu)}}},
		{"passthrough taken back", machine.Machine{Topology: machine.IntelPT, Devices: []machine.Device{machine.Edu}, Append: []string{"iommu.passthrough=0"}}, kAll,
			matrix.Hardware{IOMMU: contract.IOMMUFacts{Kind: contract.Intel, IntRemap: true}, Devices: []contract.Device{behind(edu)}}},
		{"off", machine.Machine{Topology: machine.IntelOff, Devices: []machine.Device{machine.Edu}}, kAll,
			matrix.Hardware{IOMMU: contract.IOMMUFacts{Off: true}, Devices: []contract.Device{edu}}},
		{"no interrupt remapping", machine.Machine{Topology: machine.IntelNoIntremap, Devices: []machine.Device{machine.Edu}}, kAll,
			matrix.Hardware{IOMMU: contract.IOMMUFacts{Kind: contract.Intel}, Devices: []contract.Device{behind(edu)}}},
		{"virtio", machine.Machine{Topology: machine.Virtio, Devices: []machine.Device{machine.Edu}, MemoryMiB: 2816}, kAll,
			matrix.Hardware{IOMMU: contract.IOMMUFacts{Kind: contract.Virtio}, Devices: []contract.Device{behind(edu)}, MemoryAbove4G: true}},
		{"bypass", machine.Machine{Topology: machine.Bypass, Devices: []machine.Device{machine.EduMultifunction, machine.Edu, machine.IGB}}, kAll,
			matrix.Hardware{IOMMU: contract.IOMMUFacts{Kind: contract.Intel}, Devices: []contract.Device{behind(edu), pinless(pair), pinless(pair), pinless(igb)}}},
	} {
		if diff := cmp.Diff(c.want, Hardware(c.m, c.config)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
}

func TestPreferred(t *testing.T) {
	for want, devices := range map[string][]contract.Device{
		"igb@no-iommu":  {{Model: "edu"}, {Model: "igb"}},
		"igb@iommu":     {{Model: "igb"}, {Model: "edu", Behind: true}, {Model: "igb", Behind: true}},
		"edu@iommu":     {{Model: "igb"}, {Model: "edu", Behind: true}},
		"nvme@no-iommu": {{Model: "nvme"}},
	} {
		if d := preferred(devices); Sided(d.Model, d.Behind) != want {
			t.Errorf("of %v: %+v, want %s", devices, d, want)
		}
	}
}
