// SPDX-License-Identifier: Apache-2.0

package gate

import (
	"slices"
	"strings"

	"noiommu-farm/farm/repro"
	"noiommu-farm/results/console"
	"noiommu-farm/results/failure"
	"noiommu-farm/results/verdict"
	"noiommu-farm/suites/contract"
)

// result is what became of a key in a state.
type result struct {
	failure.Failure
	reason   string
	promise  string // of a Kconfig statement
	findings []console.Finding
	cell     Cell
}

// kconfigProgram stands for a program in the keys of Kconfig statements.
const kconfigProgram = "kconfig"

func (r result) bad() bool { return !r.Verdict.Good() && r.Verdict != verdict.Infra }

// resultsOf are a judged cell's results, by key. What only followed from
// another failure has none, so it is as it was before.
func resultsOf(judged *verdict.Cell, cell Cell) map[Key]result {
	all := make(map[Key]result)
	failed := repro.Failed(judged)
	for _, p := range judged.Programs {
		for _, t := range p.Tests {
			place := repro.Place{Program: p.Name, Test: t.Name}
			if t.Verdict.Good() || slices.Contains(failed, place) {
				all[Key{cell.Point, p.Name, t.Name}] = result{Failure: failure.Of(t), reason: t.Reason, findings: t.Findings, cell: cell}
			}
		}
		switch place := (repro.Place{Program: p.Name}); {
		case slices.Contains(failed, place):
			all[Key{cell.Point, p.Name, ""}] = result{Failure: failure.OfProgram(p), reason: p.Reason, findings: p.Findings, cell: cell}
		case p.Verdict.Good():
			all[Key{cell.Point, p.Name, ""}] = result{Failure: failure.Failure{Verdict: verdict.Pass}, cell: cell}
		}
	}
	boot := result{Failure: failure.Failure{Verdict: verdict.Pass}, cell: cell}
	if slices.Contains(failed, repro.Place{}) {
		boot = result{Failure: failure.OfCell(judged), reason: judged.Reason, findings: judged.Findings, cell: cell}
	}
	all[Key{Point: cell.Point}] = boot
	return all
}

// history is what is known of every key after each state.
type history struct {
	now   map[Key]result // as it was when it was last there
	since map[Key]int    // the state that a failure came with
	gone  map[Key]bool   // what is not there any more; see [history.missing]
}

func newHistory() *history {
	return &history{now: make(map[Key]result), since: make(map[Key]int), gone: make(map[Key]bool)}
}

// order sorts keys as the plan has them: by configuration, topology, statement.
func order(keys []Key) []Key {
	rank := func(k Key) int { return slices.Index(points(Full), k.Point) }
	statement := func(k Key) int {
		_, id, _ := strings.Cut(k.Test, ".")
		i := slices.IndexFunc(contract.Statements, func(s contract.Statement) bool { return s.ID == id })
		if i < 0 {
			i = len(contract.Statements)
		}
		return i
	}
	slices.SortFunc(keys, func(a, b Key) int {
		if d := rank(a) - rank(b); d != 0 {
			return d
		}
		if d := statement(a) - statement(b); d != 0 {
			return d
		}
		return strings.Compare(a.Program+"\x00"+a.Test, b.Program+"\x00"+b.Test)
	})
	return keys
}

// step takes the results of a state and says what it brings (new failures, with
// what was before), what it leaves failing and what it mends.
func (h *history) step(index int, results map[Key]result) (brought []Key, before map[Key]result, inherited, mended []Inherited) {
	before = make(map[Key]result)
	for k, r := range results {
		was, known := h.now[k]
		switch {
		case r.Verdict == verdict.Infra:
			continue // says nothing
		case !r.bad():
			if since, broken := h.since[k]; broken {
				mended = append(mended, Inherited{k, since})
			}
			delete(h.since, k)
		case known && was.bad() && !worse(r, was):
			// It failed before this state.
		default:
			brought = append(brought, k)
			if known {
				before[k] = was
			}
			h.since[k] = index
		}
		h.now[k] = r
		delete(h.gone, k)
	}
	for k, since := range h.since {
		if since < index {
			inherited = append(inherited, Inherited{k, since})
		}
	}
	byKey := func(list []Inherited) []Inherited {
		keys := make([]Key, len(list))
		at := make(map[Key]Inherited)
		for i, one := range list {
			keys[i], at[one.Key] = one.Key, one
		}
		for i, k := range order(keys) {
			list[i] = at[k]
		}
		return list
	}
	return order(brought), before, byKey(inherited), byKey(mended)
}

// worse says whether a failure is another kind of failure than one before: a
// crash where there was a wrong answer.
func worse(r, was result) bool {
	return r.Verdict != was.Verdict && verdict.Worst(r.Verdict, was.Verdict) == r.Verdict
}

// describe makes a difference of a failed result.
func describe(index int, k Key, r result) Difference {
	d := Difference{Kind: TestFails, Patch: index, Key: k, Seen: r.Failure, Reason: r.reason}
	switch {
	case k.Program == kconfigProgram:
		d.Kind, d.Statement, d.Promise = KconfigFails, k.Test, r.promise
		return d
	case k.Topology == "":
		d.Kind, d.Statement, d.Promise = BuildFails, "KC-12", "Every profile compiles."
		// A compiler shows the source line below its complaint.
		first, rest, _ := strings.Cut(r.reason, "\n")
		if d.Reason = first; rest != "" {
			d.Console = strings.Split(rest, "\n")
		}
		return d
	}
	_, id, _ := strings.Cut(k.Test, ".")
	if s, ok := contract.ByID(id); ok && k.Test == s.Name() {
		d.Statement, d.Promise, d.Source = s.ID, s.Promise, s.Source
	}
	d.Finding, d.Console = excerpt(r.findings)
	place := repro.Place{Program: k.Program, Test: k.Test}
	d.Repro = "farm repro " + r.cell.Run + "/" + r.cell.Name + "/" + place.String()
	return d
}
