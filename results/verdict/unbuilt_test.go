// SPDX-License-Identifier: Apache-2.0

package verdict

import (
	"path/filepath"
	"testing"

	"noiommu-farm/results"
)

// A kernel that could not be built is the kernel's failure, and nothing of its
// cell was tested.
func TestUnbuilt(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cell")
	w, err := results.CreateCell(dir, results.Planned{Cell: "c"})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Event(results.Event{Unbuilt: &results.Unbuilt{Stage: "compile", Err: "vfio_main.c:7: error"}}); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	rec, err := results.ReadCell(dir)
	if err != nil {
		t.Fatal(err)
	}
	c, err := Judge(rec)
	if err != nil || c.Verdict != Fail || c.Reason != "the kernel could not be built: compile: vfio_main.c:7: error" || len(c.Programs) != 0 {
		t.Errorf("%+v, %v", c, err)
	}
}

// Selftests that do not compile are a failure of their own beside what the
// guests did.
func TestBroken(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cell")
	w, err := results.CreateCell(dir, results.Planned{Cell: "c", Broken: []results.Broken{{Name: "vfio/build", Err: "a.c:7: error: no\n  7 | x"}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	rec, err := results.ReadCell(dir)
	if err != nil {
		t.Fatal(err)
	}
	c, err := Judge(rec)
	if err != nil || len(c.Programs) != 1 {
		t.Fatalf("%+v, %v", c, err)
	}
	if p := c.Programs[0]; p.Name != "vfio/build" || p.Verdict != Fail || len(p.Tests) != 1 || p.Tests[0].Verdict != Fail || p.Tests[0].Reason != "a.c:7: error: no" {
		t.Errorf("%+v", p)
	}
}
