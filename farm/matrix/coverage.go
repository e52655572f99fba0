// SPDX-License-Identifier: Apache-2.0

package matrix

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"noiommu-farm/suites/contract"
)

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

// KconfigSuite is the suite that needs no guest.
const KconfigSuite = "kconfig"

// Covered is one statement and what it asks of each profile and machine.
type Covered struct {
	ID      string                     `json:"id"`
	Suite   string                     `json:"suite"`
	Promise string                     `json:"promise"`
	Source  []string                   `json:"source,omitempty"`
	Test    string                     `json:"test,omitempty"` // what proves it; "" with a reason
	Reason  string                     `json:"reason,omitempty"`
	Finding string                     `json:"finding,omitempty"` // the bug for which it is expected to fail
	Nightly bool                       `json:"nightly,omitempty"`
	Core    bool                       `json:"core,omitempty"`
	Duties  map[string]map[string]Duty `json:"duties,omitempty"` // profile → machine; nil: proven otherwise
}

// Coverage is every statement but those of Kconfig, in the contract's order.
// The facts of a cell are foretold by the function given.
func Coverage(facts func(Cell) (contract.Facts, error)) ([]Covered, error) {
	known := make(map[string]map[string]contract.Facts)
	for _, p := range Profiles {
		known[p.Name] = make(map[string]contract.Facts)
		for _, m := range Machines {
			f, err := facts(m.Cell(p))
			if err != nil {
				return nil, fmt.Errorf("facts of %s on %s: %w", p.Name, m.Name, err)
			}
			known[p.Name][m.Name] = f
		}
	}
	var all []Covered
	for _, st := range contract.Statements {
		row := Covered{
			ID: st.ID, Suite: st.Suite, Promise: st.Promise, Source: st.Source, Test: st.Name(), Nightly: st.Nightly,
			Core: st.Core(), Duties: make(map[string]map[string]Duty),
		}
		if f := contract.FindingOf(st.Name()); f != nil {
			row.Finding = f.ID
		}
		for _, p := range Profiles {
			row.Duties[p.Name] = make(map[string]Duty)
			for _, m := range Machines {
				row.Duties[p.Name][m.Name] = DutyOf(st, known[p.Name][m.Name])
			}
		}
		all = append(all, row)
	}
	for _, e := range contract.ProvenElsewhere {
		all = append(all, Covered{ID: e.ID, Suite: e.Suite, Promise: e.Promise, Test: e.By, Reason: e.Reason, Core: contract.Core(e.ID)})
	}
	slices.SortStableFunc(all, func(a, b Covered) int {
		if x, y := family(a.ID), family(b.ID); x != y {
			return x - y
		}
		return strings.Compare(a.ID, b.ID)
	})
	return all, nil
}

// Families are the prefixes of statement ids in the contract's order, and how
// many statements the contract has of each, numbered from 1.
var Families = []struct {
	Prefix string
	Size   int
}{
	{"KC", 12}, {"ND", 16}, {"GR", 20}, {"CD", 15}, {"IA", 19}, {"PA", 20}, {"DM", 9},
	{"IR", 7}, {"PE", 11}, {"LC", 11}, {"CX", 11}, {"IP", 11}, {"TL", 6}, {"ST", 10},
}

// family is the place of a statement's prefix among them; -1 for none.
func family(id string) int {
	prefix, _, _ := strings.Cut(id, "-")
	for i, f := range Families {
		if f.Prefix == prefix {
			return i
		}
	}
	return -1
}

// Own says that a statement is the suites' own: a finding added it, or it is a part
// of one of the contract's that not every cell can test.
func (c Covered) Own() bool {
	i := family(c.ID)
	_, number, _ := strings.Cut(c.ID, "-")
	n, err := strconv.Atoi(number)
	return i < 0 || err != nil || n > Families[i].Size
}
