// SPDX-License-Identifier: Apache-2.0

package known

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"noiommu-farm/results/console"
	"noiommu-farm/results/failure"
	"noiommu-farm/results/verdict"
)

const entry = `
  - fingerprint: "3f9a1c2b7d4e"
    test: get_pa.PA-02
    reason: An address beyond the mapping is told.
    link: https://lore.kernel.org/kvm/1@example.org/
    owner: A. Maintainer <a@example.org>
    expires: 2027-06-30
`

func TestParse(t *testing.T) {
	list, err := Parse([]byte("# reviewed by the maintainers\nissues:" + entry))
	if err != nil {
		t.Fatal(err)
	}
	want := Issue{"3f9a1c2b7d4e", "get_pa.PA-02", "An address beyond the mapping is told.", "https://lore.kernel.org/kvm/1@example.org/", "A. Maintainer <a@example.org>", "2027-06-30"}
	if len(list.Issues) != 1 || list.Issues[0] != want {
		t.Errorf("%+v", list.Issues)
	}
	for _, empty := range []string{"", "issues:\n", "issues: []\n", "# nothing yet\n"} {
		if list, err := Parse([]byte(empty)); err != nil || len(list.Issues) != 0 {
			t.Errorf("%q: %+v, %v", empty, list, err)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	change := func(old, new string) string { return "issues:" + strings.Replace(entry, old, new, 1) }
	for want, text := range map[string]string{
		"[4:5] unknown field \"reasons\"":      change("reason:", "reasons:"),
		"[1:1] unknown field \"issue\"":        strings.Replace(change("x", "x"), "issues:", "issue:", 1),
		"[2:16] issue 1: owner is missing":     change("    owner: A. Maintainer <a@example.org>\n", ""),
		"[2:18] issue 1: fingerprint is not":   change(`"3f9a1c2b7d4e"`, `"3F9A"`),
		"expires is no day":                    change("2027-06-30", "next year"),
		"link is no absolute URL":              change("https://lore.kernel.org/kvm/1@example.org/", "there"),
		"reason is longer than":                change("An address", strings.Repeat("x", 501)),
		"reason is more than one line":         change("An address beyond the mapping is told.", "|\n      one\n      two"),
		"[8:18] issue 2: fingerprint is that":  "issues:" + entry + entry[1:],
		"more than one document":               "issues:" + entry + "---\nissues: []\n",
		"[1:9] string was used where sequence": "issues: none\n",
		"longer than":                          "#" + strings.Repeat("x", maxFile),
	} {
		list, err := Parse([]byte(text))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v (%+v)", want, err, list.Issues)
		}
	}
}

func TestOfRun(t *testing.T) {
	dir := t.TempDir()
	if list, err := OfRun(dir); err != nil || len(list.Issues) != 0 {
		t.Errorf("%+v, %v", list, err)
	}
	if err := os.WriteFile(filepath.Join(dir, File), []byte("issues:"+entry), 0o644); err != nil {
		t.Fatal(err)
	}
	if list, err := OfRun(dir); err != nil || len(list.Issues) != 1 {
		t.Errorf("%+v, %v", list, err)
	}
}

var (
	began   = time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	warning = console.Finding{Class: console.Warning, Title: "WARNING in f"}
)

// bad is a cell in which a test fails and another passes.
func bad() *verdict.Cell {
	return &verdict.Cell{Name: "x", Verdict: verdict.Fail, Programs: []verdict.Program{{Name: "get_pa", Verdict: verdict.Fail, Tests: []verdict.Test{
		{Name: "get_pa.PA-01", Verdict: verdict.Pass},
		{Name: "get_pa.PA-02", Verdict: verdict.Fail, Reason: "get_pa.go:4: no"},
	}}}}
}

// issueOf is an entry for the nth problem of a cell.
func issueOf(t *testing.T, c *verdict.Cell, n int) Issue {
	t.Helper()
	p := failure.Problems(c)[n]
	return Issue{Fingerprint: p.Fingerprint, Test: p.Name, Reason: "it is broken", Link: "https://example.org/", Owner: "a", Expires: "2027-06-30"}
}

func TestApply(t *testing.T) {
	for _, c := range []struct {
		name    string
		cell    func() *verdict.Cell
		issue   func(*Issue)
		problem int // of the cell, that the entry is for
		state   State
		cells   verdict.Verdict
	}{
		{"a failure", bad, nil, 0, Matched, verdict.Pass},
		{"an entry that has expired", bad, func(i *Issue) { i.Expires = "2026-10-31" }, 0, Expired, verdict.Fail},
		{"on its last day", bad, func(i *Issue) { i.Expires = "2026-11-01" }, 0, Matched, verdict.Pass},
		{"another failure", bad, func(i *Issue) { i.Fingerprint = "000000000001" }, 0, Stale, verdict.Fail},
		{"a test that was not run", bad, func(i *Issue) { i.Fingerprint, i.Test = "000000000001", "get_pa.PA-03" }, 0, Unseen, verdict.Fail},
		{"one of two failures", func() *verdict.Cell {
			c := bad()
			c.Programs[0].Tests = append(c.Programs[0].Tests, verdict.Test{Name: "get_pa.PA-03", Verdict: verdict.Fail, Reason: "get_pa.go:4: no"})
			return c
		}, nil, 0, Matched, verdict.Fail},
		{"with a warning between the tests", func() *verdict.Cell {
			c := bad()
			c.Programs[0].Reason, c.Programs[0].Findings = warning.Title, []console.Finding{warning}
			return c
		}, nil, 1, Matched, verdict.Fail},
		{"the warning between the tests", func() *verdict.Cell {
			c := bad()
			c.Programs[0].Tests = c.Programs[0].Tests[:1]
			c.Programs[0].Reason, c.Programs[0].Findings = warning.Title, []console.Finding{warning}
			return c
		}, nil, 0, Matched, verdict.Pass},
		{"a warning at boot", func() *verdict.Cell {
			c := bad()
			c.Programs[0].Tests, c.Programs[0].Verdict = c.Programs[0].Tests[:1], verdict.Pass
			c.Reason, c.Findings = warning.Title, []console.Finding{warning}
			return c
		}, nil, 0, Matched, verdict.Pass},
		{"a cell that ended early", func() *verdict.Cell {
			c := bad()
			c.Verdict, c.Reason, c.Findings, c.Tail = verdict.Crash, warning.Title, []console.Finding{warning}, []string{"the end"}
			return c
		}, nil, 0, Kept, verdict.Crash},
		{"a program that ended badly", func() *verdict.Cell {
			c := bad()
			c.Programs[0].Reason = "killed by signal 11"
			return c
		}, nil, 0, Kept, verdict.Fail},
		{"a test that has no result because of it", func() *verdict.Cell {
			c := bad()
			c.Programs[0].Reason = "killed by signal 11"
			c.Programs[0].Tests[1].Reason = "no result: the program ended before it (killed by signal 11)"
			return c
		}, nil, 1, Kept, verdict.Fail},
		{"the farm's failure", func() *verdict.Cell {
			c := bad()
			c.Verdict, c.Programs[0].Verdict, c.Programs[0].Tests[1].Verdict = verdict.Infra, verdict.Infra, verdict.Infra
			return c
		}, nil, 0, Kept, verdict.Infra},
		{"a program that the farm failed at besides", func() *verdict.Cell {
			c := bad()
			c.Programs[0].Own, c.Programs[0].Reason = verdict.Infra, "output is not whole: 1 of 2 bytes arrived"
			return c
		}, nil, 1, Matched, verdict.Infra},
		{"a cell that the farm failed at besides", func() *verdict.Cell {
			c := bad()
			c.Own, c.Reason = verdict.Infra, "QEMU died"
			return c
		}, nil, 1, Matched, verdict.Infra},
		{"a verdict that nothing in it explains", func() *verdict.Cell {
			c := bad()
			c.Verdict = verdict.Crash
			return c
		}, nil, 0, Matched, verdict.Crash},
	} {
		t.Run(c.name, func(t *testing.T) {
			cell := c.cell()
			issue := issueOf(t, cell, c.problem)
			if c.issue != nil {
				c.issue(&issue)
			}
			got := Apply(List{Issues: []Issue{issue}}, []*verdict.Cell{cell}, began)
			if len(got) != 1 || got[0].State != c.state {
				t.Errorf("the entry is %+v, want %s", got, c.state)
			}
			if cell.Verdict != c.cells {
				t.Errorf("the cell is %s, want %s: %+v", cell.Verdict, c.cells, cell)
			}
			if matched := c.state == Matched || c.state == Expired || c.state == Kept; matched != (len(got[0].Cells) == 1) {
				t.Errorf("found in %q", got[0].Cells)
			}
		})
	}
}

// An excused failure still says what failed, and by which entry.
func TestExcusedIsTold(t *testing.T) {
	cell := bad()
	Apply(List{Issues: []Issue{issueOf(t, cell, 0)}}, []*verdict.Cell{cell}, began)
	test := cell.Programs[0].Tests[1]
	if test.Verdict != verdict.XFail || !strings.Contains(test.Reason, "get_pa.go:4: no") || !strings.Contains(test.Reason, "it is broken") || !strings.Contains(test.Reason, "2027-06-30") {
		t.Errorf("%+v", test)
	}
}

// A crash that is known leaves what was not run because of it untested.
func TestKnownCrash(t *testing.T) {
	oops := console.Finding{Class: console.Oops, Title: "Oops in f"}
	cell := &verdict.Cell{Name: "x", Verdict: verdict.Crash, Reason: oops.Title, Tail: []string{"the end"}, Programs: []verdict.Program{
		{Name: "dma", Verdict: verdict.Crash, Reason: "did not finish: Oops in f", Tests: []verdict.Test{{Name: "dma.DM-01", Verdict: verdict.Crash, Reason: "did not finish: Oops in f", Findings: []console.Finding{oops}}}},
		{Name: "stress", Verdict: verdict.Crash, Reason: "not run: Oops in f", Tests: []verdict.Test{{Name: "stress.ST-01", Verdict: verdict.Crash, Reason: "not run: Oops in f"}}},
	}}
	got := Apply(List{Issues: []Issue{issueOf(t, cell, 0)}}, []*verdict.Cell{cell}, began)
	if got[0].State != Kept || cell.Verdict != verdict.Crash || cell.Programs[1].Tests[0].Verdict != verdict.Crash {
		t.Errorf("%+v: %+v", got, cell)
	}
}

// Whatever is listed, nothing becomes good that was not excused: what is bad
// and no entry's is as bad as before, and a cell with it too.
func TestNothingElseIsExcused(t *testing.T) {
	verdicts := []verdict.Verdict{verdict.Pass, verdict.Skip, verdict.XFail, verdict.Fail, verdict.Timeout, verdict.Crash, verdict.Infra}
	rapid.Check(t, func(rt *rapid.T) {
		pick := func(what string) verdict.Verdict { return rapid.SampledFrom(verdicts).Draw(rt, what) }
		reason := func() string {
			return rapid.SampledFrom([]string{"", "no", "not run: gone", "gone", "WARNING in f"}).Draw(rt, "reason")
		}
		c := &verdict.Cell{Name: "x", Reason: reason()}
		for range rapid.IntRange(0, 3).Draw(rt, "programs") {
			p := verdict.Program{Name: rapid.SampledFrom([]string{"a", "b"}).Draw(rt, "program"), Reason: reason()}
			if rapid.Bool().Draw(rt, "log") {
				p.Findings = []console.Finding{warning}
			}
			for range rapid.IntRange(0, 3).Draw(rt, "tests") {
				p.Tests = append(p.Tests, verdict.Test{Name: rapid.SampledFrom([]string{"a.1", "a.2"}).Draw(rt, "test"), Verdict: pick("verdict"), Reason: reason()})
			}
			if p.Reason != "" && rapid.Bool().Draw(rt, "said") {
				p.Own = rapid.SampledFrom(verdicts[3:]).Draw(rt, "own")
			}
			p.Verdict = verdict.Worst(verdict.Worst(pick("verdict"), p.Own), worst(p.Tests))
			c.Programs = append(c.Programs, p)
			c.Verdict = verdict.Worst(c.Verdict, p.Verdict)
		}
		c.Verdict = verdict.Worst(c.Verdict, pick("verdict"))
		before := failure.Problems(c)
		var list List
		for _, p := range before {
			known := slices.ContainsFunc(list.Issues, func(i Issue) bool { return i.Fingerprint == p.Fingerprint })
			if !known && rapid.Bool().Draw(rt, "listed") {
				list.Issues = append(list.Issues, Issue{Fingerprint: p.Fingerprint, Test: p.Name, Expires: "2027-06-30"})
			}
		}
		Apply(list, []*verdict.Cell{c}, began)
		for _, p := range before {
			listed := slices.ContainsFunc(list.Issues, func(i Issue) bool { return i.Fingerprint == p.Fingerprint })
			now := c.Verdict
			switch {
			case p.Test >= 0:
				now = c.Programs[p.Program].Tests[p.Test].Verdict
			case p.Program >= 0:
				now = c.Programs[p.Program].Verdict
			}
			kept := now == p.Verdict || p.Test < 0 && !now.Good() // the whole may be left with the farm's failure alone
			if p.Verdict != verdict.XFail && (!listed || p.Follows || p.Verdict == verdict.Infra) && !kept {
				rt.Fatalf("%+v became %s", p, now)
			}
			if bad := !now.Good(); bad && c.Verdict.Good() {
				rt.Fatalf("%+v is bad and the cell is %s", p, c.Verdict)
			}
		}
	})
}

// The file that ships is one.
func TestShipped(t *testing.T) {
	list, err := Load("../../known.yaml")
	if err != nil || len(list.Issues) == 0 {
		t.Fatalf("%+v, %v", list, err)
	}
}
