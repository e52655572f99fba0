// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"noiommu-farm/farm/runner"
	"noiommu-farm/results"
	"noiommu-farm/results/failure"
	"noiommu-farm/results/known"
	"noiommu-farm/results/ktap"
	"noiommu-farm/results/verdict"
)

func TestPace(t *testing.T) {
	for _, c := range []struct {
		tests, planned int
		since          time.Duration
		want           string
	}{
		{0, 100, time.Minute, "0 of 100 tests"},
		{50, 100, time.Minute, "50 of 100 tests, 50 a minute, about 1m0s left"},
		{120, 100, 2 * time.Minute, "120 of 120 tests, 60 a minute"},
	} {
		if got := pace(c.tests, c.planned, c.since); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}

// Programs of one cell may run side by side; each has its line when it is over,
// and what the cell's end cuts off has one too.
func TestProgressSideBySide(t *testing.T) {
	var b bytes.Buffer
	p := newProgress(&b)
	ok := &ktap.Test{Outcome: ktap.OK, Name: "a"}
	for _, e := range []runner.Progress{
		{Cell: "c", Planned: 4},
		{Cell: "c", Program: "one"},
		{Cell: "c", Program: "two"},
		{Cell: "c", Program: "one", Test: ok},
		{Cell: "c", Program: "two", Test: ok},
		{Cell: "c", Program: "one"}, // another guest
		{Cell: "c", Program: "one", Test: &ktap.Test{Outcome: ktap.Skip, Name: "b"}},
		{Cell: "c", Program: "one", Over: true},
		{Cell: "c", Judged: &verdict.Cell{Name: "c", Verdict: verdict.Crash}},
	} {
		p.tell(e)
	}
	p.close()
	for _, want := range []string{"c: one: 1 ok, 1 skipped\n", "c: two: 1 ok\n", "c: CRASH"} {
		if strings.Count(b.String(), want) != 1 {
			t.Errorf("want %q once in\n%s", want, b.String())
		}
	}
}

// A failure that is known is an expected one in the line of its cell, until its
// day; programs that are not foretold have no line of their own before they run.
func TestProgressKnowsIssues(t *testing.T) {
	c := &verdict.Cell{Name: "c", Verdict: verdict.Fail, Programs: []verdict.Program{{
		Name: "get_pa", Verdict: verdict.Fail, Tests: []verdict.Test{{Name: "get_pa.PA-02", Verdict: verdict.Fail, Reason: "length = 1"}},
	}}}
	problem := failure.Problems(c)[0]
	for expires, want := range map[string]string{"2026-01-02": "c: XFAIL, 1 xfail", "2026-01-01": "c: FAIL, 1 fail"} {
		var b bytes.Buffer
		p := newProgress(&b)
		p.excused.issues = known.List{Issues: []known.Issue{{Fingerprint: problem.Fingerprint, Test: problem.Name, Expires: expires}}}
		p.tell(runner.Progress{Run: &results.Run{Started: time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC)}})
		p.tell(runner.Progress{Cell: "c"})
		p.tell(runner.Progress{Cell: "c", Judged: c})
		p.close()
		if got := b.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, want) {
			t.Errorf("until %s: want %q alone in %q", expires, want, got)
		}
	}
}
