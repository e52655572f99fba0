// SPDX-License-Identifier: Apache-2.0

package site

import (
	"fmt"
	"strings"
	"testing"

	"noiommu-farm/results"
	"noiommu-farm/results/report"
	"noiommu-farm/results/verdict"
)

// runOf makes a run of one cell and one program of tests.
func runOf(id string, tests ...verdict.Test) *Run {
	p := verdict.Program{Name: "get_pa", Verdict: verdict.Pass, Tests: tests}
	c := &verdict.Cell{Name: "cell", Verdict: verdict.Pass}
	for _, t := range tests {
		p.Verdict = verdict.Worst(p.Verdict, t.Verdict)
	}
	c.Verdict = p.Verdict
	c.Programs = []verdict.Program{p}
	return &Run{Run: report.Run{Run: results.Run{ID: id}, Verdict: c.Verdict, Cells: []*verdict.Cell{c}}, records: []*results.Record{nil}}
}

func TestChanges(t *testing.T) {
	for _, c := range []struct{ was, now verdict.Verdict }{
		{verdict.Pass, verdict.Fail}, {"", verdict.Fail}, {verdict.Infra, verdict.Crash}, {verdict.Skip, verdict.Infra}, {verdict.XFail, verdict.Timeout},
		{verdict.Fail, verdict.Fail}, {verdict.Fail, verdict.Crash}, {verdict.Fail, verdict.Infra},
		{verdict.Pass, verdict.Skip}, {verdict.Pass, verdict.XFail}, {verdict.Pass, ""}, {verdict.Fail, ""},
		{verdict.Fail, verdict.Pass}, {verdict.Crash, verdict.Skip}, {verdict.Infra, verdict.Pass},
		{verdict.Pass, verdict.Pass}, {"", verdict.Pass}, {verdict.Skip, verdict.Pass}, {verdict.Skip, ""}, {"", verdict.Skip},
	} {
		keep := verdict.Test{Name: "get_pa.PA-99", Verdict: verdict.Pass}
		before, now := []verdict.Test{keep}, []verdict.Test{keep}
		if c.was != "" {
			before = append(before, verdict.Test{Name: "get_pa.PA-01", Verdict: c.was})
		}
		if c.now != "" {
			now = append(now, verdict.Test{Name: "get_pa.PA-01", Verdict: c.now})
		}
		r := runOf("b", now...)
		r.Previous = runOf("a", before...)
		got := "nothing"
		if changes := r.Changes(); len(changes) == 1 {
			got = changes[0].Kind.String()
			if changes[0].Was != c.was || c.now != "" && changes[0].Now != c.now {
				t.Errorf("%q to %q: %+v", c.was, c.now, changes[0])
			}
		} else if len(changes) > 1 {
			t.Errorf("%q to %q: %+v", c.was, c.now, changes)
		}
		bad := func(v verdict.Verdict) bool { return v != "" && !v.Good() }
		want := "nothing"
		switch {
		case bad(c.now) && bad(c.was) && (c.was != verdict.Infra || c.now == verdict.Infra):
			want = "failing"
		case bad(c.now):
			want = "newly failing"
		case bad(c.was) && c.now != "":
			want = "no longer failing"
		case (c.was == verdict.Pass || bad(c.was)) && c.now != verdict.Pass:
			want = "no longer tested"
		}
		if got != want {
			t.Errorf("%q to %q is %q, want %q", c.was, c.now, got, want)
		}
	}
}

// What differs from boot to boot makes no second problem of one.
func TestChangesAreGrouped(t *testing.T) {
	var tests []verdict.Test
	for i := range 30 {
		tests = append(tests, verdict.Test{Name: fmt.Sprintf("get_pa.PA-%02d", i), Verdict: verdict.Fail, Reason: fmt.Sprintf("at 0x%x after %dms", 1<<40+i, i)})
	}
	r := runOf("a", tests...)
	changes := r.Changes()
	if len(changes) != 1 || len(changes[0].Places) != 30 || changes[0].Cells() != 1 {
		t.Fatalf("%+v", changes)
	}
	if line := changes[0].line([]string{"a cell"}); !strings.HasPrefix(line, "fail get_pa.PA-00 and 29 more of get_pa in a cell: at 0x1") {
		t.Error(line)
	}
}

func TestMailTellsTheWorstFirst(t *testing.T) {
	var before, now []verdict.Test
	for i := range 40 {
		name := fmt.Sprintf("get_pa.PA-%02d", i)
		was, is := verdict.Fail, verdict.Pass
		if i > 20 {
			was, is = verdict.Pass, verdict.Fail
		}
		before = append(before, verdict.Test{Name: name, Verdict: was, Reason: name})
		now = append(now, verdict.Test{Name: name, Verdict: is, Reason: name})
	}
	now[39].Verdict = verdict.Crash
	r := runOf("b", now...)
	r.Previous = runOf("a", before...)
	var b strings.Builder
	if err := Mail(&b, r, r.ID); err != nil {
		t.Fatal(err)
	}
	top, _, _ := strings.Cut(b.String(), "\n\n")
	lines := strings.Split(top, "\n")
	if len(lines) != mailLines {
		t.Fatalf("%d lines:\n%s", len(lines), top)
	}
	for i, want := range []string{"CRASH: run b: 1 cell, ", "21 pass, 18 fail, 1 crash", "since run a: 19 new, 0 still failing, 0 lost, 21 fixed", "NEW   crash get_pa.PA-39 in cell, was pass: get_pa.PA-39", "NEW   fail get_pa.PA-21 in cell, was pass: "} {
		if !strings.HasPrefix(lines[i], want) {
			t.Errorf("line %d is %q, want %q", i+1, lines[i], want)
		}
	}
	if !strings.HasPrefix(lines[9], "… and ") {
		t.Errorf("the last line is %q", lines[9])
	}
}
