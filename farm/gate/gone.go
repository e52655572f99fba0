// SPDX-License-Identifier: Apache-2.0

package gate

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"noiommu-farm/results/verdict"
	"noiommu-farm/suites/contract"
)

// missing is what became of results that passed when they were last there, and
// that a state's cells have no result of.
type missing struct {
	gone    []Key          // nothing says why
	hidden  map[Key]string // not run, or cut off, by what no difference tells of: the reason
	skipped []Key          // for a typed reason
	lost    bool           // by the farm
	cells   map[Point]Cell // of the state
}

// missing finds what passed before a state and does not pass in it, without being
// a failure. now are the results of the state, made of the judged cells.
func (h *history) missing(s *State, cells map[Point]*verdict.Cell, now map[Key]result) missing {
	m := missing{hidden: make(map[Key]string), cells: make(map[Point]Cell)}
	for _, c := range s.Cells {
		m.cells[c.Point] = c
	}
	for k, was := range h.now {
		cell := cells[k.Point]
		passed := was.Verdict == verdict.Pass || was.Verdict == verdict.XFail
		if cell == nil || k.Program == "" || !passed || h.gone[k] || !s.Plan.asks(k.Program) {
			continue
		}
		r, there := now[k]
		switch found, why := whereabouts(k, cell, now); {
		case there && r.Verdict == verdict.Skip:
			m.skipped = append(m.skipped, k)
		case there, found == explained:
		case found == skipped:
			m.skipped = append(m.skipped, k)
		case found == lost:
			m.lost = true
		case found == hidden:
			m.hidden[k] = why
		default:
			m.gone = append(m.gone, k)
		}
	}
	m.gone, m.skipped = order(m.gone), order(m.skipped)
	return m
}

// asks says whether a plan has a program run wherever it can be: the contract's
// suites always, and of the kernel's own selftests those that are named or of a
// directory that is.
func (p Plan) asks(program string) bool {
	dir, name, selftest := strings.Cut(program, "/")
	return !selftest || slices.Contains(p.Selftests, program) ||
		slices.Contains(p.Selftests, dir) && contract.FindKselftest(dir, name).Off == ""
}

// A whereabout says why a cell has no result of a key.
type whereabout int

const (
	nowhere   whereabout = iota // nothing says why
	explained                   // it follows from a failure that is told
	skipped                     // the cell's facts say that it cannot run
	hidden                      // it follows from a failure that is not told
	lost                        // it follows from the farm's failure
)

// whereabouts looks for a key that has no result. why is the reason of what is
// hidden.
func whereabouts(k Key, cell *verdict.Cell, now map[Key]result) (found whereabout, why string) {
	if program, told := now[Key{k.Point, k.Program, ""}]; told && program.bad() {
		return explained, ""
	}
	for _, a := range cell.Absent {
		// A program as a whole, or a variant of its tests.
		program, variant, _ := strings.Cut(a.Name, " -v ")
		if program == k.Program && (variant == "" || strings.Contains(k.Test, "."+variant+".")) {
			return skipped, ""
		}
	}
	i := slices.IndexFunc(cell.Programs, func(p verdict.Program) bool { return p.Name == k.Program })
	if i < 0 {
		return nowhere, ""
	}
	p := cell.Programs[i]
	if p.Verdict == verdict.Infra {
		return lost, ""
	}
	if early, ok := strings.CutPrefix(p.Reason, "not run: "); ok {
		for other, r := range now {
			if other.Point == k.Point && r.bad() && strings.Contains(r.reason, early) {
				return explained, ""
			}
		}
		return hidden, p.Reason
	}
	switch {
	case k.Test == "", slices.ContainsFunc(p.Tests, func(t verdict.Test) bool { return t.Name == k.Test }):
		return explained, "" // what it follows from stands before it, or is one of its tests
	case p.Reason != "":
		return hidden, p.Reason // the program did not come to its end
	}
	return nowhere, ""
}

// absent makes differences of what is missing, one of each program. What a patch
// takes out of a selftest that it changes is told of its state, and is none.
func (h *history) absent(s *State, m missing) []Difference {
	var all []Difference
	add := func(list []Key, reason string, unclear bool) {
		d := describe(s.Index, Key{list[0].Point, list[0].Program, ""}, result{reason: reason, cell: m.cells[list[0].Point]})
		d.Kind, d.Seen.Verdict = ResultsGone, verdict.Fail
		d.Repeated = Repeated{With: Rate{1, 1}, Before: Rate{0, 1}, Flaky: unclear}
		if !unclear {
			d.Repro = "" // there is no result to have again
		}
		all = append(all, d)
	}
	for _, list := range byProgram(m.gone) {
		own := changesTest(s.Touched, list[0].Program)
		for _, k := range list {
			h.gone[k] = true
			if !own {
				h.since[k] = s.Index
			}
		}
		if !own {
			add(list, fmt.Sprintf("no result any more of %s that passed before the patch (%s)", howMany(list), several(testNames(list))), false)
		}
	}
	for _, list := range byProgram(order(slices.Collect(maps.Keys(m.hidden)))) {
		add(list, fmt.Sprintf("no result of %s that passed before the patch: %s", howMany(list), m.hidden[list[0]]), true)
	}
	return all
}

// byProgram groups keys by point and program, in their order.
func byProgram(list []Key) [][]Key {
	var groups [][]Key
	for _, k := range list {
		i := slices.IndexFunc(groups, func(g []Key) bool { return g[0].Point == k.Point && g[0].Program == k.Program })
		if i < 0 {
			groups = append(groups, []Key{k})
		} else {
			groups[i] = append(groups[i], k)
		}
	}
	return groups
}

// testNames are the tests of a program's keys; one that has none is its own.
func testNames(list []Key) []string {
	var names []string
	for _, k := range list {
		if k.Test != "" {
			names = append(names, k.Test)
		}
	}
	if len(names) == 0 {
		return []string{list[0].Program}
	}
	return names
}

func howMany(list []Key) string { return number(len(testNames(list)), "test") }

// disappeared says in words what passed before a state and is gone or skipped in
// it, as far as no difference tells it.
func (r *Report) disappeared(s State) []string {
	var words []string
	add := func(what string, list []Key) {
		words = append(words, fmt.Sprintf(what+" %s of %s with %s, which passed before", howMany(list), list[0].Program, list[0].Point))
	}
	for _, list := range byProgram(s.Gone) {
		at := Key{list[0].Point, list[0].Program, ""}
		if !slices.ContainsFunc(r.of(s.Index), func(d Difference) bool { return d.Kind == ResultsGone && d.Key == at }) {
			add("no result any more of", list)
		}
	}
	for _, list := range byProgram(s.Skipped) {
		add("skips", list)
	}
	return words
}
