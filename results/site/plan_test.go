// SPDX-License-Identifier: Apache-2.0

package site

import (
	"strings"
	"testing"

	"noiommu-farm/results"
	"noiommu-farm/results/known"
)

// What a matrix had no time for is told, and a cell that has not begun stands
// where it was planned.
func TestPlan(t *testing.T) {
	dir, err := results.CreateRun(t.TempDir(), &results.Run{Cells: []string{"x", "y"}})
	if err != nil {
		t.Fatal(err)
	}
	put(t, dir, "plan.json", `{"schedule": {"work": [
		{"number": 1, "cell": {"name": "x", "source": "debian:7.3", "config": "noiommu", "topology": "none", "devices": ["edu"], "cpus": 1, "memory_mib": 512}},
		{"number": 2, "cell": {"name": "y", "source": "debian:7.3", "config": "noiommu", "topology": "amd", "privileges": "no-rawio"}}],
		"left": [{"cell": {"name": "z<b>"}}]}, "excluded": [{"reason": "no amd here", "points": 7}], "more": 1}`)
	r, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	_, files := sitePages(t, r)
	check(t, files)
	for _, want := range []string{"IOMMU none: ", "IOMMU amd no-rawio", "1 cell", "no time was left: z&lt;b&gt;", "7 points of the matrix", "no amd here"} {
		if !strings.Contains(files["index.html"], want) {
			t.Errorf("the first page has no %q", want)
		}
	}
	put(t, dir, "plan.json", "{")
	if r, err = Load(dir); err != nil || len(r.Notes) != 2 || !strings.Contains(r.Notes[0], "plan.json") {
		t.Errorf("a plan that is not whole: %q, %v", r.Notes, err)
	}
}

// What became of known issues is told; a list that is not whole excuses nothing.
func TestKnown(t *testing.T) {
	dir, err := results.CreateRun(t.TempDir(), &results.Run{Cells: []string{"x"}})
	if err != nil {
		t.Fatal(err)
	}
	put(t, dir, known.File, "issues:\n- fingerprint: 0123456789ab\n  test: get_pa.PA-01\n  reason: <b>it is broken</b>\n  link: https://example.org/1\n  owner: somebody\n  expires: 2999-01-01\n")
	r, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	_, files := sitePages(t, r)
	check(t, files)
	if len(r.Known) != 1 || !strings.Contains(files["index.html"], "unseen</b>") || !strings.Contains(files["index.html"], "&lt;b&gt;it is broken") {
		t.Errorf("%+v, notes %q", r.Known, r.Notes)
	}
	put(t, dir, known.File, "[")
	if r, err = Load(dir); err != nil || len(r.Known) != 0 || len(r.Notes) != 2 || r.Verdict.Good() {
		t.Errorf("%s: %+v, %q, %v", r.Verdict, r.Known, r.Notes, err)
	}
}
