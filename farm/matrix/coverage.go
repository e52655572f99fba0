// SPDX-License-Identifier: Apache-2.0

package matrix

import "noiommu-farm/suites/contract"

// Duty is what a statement asks of a kernel on a machine.
type Duty string

const (
	MustPass      Duty = "must pass"      // it applies: its test passes, with evidence
	MustBeAbsent  Duty = "must be absent" // the kernel's configuration lacks it: a test that passed would be a failure
	NotApplicable Duty = "not applicable" // the machine lacks it, or it has what the statement is not about
)

// DutyOf is what a statement asks of a cell with these facts.
func DutyOf(s contract.Statement, f contract.Facts) Duty {
	duty := MustPass
	for _, unmet := range f.Unmet(s.Requires) {
		if !contract.OfKernel(unmet) {
			return NotApplicable
		}
		duty = MustBeAbsent
	}
	return duty
}

// Profile is a kernel configuration that the contract speaks of, and Machine
// one of its machines: a topology and what is in it.
type (
	Profile struct {
		Name   string // "K-ALL"
		Config string // "noiommu"
	}
	Machine struct {
		Name     string // "V0"
		Meaning  string
		Topology string
		Guest    Guest
	}
)

// Profiles are the kernels of the contract's first table.
var Profiles = []Profile{
	{"K-ALL", "noiommu"},
	{"K-COMPAT", "k-compat"},
	{"K-CDEV", "k-cdev"},
	{"K-GRP", "k-grp"},
	{"K-OFF", "k-off"},
	{"K-MOD", "k-mod"},
	{"K-DBG", "k-dbg"},
	{"K-MORE", "k-more"},
}

// every device model, with two of the one that most tests drive.
var every = Guest{
	Devices:   []string{"edu", "edu", "edu-port", "edu-port", "edu-multifunction", "igb", "e1000e", "nvme"},
	CPUs:      1,
	MemoryMiB: 512,
	Hugepages: 64,
}

// large is every device and memory above 4 GiB.
func large() Guest {
	g := every
	g.MemoryMiB = 5120
	return g
}

// Machines are those of the contract, and more memory, with every device.
var Machines = []Machine{
	{"V0", "no IOMMU", "none", every},
	{"V0+", "no IOMMU, 5 GiB", "none", large()},
	{"V1", "Intel, interrupt remapping", "intel", every},
	{"V1i", "Intel, no interrupt remapping", "intel-nointremap", every},
	{"V1p", "Intel, iommu=pt", "intel-pt", every},
	{"V2", "Intel, what is behind a root port bypasses it", "bypass", every},
	{"V3a", "AMD", "amd", every},
	{"V3v", "virtio", "virtio", every},
	{"V4", "Intel, switched off", "intel-off", every},
}

// Cell is a machine under a kernel.
func (m Machine) Cell(p Profile) Cell {
	return Cell{Name: p.Name + " " + m.Name, Config: p.Config, Topology: m.Topology, Guest: m.Guest}
}
