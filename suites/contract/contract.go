// SPDX-License-Identifier: Apache-2.0

// Package contract holds what VFIO's no-IOMMU mode promises its users, as
// data: one [Statement] for each promise, with what it requires of a cell and
// the kernel source line behind it. The suites prove the statements; the host
// derives from the same data what must happen in a cell.
//
// There is no test code here and nothing that touches a guest or a host.
package contract

import (
	"maps"
	"slices"
	"strings"
	"time"
)

// Phase says at which point of a cell a statement is tested.
type Phase int

const (
	Bound   Phase = iota // the devices under test are bound to vfio-pci
	Unbound              // before any device was bound since boot
	AtEnd                // after everything else in the cell
)

// Statement is one promise and how a cell is to be held to it.
type Statement struct {
	ID       string        // "PA-02"
	Suite    string        // the suite that proves it: "get_pa"
	Promise  string        // what is promised, one sentence
	Source   []string      // kernel source lines behind it, Linux 7.3.4
	Requires []Requirement // all must hold for the statement to apply; see [Facts.Unmet] on devices
	// Privileges are those of a cell under which the statement can be tested
	// in the same way; nil is [Root] alone.
	Privileges []Privileges
	Phase      Phase
	// Evidence names the counters that must be above zero for a pass to
	// count: the name of an ioctl that succeeded ("IOMMU_IOAS_MAP"), one that
	// failed as promised ("IOMMU_IOAS_MAP:EINVAL"), "dma.bytes",
	// "sysfs.reads", ...
	Evidence []string
	// Limit is what the test may take beyond the minute that the programs of a
	// suite have, on an idle machine with hardware virtualization.
	Limit time.Duration
	// Under are the privileges besides those of root under which the statement
	// has something to say, each with its own evidence: what is refused there.
	Under map[Privileges][]string
	// Nightly says that the test takes more than about three seconds on an
	// emulated processor, or is meant as stress. It runs when asked for.
	Nightly bool
}

// Name is the name of the statement's test in KTAP: "get_pa.PA-02".
func (s Statement) Name() string { return s.Suite + "." + s.ID }

// Core says whether the statement is among those that a gate runs.
func (s Statement) Core() bool { return Core(s.ID) }

// Core is [Statement.Core] of a statement by its id.
func Core(id string) bool { return slices.Contains(coreIDs, id) }

// Unmet lists what a cell with these facts lacks for the statement to apply.
// Other privileges are the only reason then: without them not everything can
// be found out about a device.
func (s Statement) Unmet(f Facts) []Requirement {
	if allowed := s.privileges(); !slices.Contains(allowed, f.privileges()) {
		return []Requirement{anyOf(allowed)}
	}
	return f.Unmet(s.Requires)
}

func (s Statement) privileges() []Privileges {
	all := s.Privileges
	if all == nil {
		all = []Privileges{Root}
	}
	return append(slices.Clone(all), slices.Sorted(maps.Keys(s.Under))...)
}

// EvidenceIn is what must be evident in a cell with these facts.
func (s Statement) EvidenceIn(f Facts) []string {
	if evidence, ok := s.Under[f.privileges()]; ok {
		return evidence
	}
	return s.Evidence
}

// SkipReason is the text after "# SKIP" when a statement does not apply.
func SkipReason(unmet []Requirement) string {
	words := make([]string, len(unmet))
	for i, r := range unmet {
		words[i] = string(r)
	}
	return "requires " + strings.Join(words, ",")
}

// ByID finds a statement.
func ByID(id string) (Statement, bool) {
	i := slices.IndexFunc(Statements, func(s Statement) bool { return s.ID == id })
	if i < 0 {
		return Statement{}, false
	}
	return Statements[i], true
}
