// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
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

// guests says in how many guests the run's only cell was carried out.
func (o outcome) guests(t *testing.T) (g struct {
	Booted, Restored int
	Why              string
}) {
	t.Helper()
	var told struct {
		Judged []struct{ Guests json.RawMessage }
	}
	err := json.Unmarshal([]byte(o.stdout), &told)
	if err == nil && len(told.Judged) != 1 {
		err = fmt.Errorf("%d cells", len(told.Judged))
	}
	if err == nil {
		err = json.Unmarshal(told.Judged[0].Guests, &g)
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, o.stdout)
	}
	return g
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
	if g := o.guests(t); g.Restored != 4 || g.Booted != 1 || g.Why != "" {
		t.Errorf("%+v, want 4 guests restored and 1 booted", g)
	}
}

// A machine that cannot be saved is booted for every suite, and the result says
// why.
func TestCannotBeSaved(t *testing.T) {
	o := farm(t, "--topology", "none", "--device", "edu,nvme", "--test", "CD-01,PA-01")
	if o.code != 0 {
		t.Errorf("exit code %d\n%s\n%s", o.code, o.stderr, o.said())
	}
	if g := o.guests(t); g.Restored != 0 || g.Booted != 3 || !strings.Contains(g.Why, "non-migratable device") {
		t.Errorf("%+v, want 3 guests booted, and why", g)
	}
}

// A kernel that complains of a test only a grace period after it, and then in a
// work item, is heard before the test's guest is thrown away. The test that did
// nothing of the kind passes.
func TestHeardLate(t *testing.T) {
	if !*slow {
		t.Skip("builds a kernel: run with -noiommu.slow (make verify-late)")
	}
	o := farm(t, "--series", "testdata/series/late.patch", "--topology", "none", "--device", "edu", "--test", "PA-01,GR-02", "--isolation", "test")
	said := o.said()
	if o.code != 1 || !strings.Contains(said, "get_pa.PA-01 fail WARNING in iommufd_late_work") || !strings.Contains(said, "group.GR-02 pass") {
		t.Errorf("exit code %d, want 1 and a failure of PA-01 alone:\n%s\n%s", o.code, o.stderr, said)
	}
}
