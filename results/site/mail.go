// SPDX-License-Identifier: Apache-2.0

package site

import (
	"fmt"
	"io"
	"strings"
	"time"

	"noiommu-farm/results/report"
	"noiommu-farm/results/verdict"
)

// mailLines is how many lines stand before the table.
const mailLines = 10

// Mail writes a run as plain text: ten lines at most with what it came to and
// what changed, the worst first, then the table.
func Mail(w io.Writer, r *Run) error {
	changes := r.Changes()
	lines := []string{
		fmt.Sprintf("%s: run %s: %s in %s, %s", strings.ToUpper(string(r.Verdict)), r.ID, r.counts(), plural(len(r.Cells), "cell"), r.wall()),
		r.compared(changes),
	}
	for _, n := range r.Notes {
		lines = append(lines, "note: "+n)
	}
	told := changes
	if room := mailLines - len(lines); len(told) > room {
		told = told[:room-1]
	}
	for _, c := range told {
		lines = append(lines, c.line())
	}
	if n := len(changes) - len(told); n > 0 {
		lines = append(lines, fmt.Sprintf("… and %d more below", n))
	}
	for i, l := range lines {
		lines[i] = short(report.Clean(l), 160)
	}
	if _, err := io.WriteString(w, strings.Join(lines, "\n")+"\n"); err != nil {
		return err
	}
	if len(r.Cells) == 0 {
		return nil
	}
	return report.Table(w, r.Run, report.Style{})
}

// line is a change for a mail: "newly failing: fail (was pass) get_pa.PA-01 in 3 cells: reason".
func (c Change) line() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s", c.Kind, c.Now)
	if c.Was != "" {
		fmt.Fprintf(&b, " (was %s)", c.Was)
	}
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
		b.WriteString(" in " + c.Places[0].cellName)
	} else {
		fmt.Fprintf(&b, " in %d cells", n)
	}
	if c.Reason != "" {
		b.WriteString(": " + c.Reason)
	}
	return b.String()
}

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
	if strings.HasPrefix(test, suite+".") {
		return test
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
	return fmt.Sprintf("since run %s: %d newly failing, %d still failing, %d no longer tested, %d no longer failing",
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
