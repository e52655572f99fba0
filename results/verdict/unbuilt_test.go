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
