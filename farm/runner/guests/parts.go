// SPDX-License-Identifier: Apache-2.0

package guests

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"noiommu-farm/results"
	"noiommu-farm/suites/contract"
)

// part is what a guest of its own does: a program, or some of its tests.
type part struct {
	program results.Program // with only those tests
	tests   []string        // their names; nil is all that the program has
	long    time.Duration   // what it took the last time
}

// parts cuts the programs of a phase into what has a guest of its own. Tests
// that change nothing in a guest share one: those that are skipped, and those
// that only read.
func parts(programs []results.Program, level results.Isolation) []part {
	var all []part
	for _, p := range programs {
		if level != results.PerTest || p.Tests == nil {
			all = append(all, part{program: p})
			continue
		}
		var quiet []results.Expected
		for _, e := range p.Tests {
			if e.Skip != "" || contract.ReadOnly(testID(e.Name)) {
				quiet = append(quiet, e)
				continue
			}
			all = append(all, some(p, []results.Expected{e}))
		}
		if len(quiet) > 0 {
			all = append(all, some(p, quiet))
		}
	}
	return all
}

// testID is the id of the statement that a test proves.
func testID(name string) string {
	_, id, _ := strings.Cut(name, ".")
	return id
}

// some is a part with some of a program's tests.
func some(p results.Program, tests []results.Expected) part {
	var one part
	var ids []string
	for _, e := range tests {
		one.tests = append(one.tests, e.Name)
		ids = append(ids, testID(e.Name))
	}
	p.Tests = tests
	p.Argv = slices.Clone(p.Argv)
	if i := slices.Index(p.Argv, "-test"); i >= 0 && i+1 < len(p.Argv) {
		p.Argv[i+1] = strings.Join(ids, ",")
	}
	one.program = p
	return one
}

// warm says whether the program was started before the guest was saved: one of
// the suites, with all privileges.
func (p part) warm() bool { return p.program.Host && p.program.Privileges == "" }

// longestFirst puts what took longest the last time first, so that it is not
// alone at the end. What nobody has seen yet counts as long as its limit.
func longestFirst(all []part, walls map[string]time.Duration) {
	for i := range all {
		p := &all[i]
		names := p.tests
		if names == nil {
			names = []string{p.program.Name}
		}
		for _, name := range names {
			wall, known := walls[name]
			if !known && p.tests == nil {
				wall = p.program.Timeout
			}
			p.long += wall
		}
	}
	slices.SortStableFunc(all, func(a, b part) int { return cmp.Compare(b.long, a.long) })
}

// walls are what tests took, and programs that decide for themselves which
// tests they have, in the last run that had this cell; by name.
func (l *lives) walls() map[string]time.Duration {
	walls := make(map[string]time.Duration)
	for _, p := range l.Past.Programs {
		walls[p.Name] = p.Wall
		for _, t := range p.Tests {
			walls[t.Name] = t.Wall
		}
	}
	return walls
}
