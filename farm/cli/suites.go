// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"noiommu-farm/farm/matrix"
	"noiommu-farm/farm/runner/meaning"
	"noiommu-farm/internal/fault"
	"noiommu-farm/kernels"
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

func (c *suitesCmd) Run(s *surroundings) error {
	all, err := covered(c.Release)
	if err != nil {
		return err
	}
	suites := append([]string{matrix.KconfigSuite}, matrix.ContractSuites()...)
	for _, name := range c.Suite {
		if !slices.Contains(suites, name) {
			return &fault.Usage{Key: "--suite", Value: name, Allowed: suites}
		}
	}
	if len(c.Suite) > 0 {
		all = slices.DeleteFunc(all, func(r matrix.Covered) bool { return !slices.Contains(c.Suite, r.Suite) })
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

// covered derives the table, for a kernel of that release.
func covered(release string) ([]matrix.Covered, error) {
	all, err := matrix.Coverage(meaning.Facts(release))
	if err != nil {
		return nil, err
	}
	return append(onHost(), all...), nil
}

// onHost are the statements of Kconfig, the first of the contract.
func onHost() []matrix.Covered {
	var all []matrix.Covered
	for _, k := range kernels.KconfigStatements() {
		all = append(all, matrix.Covered{ID: k.ID, Suite: matrix.KconfigSuite, Promise: k.Promise, Source: k.Source, Test: "farm kconfig", Core: true})
	}
	return all
}

// marks of a duty in a table of one letter a machine.
var marks = map[matrix.Duty]byte{matrix.MustPass: 'P', matrix.MustBeAbsent: '-', matrix.NotApplicable: '.'}

// grid is a row's duties, one group of letters a profile.
func grid(r matrix.Covered) []string {
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

func where(r matrix.Covered) string {
	switch {
	case r.Reason != "":
		return "not tested: " + r.Reason
	case r.Duties == nil:
		return "by " + r.Test
	}
	return ""
}

// counted says how many statements there are, and how many have a test.
func counted(all []matrix.Covered) string {
	var contract, tested, own int
	for _, r := range all {
		switch {
		case r.Own():
			own++
		case r.Test != "":
			tested++
			fallthrough
		default:
			contract++
		}
	}
	text := fmt.Sprintf("%d statements of the contract, %d with a test", contract, tested)
	if own > 0 {
		text += fmt.Sprintf("; %d more of the suites' own", own)
	}
	return text
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

func writeCoverage(w io.Writer, all []matrix.Covered) error {
	var b strings.Builder
	width := len(matrix.Machines)
	fmt.Fprintf(&b, "%-24s", "")
	for _, p := range matrix.Profiles {
		fmt.Fprintf(&b, " %-*s", width, p.Name)
	}
	b.WriteByte('\n')
	for _, r := range all {
		name := r.Suite + "." + r.ID
		if where := where(r); where != "" {
			fmt.Fprintf(&b, "%-24s %s\n", name, where)
			continue
		}
		fmt.Fprintf(&b, "%-24s %s", name, strings.Join(grid(r), " "))
		if r.Nightly {
			b.WriteString(" nightly")
		}
		if r.Finding != "" {
			b.WriteString(" expected to fail: " + r.Finding)
		}
		b.WriteByte('\n')
	}
	fmt.Fprintf(&b, "\n%s\n\n%s", counted(all), legend())
	_, err := io.WriteString(w, b.String())
	return err
}

func writeMarkdown(w io.Writer, all []matrix.Covered) error {
	var b strings.Builder
	b.WriteString("# What is tested where\n\nWritten by `farm suites --markdown`, and compared with it by a test. ")
	fmt.Fprintf(&b, "%s.\n\n", counted(all))
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
		if r.Finding != "" {
			test += " (expected to fail: finding " + r.Finding + ")"
		}
		fmt.Fprintf(&b, "| %s | %s | %s |", r.ID, strings.ReplaceAll(r.Promise, "|", `\|`), test)
		for i := range matrix.Profiles {
			cell := ""
			if r.Duties != nil {
				cell = "`" + grid(r)[i] + "`"
			}
			fmt.Fprintf(&b, " %s |", cell)
		}
		b.WriteByte('\n')
	}
	_, err := io.WriteString(w, b.String())
	return err
}
