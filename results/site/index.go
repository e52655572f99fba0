// SPDX-License-Identifier: Apache-2.0

package site

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"noiommu-farm/results/verdict"
	"noiommu-farm/suites/contract"
)

// What the first page shows of what may be many; the rest has a page of its own.
const (
	maxProblems = 60
	maxCells    = 24 // of a problem
	maxTests    = 12 // of a problem in a cell
)

// field is one field of a grid.
type field struct {
	Verdict verdict.Verdict // empty where nothing was planned
	To      string
	Text    string // beside the letter
	About   string // for a pointer and a screen reader
}

type row struct {
	Name   string
	Words  string // what a filter finds besides what is shown
	Fields []field
}

// problem is a change as a page shows it.
type problem struct {
	Change
	Names string
	Where []where
	More  int // cells left out
	Repro string
}

type where struct {
	Cell  link
	Tests []link
	More  int
}

// reason is why something was not tested, and where.
type reason struct {
	Name, Why string
	Where     []link
	More, N   int
	Finding   contract.Finding // why it must fail; the zero value where nothing says so
}

type slow struct {
	Cell, Program link
	Wall          time.Duration
}

type indexBody struct {
	Counts   []field
	Compared string
	Wall     string
	Columns  []link
	Rows     []row
	Verdicts []field
	Problems []problem
	More     int
	Expected []reason
	NotRun   []reason
	Skipped  []reason
	Slowest  []slow
	Started  string
	Command  string
	Repro    string
}

func (w *writer) index() error {
	changes := w.Changes()
	b := indexBody{
		Compared: w.compared(changes), Wall: w.wall(),
		Started: w.Started.UTC().Format("2006-01-02 15:04:05 UTC"), Command: command(slices.Clone(w.Command)...),
		Repro: command("farm", "repro", w.repro),
	}
	counts := w.counts()
	for _, v := range []verdict.Verdict{verdict.Crash, verdict.Timeout, verdict.Fail, verdict.Infra, verdict.XFail, verdict.Pass, verdict.Skip} {
		if counts[v] > 0 {
			b.Counts = append(b.Counts, field{Verdict: v, Text: fmt.Sprint(counts[v])})
		}
	}
	for i, c := range w.Cells {
		b.Columns = append(b.Columns, link{w.names[i], cellDir(i) + "index.html"})
		b.Verdicts = append(b.Verdicts, field{Verdict: c.Verdict, To: cellDir(i) + "index.html", About: w.names[i] + ": " + c.Reasoned()})
	}
	b.Rows = w.programs()
	if len(changes) > maxProblems {
		b.More = len(changes) - maxProblems
		if err := w.write("failures", "failures.html", "All changes", []link{{"All that fails or changed", ""}}, w.problems(changes, 400, 400)); err != nil {
			return err
		}
		changes = changes[:maxProblems]
	}
	b.Problems = w.problems(changes, maxCells, maxTests)
	w.untested(&b)
	for i, c := range w.Cells {
		for j, p := range c.Programs {
			b.Slowest = append(b.Slowest, slow{link{w.names[i], cellDir(i) + "index.html"}, link{p.Name, cellDir(i) + programPage(j, 0)}, p.Wall})
		}
	}
	slices.SortStableFunc(b.Slowest, func(a, b slow) int { return cmp.Compare(b.Wall, a.Wall) })
	b.Slowest = b.Slowest[:min(10, len(b.Slowest))]
	return w.write("index", "index.html", "Run "+w.ID, nil, b)
}

// programs is the matrix: a row for each program, a column for each cell.
func (w *writer) programs() []row {
	at := make(map[string]int)
	var rows []row
	find := func(name string) int {
		i, ok := at[name]
		if !ok {
			i = len(rows)
			at[name] = i
			rows = append(rows, row{Name: name, Fields: make([]field, len(w.Cells))})
		}
		return i
	}
	for i, c := range w.Cells {
		for j, p := range c.Programs {
			n := p.Counts()
			text := ""
			switch {
			case len(w.Cells) > 12: // there is no room
			case !p.Verdict.Good():
				text = fmt.Sprint(n[verdict.Fail] + n[verdict.Timeout] + n[verdict.Crash] + n[verdict.Infra])
			case n[verdict.Pass] > 0:
				text = fmt.Sprint(n[verdict.Pass])
			}
			row := &rows[find(p.Name)]
			row.Fields[i] = field{p.Verdict, cellDir(i) + programPage(j, 0), text, fmt.Sprintf("%s in %s: %s: %s", p.Name, w.names[i], p.Verdict, n)}
			row.Words += " " + string(p.Verdict)
		}
		for _, a := range c.Absent {
			row := &rows[find(a.Name)]
			if row.Fields[i].Verdict == "" {
				row.Fields[i] = field{"none", "", "", fmt.Sprintf("%s in %s: not run: %s", a.Name, w.names[i], a.Reason)}
			}
		}
	}
	return rows
}

// problems shows changes with at most so many cells, and tests in each.
func (w *writer) problems(changes []Change, cells, tests int) []problem {
	out := make([]problem, len(changes))
	for i, c := range changes {
		out[i] = problem{Change: c}
		if first := c.Places[0]; c.Now != gone {
			out[i].Repro = w.reproOf(first)
		}
		names := c.names()
		out[i].Names = c.Program
		if len(names) == 1 {
			out[i].Names = names[0]
		} else if len(names) > 1 {
			out[i].Names = fmt.Sprintf("%s: %d tests", c.Program, len(names))
		}
		for _, p := range c.Places {
			last := len(out[i].Where) - 1
			if last < 0 || out[i].Where[last].Cell.To != cellDir(p.cell)+"index.html" {
				if last+1 == cells {
					out[i].More = c.Cells() - cells
					break
				}
				out[i].Where = append(out[i].Where, where{Cell: link{w.names[p.cell], cellDir(p.cell) + "index.html"}})
				last++
			}
			at := &out[i].Where[last]
			if len(at.Tests) == tests {
				at.More++
				continue
			}
			name := p.testName
			switch {
			case name != "":
			case p.program >= 0:
				name = "the program"
			default:
				name = "the cell"
			}
			to := p.To()
			if c.Now == gone {
				to = ""
			}
			at.Tests = append(at.Tests, link{name, to})
		}
	}
	return out
}

// untested collects what was expected to fail, not run, or skipped.
func (w *writer) untested(b *indexBody) {
	type key struct{ name, why string }
	collect := func(list *[]reason, at map[key]int, name, why string, l link) int {
		k := key{name, why}
		i, ok := at[k]
		if !ok {
			i = len(*list)
			at[k] = i
			*list = append(*list, reason{Name: name, Why: why})
		}
		r := &(*list)[i]
		r.N++
		if len(r.Where) < maxCells {
			r.Where = append(r.Where, l)
		} else {
			r.More++
		}
		return i
	}
	expected, absent, skipped := make(map[key]int), make(map[key]int), make(map[key]int)
	for i, c := range w.Cells {
		for _, a := range c.Absent {
			collect(&b.NotRun, absent, a.Name, a.Reason, link{w.names[i], cellDir(i) + "index.html"})
		}
		if w.records[i] == nil {
			collect(&b.NotRun, absent, "the whole cell", c.Reason, link{w.names[i], cellDir(i) + "index.html"})
		}
		for j, p := range c.Programs {
			if why, ok := strings.CutPrefix(p.Reason, "not run: "); ok {
				collect(&b.NotRun, absent, p.Name, why, link{w.names[i], cellDir(i) + programPage(j, 0)})
			}
			for k, t := range p.Tests {
				to := cellDir(i) + testAnchor(j, k)
				switch t.Verdict {
				case verdict.XFail:
					name := Change{Program: p.Name, Places: []place{{testName: t.Name}}}.names()
					at := collect(&b.Expected, expected, append(name, p.Name)[0], t.Reason, link{w.names[i], to})
					if t.Finding != nil {
						b.Expected[at].Finding = *t.Finding
					}
				case verdict.Skip:
					collect(&b.Skipped, skipped, "", t.Reason, link{t.Name + " in " + w.names[i], to})
				}
			}
		}
	}
	slices.SortStableFunc(b.Skipped, func(a, b reason) int { return cmp.Compare(b.N, a.N) })
	if len(b.Skipped) > maxProblems {
		b.Skipped = b.Skipped[:maxProblems] // each test's own page has its reason
	}
}

// tests is the matrix of every test.
func (w *writer) tests() error {
	type name struct {
		program, test string
		nth           int
	}
	at := make(map[name]int)
	var rows []row
	for i, c := range w.Cells {
		seen := make(map[name]int)
		for j, p := range c.Programs {
			for k, t := range p.Tests {
				n := name{p.Name, t.Name, 0}
				seen[n]++
				n.nth = seen[n]
				r, ok := at[n]
				if !ok {
					r = len(rows)
					at[n] = r
					title := append(Change{Program: p.Name, Places: []place{{testName: t.Name}}}.names(), p.Name)[0]
					rows = append(rows, row{Name: title, Fields: make([]field, len(w.Cells))})
				}
				rows[r].Fields[i] = field{Verdict: t.Verdict, To: cellDir(i) + testAnchor(j, k)}
			}
		}
	}
	for i := range rows {
		var words []string
		for _, f := range rows[i].Fields {
			if f.Verdict != "" && !slices.Contains(words, string(f.Verdict)) {
				words = append(words, string(f.Verdict))
			}
		}
		slices.Sort(words)
		rows[i].Words = fmt.Sprint(words)
	}
	// What a reader looks for first stands first.
	bad := func(r row) int {
		worst := 0
		for _, f := range r.Fields {
			worst = max(worst, severity[f.Verdict])
		}
		return worst
	}
	slices.SortStableFunc(rows, func(a, b row) int { return cmp.Compare(bad(b), bad(a)) })
	body := indexBody{Rows: rows}
	for i := range w.Cells {
		body.Columns = append(body.Columns, link{w.names[i], cellDir(i) + "index.html"})
	}
	return w.write("tests", "tests.html", "Every test", []link{{"Every test", ""}}, body)
}

// reproOf is the command that has a result again; empty where nothing is
// recorded of its cell.
func (w *writer) reproOf(p place) string {
	c := w.Cells[p.cell]
	if w.records[p.cell] == nil {
		return ""
	}
	spec := w.repro + "/" + c.Name
	switch {
	case p.program < 0:
		spec += "/boot"
	default:
		program, test := c.Programs[p.program].Name, ""
		if p.test >= 0 {
			test = c.Programs[p.program].Tests[p.test].Name
		}
		spec += "/" + reproName(program, test)
	}
	return command("farm", "repro", spec)
}
