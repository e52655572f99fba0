// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"noiommu-farm/farm/runner"
	"noiommu-farm/results/failure"
	"noiommu-farm/results/known"
	"noiommu-farm/results/verdict"
)

func failedCell(name, reason string) *verdict.Cell {
	return &verdict.Cell{Name: name, Verdict: verdict.Fail, Reason: reason, Wall: 90 * time.Second}
}

// The picture says what runs, what waits and what failed, and is never higher
// than the terminal.
func TestPicture(t *testing.T) {
	now := time.Now()
	s := newScreen(&bytes.Buffer{}, "m.yaml")
	s.start = now.Add(-10 * time.Minute)
	s.programs["a"] = "get_pa"
	s.step = "compile 5/10"
	s.status = runner.Status{
		Total: 20, Done: 7, Verdicts: verdict.Counts{verdict.Pass: 4, verdict.Fail: 3}, Building: "debian:7.2 noiommu",
		Running: []runner.Running{{Cell: "a", Began: now.Add(-5 * time.Second), Cost: time.Minute}}, Ready: 2, Waiting: 10,
		Failed: []*verdict.Cell{failedCell("x", "one"), failedCell("y", "two"), failedCell("z", "bad \x1b[2J")}, Left: 2 * time.Hour,
	}
	want := `m.yaml: 7 of 20 cells (4 pass, 3 fail), 10m, about 2h00m left
  build   debian:7.2 noiommu: compile 5/10
  run     a: 5s of about 1m00s: get_pa
  wait    2 for room, 10 for their kernel
  failed  z: FAIL, bad \x1b[2J in 1m30s
  failed  y: FAIL, two in 1m30s
  failed  x: FAIL, one in 1m30s`
	if got := strings.Join(s.picture(now, 24), "\n"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	for rows := 1; rows < 10; rows++ {
		if got := s.picture(now, rows); len(got) > rows {
			t.Errorf("%d lines on %d rows", len(got), rows)
		}
	}
	if got := s.picture(now, 6); got[5] != "  failed  and 2 more" {
		t.Errorf("%q", got)
	}
}

// In a pipe there are whole lines and nothing that moves a cursor.
func TestScreenInAPipe(t *testing.T) {
	var b bytes.Buffer
	s := newScreen(&b, "m.yaml")
	s.watch(runner.Status{Total: 2, Building: "debian:7.3 noiommu"})
	s.tell(runner.Progress{Cell: "x", Program: "get_pa"})
	s.tell(runner.Progress{Cell: "x", Judged: failedCell("x", "bad \x1b[2J")})
	s.tell(runner.Progress{Cell: "x", Judged: failedCell("x", "again")})
	s.watch(runner.Status{Total: 2, Done: 1, Elsewhere: "1 running"})
	s.close()
	s.tell(runner.Progress{Note: "too late"})
	var said []string
	for line := range strings.Lines(b.String()) {
		_, text, _ := strings.Cut(line, "] ")
		said = append(said, text)
	}
	want := "building debian:7.3 noiommu\n1/2 x: FAIL, bad \\x1b[2J in 1m30s\n1/2 in the queue: 1 running\n"
	if got := strings.Join(said, ""); got != want || strings.Contains(b.String(), "\x1b") {
		t.Errorf("%q, want %q", got, want)
	}
}

// A failure that is known is shown as what it is, expected; the cell itself stays
// as it was judged, and another failure is shown. An entry counts as long as it
// did when the run began.
func TestScreenKnowsIssues(t *testing.T) {
	cell := func(name, reason string) *verdict.Cell {
		return &verdict.Cell{Name: name, Verdict: verdict.Fail, Wall: time.Minute, Programs: []verdict.Program{{
			Name: "vfio/build", Verdict: verdict.Fail, Tests: []verdict.Test{{Name: "compiles", Verdict: verdict.Fail, Reason: reason}},
		}}}
	}
	old, other := cell("old", "x is not declared"), cell("new", "y is not declared")
	problems := failure.Problems(old)
	if len(problems) != 1 {
		t.Fatalf("%+v", problems)
	}
	list := known.List{Issues: []known.Issue{{Fingerprint: problems[0].Fingerprint, Test: problems[0].Name, Expires: "2026-01-10"}}}
	told := runner.Status{Total: 3, Done: 2, Verdicts: verdict.Counts{verdict.Fail: 2}, Failed: []*verdict.Cell{old, other}}
	show := func(began time.Time, size func() (int, int)) (string, []string) {
		var b bytes.Buffer
		s := newScreen(&b, "m.yaml")
		s.size = size
		s.excuse(list, began)
		s.watch(told)
		s.tell(runner.Progress{Cell: "old", Judged: old})
		s.tell(runner.Progress{Cell: "new", Judged: other})
		return b.String(), s.picture(s.start, 24)
	}
	began := time.Date(2026, 1, 10, 23, 0, 0, 0, time.UTC)
	lines, picture := show(began, nil)
	if !strings.Contains(lines, "old: XFAIL, 1 xfail") || !strings.Contains(lines, "new: FAIL, 1 fail") {
		t.Errorf("in a pipe:\n%s", lines)
	}
	if len(picture) != 2 || !strings.Contains(picture[0], "(1 xfail, 1 fail)") || !strings.Contains(picture[1], "new: FAIL") {
		t.Errorf("%q", picture)
	}
	if lines, _ := show(began, func() (int, int) { return 80, 24 }); strings.Contains(lines, "old:") || !strings.Contains(lines, "new: FAIL, 1 fail") {
		t.Errorf("on a terminal:\n%s", lines)
	}
	if lines, picture := show(began.AddDate(0, 0, 1), nil); !strings.Contains(lines, "old: FAIL, 1 fail") || !strings.Contains(picture[0], "(2 fail)") {
		t.Errorf("expired:\n%s%q", lines, picture)
	}
	if old.Verdict != verdict.Fail || old.Programs[0].Tests[0].Verdict != verdict.Fail || told.Verdicts[verdict.Fail] != 2 {
		t.Errorf("the run's own cell was changed: %+v, %v", old, told.Verdicts)
	}
}
