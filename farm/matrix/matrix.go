// SPDX-License-Identifier: Apache-2.0

// Package matrix turns axes into a plan: the cells that are to be run, in
// order. It is pure: no file, no guest, no clock. What a name on an axis means
// (a source, a topology, a device) is for the rooms after it to say.
package matrix

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"noiommu-farm/internal/fault"
	"noiommu-farm/suites/contract"
)

// Axes are what a plan is the product of.
type Axes struct {
	Sources    []string // "debian:7.3"
	Series     string   // put on every source: a name that the runner is given with it; "" none
	Configs    []string // "noiommu"
	Topologies []string // "none", "intel"

	// Privileges of the test programs; empty is root alone.
	Privileges []string

	// Guest is the same for every cell.
	Guest Guest
	// Select is the same for every cell.
	Select Selection
}

// Guest is what a cell's guest is made of beside kernel and topology.
type Guest struct {
	Devices     []string `json:"devices"` // models, in slot order
	CPUs        int      `json:"cpus"`
	MemoryMiB   int      `json:"memory_mib"`
	Hugepages   int      `json:"hugepages,omitempty"`    // of 2 MiB, reserved by the agent
	Hugepages1G int      `json:"hugepages_1g,omitempty"` // of 1 GiB, reserved on the command line
	Append      []string `json:"append,omitempty"`       // more kernel parameters, after the farm's own
}

// Selection says which programs and tests a cell runs.
type Selection struct {
	Suites   []string  `json:"suites,omitempty"` // names of suites, or "SUITE/PROGRAM" of a kernel selftest; empty is every suite that is on by default
	Tests    []string  `json:"tests,omitempty"`  // statement ids; empty is all
	Programs []Program `json:"programs,omitempty"`
	Core     bool      `json:"core,omitempty"`    // the core statements of the contract
	Nightly  bool      `json:"nightly,omitempty"` // what takes long too, where nothing is selected
}

// Program is a test program that the user brings: a static binary that prints
// KTAP.
type Program struct {
	Path string   `json:"path"` // on the host
	Args []string `json:"args,omitempty"`
}

// Cell is one point of the matrix.
type Cell struct {
	Name     string `json:"name"` // unique in the plan, and fit for a file name
	Source   string `json:"source"`
	Series   string `json:"series,omitempty"` // on the source; "" none
	Config   string `json:"config"`
	Compiler string `json:"compiler,omitempty"` // "" is gcc
	Topology string `json:"topology"`
	// Privileges of the test programs; "" is root.
	Privileges contract.Privileges `json:"privileges,omitempty"`
	Guest
	Selection
}

// Kernel is what cells with the same kernel share.
type Kernel struct {
	Source   string `json:"source"`
	Series   string `json:"series,omitempty"`
	Config   string `json:"config"`
	Compiler string `json:"compiler,omitempty"`
}

// Kernel is the cell's.
func (c Cell) Kernel() Kernel { return Kernel{c.Source, c.Series, c.Config, c.Compiler} }

func (k Kernel) String() string {
	text := withSeries(k.Source, k.Series) + " " + k.Config
	if k.Compiler != "" {
		text += " " + k.Compiler
	}
	return text
}

// Key says what a cell is, whatever plan it is in and whatever it is called
// there.
func (c Cell) Key() string {
	c.Name = ""
	text, _ := json.Marshal(c)
	return string(text)
}

// Plan is what a run carries out.
type Plan struct {
	Cells []Cell `json:"cells"`
}

// Product is the full product of the axes, sources outermost.
func Product(a Axes) (Plan, error) {
	for _, axis := range []struct {
		key    string
		values []string
	}{{"--kernel", a.Sources}, {"--config", a.Configs}, {"--topology", a.Topologies}, {"--privileges", a.privileges()}} {
		if len(axis.values) == 0 {
			return Plan{}, &fault.Usage{Key: axis.key, Err: fmt.Errorf("at least one value is needed")}
		}
		if twice := duplicate(axis.values); twice != "" {
			return Plan{}, &fault.Usage{Key: axis.key, Value: twice, Err: fmt.Errorf("given twice")}
		}
	}
	if err := a.Select.check(); err != nil {
		return Plan{}, err
	}
	for _, p := range a.privileges() {
		if !slices.Contains(contract.AllPrivileges, contract.Privileges(p)) {
			return Plan{}, &fault.Usage{Key: "--privileges", Value: p, Allowed: allPrivileges()}
		}
	}
	var plan Plan
	for _, source := range a.Sources {
		for _, config := range a.Configs {
			for _, topology := range a.Topologies {
				for _, privileges := range a.privileges() {
					parts := []string{withSeries(source, a.Series), config, topology}
					if privileges != string(contract.Root) {
						parts = append(parts, privileges)
					}
					plan.Cells = append(plan.Cells, Cell{
						Name:       cellName(parts...),
						Source:     source,
						Series:     a.Series,
						Config:     config,
						Topology:   topology,
						Privileges: contract.Privileges(privileges),
						Guest:      a.Guest,
						Selection:  a.Select,
					})
				}
			}
		}
	}
	number(plan.Cells)
	return plan, nil
}

func (a Axes) privileges() []string {
	if len(a.Privileges) == 0 {
		return []string{string(contract.Root)}
	}
	return a.Privileges
}

func allPrivileges() []string {
	var all []string
	for _, p := range contract.AllPrivileges {
		all = append(all, string(p))
	}
	return all
}

var notInNames = regexp.MustCompile(`[^a-zA-Z0-9.,+_]+`)

func cellName(parts ...string) string {
	for i, p := range parts {
		parts[i] = strings.Trim(notInNames.ReplaceAllString(p, "-"), "-.")
	}
	return strings.Join(parts, "_")
}

// withSeries names a source with a series: by the last part of its path, which
// may be long.
func withSeries(source, series string) string {
	if series == "" {
		return source
	}
	const enough = 60
	name := path.Base(path.Clean(series))
	for _, ext := range []string{".patch", ".mbox", ".diff", ".eml"} {
		name = strings.TrimSuffix(name, ext)
	}
	return source + "+" + name[:min(len(name), enough)]
}

// number makes equal names differ: two sources can look alike in a file name.
func number(cells []Cell) {
	seen := make(map[string]int)
	for i := range cells {
		name := cells[i].Name
		seen[name]++
		if n := seen[name]; n > 1 {
			cells[i].Name = fmt.Sprintf("%s~%d", name, n)
		}
	}
}

func duplicate(values []string) string {
	sorted := slices.Sorted(slices.Values(values))
	for i := 1; i < len(sorted); i++ {
		if sorted[i] == sorted[i-1] {
			return sorted[i]
		}
	}
	return ""
}

// KselftestSuites are the directories of the kernel's own selftests that the
// farm builds.
func KselftestSuites() []string {
	var names []string
	for _, k := range contract.Kselftests {
		if !slices.Contains(names, k.Suite) {
			names = append(names, k.Suite)
		}
	}
	return names
}

// ContractSuites are the suites of the noiommu contract, in running order.
func ContractSuites() []string {
	var names []string
	for _, s := range contract.Statements {
		if !slices.Contains(names, s.Suite) {
			names = append(names, s.Suite)
		}
	}
	return names
}

func (s Selection) check() error {
	if s.Nightly && !s.everything() {
		return &fault.Usage{Key: "--nightly", Err: errors.New("adds to what runs by default: not with --core, --suite, --test or --program")}
	}
	var allowed []string
	if len(s.Suites) > 0 {
		allowed = append(ContractSuites(), KselftestSuites()...)
	}
	for _, name := range s.Suites {
		dir, program, ok := strings.Cut(name, "/")
		if ok && program != "" && slices.Contains(KselftestSuites(), dir) {
			continue // which programs there are, only the built tree knows
		}
		if !slices.Contains(allowed, name) {
			return &fault.Usage{Key: "--suite", Value: name, Allowed: append(allowed, "vfio/PROGRAM", "iommu/PROGRAM")}
		}
	}
	for _, id := range s.Tests {
		if _, ok := contract.ByID(id); !ok {
			return &fault.Usage{Key: "--test", Value: id, Allowed: StatementIDs()}
		}
	}
	return nil
}

// Statements are the contract's statements that the selection runs, in order.
func (s Selection) Statements() []contract.Statement {
	var chosen []contract.Statement
	for _, st := range contract.Statements {
		if s.runs(st) {
			chosen = append(chosen, st)
		}
	}
	return chosen
}

// runs says whether the selection runs a statement's test.
func (s Selection) runs(st contract.Statement) bool {
	return s.everything() && (!st.Nightly || s.Nightly) || s.Core && st.Core() ||
		slices.Contains(s.Tests, st.ID) || slices.Contains(s.Suites, st.Suite)
}

// Kselftest says whether the selection runs a kernel selftest, and whether it
// does even when the program is off by default.
func (s Selection) Kselftest(suite, program string) (run, evenOff bool) {
	if slices.Contains(s.Suites, suite+"/"+program) {
		return true, true
	}
	return s.everything() || slices.Contains(s.Suites, suite), s.everything() && s.Nightly
}

// everything says that nothing was selected, which is all that is on by
// default. What is selected adds up.
func (s Selection) everything() bool {
	return len(s.Suites) == 0 && len(s.Tests) == 0 && len(s.Programs) == 0 && !s.Core
}

// Hardware is what a machine is, in the words of the contract.
type Hardware struct {
	IOMMU         contract.IOMMUFacts
	Devices       []contract.Device // in BDF order
	MemoryAbove4G bool
}

// Facts is what the contract is to be judged by in this cell, given the kernel
// (whether it knows IOMMU_IOAS_NOIOMMU_GET_PA, and the facts of its
// configuration) and the machine.
func (c Cell) Facts(getPA bool, config contract.Config, hw Hardware) contract.Facts {
	return contract.Facts{
		Config:        config,
		GetPA:         getPA,
		UnsafeMode:    config.Noiommu,
		SRIOV:         slices.ContainsFunc(hw.Devices, func(d contract.Device) bool { return d.Model == "igb" }),
		IOMMU:         hw.IOMMU,
		Hugepages:     c.Hugepages,
		Hugepages1G:   c.Hugepages1G,
		MemoryAbove4G: hw.MemoryAbove4G,
		Host:          true,
		Privileges:    cmp.Or(c.Privileges, contract.Root),
		Devices:       hw.Devices,
	}
}

// StatementIDs are the names of the contract's statements that have a test.
func StatementIDs() []string {
	var ids []string
	for _, s := range contract.Statements {
		ids = append(ids, s.ID)
	}
	return ids
}
