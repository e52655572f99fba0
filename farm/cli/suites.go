// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"noiommu-farm/farm/matrix"
	"noiommu-farm/farm/runner"
	"noiommu-farm/internal/fault"
	"noiommu-farm/kernels"
	"noiommu-farm/suites/contract"
)

type suitesCmd struct {
	Suite    []string `help:"Only these suites. May be a list." placeholder:"NAME"`
	Release  string   `help:"For a kernel of this release, as uname -r says it." default:"7.3.4" placeholder:"X.Y.Z"`
	Markdown bool     `help:"Print it as docs/coverage.md." xor:"form"`
	JSON     bool     `name:"json" help:"Print it as JSON." xor:"form"`
}

func (suitesCmd) Help() string {
	return `Every statement of the contract, the test that covers it, and what it asks of
each kernel profile on each machine: derived from the fragments of the profile
and from the machine by the same rules as a run derives it.

Examples:

  farm suites
  farm suites --suite get_pa,dma
  farm suites --release 6.12.0       what is asked of an older kernel`
}

// coverage is one statement and what it asks of each profile and machine.
type coverage struct {
	ID      string                            `json:"id"`
	Suite   string                            `json:"suite"`
	Promise string                            `json:"promise"`
	Source  []string                          `json:"source,omitempty"`
	Test    string                            `json:"test,omitempty"` // what covers it; "" with a reason
	Reason  string                            `json:"reason,omitempty"`
	Nightly bool                              `json:"nightly,omitempty"`
	Core    bool                              `json:"core,omitempty"`
	Duties  map[string]map[string]matrix.Duty `json:"duties,omitempty"` // profile → machine
}

func (c *suitesCmd) Run(s *surroundings) error {
	all, err := covered(c.Release)
	if err != nil {
		return err
	}
	suites := append([]string{kconfigSuite}, matrix.ContractSuites()...)
	for _, name := range c.Suite {
		if !slices.Contains(suites, name) {
			return &fault.Usage{Key: "--suite", Value: name, Allowed: suites}
		}
	}
	if len(c.Suite) > 0 {
		all = slices.DeleteFunc(all, func(r coverage) bool { return !slices.Contains(c.Suite, r.Suite) })
	}
	switch {
	case c.JSON:
		enc := json.NewEncoder(s.stdout)
		enc.SetIndent("", "  ")
		err = enc.Encode(all)
	case c.Markdown:
		err = writeMarkdown(s.stdout, all)
	default:
		err = writeCoverage(s.stdout, all)
	}
	if err != nil {
		return fmt.Errorf("write the table: %w", err)
	}
	return nil
}

// kconfigSuite is the suite that runs on the host.
const kconfigSuite = "kconfig"

// covered derives the table. The facts are those of the release given.
func covered(release string) ([]coverage, error) {
	facts := make(map[string]map[string]contract.Facts)
	for _, p := range matrix.Profiles {
		facts[p.Name] = make(map[string]contract.Facts)
		for _, m := range matrix.Machines {
			f, err := runner.Facts(m.Cell(p), release)
			if err != nil {
				return nil, fmt.Errorf("facts of %s on %s: %w", p.Name, m.Name, err)
			}
			facts[p.Name][m.Name] = f
		}
	}
	var all []coverage
	for _, k := range kernels.KconfigStatements() {
		all = append(all, coverage{ID: k.ID, Suite: kconfigSuite, Promise: k.Promise, Source: k.Source, Test: "farm kconfig", Core: contract.Core(k.ID)})
	}
	for _, st := range contract.Statements {
		row := coverage{
			ID: st.ID, Suite: st.Suite, Promise: st.Promise, Source: st.Source, Test: st.Name(), Nightly: st.Nightly,
			Core: st.Core(), Duties: make(map[string]map[string]matrix.Duty),
		}
		for _, p := range matrix.Profiles {
			row.Duties[p.Name] = make(map[string]matrix.Duty)
			for _, m := range matrix.Machines {
				row.Duties[p.Name][m.Name] = matrix.DutyOf(st, facts[p.Name][m.Name])
			}
		}
		all = append(all, row)
	}
	for _, e := range contract.ProvenElsewhere {
		all = append(all, coverage{ID: e.ID, Suite: e.Suite, Promise: e.Promise, Test: e.By, Reason: e.Reason, Core: contract.Core(e.ID)})
	}
	// In the contract's order of suites, and by number within one.
	slices.SortStableFunc(all, func(a, b coverage) int {
		if x, y := family(a.ID), family(b.ID); x != y {
			return x - y
		}
		return strings.Compare(a.ID, b.ID)
	})
	return all, nil
}

// families are the prefixes of statement ids, in the contract's order.
var families = []string{"KC", "ND", "GR", "CD", "IA", "PA", "DM", "IR", "PE", "LC", "CX", "IP", "TL", "ST"}

func family(id string) int {
	prefix, _, _ := strings.Cut(id, "-")
	return slices.Index(families, prefix)
}

// marks of a duty in a table of one letter a machine.
var marks = map[matrix.Duty]byte{matrix.MustPass: 'P', matrix.MustBeAbsent: '-', matrix.NotApplicable: '.'}

// grid is a row's duties, one group of letters a profile.
func (r coverage) grid() []string {
	var groups []string
	for _, p := range matrix.Profiles {
		letters := make([]byte, 0, len(matrix.Machines))
		for _, m := range matrix.Machines {
			letters = append(letters, marks[r.Duties[p.Name][m.Name]])
		}
		groups = append(groups, string(letters))
	}
	return groups
}

func (r coverage) where() string {
	switch {
	case r.Reason != "":
		return "not tested: " + r.Reason
	case r.Duties == nil:
		return "by " + r.Test
	}
	return ""
}

func tested(all []coverage) (n int) {
	for _, r := range all {
		if r.Test != "" {
			n++
		}
	}
	return n
}

func legend() string {
	var b strings.Builder
	b.WriteString("P must pass   - must be absent: the kernel's configuration lacks it, a pass is a failure   . not applicable on the machine\n")
	b.WriteString("In each group, machine by machine:\n")
	for i, m := range matrix.Machines {
		fmt.Fprintf(&b, "  %d  %-4s %s (--topology %s)\n", i+1, m.Name, m.Meaning, m.Topology)
	}
	return b.String()
}

func writeCoverage(w io.Writer, all []coverage) error {
	var b strings.Builder
	width := len(matrix.Machines)
	fmt.Fprintf(&b, "%-24s", "")
	for _, p := range matrix.Profiles {
		fmt.Fprintf(&b, " %-*s", width, p.Name)
	}
	b.WriteByte('\n')
	for _, r := range all {
		name := r.Suite + "." + r.ID
		if where := r.where(); where != "" {
			fmt.Fprintf(&b, "%-24s %s\n", name, where)
			continue
		}
		fmt.Fprintf(&b, "%-24s %s", name, strings.Join(r.grid(), " "))
		if r.Nightly {
			b.WriteString(" nightly")
		}
		b.WriteByte('\n')
	}
	fmt.Fprintf(&b, "\n%d statements, %d tested\n\n%s", len(all), tested(all), legend())
	_, err := io.WriteString(w, b.String())
	return err
}

func writeMarkdown(w io.Writer, all []coverage) error {
	var b strings.Builder
	b.WriteString("# What is tested where\n\nWritten by `farm suites --markdown`, and compared with it by a test. ")
	fmt.Fprintf(&b, "%d statements of the contract, %d with a test.\n\n", len(all), tested(all))
	b.WriteString("```\n" + legend() + "```\n\n")
	fmt.Fprintf(&b, "| statement | promise | test |")
	for _, p := range matrix.Profiles {
		fmt.Fprintf(&b, " %s |", p.Name)
	}
	b.WriteString("\n|---|---|---|" + strings.Repeat("---|", len(matrix.Profiles)) + "\n")
	for _, r := range all {
		test := "`" + r.Test + "`"
		if r.Reason != "" {
			test = "none: " + r.Reason
		}
		if r.Nightly {
			test += " (nightly)"
		}
		fmt.Fprintf(&b, "| %s | %s | %s |", r.ID, strings.ReplaceAll(r.Promise, "|", `\|`), test)
		for i := range matrix.Profiles {
			cell := ""
			if r.Duties != nil {
				cell = "`" + r.grid()[i] + "`"
			}
			fmt.Fprintf(&b, " %s |", cell)
		}
		b.WriteByte('\n')
	}
	_, err := io.WriteString(w, b.String())
	return err
}
