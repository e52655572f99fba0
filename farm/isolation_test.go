// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"noiommu-farm/results"
)

// built builds a test program of testdata.
func built(t *testing.T, name string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	build := exec.Command("go", "build", "-trimpath", "-o", path, "./testdata/"+name)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", name, err, out)
	}
	return path
}

// record is that of the run's only cell.
func (o outcome) record(t *testing.T) *results.Record {
	t.Helper()
	dirs, _ := filepath.Glob(filepath.Join(o.dir, "cells", "*"))
	if len(dirs) != 1 {
		t.Fatalf("cells: %v\n%s", dirs, o.stderr)
	}
	rec, err := results.ReadCell(dirs[0])
	if err != nil {
		t.Fatal(err)
	}
	return rec
}

// restored counts the guests of a record that were restored, and those that
// were booted.
func restored(rec *results.Record) (restored, booted int) {
	for _, e := range rec.Events {
		switch {
		case e.Booted != nil:
			booted++
		case e.Assigned != nil && e.Assigned.Restored > 0:
			restored++
		}
	}
	return restored, booted
}

// A test whose device overwrites the kernel by DMA is the only one that sees
// anything of that: it crashes its guest, and the tests after it pass.
func TestScribbler(t *testing.T) {
	o := farm(t, "--topology", "none", "--device", "edu", "--program", built(t, "scribbler"), "--test", "DM-01,CD-01,PA-01")
	said := o.said()
	if o.code != 1 || !strings.Contains(said, "program/scribbler crash") {
		t.Errorf("exit code %d, want 1 and a crash:\n%s\n%s", o.code, o.stderr, said)
	}
	for _, test := range []string{"dma.DM-01", "cdev.CD-01", "get_pa.PA-01"} {
		if !strings.Contains(said, test+" pass") {
			t.Errorf("%s did not pass:\n%s", test, said)
		}
	}
	if many, booted := restored(o.record(t)); many != 4 || booted != 1 {
		t.Errorf("%d guests restored and %d booted, want 4 and 1", many, booted)
	}
}

// A machine that cannot be saved is booted for every suite, and the result says
// why.
func TestCannotBeSaved(t *testing.T) {
	o := farm(t, "--topology", "none", "--device", "edu,nvme", "--test", "CD-01,CD-02,PA-01")
	if o.code != 0 {
		t.Errorf("exit code %d\n%s\n%s", o.code, o.stderr, o.said())
	}
	if many, booted := restored(o.record(t)); many != 0 || booted != 3 {
		t.Errorf("%d guests restored and %d booted, want none and 3", many, booted)
	}
	if !strings.Contains(o.stdout, "non-migratable device") {
		t.Errorf("the result does not say why:\n%s", o.stdout)
	}
}
