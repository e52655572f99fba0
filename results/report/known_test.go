// SPDX-License-Identifier: Apache-2.0

package report

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"noiommu-farm/results/failure"
	"noiommu-farm/results/known"
	"noiommu-farm/results/verdict"
)

func TestExcuse(t *testing.T) {
	print := failure.Problems(cellOf("x", "f"))[0].Fingerprint
	issue := func(print, test, expires string) known.Issue {
		return known.Issue{Fingerprint: print, Test: test, Reason: "it is broken", Link: "https://example.org/1", Owner: "a", Expires: expires}
	}
	for _, c := range []struct {
		name   string
		run    verdict.Verdict // before
		issues []known.Issue
		want   verdict.Verdict
		told   string
	}{
		{"nothing known", verdict.Fail, nil, verdict.Fail, ""},
		{"known", verdict.Fail, []known.Issue{issue(print, "get_pa.PA-02", "2027-06-30")}, verdict.Pass, "expected to fail:\n  " + print + " get_pa.PA-02 (x), until 2027-06-30, a\n      it is broken\n"},
		{"expired", verdict.Fail, []known.Issue{issue(print, "get_pa.PA-02", "2025-06-30")}, verdict.Fail, "have expired:\n  " + print},
		{"no longer there", verdict.Fail, []known.Issue{issue("000000000001", "get_pa.PA-01", "2027-06-30")}, verdict.Fail, "no longer match, although the test was run:\n  000000000001"},
		{"known, and the farm failed", verdict.Infra, []known.Issue{issue(print, "get_pa.PA-02", "2027-06-30")}, verdict.Infra, "expected to fail:"},
	} {
		r := Run{Dir: t.TempDir(), Verdict: c.run, Cells: []*verdict.Cell{cellOf("x", "pf")}}
		r.Cells[0].Programs[0].Tests[1].Name = "get_pa.PA-01" // the failure whose print that is
		r.Cells[0].Programs[0].Tests[0].Name = "get_pa.PA-02"
		r.Started = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		if err := r.Excuse(known.List{Text: []byte("issues:\n"), Issues: c.issues}); err != nil {
			t.Fatal(err)
		}
		if r.Verdict != c.want || len(r.Problems) != 1 || r.Problems[0].Fingerprint != print {
			t.Errorf("%s: %s, want %s; problems %+v", c.name, r.Verdict, c.want, r.Problems)
		}
		var b strings.Builder
		if err := Table(&b, r, Style{}); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(b.String(), c.told) {
			t.Errorf("%s: not told: %q in\n%s", c.name, c.told, b.String())
		}
		if text, err := os.ReadFile(filepath.Join(r.Dir, known.File)); err != nil || string(text) != "issues:\n" {
			t.Errorf("%s: the copy is %q, %v", c.name, text, err)
		}
	}
}
