// SPDX-License-Identifier: Apache-2.0

package runner

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"noiommu-farm/farm/matrix"
	"noiommu-farm/farm/matrix/schedule"
	"noiommu-farm/internal/fault"
	"noiommu-farm/kernels"
	"noiommu-farm/results"
	"noiommu-farm/results/verdict"
)

// begunRun is a run directory with one cell, of a copy of the small kernel as it
// is now.
func begunRun(t *testing.T) (dir, tree string, opt Options) {
	t.Helper()
	tree = filepath.Join(t.TempDir(), "tree")
	fragment := filepath.Join(t.TempDir(), "mini.config")
	err := errors.Join(os.CopyFS(tree, os.DirFS("../../kernels/testdata/tree")),
		os.WriteFile(fragment, []byte("CONFIG_PCI=y\nCONFIG_NOIOMMU=y\n"), 0o644))
	if err != nil {
		t.Fatal(err)
	}
	cell := matrix.Cell{Name: "c", Source: "tree:" + tree, Config: fragment, Topology: "none",
		Guest: matrix.Guest{Devices: []string{"edu"}, CPUs: 1, MemoryMiB: 512}}
	opt = Options{Cache: &kernels.Cache{Dir: t.TempDir(), Jobs: 1}, Images: t.TempDir(), Runs: t.TempDir(), Tell: func(Progress) {}}
	now, err := Now(t.Context(), []matrix.Cell{cell}, opt)
	if err != nil {
		t.Fatal(err)
	}
	work := []schedule.Work{{Number: 1, Cell: cell, Cost: time.Minute}}
	dir, err = Begin(t.Context(), Plan{Sources: now.Sources, Suites: now.Suites,
		Schedule: schedule.Schedule{Work: work, Builds: []schedule.Building{{Kernel: cell.Kernel()}}}}, opt)
	if err != nil {
		t.Fatal(err)
	}
	return dir, tree, opt
}

// A source that changes while a run waits for its turn gives no cell of the run
// a kernel, nor a bad one.
func TestSourceThatChanged(t *testing.T) {
	for name, c := range map[string]struct {
		text  string
		carry func(dir string, opt Options) error
	}{
		"another kernel, here": {"int other;\n", func(dir string, opt Options) error {
			plan, err := ReadPlan(dir)
			if err != nil {
				return err
			}
			return Local(t.Context(), dir, plan, opt)
		}},
		"no kernel at all, on a cluster": {"#error no\n", func(dir string, opt Options) error {
			_, err := Work(t.Context(), dir, 1, false, opt)
			return err
		}},
	} {
		dir, tree, opt := begunRun(t)
		f, err := os.OpenFile(filepath.Join(tree, "init/main.c"), os.O_WRONLY|os.O_APPEND, 0)
		if err != nil {
			t.Fatal(err)
		}
		_, err = f.WriteString(c.text)
		if err := errors.Join(err, f.Close()); err != nil {
			t.Fatal(err)
		}
		if err := c.carry(dir, opt); err != nil {
			t.Fatal(err)
		}
		rec, err := results.ReadCell(results.CellDir(dir, "c"))
		if err != nil {
			t.Fatal(err)
		}
		judged, err := verdict.Judge(rec)
		if err != nil || judged.Verdict != verdict.Infra || !strings.Contains(judged.Reason, "has changed since the run began") {
			t.Errorf("%s: %+v, %v; want infra", name, judged, err)
		}
	}
}

func TestAgreed(t *testing.T) {
	plan := &Plan{Sources: map[string]string{"debian:7.3": "id"}, Suites: "programs"}
	bad := &fault.Kernel{Stage: "compile", Err: errors.New("no")}
	other := errors.New("disk full")
	for name, c := range map[string]struct {
		built  string
		failed error
		now    string
		want   string // part of the error
	}{
		"the same":                       {built: "id"},
		"another":                        {built: "other", want: "has changed"},
		"the same, and it is bad":        {failed: bad, now: "id", want: "compile"},
		"another, and it is bad":         {failed: bad, now: "other", want: "has changed"},
		"what failed says nothing of it": {failed: other, now: "other", want: "disk full"},
	} {
		b := &kernels.Build{SourceID: c.built}
		got, err := plan.kernel("debian:7.3", b, c.failed, func() (string, error) { return c.now, nil })
		if c.want == "" && (err != nil || got != b) || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	if err := plan.suites("programs"); err != nil {
		t.Error(err)
	}

	// The programs that would be booted, not those that there were a while ago.
	text := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(text, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	r := &run{Options: Options{Images: t.TempDir()}, agreed: plan}
	if err := r.equip(t.Context(), &prepared{}, &kernels.Build{ConfigPath: text}); err == nil || !strings.Contains(err.Error(), "the test programs have changed") {
		t.Errorf("other programs: %v", err)
	}
}
