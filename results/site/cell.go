// SPDX-License-Identifier: Apache-2.0

package site

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"noiommu-farm/guestagent/wire"
	"noiommu-farm/results"
	"noiommu-farm/results/console"
	"noiommu-farm/results/site/symbols"
	"noiommu-farm/results/verdict"
)

type cellBody struct {
	*verdict.Cell
	Short    string
	Programs []programRow
	Console  string // address
	Found    []foundLine
	Facts    string
	Guest    string
	QEMU     string // the command
	Repro    string
	Ended    string
	Past     template.HTML
	Walls    template.HTML
}

type programRow struct {
	Name    string
	To      string
	Verdict verdict.Verdict
	Counts  verdict.Counts
	Reason  string
	Wall    time.Duration
	Bad     []link // the tests that are not as expected
	More    int
	Past    template.HTML
	Walls   template.HTML
}

// foundLine is a complaint of the kernel and where it stands in the console.
type foundLine struct {
	Finding console.Finding
	To      string
}

type programBody struct {
	Program  verdict.Program
	Cell     string
	First    int // number of the first test here, from 0
	Tests    []testBody
	Pages    []link // of its tests, when there are several
	Here     int
	Argv     string
	Planned  *results.Program
	Ended    string
	Output   string // address of its page
	Errors   string
	Console  string
	Findings []foundLine
	Repro    string
	Capsule  string
	Past     template.HTML
	Before   string
	Walls    template.HTML
}

type testBody struct {
	verdict.Test
	Number   int
	Was      verdict.Verdict // in the run before, where that differs
	Evidence []evidence
	Past     template.HTML
	Before   string
	Repro    string
	Capsule  string
	Output   string
	Console  string
	Findings []foundLine
}

type evidence struct {
	Name  string
	Count int64
}

type logBody struct {
	*logPage
	Found []foundLine
	File  string // in the run directory
}

func (w *writer) cell(i int) error {
	c, rec, dir := w.Cells[i], w.records[i], cellDir(i)
	if err := w.root.MkdirAll(strings.TrimSuffix(dir, "/"), 0o755); err != nil {
		return err
	}
	b := cellBody{Cell: c, Short: w.names.whole[i], Past: drawn(w.history.Line(c.Name, "", ""), c.Verdict), Walls: drawnWalls(w.history.Walls(c.Name, ""), c.Wall)}
	switch spec := w.spec(place{cell: i, program: -1}); {
	case spec != "" && len(c.Programs) > 0:
		b.Repro = command("farm", "repro", w.called+"/"+c.Name)
	case spec != "":
		b.Repro = w.repro(spec)
	}
	var log *logPage
	if rec != nil {
		var err error
		if log, err = w.console(i, rec); err != nil {
			return err
		}
		if len(log.Lines) > 0 {
			b.Console = "console.html"
		}
		b.facts(rec)
	} else {
		log = &logPage{}
	}
	b.Found = locate(c.Findings, log, anyGuest)
	was := w.before(c.Name)
	for j, p := range c.Programs {
		r := programRow{Name: p.Name, To: programPage(j, 0), Verdict: p.Verdict, Counts: p.Counts(), Reason: p.Reason, Wall: p.Wall,
			Past: drawn(w.history.Line(c.Name, p.Name, ""), p.Verdict), Walls: drawnWalls(w.history.Walls(c.Name, p.Name), p.Wall)}
		for k, t := range p.Tests {
			if t.Verdict.Good() {
				continue
			}
			if len(r.Bad) == maxTests {
				r.More++
				continue
			}
			r.Bad = append(r.Bad, link{t.Name, testAnchor(j, k)})
		}
		b.Programs = append(b.Programs, r)
		if err := w.program(i, j, rec, log, was); err != nil {
			return fmt.Errorf("program %s: %w", p.Name, err)
		}
	}
	slices.SortStableFunc(b.Programs, func(a, b programRow) int { return cmp.Compare(severity[b.Verdict], severity[a.Verdict]) })
	return w.write("cell", dir+"index.html", "Cell "+w.names.whole[i], []link{{w.names.whole[i], ""}}, b)
}

// before are the verdicts of a cell in the run before.
func (w *writer) before(cell string) map[key]verdict.Verdict {
	if w.Previous == nil {
		return nil
	}
	was := make(map[key]verdict.Verdict)
	for _, c := range w.Previous.Cells {
		if c.Name != cell {
			continue
		}
		for _, p := range c.Programs {
			for _, t := range p.Tests {
				was[key{cell, p.Name, t.Name, 0}] = t.Verdict
			}
		}
	}
	return was
}

func (b *cellBody) facts(rec *results.Record) {
	b.Facts = indented(rec.Planned.Facts)
	for _, e := range rec.Events {
		switch {
		case e.Booted != nil:
			b.QEMU = e.Booted.Command
		case e.Agent != nil && e.Agent.Facts != nil:
			facts := *e.Agent.Facts
			facts.ConfigGz = nil
			b.Guest = indented(facts)
		case e.Ended != nil:
			b.Ended = fmt.Sprintf("%s (exit code %d)", e.Ended.QEMU, e.Ended.Code)
		}
	}
	if text, err := head(filepath.Join(rec.Dir, "qemu.sh")); err == nil && text != "" {
		b.QEMU = text
	}
}

// head reads the beginning of a file.
func head(path string) (string, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, 64<<10))
	return string(text), err
}

func indented(v any) string {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// console writes the page of a cell's consoles, one guest after the other.
func (w *writer) console(i int, rec *results.Record) (*logPage, error) {
	r := newReader()
	for _, guest := range rec.Guests() {
		if err := r.guest(rec, guest, func() *symbols.Table { return w.symbols(rec.Planned.Kernel.Build) }); err != nil {
			return nil, err
		}
	}
	log := r.done()
	if len(log.Lines) == 0 {
		return log, nil
	}
	var found []foundLine
	for _, f := range log.Findings {
		found = append(found, locate([]console.Finding{f.inGuest()}, log, int(f.guest))...)
	}
	return log, w.write("log", cellDir(i)+"console.html", "Console of "+w.names.whole[i],
		[]link{{w.names.whole[i], "index.html"}, {"Console", ""}}, logBody{log, found, filepath.Join("cells", w.Cells[i].Name, "console.log")})
}

// symbols are those of a kernel; nil where it has none.
func (w *writer) symbols(build string) *symbols.Table {
	if w.Vmlinux == nil || build == "" {
		return nil
	}
	if build != w.build {
		w.build, w.table = build, nil
		if path := w.Vmlinux(build); path != "" {
			// Without them a page is as good as the log.
			w.table, _ = symbols.Open(path)
		}
	}
	return w.table
}

// guest adds the console of one guest of a cell. The kernel's symbols are read
// when there is a complaint.
func (r *reader) guest(rec *results.Record, guest uint32, table func() *symbols.Table) error {
	in, err := rec.ConsoleOf(guest)
	if err != nil {
		return err
	}
	findings, err := console.Classify(in)
	in.Close()
	if err != nil {
		return err
	}
	slices.SortStableFunc(findings, func(a, b console.Finding) int { return cmp.Compare(a.First, b.First) })
	if len(findings) > 0 {
		r.page.table = table()
	}
	if in, err = rec.ConsoleOf(guest); err != nil {
		return err
	}
	defer in.Close()
	return r.readConsole(in, guest, findings)
}

// locate links complaints of a guest to the console, where its page has them.
func locate(findings []console.Finding, log *logPage, guest int) []foundLine {
	out := make([]foundLine, len(findings))
	for i, f := range findings {
		out[i].Finding = f
		out[i].Finding.Lines = make([]string, len(f.Lines))
		for j, line := range f.Lines {
			out[i].Finding.Lines[j] = log.table.Mark(line)
		}
		if n := log.line(guest, f); n > 0 {
			out[i].Finding.First = n
			out[i].To = fmt.Sprintf("console.html#L%d", n)
		}
	}
	return out
}

// program writes the pages of a program: its tests, and what it printed.
func (w *writer) program(i, j int, rec *results.Record, log *logPage, was map[key]verdict.Verdict) error {
	c := w.Cells[i]
	p := c.Programs[j]
	b := programBody{Program: p, Cell: w.names.whole[i], Findings: locate(p.Findings, log, anyGuest),
		Walls: drawnWalls(w.history.Walls(c.Name, p.Name), p.Wall)}
	spec := w.spec(place{cell: i, program: j, test: -1})
	b.Repro, b.Capsule = w.repro(spec), w.capsule(spec)
	b.Past, b.Before = w.past(p.Verdict, c.Name, p.Name, "")
	id := fmt.Sprint(p.ID)
	if n, ok := log.at[inConsole(id, "")]; ok {
		b.Console = fmt.Sprintf("console.html#L%d", n)
	}
	out := &logPage{}
	if rec != nil {
		b.ran(rec)
		var err error
		if out, b.Output, err = w.output(i, j, rec, wire.Stdout); err != nil {
			return err
		}
		if _, b.Errors, err = w.output(i, j, rec, wire.Stderr); err != nil {
			return err
		}
	}
	for n := 0; n == 0 || n < len(p.Tests); n += perPage {
		b.Pages = append(b.Pages, link{fmt.Sprintf("%d–%d", n+1, min(n+perPage, len(p.Tests))), programPage(j, n)})
	}
	for n := range b.Pages {
		b.Here, b.First, b.Tests = n, n*perPage, nil
		for k := b.First; k < min(b.First+perPage, len(p.Tests)); k++ {
			t := testBody{Test: p.Tests[k], Number: k + 1, Findings: locate(p.Tests[k].Findings, log, int(p.Tests[k].Guest))}
			spec := w.spec(place{cell: i, program: j, test: k})
			t.Repro, t.Capsule = w.repro(spec), w.capsule(spec)
			t.Past, t.Before = w.past(t.Verdict, c.Name, p.Name, t.Name)
			if v := was[key{c.Name, p.Name, t.Name, 0}]; v != t.Verdict {
				t.Was = v
			}
			for _, name := range slices.Sorted(maps.Keys(t.Test.Evidence)) {
				t.Evidence = append(t.Evidence, evidence{name, t.Test.Evidence[name]})
			}
			if at, ok := out.at[t.Name]; ok {
				t.Output = fmt.Sprintf("%s#L%d", b.Output, at)
			}
			if at, ok := log.at[inConsole(id, t.Name)]; ok {
				t.Console = fmt.Sprintf("console.html#L%d", at)
			}
			b.Tests = append(b.Tests, t)
		}
		err := w.write("program", cellDir(i)+b.Pages[n].To, p.Name+" in "+w.names.whole[i],
			[]link{{w.names.whole[i], "index.html"}, {p.Name, ""}}, b)
		if err != nil {
			return err
		}
	}
	return nil
}

// ran says how the program was called and ended.
func (b *programBody) ran(rec *results.Record) {
	for n, p := range rec.Planned.Programs {
		if p.ID == b.Program.ID {
			b.Planned = &rec.Planned.Programs[n]
			b.Argv = command(slices.Clone(p.Argv)...)
		}
	}
	for _, e := range rec.Events {
		switch {
		case e.Running != nil && e.Running.ID == b.Program.ID:
			b.Argv = command(slices.Clone(e.Running.Argv)...)
		case e.Agent != nil && e.Agent.Exited != nil && e.Agent.Exited.ID == b.Program.ID:
			x := e.Agent.Exited
			b.Ended = fmt.Sprintf("exit code %d", x.Code)
			if x.Signal != 0 {
				b.Ended = fmt.Sprintf("signal %d", x.Signal)
			}
			if x.TimedOut {
				b.Ended += ", ended at its time limit"
			}
			b.Ended += fmt.Sprintf(", %d bytes on stdout, %d on stderr", x.Stdout, x.Stderr)
		}
	}
}

// output writes the page of what a program printed, if it printed anything.
func (w *writer) output(i, j int, rec *results.Record, s wire.Stream) (*logPage, string, error) {
	p := w.Cells[i].Programs[j]
	in, err := rec.Output(p.ID, s)
	if err != nil {
		return nil, "", err
	}
	defer in.Close()
	log, err := readOutput(in)
	if err != nil || len(log.Lines) == 0 {
		return log, "", err
	}
	name, suffix := "Output", "out"
	if s == wire.Stderr {
		name, suffix = "Standard error", "err"
	}
	to := fmt.Sprintf("p%03d-%s.html", j+1, suffix)
	return log, to, w.write("log", cellDir(i)+to, name+" of "+p.Name+" in "+w.names.whole[i],
		[]link{{w.names.whole[i], "index.html"}, {p.Name, programPage(j, 0)}, {name, ""}},
		logBody{log, nil, filepath.Join("cells", w.Cells[i].Name, "programs", fmt.Sprintf("%03d.%s", p.ID, suffix))})
}

// reproName is what "farm repro" calls a result below its cell.
func reproName(program, test string) string {
	suite, _, _ := strings.Cut(program, "@")
	switch {
	case test == "":
		return program
	case strings.HasPrefix(test, suite+"."):
		return test
	}
	return program + "/" + test
}
