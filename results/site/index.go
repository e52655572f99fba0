// SPDX-License-Identifier: Apache-2.0

package site

import (
	"cmp"
	"fmt"
	"html/template"
	"slices"
	"strings"
	"time"

	"noiommu-farm/results/verdict"
	"noiommu-farm/suites/contract"
)

// What the first page shows of what may be many; the rest has a page of its own.
const (
	topProblems = 10 // above the matrix
	// A matrix of so many columns stands beside them.
	besideColumns = 6
	maxProblems   = 60
	maxCells      = 24 // of a problem
	maxTests      = 12 // of a problem in a cell
)

// field is one field of a grid.
type field struct {
	Verdict verdict.Verdict // empty where nothing was planned
	To      string
	Text    string // beside the letter
	About   string // for a pointer and a screen reader
}

// group is a heading above so many columns.
type group struct {
	Name string
	N    int
}

type row struct {
	Name    string
	Program string // of a test
	Words   string // what a filter finds besides what is shown
	Fields  []field
}

// problem is a change as a page shows it.
type problem struct {
	Change
	Names   string
	Words   string // what a filter finds besides what is shown
	Where   []where
	More    int // cells left out
	Past    template.HTML
	Before  string // the same in words
	Repro   string
	Capsule string
}

// In is where it is, in a few words.
func (p problem) In() string {
	if n := p.Change.Cells(); n > 1 || len(p.Where) == 0 {
		return plural(n, "cell")
	}
	return p.Where[0].Cell.Text
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
	Past          template.HTML
}

// grid is a table of verdicts.
type grid struct {
	Groups   []group // of columns
	Across   string  // what the columns are
	Columns  []link
	Rows     []row
	Verdicts []field // below each column
	Numbers  bool    // there is room for them
	Going    bool    // some of it is still to come
}

type indexBody struct {
	Counts   []field
	Compared string
	Wall     string
	Matrix   *grid // cells by kernel and machine, where there are many
	Beside   bool  // there is room for it beside the changes
	Programs grid
	Problems []problem // the first ones
	Rest     []problem
	More     int
	All      int // changes
	Unproven []statement
	Proven   int
	Contract int // statements with a test
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
		Repro: command("farm", "repro", w.called),
	}
	counts := w.counts()
	for _, v := range []verdict.Verdict{verdict.Crash, verdict.Timeout, verdict.Fail, verdict.Infra, verdict.XFail, verdict.Pass, verdict.Skip} {
		if counts[v] > 0 {
			b.Counts = append(b.Counts, field{Verdict: v, Text: fmt.Sprint(counts[v])})
		}
	}
	b.Programs = w.columns()
	b.Programs.Rows = w.programs()
	for i, c := range w.Cells {
		b.Programs.Verdicts = append(b.Programs.Verdicts, field{Verdict: c.Verdict, To: cellDir(i) + "index.html", About: w.names.whole[i] + ": " + c.Reasoned()})
	}
	if len(w.Cells) > fewCells {
		b.Matrix = w.cellGrid()
	}
	first := b.Matrix
	if first == nil {
		first = &b.Programs
	}
	b.Beside = len(first.Columns) <= besideColumns && len(changes) > 0
	b.All = len(changes)
	if len(changes) > maxProblems {
		b.More = len(changes) - maxProblems
		if err := w.write("failures", "failures.html", "All changes", []link{{"All that fails or changed", ""}}, w.problems(changes, 400, 400)); err != nil {
			return err
		}
		changes = changes[:maxProblems]
	}
	b.Problems = w.problems(changes, maxCells, maxTests)
	if len(b.Problems) > topProblems {
		b.Problems, b.Rest = b.Problems[:topProblems], b.Problems[topProblems:]
	}
	w.untested(&b)
	b.Unproven, b.Contract = w.unproven(), len(contract.Statements)
	b.Proven = b.Contract - len(b.Unproven)
	for i, c := range w.Cells {
		for j, p := range c.Programs {
			if p.Wall == 0 { // it did not run, or has not ended
				continue
			}
			b.Slowest = append(b.Slowest, slow{link{w.names.whole[i], cellDir(i) + "index.html"}, link{p.Name, cellDir(i) + programPage(j, 0)}, p.Wall, ""})
		}
	}
	slices.SortStableFunc(b.Slowest, func(a, b slow) int { return cmp.Compare(b.Wall, a.Wall) })
	b.Slowest = b.Slowest[:min(10, len(b.Slowest))]
	for i, one := range b.Slowest {
		cell := w.Cells[slices.Index(w.names.whole, one.Cell.Text)].Name
		b.Slowest[i].Past = drawnWalls(w.history.Walls(cell, one.Program.Text), one.Wall)
	}
	return w.write("index", "index.html", "Run "+w.ID, nil, b)
}

// columns is a grid with a column for each cell, below its kernel.
func (w *writer) columns() grid {
	g := grid{Across: "IOMMU", Numbers: len(w.Cells) <= fewCells, Going: w.Going != ""}
	for i := range w.Cells {
		g.Columns = append(g.Columns, link{w.names.machine[i], cellDir(i) + "index.html"})
		if last := len(g.Groups) - 1; last >= 0 && g.Groups[last].Name == w.names.kernel[i] {
			g.Groups[last].N++
		} else {
			g.Groups = append(g.Groups, group{w.names.kernel[i], 1})
		}
	}
	if len(g.Groups) == 1 && g.Groups[0].Name == "" {
		g.Groups = nil
	}
	return g
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
			if len(w.Cells) <= fewCells {
				text = numbers(p.Verdict, n)
			}
			row := &rows[find(p.Name)]
			row.Fields[i] = field{p.Verdict, cellDir(i) + programPage(j, 0), text, fmt.Sprintf("%s in %s: %s: %s", p.Name, w.names.whole[i], p.Verdict, n)}
			row.Words += " " + string(p.Verdict)
		}
		for _, a := range c.Absent {
			row := &rows[find(a.Name)]
			if row.Fields[i].Verdict == "" {
				row.Fields[i] = field{"none", "", "", fmt.Sprintf("%s in %s: not run: %s", a.Name, w.names.whole[i], a.Reason)}
			}
		}
	}
	worstFirst(rows)
	return rows
}

// worstFirst puts first what a reader looks for first.
func worstFirst(rows []row) {
	slices.SortStableFunc(rows, func(a, b row) int { return cmp.Compare(worst(b), worst(a)) })
}

// worst is the severity of what is worst in a row; 0 where all is as expected.
func worst(r row) int {
	worst := 0
	for _, f := range r.Fields {
		worst = max(worst, severity[f.Verdict])
	}
	return worst
}

// problems shows changes with at most so many cells, and tests in each.
func (w *writer) problems(changes []Change, cells, tests int) []problem {
	out := make([]problem, len(changes))
	for i, c := range changes {
		out[i] = problem{Change: c}
		first := c.Places[0]
		if c.Now != gone {
			spec := w.spec(first)
			out[i].Repro, out[i].Capsule = w.repro(spec), w.capsule(spec)
			out[i].Past, out[i].Before = w.past(c.Now, first.cellName, first.programName, first.testName)
		}
		out[i].Words = strings.Join([]string{c.Kind.String(), string(c.Now)}, " ")
		names := c.names()
		out[i].Names = c.Program
		switch {
		case c.Programs() > 1:
			out[i].Names = plural(c.Programs(), "program")
		case len(names) == 1:
			out[i].Names = names[0]
		case len(names) > 1:
			out[i].Names = fmt.Sprintf("%s: %d tests", c.Program, len(names))
		}
		for _, p := range c.Places {
			last := len(out[i].Where) - 1
			if last < 0 || out[i].Where[last].Cell.To != cellDir(p.cell)+"index.html" {
				if last+1 == cells {
					out[i].More = c.Cells() - cells
					break
				}
				out[i].Where = append(out[i].Where, where{Cell: link{w.names.whole[p.cell], cellDir(p.cell) + "index.html"}})
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
			case p.programName != "":
				name = p.programName
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

// testsBody are the tests that are somewhere not as expected, and all others by
// program: folded away, a browser need not lay them out.
type testsBody struct {
	Bad  grid
	Good []programTests
}

type programTests struct {
	Program string
	grid
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
					rows = append(rows, row{Name: fullName(p.Name, t.Name), Program: p.Name, Fields: make([]field, len(w.Cells))})
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
		rows[i].Words = strings.Join(words, " ")
	}
	worstFirst(rows)
	bad := 0
	for bad < len(rows) && worst(rows[bad]) > 0 {
		bad++
	}
	body := testsBody{Bad: w.columns()}
	body.Bad.Rows = rows[:bad]
	for _, r := range rows[bad:] {
		i := slices.IndexFunc(body.Good, func(p programTests) bool { return p.Program == r.Program })
		if i < 0 {
			i = len(body.Good)
			body.Good = append(body.Good, programTests{Program: r.Program, grid: w.columns()})
		}
		body.Good[i].Rows = append(body.Good[i].Rows, r)
	}
	return w.write("tests", "tests.html", "Every test", []link{{"Every test", ""}}, body)
}

// spec is what "farm repro" and "farm capsule" call a result; empty where
// nothing is recorded of its cell.
func (w *writer) spec(p place) string {
	c := w.Cells[p.cell]
	if w.records[p.cell] == nil {
		return ""
	}
	spec := w.called + "/" + c.Name
	if p.program < 0 {
		return spec + "/boot"
	}
	test := ""
	if p.test >= 0 {
		test = c.Programs[p.program].Tests[p.test].Name
	}
	return spec + "/" + reproName(c.Programs[p.program].Name, test)
}

// repro is the command that has a result again, capsule the one that packs it.
func (w *writer) repro(spec string) string   { return commandOn("repro", spec) }
func (w *writer) capsule(spec string) string { return commandOn("capsule", spec) }

func commandOn(verb, spec string) string {
	if spec == "" {
		return ""
	}
	return command("farm", verb, spec)
}
