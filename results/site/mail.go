// SPDX-License-Identifier: Apache-2.0

package site

import (
	"cmp"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"noiommu-farm/results/known"
	"noiommu-farm/results/report"
	"noiommu-farm/results/verdict"
	"noiommu-farm/suites/contract"
)

// The form of a mail: so many lines before its table, and so many columns. Only
// a command may be longer, which must stay whole.
const (
	mailLines   = 10
	mailColumns = 72
	maxMailed   = 40 // changes that are told at length
)

// Mail writes a run as plain text: ten lines at most with what it came to and
// what changed, the worst first, then a table of the cells, then each change at
// length. called is what "farm repro" is to call the run.
func Mail(w io.Writer, r *Run, called string) error {
	m := &mail{writer: &writer{Run: r, called: called, names: nameCells(r.Cells)}}
	changes := r.Changes()
	m.top(changes)
	m.cells()
	m.changes(changes)
	m.rest()
	_, err := io.WriteString(w, m.String())
	return err
}

// mail is the text of one.
type mail struct {
	strings.Builder
	*writer
}

// top are the first lines.
func (m *mail) top(changes []Change) {
	lines := []string{
		fmt.Sprintf("%s: run %s: %s, %s", strings.ToUpper(string(m.Verdict)), m.ID, plural(len(m.Cells), "cell"), m.wall()),
		m.counts().String(),
		m.compared(changes),
	}
	for _, n := range m.Notes {
		lines = append(lines, "note: "+n)
	}
	// There is always room to say what failed.
	lines = lines[:min(len(lines), mailLines-2)]
	told := changes
	if room := mailLines - len(lines); len(told) > room {
		told = told[:room-1]
	}
	for _, c := range told {
		lines = append(lines, c.line(m.names.whole))
	}
	if n := len(changes) - len(told); n > 0 {
		lines = append(lines, fmt.Sprintf("… and %d more below", n))
	}
	for _, l := range lines {
		if l != "" {
			m.WriteString(cut(report.Clean(short(l, 4*mailColumns)), mailColumns) + "\n")
		}
	}
}

// cells is the table: a line for each cell, what failed first.
func (m *mail) cells() {
	order := make([]int, len(m.Cells))
	wide := 0
	for i := range order {
		order[i] = i
		wide = max(wide, utf8.RuneCountInString(m.name(i)))
	}
	slices.SortStableFunc(order, func(a, b int) int {
		return cmp.Compare(severity[m.Cells[b].Verdict], severity[m.Cells[a].Verdict])
	})
	if len(order) > 0 {
		m.WriteString("\n")
	}
	for _, i := range order {
		c, name := m.Cells[i], m.name(i)
		name += strings.Repeat(" ", wide-utf8.RuneCountInString(name))
		line := fmt.Sprintf("%-7s  %s  %s", strings.ToUpper(string(c.Verdict)), name, report.Clean(short(c.Reasoned(), 4*mailColumns)))
		m.WriteString(cut(strings.TrimRight(line, " "), mailColumns) + "\n")
	}
}

// name is that of a cell in the table.
func (m *mail) name(i int) string {
	return cut(report.Clean(short(m.names.whole[i], 4*mailColumns)), mailColumns/2)
}

// changes tells each at length.
func (m *mail) changes(changes []Change) {
	kind := Kind(-1)
	for _, p := range m.problems(changes[:min(len(changes), maxMailed)], 6, 6) {
		if p.Kind != kind {
			m.WriteString("\n" + strings.ToUpper(p.Kind.String()) + "\n")
			kind = p.Kind
		}
		m.fold("", strings.TrimSpace(fmt.Sprintf("%s %s %s", p.Now, p.Names, wasOther(p.Change))))
		m.fold("    ", p.Reason)
		for _, at := range p.Where {
			text := at.Cell.Text + ":"
			for _, t := range at.Tests {
				text += " " + t.Text
			}
			if at.More > 0 {
				text += fmt.Sprintf(" and %d more", at.More)
			}
			m.fold("  in ", text)
		}
		if p.More > 0 {
			m.fold("  in ", plural(p.More, "cell")+" more")
		}
		m.fold("  ", p.Before)
		if p.Repro != "" {
			m.WriteString("  " + report.Clean(short(p.Repro, 4<<10)) + "\n")
		}
	}
	if n := len(changes) - maxMailed; n > 0 {
		fmt.Fprintf(m, "\n… and %d more in the report\n", n)
	}
}

// rest says what was not covered, and where all of it is.
func (m *mail) rest() {
	m.WriteString("\n")
	for _, k := range m.Known {
		if k.State == known.Expired || k.State == known.Stale {
			m.fold("", fmt.Sprintf("known issue %s of %s is %s: %s, until %s", k.Fingerprint, k.Test, k.State, k.Owner, k.Expires))
		}
	}
	m.fold("", fmt.Sprintf("%d of %d statements of the contract were shown to hold.", len(contract.Statements)-len(m.unproven()), len(contract.Statements)))
	m.WriteString("  farm repro " + report.Clean(m.called) + "\n")
	m.fold("", "Records: "+m.Dir)
}

// fold writes text in lines of a mail's width, each after an indent; nothing for
// no text.
func (m *mail) fold(indent, text string) {
	room := mailColumns - utf8.RuneCountInString(indent)
	for words := strings.Fields(report.Clean(short(text, 600))); len(words) > 0; {
		line := ""
		for len(words) > 0 {
			next := strings.TrimPrefix(line+" "+words[0], " ")
			if utf8.RuneCountInString(next) > room {
				if line != "" {
					break
				}
				// A word that is longer than a line.
				runes := []rune(next)
				next, words[0] = string(runes[:room]), string(runes[room:])
				line = next
				break
			}
			line, words = next, words[1:]
		}
		m.WriteString(indent + line + "\n")
		indent = strings.Repeat(" ", utf8.RuneCountInString(indent))
	}
}

// cut makes text so many columns wide at most.
func cut(text string, columns int) string {
	if utf8.RuneCountInString(text) <= columns {
		return text
	}
	return string([]rune(text)[:columns-1]) + "…"
}

// line is a change in a line of a mail, what matters most first:
// "NEW   fail get_pa.PA-01 in 3 cells, was pass: reason".
func (c Change) line(cells []string) string {
	var b strings.Builder
	if c.Kind != Failing || c.Was != "" {
		fmt.Fprintf(&b, "%-5s ", tags[c.Kind])
	}
	b.WriteString(string(c.Now))
	names := c.names()
	switch {
	case c.Programs() > 1:
		b.WriteString(" " + plural(c.Programs(), "program"))
	case len(names) == 1:
		b.WriteString(" " + names[0])
	case len(names) > 1:
		fmt.Fprintf(&b, " %s and %d more of %s", names[0], len(names)-1, c.Program)
	case c.Program != "":
		b.WriteString(" " + c.Program)
	}
	if n := c.Cells(); n == 1 {
		b.WriteString(" in " + cells[c.Places[0].cell])
	} else {
		fmt.Fprintf(&b, " in %d cells", n)
	}
	if was := wasOther(c); was != "" {
		b.WriteString(", " + was)
	}
	if c.Reason != "" {
		b.WriteString(": " + c.Reason)
	}
	return b.String()
}

// wasOther says what a change was before, where that is not what it is.
func wasOther(c Change) string {
	if c.Was == "" || c.Was == c.Now {
		return ""
	}
	return "was " + string(c.Was)
}

// tags are the kinds of changes in a mail.
var tags = map[Kind]string{Broken: "NEW", Failing: "still", Lost: "LOST", Fixed: "fixed"}

// names are the tests of a change, each once.
func (c Change) names() []string {
	seen := make(map[string]bool)
	var out []string
	for _, p := range c.Places {
		if name := fullName(p.programName, p.testName); p.testName != "" && !seen[name] {
			seen[name] = true
			out = append(out, name)
		}
	}
	return out
}

// fullName is what a test is called; one that does not name its program is
// named after it.
func fullName(program, test string) string {
	suite, _, _ := strings.Cut(program, "@")
	switch {
	case strings.HasPrefix(test, suite+"."):
		return test
	case strings.HasPrefix(test, path.Base(program)+"."): // of a kernel selftest
		return path.Join(path.Dir(program), test)
	}
	return program + "/" + test
}

// compared says in one line how the run stands to the one before it.
func (r *Run) compared(changes []Change) string {
	n := make(map[Kind]int)
	for _, c := range changes {
		n[c.Kind] += len(c.Places)
	}
	if r.Previous == nil {
		if n[Failing] == 0 {
			return "nothing is failing; there is no earlier run of the same command"
		}
		return fmt.Sprintf("%d failing; there is no earlier run of the same command", n[Failing])
	}
	return fmt.Sprintf("since run %s: %d new, %d still failing, %d lost, %d fixed",
		r.Previous.ID, n[Broken], n[Failing], n[Lost], n[Fixed])
}

func (r *Run) counts() verdict.Counts {
	sum := make(verdict.Counts)
	for _, c := range r.Cells {
		for v, n := range c.Counts() {
			sum[v] += n
		}
	}
	return sum
}

// wall is how long the cells took one after the other.
func (r *Run) wall() string {
	var sum time.Duration
	for _, c := range r.Cells {
		sum += c.Wall
	}
	return spent(sum) + " of guests"
}

func spent(d time.Duration) string {
	switch {
	case d <= 0:
		return ""
	case d < 10*time.Second:
		return d.Round(10 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}

func plural(n int, of string) string {
	if n == 1 {
		return "1 " + of
	}
	return fmt.Sprintf("%d %ss", n, of)
}

// short cuts text to so many bytes, at a rune, and says how many it cut.
func short(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	cut := limit
	for cut > 0 && s[cut]&0xc0 == 0x80 {
		cut--
	}
	return fmt.Sprintf("%s… (%d bytes more)", s[:cut], len(s)-cut)
}
