// SPDX-License-Identifier: Apache-2.0

package verdict

import (
	"path/filepath"
	"testing"

	"noiommu-farm/results"
)

// judgeUnbooted judges a cell that had no guest, from its plan and events.
func judgeUnbooted(t *testing.T, planned results.Planned, events ...results.Event) *Cell {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "cell")
	w, err := results.CreateCell(dir, planned)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range events {
		if err := w.Event(e); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	rec, err := results.ReadCell(dir)
	if err != nil {
		t.Fatal(err)
	}
	c, err := Judge(rec)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// A kernel that could not be built is the kernel's failure, and nothing of its
// cell was tested.
func TestUnbuilt(t *testing.T) {
	c := judgeUnbooted(t, results.Planned{Cell: "c"}, results.Event{Unbuilt: &results.Unbuilt{Stage: "compile", Err: "vfio_main.c:7: error"}})
	if c.Verdict != Fail || c.Reason != "the kernel could not be built: compile: vfio_main.c:7: error" || len(c.Programs) != 0 {
		t.Errorf("%+v", c)
	}
}

// Selftests that do not compile are a failure of their own beside what the
// guests did.
func TestBroken(t *testing.T) {
	c := judgeUnbooted(t, results.Planned{Cell: "c", Broken: []results.Broken{{Name: "vfio/build", Err: "a.c:7: error: no\n  7 | x", Missing: []string{"a", "b"}}}})
	if len(c.Programs) != 1 {
		t.Fatalf("%+v", c)
	}
	if p := c.Programs[0]; p.Name != "vfio/build" || p.Verdict != Fail || len(p.Tests) != 1 || p.Tests[0].Verdict != Fail || p.Tests[0].Reason != "a.c:7: error: no; without a b" {
		t.Errorf("%+v", p)
	}
}
