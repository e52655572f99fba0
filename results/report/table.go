// SPDX-License-Identifier: Apache-2.0

package report

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"noiommu-farm/results/verdict"
	"noiommu-farm/suites/contract"
)

// Style says how a table may look.
type Style struct {
	Color bool
	All   bool // every test, not only those that are not as expected
}

// Table writes a run for a person: a row for each program and a column for
// each cell, what is not as expected with its reason, and what was not run.
func Table(w io.Writer, r Run, s Style) error {
	var b strings.Builder
	s.heading(&b, r)
	s.grid(&b, r.Cells)
	if s.All {
		s.every(&b, r.Cells)
	}
	s.unexpected(&b, r.Cells)
	s.expected(&b, r.Cells)
	s.known(&b, r.Known)
	s.absent(&b, r.Cells)
	s.summary(&b, r)
	_, err := io.WriteString(w, b.String())
	return err
}

func (s Style) heading(b *strings.Builder, r Run) {
	fmt.Fprintf(b, "\nrun %s\n", r.ID)
	var seen []string
	for _, c := range r.Cells {
		if c.Kernel.Source == "" {
			continue
		}
		line := fmt.Sprintf("Linux %s (%s), configuration %s, %s, QEMU %s with %s",
			c.Kernel.Release, source(c), c.Kernel.Config, c.Kernel.Compiler, c.Machine.QEMU, strings.ToUpper(c.Machine.Accel))
		if !slices.Contains(seen, line) {
			seen = append(seen, line)
			fmt.Fprintln(b, Clean(line))
		}
	}
	fmt.Fprintln(b)
}

// source is what a cell's kernel was made from, with its series.
func source(c *verdict.Cell) string {
	if c.Kernel.Series == "" {
		return c.Kernel.Source
	}
	return c.Kernel.Source + " with " + c.Kernel.Series
}

// Columns names the cells by what tells them apart; a cell of which nothing is
// known but its name, by that.
func Columns(cells []*verdict.Cell) []string {
	if len(cells) == 0 {
		return nil
	}
	names := make([]string, len(cells))
	parts := []func(*verdict.Cell) string{
		source,
		func(c *verdict.Cell) string { return c.Kernel.Config },
		func(c *verdict.Cell) string { return "IOMMU " + c.Machine.Topology },
		func(c *verdict.Cell) string { return string(cmp.Or(c.Machine.Privileges, contract.Root)) },
	}
	const always = 2 // the topology
	for i, part := range parts {
		differs := i == always || part(cells[0]) != string(contract.Root) && i == always+1
		for _, c := range cells {
			differs = differs || part(c) != part(cells[0])
		}
		for j, c := range cells {
			if differs {
				names[j] = strings.TrimSpace(names[j] + " " + part(c))
			}
		}
	}
	for j, c := range cells {
		if c.Kernel.Source == "" {
			names[j] = c.Name
		}
	}
	return names
}

func (s Style) grid(b *strings.Builder, cells []*verdict.Cell) {
	var rows []string // names of programs, in order of appearance
	for _, c := range cells {
		for _, p := range c.Programs {
			if !slices.Contains(rows, p.Name) {
				rows = append(rows, p.Name)
			}
		}
		for _, a := range c.Absent {
			if !slices.Contains(rows, a.Name) {
				rows = append(rows, a.Name)
			}
		}
	}
	table := [][]field{{plain("")}}
	for _, name := range Columns(cells) {
		table[0] = append(table[0], plain(Clean(name)))
	}
	for _, name := range rows {
		row := []field{plain("  " + Clean(name))}
		for _, c := range cells {
			row = append(row, s.programField(c, name))
		}
		table = append(table, row)
	}
	if slices.ContainsFunc(cells, func(c *verdict.Cell) bool {
		return c.Guests != verdict.Guests{Booted: 1} && c.Guests != verdict.Guests{}
	}) {
		row := []field{plain("guests")}
		for _, c := range cells {
			row = append(row, plain(c.Guests.String()))
		}
		table = append(table, row)
	}
	last := []field{plain("verdict")}
	for _, c := range cells {
		last = append(last, field{strings.ToUpper(string(c.Verdict)), s.color(c.Verdict)})
	}
	writeTable(b, append(table, last))
	for i, name := range Columns(cells) {
		if why := cells[i].Guests.Why; why != "" {
			fmt.Fprintf(b, "\n%s: a guest was booted for every suite: it cannot be saved: %s\n", Clean(name), Clean(why))
		}
	}
}

func (s Style) programField(c *verdict.Cell, name string) field {
	for _, p := range c.Programs {
		if p.Name == name {
			text := p.Counts().String()
			if !p.Verdict.Good() && p.Counts()[p.Verdict] == 0 {
				text = strings.TrimSpace(text + " " + strings.ToUpper(string(p.Verdict)))
			}
			return field{text, s.color(p.Verdict)}
		}
	}
	for _, a := range c.Absent {
		if a.Name == name {
			return field{"not run", s.color(verdict.Skip)}
		}
	}
	return plain("")
}

func (s Style) every(b *strings.Builder, cells []*verdict.Cell) {
	for i, name := range Columns(cells) {
		fmt.Fprintf(b, "\n%s\n", Clean(name))
		for _, p := range cells[i].Programs {
			for _, t := range p.Tests {
				fmt.Fprintf(b, "  %s %s", s.paint(t.Verdict, fmt.Sprintf("%-7s", t.Verdict)), Clean(testName(p, t)))
				if t.Verdict == verdict.Skip {
					fmt.Fprintf(b, " (%s)", Clean(t.Reason))
				}
				fmt.Fprintln(b)
			}
		}
	}
}

// testName names the program too, where the test's own name does not.
func testName(p verdict.Program, t verdict.Test) string {
	suite, _, _ := strings.Cut(p.Name, "@")
	if strings.HasPrefix(t.Name, suite+".") {
		return t.Name
	}
	return p.Name + " " + t.Name
}

// maxComplaints bounds what is printed of one program: the rest is in the
// files.
const maxComplaints = 12

func (s Style) unexpected(b *strings.Builder, cells []*verdict.Cell) {
	for i, name := range Columns(cells) {
		c := cells[i]
		if c.Verdict.Good() {
			continue
		}
		fmt.Fprintf(b, "\n%s: %s", Clean(name), s.paint(c.Verdict, strings.ToUpper(string(c.Verdict))))
		if c.Reason != "" {
			fmt.Fprintf(b, ": %s", Clean(c.Reason))
		}
		fmt.Fprintln(b)
		for _, p := range c.Programs {
			told := 0
			for _, t := range p.Tests {
				if t.Verdict.Good() || t.Reason == p.Reason && strings.HasPrefix(p.Reason, "not run: ") {
					continue
				}
				if told++; told > maxComplaints {
					continue
				}
				fmt.Fprintf(b, "  %s %s\n", s.paint(t.Verdict, string(t.Verdict)), Clean(testName(p, t)))
				fmt.Fprintf(b, "      %s\n", Clean(t.Reason))
			}
			if told > maxComplaints {
				fmt.Fprintf(b, "      … and %d more\n", told-maxComplaints)
			}
			if p.Reason != "" {
				fmt.Fprintf(b, "  %s %s\n      %s\n", s.paint(p.Verdict, string(p.Verdict)), Clean(p.Name), Clean(p.Reason))
			}
		}
		for _, f := range c.Findings {
			fmt.Fprintf(b, "  console line %d: %s\n", f.First, Clean(f.Title))
		}
		for _, line := range c.Tail {
			fmt.Fprintf(b, "  | %s\n", Clean(line))
		}
		fmt.Fprintf(b, "  console %s/console.log, QEMU command %s/qemu.sh\n", c.Dir, c.Dir)
		if c.Guests.Booted+c.Guests.Restored > 1 {
			fmt.Fprintf(b, "  consoles of the other guests %s/guests\n", c.Dir)
		}
	}
}

// expected lists the failures that are expected because of a finding.
func (s Style) expected(b *strings.Builder, cells []*verdict.Cell) {
	where := make(map[contract.Finding][]string)
	var all []contract.Finding
	for i, name := range Columns(cells) {
		for _, p := range cells[i].Programs {
			for _, t := range p.Tests {
				if t.Verdict != verdict.XFail || t.Finding == nil {
					continue
				}
				f := *t.Finding
				f.Test = testName(p, t)
				if where[f] == nil {
					all = append(all, f)
				}
				where[f] = append(where[f], name)
			}
		}
	}
	if len(all) == 0 {
		return
	}
	fmt.Fprintln(b, "\nexpected failures:")
	for _, f := range all {
		fmt.Fprintf(b, "  %s (%s), finding %s, until %s\n      %s\n      %s\n", Clean(f.Test), Clean(strings.Join(where[f], ", ")),
			Clean(f.ID), Clean(f.Expires), Clean(f.Reason), Clean(f.Link))
	}
}

func (s Style) absent(b *strings.Builder, cells []*verdict.Cell) {
	type why struct{ name, reason string }
	where := make(map[why][]string)
	var all []why
	names := Columns(cells)
	for i, c := range cells {
		for _, a := range c.Absent {
			k := why{a.Name, a.Reason}
			if where[k] == nil {
				all = append(all, k)
			}
			where[k] = append(where[k], names[i])
		}
	}
	if len(all) == 0 {
		return
	}
	fmt.Fprintln(b, "\nnot run:")
	for _, k := range all {
		fmt.Fprintf(b, "  %s (%s): %s\n", Clean(k.name), Clean(strings.Join(where[k], ", ")), Clean(k.reason))
	}
}

func (s Style) summary(b *strings.Builder, r Run) {
	sum := make(verdict.Counts)
	var wall time.Duration
	for _, c := range r.Cells {
		for v, n := range c.Counts() {
			sum[v] += n
		}
		wall = max(wall, c.Wall)
	}
	cells := "1 cell"
	if n := len(r.Cells); n != 1 {
		cells = fmt.Sprintf("%d cells", n)
	}
	fmt.Fprintf(b, "\n%s: %s in %s, the longest %s\n", s.paint(r.Verdict, strings.ToUpper(string(r.Verdict))),
		sum, cells, wall.Round(100*time.Millisecond))
	if n := len(r.Left); n > 0 {
		fmt.Fprintf(b, "%d more were not run for want of time\n", n)
	}
	fmt.Fprintf(b, "results in %s\n", r.Dir)
}

// field is a table field; color is an escape sequence or empty.
type field struct{ text, color string }

func plain(text string) field { return field{text: text} }

func writeTable(b *strings.Builder, rows [][]field) {
	var widths []int
	for _, row := range rows {
		for i, f := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(f.text))
		}
	}
	for _, row := range rows {
		var line strings.Builder
		for i, f := range row {
			pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(f.text)+2)
			if f.color != "" && f.text != "" {
				line.WriteString(f.color + f.text + reset + pad)
			} else {
				line.WriteString(f.text + pad)
			}
		}
		fmt.Fprintln(b, strings.TrimRight(line.String(), " "))
	}
}

const reset = "\x1b[0m"

func (s Style) color(v verdict.Verdict) string {
	if !s.Color {
		return ""
	}
	switch {
	case v == verdict.Skip:
		return "\x1b[2m"
	case v.Good():
		return "\x1b[32m"
	case v == verdict.Infra:
		return "\x1b[33m"
	}
	return "\x1b[31;1m"
}

func (s Style) paint(v verdict.Verdict, text string) string {
	if c := s.color(v); c != "" {
		return c + text + reset
	}
	return text
}
