// SPDX-License-Identifier: Apache-2.0

package verdict

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"noiommu-farm/guestagent/wire"
	"noiommu-farm/results"
)

// life is what one guest of a cell does.
type life struct {
	assigned results.Assigned // zero for the first
	runs     bool             // its program
	out      string
	console  string
	exit     *wire.Exited
	events   []results.Event
	ended    results.Ended
	noEnd    bool
}

// lifeOf is that of a guest that runs one of the tests of apart to a good end.
func lifeOf(test string) life {
	out := fmt.Sprintf("1..1\n# evidence %[1]s: asserts=3\nok 1 %[1]s\n", test)
	if test == "s.C" {
		out = "1..1\nok 1 s.C # SKIP requires igb\n"
	}
	return life{
		assigned: results.Assigned{Program: 1, Tests: []string{test}, Restored: 1},
		ended:    results.Ended{Killed: true},
		runs:     true, out: out, exit: &wire.Exited{ID: 1, Taint: 64},
		console: "[    9.0] noiommu-farm: start 1 s\n[    9.1] noiommu-farm: test " + test + "\n[    9.2] noiommu-farm: done " + test + "\n[    9.3] noiommu-farm: end 1\n",
	}
}

// apart is a program with three tests.
var apart = results.Program{ID: 1, Name: "s", Tests: []results.Expected{
	{Name: "s.A", Evidence: []string{"asserts"}},
	{Name: "s.B", Evidence: []string{"asserts"}},
	{Name: "s.C", Skip: "requires igb"},
}}

// judgeLives judges a cell whose first guest is saved and whose others do that.
func judgeLives(t *testing.T, others ...life) (*Cell, error) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "cell")
	w, err := results.CreateCell(dir, results.Planned{Cell: "cell", Programs: []results.Program{apart}, Measured: true})
	if err != nil {
		t.Fatal(err)
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	measured := results.Event{Agent: &wire.ToHost{Measured: &wire.Measured{Counters: counters(64)}}}
	first := life{ended: results.Ended{Shutdown: "guest-shutdown"}, events: []results.Event{
		measured, {Agent: &wire.ToHost{Bound: &wire.Bound{Taint: 64}}}, measured, {Saved: &results.Saved{}}, measured,
	}}
	for n, l := range append([]life{first}, others...) {
		g := w.First()
		if n > 0 {
			g, err = w.Guest(uint32(n), l.assigned)
			must(err)
		}
		if l.runs {
			must(g.Event(results.Event{Running: &results.Running{ID: 1}}))
		}
		if l.out != "" {
			must(g.Chunk(wire.Chunk{Run: 1, Stream: wire.Stdout, Data: []byte(l.out)}))
		}
		must(g.Console([]byte(l.console)))
		if l.exit != nil {
			exit := *l.exit
			exit.Stdout = int64(len(l.out))
			must(g.Event(results.Event{Agent: &wire.ToHost{Exited: &exit}}))
			must(g.Event(measured))
		}
		for _, e := range l.events {
			must(g.Event(e))
		}
		if !l.noEnd {
			must(g.Event(results.Event{Ended: &l.ended}))
		}
		must(g.Close())
	}
	must(w.Close())
	rec, err := results.ReadCell(dir)
	must(err)
	return Judge(rec)
}

// Each test is judged by the guest that it was in, and by no other.
func TestJudgeGuests(t *testing.T) {
	with := func(l life, change func(*life)) life {
		exit := *l.exit
		l.exit = &exit
		change(&l)
		return l
	}
	a, b, c := lifeOf("s.A"), lifeOf("s.B"), lifeOf("s.C")
	warned := func(l *life) {
		l.console = strings.Replace(l.console, "[    9.2]", warn+"[    9.2]", 1)
	}
	for name, test := range map[string]struct {
		others  []life
		want    string // verdicts of the tests
		cell    Verdict
		reasons string // in what is told of the cell or the program
	}{
		"all well":         {[]life{a, b, c}, "pass pass skip", Pass, ""},
		"in another order": {[]life{c, b, a}, "pass pass skip", Pass, ""},
		"two in one": {[]life{b, with(a, func(l *life) {
			l.assigned.Tests = []string{"s.A", "s.C"}
			l.out = "1..2\n# evidence s.A: asserts=3\nok 1 s.A\nok 2 s.C # SKIP requires igb\n"
		})}, "pass pass skip", Pass, ""},
		"one crashes": {[]life{a, with(b, func(l *life) {
			l.out, l.exit = "1..1\n", nil
			l.events = []results.Event{{Lost: &results.Lost{Doing: "x"}}}
			l.ended.Killed = false
		}), c}, "pass crash skip", Crash, "guest 2 (s.B): guest reset without a word"},
		"one hangs":  {[]life{a, b, with(c, func(l *life) { l.out, l.exit = "", nil; l.events = []results.Event{{Hung: &results.Hung{Doing: "x"}}} })}, "pass pass timeout", Timeout, "guest 3 (s.C): guest hung"},
		"one warns":  {[]life{with(a, warned), b, c}, "fail pass skip", Fail, ""},
		"one taints": {[]life{with(a, func(l *life) { l.exit.Taint |= 1 << 9 }), b, c}, "pass pass skip", Fail, "the new bits 0x200"},
		"one loses a page": {[]life{a, with(b, func(l *life) {
			m := counters(63)
			l.events = []results.Event{{Agent: &wire.ToHost{Measured: &wire.Measured{Counters: m}}}}
		}), c}, "pass pass skip", Fail, "guest 2 (s.B): leak: 1 hugepages"},
		"one was not measured": {[]life{a, with(b, func(l *life) { l.exit = nil; l.out = "" }), c}, "pass infra skip", Infra, "not measured"},
		"one was not restored": {[]life{a, with(b, func(l *life) {
			*l = life{assigned: l.assigned, noEnd: true, events: []results.Event{{Infra: &results.Infra{Err: "no memory"}}}}
		}), c}, "pass infra skip", Infra, "no memory"},
		"nobody got to one":       {[]life{a, c}, "pass infra skip", Infra, "the farm did not get to it"},
		"the farm died meanwhile": {[]life{a, b, with(c, func(l *life) { l.exit, l.out, l.noEnd = nil, "", true })}, "pass pass infra", Infra, "did not carry this cell to its end"},
		"one says another's":      {[]life{a, with(b, func(l *life) { l.out = a.out }), c}, "pass infra fail skip", Fail, ""},
		"something outside":       {[]life{a, with(b, func(l *life) { l.console += warn }), c}, "pass pass skip", Fail, "WARNING"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := judgeLives(t, test.others...)
			if err != nil {
				t.Fatal(err)
			}
			var verdicts []string
			for _, one := range got.Programs[0].Tests {
				verdicts = append(verdicts, string(one.Verdict))
			}
			if all := strings.Join(verdicts, " "); len(got.Programs) != 1 || all != test.want || got.Verdict != test.cell {
				t.Errorf("%s, cell %s (%s); want %s, cell %s\n%+v", all, got.Verdict, got.Reason, test.want, test.cell, got.Programs)
			}
			if told := got.Reason + "; " + got.Programs[0].Reason; !strings.Contains(told, test.reasons) {
				t.Errorf("told %q, want %q in it", told, test.reasons)
			}
			if got.Guests.Booted != 1 || got.Guests.Restored != len(test.others) {
				t.Errorf("guests %+v", got.Guests)
			}
		})
	}
}

// A guest cannot go on from one that was never saved.
func TestJudgeGuestsFromNowhere(t *testing.T) {
	a := lifeOf("s.A")
	a.assigned.Restored = 2
	if got, err := judgeLives(t, a); err == nil {
		t.Errorf("judged %+v", got)
	}
}
