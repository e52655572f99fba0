// SPDX-License-Identifier: Apache-2.0

package gate

import (
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"

	"noiommu-farm/results/failure"
	"noiommu-farm/results/verdict"
)

var onNone, onIntel = Point{all, none}, Point{all, intel}

// judged makes a cell's results of "pass", "fail" and so on by test.
func judged(p Point, tests map[string]verdict.Verdict) map[Key]result {
	all := map[Key]result{{Point: p}: {Failure: failure.Failure{Verdict: verdict.Pass}}}
	for name, v := range tests {
		all[Key{p, "get_pa", name}] = result{Failure: failure.Failure{Verdict: v}}
	}
	return all
}

func tests(keys []Key) []string {
	var names []string
	for _, k := range keys {
		names = append(names, k.Test)
	}
	return names
}

func inheritedTests(list []Inherited) map[string]int {
	names := make(map[string]int)
	for _, i := range list {
		names[i.Key.Test] = i.Since
	}
	return names
}

// A series in which patch 3 breaks something and patch 4 takes it back, on a
// base that fails one test already.
func TestHistory(t *testing.T) {
	const one, two, new = "get_pa.PA-01", "get_pa.PA-02", "get_pa.PA-03"
	pass, fail, crash, infra := verdict.Pass, verdict.Fail, verdict.Crash, verdict.Infra
	type v = map[string]verdict.Verdict
	h := newHistory()
	for i, state := range []struct {
		results           map[Key]result
		brought           []string
		inherited, mended map[string]int
	}{
		{judged(onNone, v{one: fail, two: pass}), []string{one}, nil, nil},
		{judged(onNone, v{one: fail, two: pass}), nil, map[string]int{one: 0}, nil},
		{judged(onNone, v{one: fail, two: fail}), []string{two}, map[string]int{one: 0}, nil},
		{nil, nil, map[string]int{one: 0, two: 2}, nil}, // nothing of it can show
		{judged(onNone, v{one: fail, two: pass}), nil, map[string]int{one: 0}, map[string]int{two: 2}},
		{judged(onNone, v{one: crash, two: infra, new: fail}), []string{one, new}, nil, nil},
		{judged(onNone, v{one: pass, two: pass, new: fail}), nil, map[string]int{new: 5}, map[string]int{one: 5}},
	} {
		brought, before, inherited, mended := h.step(i, state.results)
		if diff := cmp.Diff(state.brought, tests(brought)); diff != "" {
			t.Errorf("state %d brings (-want +got)\n%s", i, diff)
		}
		if state.inherited == nil {
			state.inherited = map[string]int{}
		}
		if state.mended == nil {
			state.mended = map[string]int{}
		}
		if diff := cmp.Diff(state.inherited, inheritedTests(inherited)); diff != "" {
			t.Errorf("state %d inherits (-want +got)\n%s", i, diff)
		}
		if diff := cmp.Diff(state.mended, inheritedTests(mended)); diff != "" {
			t.Errorf("state %d mends (-want +got)\n%s", i, diff)
		}
		if i == 2 && before[brought[0]].Verdict != pass {
			t.Errorf("before patch 2 the test was %+v", before[brought[0]])
		}
		if i == 5 && len(before) != 1 {
			t.Errorf("a new test has no result before: %+v", before)
		}
	}
}

// The same test on two machines is two results.
func TestPointsApart(t *testing.T) {
	h := newHistory()
	h.step(0, judged(onNone, map[string]verdict.Verdict{"get_pa.PA-02": verdict.Pass}))
	h.step(0, judged(onIntel, map[string]verdict.Verdict{"get_pa.PA-02": verdict.Fail}))
	brought, _, _, _ := h.step(1, judged(onNone, map[string]verdict.Verdict{"get_pa.PA-02": verdict.Fail}))
	if len(brought) != 1 || brought[0].Point != onNone {
		t.Errorf("got %+v", brought)
	}
}

func TestResultsOf(t *testing.T) {
	cell := Cell{Point: onNone}
	test := func(name string, v verdict.Verdict, reason string) verdict.Test {
		return verdict.Test{Name: name, Verdict: v, Reason: reason}
	}
	got := resultsOf(&verdict.Cell{Verdict: verdict.Crash, Reason: "panic", Programs: []verdict.Program{
		{Name: "nodes", Verdict: verdict.Pass, Tests: []verdict.Test{test("nodes.ND-01", verdict.Pass, ""), test("nodes.ND-02", verdict.Skip, "requires x")}},
		{Name: "dma", Verdict: verdict.Crash, Reason: "did not finish: panic", Tests: []verdict.Test{
			test("dma.DM-01", verdict.Crash, "did not finish: panic"), test("dma.DM-02", verdict.Crash, "did not finish: panic"),
		}},
		{Name: "taint@end", Verdict: verdict.Crash, Reason: "not run: panic", Tests: []verdict.Test{test("taint.TL-05", verdict.Crash, "not run: panic")}},
	}}, cell)
	want := map[Key]verdict.Verdict{
		{onNone, "nodes", ""}:            verdict.Pass,
		{onNone, "nodes", "nodes.ND-01"}: verdict.Pass,
		{onNone, "nodes", "nodes.ND-02"}: verdict.Skip,
		{onNone, "dma", "dma.DM-01"}:     verdict.Crash,
	}
	want[Key{Point: onNone}] = verdict.Pass
	have := make(map[Key]verdict.Verdict)
	for k, r := range got {
		have[k] = r.Verdict
	}
	if diff := cmp.Diff(want, have); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}

	got = resultsOf(&verdict.Cell{Verdict: verdict.Crash, Reason: "Oops at boot", Programs: []verdict.Program{
		{Name: "nodes", Verdict: verdict.Crash, Reason: "not run: Oops at boot", Tests: []verdict.Test{test("nodes.ND-01", verdict.Crash, "not run: Oops at boot")}},
	}}, cell)
	if boot := got[Key{Point: onNone}]; len(got) != 1 || !boot.bad() || boot.reason != "Oops at boot" {
		t.Errorf("a boot that failed: %+v", got)
	}
}

func TestDescribe(t *testing.T) {
	d := describe(3, Key{onNone, "get_pa", "get_pa.PA-02"}, result{
		Failure: failure.Failure{Verdict: verdict.Fail}, reason: "x", cell: Cell{Run: "/runs/1", Name: "c"},
	})
	if d.Statement != "PA-02" || d.Promise == "" || len(d.Source) == 0 || d.Repro != "farm repro /runs/1/c/get_pa.PA-02" || d.name() != "PA-02" {
		t.Errorf("got %+v", d)
	}
	if d := describe(1, Key{onIntel, "vfio/t", "a.b"}, result{}); d.Statement != "" || d.name() != "vfio/t a.b" {
		t.Errorf("got %+v", d)
	}
}

func TestSure(t *testing.T) {
	for _, c := range []struct {
		with, before Rate
		want         float64
	}{
		{Rate{4, 4}, Rate{0, 4}, 1 - 1.0/70},
		{Rate{3, 3}, Rate{0, 3}, 1 - 1.0/20},
		{Rate{1, 4}, Rate{0, 4}, 0.5},
		{Rate{2, 4}, Rate{2, 4}, 1 - 53.0/70},
		{Rate{0, 4}, Rate{4, 4}, 0},
		{Rate{4, 4}, Rate{}, 0},
		{Rate{4, 4}, Rate{4, 4}, 0},
	} {
		if got := sure(c.with, c.before); math.Abs(got-c.want) > 1e-9 {
			t.Errorf("%v with, %v before: %v, want %v", c.with, c.before, got, c.want)
		}
	}
}
