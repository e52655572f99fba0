// SPDX-License-Identifier: Apache-2.0

package runner

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
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

func resumable() (*run, *prepared) {
	r := &run{Options: Options{Tell: func(Progress) {}}}
	c := &prepared{Cell: matrix.Cell{Name: "c", Source: "debian:7.3", Config: "noiommu", Topology: "none"}}
	c.machine.Topology = "none"
	return r, c
}

// unbuilt is the verdict of a kernel that does not compile.
var unbuilt = &fault.Kernel{Stage: "compile", Err: errors.New("vfio_main.c:7: error")}

// A cell is done once. What says nothing of the kernel, or is half written, is
// done again, and what was there is kept.
func TestOneIsDoneOnce(t *testing.T) {
	r, c := resumable()
	dir := t.TempDir()
	cellDir := results.CellDir(dir, c.Name)
	if err := os.MkdirAll(filepath.Dir(cellDir), 0o755); err != nil {
		t.Fatal(err)
	}
	attempts := func() int {
		entries, _ := os.ReadDir(filepath.Join(dir, attemptsDir))
		return len(entries)
	}
	do := func(why error, fresh bool, want verdict.Verdict, before int) {
		t.Helper()
		judged, did, err := r.one(t.Context(), dir, c, r.without("id", why))
		if err != nil || judged == nil || did != fresh || judged.Verdict != want || attempts() != before {
			t.Fatalf("%+v, done %v, %v, %d put aside; want %s, done %v, %d", judged, did, err, attempts(), want, fresh, before)
		}
	}
	do(errors.New("no compiler"), true, verdict.Infra, 0)
	do(errors.New("no compiler"), true, verdict.Infra, 1) // it says nothing
	// Half written: the farm was killed in the middle of a line, before there was
	// a verdict.
	events := filepath.Join(cellDir, "events.jsonl")
	text, err := os.ReadFile(events)
	if err == nil {
		err = errors.Join(os.WriteFile(events, text[:len(text)-5], 0o644), os.Remove(filepath.Join(cellDir, verdictFile)))
	}
	if err != nil {
		t.Fatal(err)
	}
	do(unbuilt, true, verdict.Fail, 2)
	var done Done
	if err := readJSON(filepath.Join(cellDir, doneFile), &done); err != nil || done.Verdict != verdict.Fail || done.Source != "id" || done.Host == "" {
		t.Fatalf("%+v, %v", done, err)
	}
	do(errors.New("would be another"), false, verdict.Fail, 2)
}

// What was finished by somebody else since it was looked at stays where it is.
func TestSealedIsNotPutAside(t *testing.T) {
	r, c := resumable()
	dir := t.TempDir()
	cellDir := results.CellDir(dir, c.Name)
	if err := os.MkdirAll(filepath.Dir(cellDir), 0o755); err != nil {
		t.Fatal(err)
	}
	wasSealed := sealed(cellDir)
	if _, _, err := r.one(t.Context(), dir, c, r.without("id", unbuilt)); err != nil {
		t.Fatal(err)
	}
	if wasSealed || !sealed(cellDir) {
		t.Fatal("it is sealed before it is done, or not after")
	}
	if err := putAside(dir, c.Name, wasSealed); err == nil || !sealed(cellDir) {
		t.Errorf("%v; it is gone: %v", err, !sealed(cellDir))
	}
	// It may be judged anew, and then say nothing of the kernel.
	if err := putAside(dir, c.Name, true); err != nil || sealed(cellDir) {
		t.Errorf("%v; it is still there: %v", err, sealed(cellDir))
	}
}

// A farm that was killed between a cell's verdict and the seal has lost nothing,
// unless the machine was started anew; before the verdict it has.
func TestKilledBeforeTheSeal(t *testing.T) {
	for _, k := range []struct {
		name, boot string
		lost       []string
		again      bool
	}{
		{"after the verdict", boot(), []string{doneFile}, false},
		{"before the verdict", boot(), []string{doneFile, verdictFile}, true},
		{"after the verdict, and the machine too", "another", []string{doneFile}, true},
	} {
		r, c := resumable()
		dir := t.TempDir()
		cellDir := results.CellDir(dir, c.Name)
		if err := os.MkdirAll(filepath.Dir(cellDir), 0o755); err != nil {
			t.Fatal(err)
		}
		if _, _, err := r.one(t.Context(), dir, c, r.without("id", unbuilt)); err != nil {
			t.Fatal(err)
		}
		for _, name := range k.lost {
			if err := os.Remove(filepath.Join(cellDir, name)); err != nil {
				t.Fatal(err)
			}
		}
		if err := results.WriteJSON(filepath.Join(cellDir, begunFile), begun{Boot: k.boot}); err != nil {
			t.Fatal(err)
		}
		judged, did, err := r.one(t.Context(), dir, c, r.without("id", unbuilt))
		if err != nil || judged == nil || judged.Verdict != verdict.Fail || did != k.again {
			t.Errorf("%s: %+v, done again %v, %v", k.name, judged, did, err)
		}
		for _, name := range []string{doneFile, verdictFile} {
			if _, err := os.Stat(filepath.Join(cellDir, name)); err != nil {
				t.Errorf("%s: %v", k.name, err)
			}
		}
	}
}

// A cell whose record is not whole leaves no verdict behind, so that it is done
// again and not sealed as it is.
func TestNotWholeIsDoneAgain(t *testing.T) {
	r, c := resumable()
	r.Keep = true
	c.build = &kernels.Build{Vmlinux: filepath.Join(t.TempDir(), "absent")}
	dir := t.TempDir()
	cellDir := results.CellDir(dir, c.Name)
	if err := os.MkdirAll(filepath.Dir(cellDir), 0o755); err != nil {
		t.Fatal(err)
	}
	judged, _, err := r.one(t.Context(), dir, c, func(ctx context.Context, dir string, c *prepared) (*verdict.Cell, error) {
		return r.cell(ctx, dir, c, cellPlan{planned: results.Planned{Cell: c.Name}})
	})
	if judged == nil || !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("%+v, %v; want a judged cell and why it is not whole", judged, err)
	}
	if _, err := os.Stat(filepath.Join(cellDir, verdictFile)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("its verdict: %v", err)
	}
	judged, did, err := r.one(t.Context(), dir, c, r.without("id", unbuilt))
	if err != nil || !did || judged.Verdict != verdict.Fail {
		t.Errorf("%+v, done again %v, %v", judged, did, err)
	}
}

// A cell of a matrix in which nothing applies to the kernel that was built is
// not a good one.
func TestNothingToTestIsNoPass(t *testing.T) {
	r, c := resumable()
	c.build = &kernels.Build{SourceID: "id"}
	c.Selection.Suites = []string{"get_pa"}
	dir := t.TempDir()
	if err := os.MkdirAll(results.CellDir(dir, c.Name), 0o755); err != nil {
		t.Fatal(err)
	}
	judged, err := r.bootIn(t.Context(), dir, c)
	if err != nil || judged.Verdict != verdict.Infra || !strings.Contains(judged.Reason, "nothing would be tested") {
		t.Errorf("%+v, %v", judged, err)
	}
}

// A cell for which there was no time is named, and a run with no other cell is
// not a good one.
func TestCollectNamesWhatIsLeft(t *testing.T) {
	r, c := resumable()
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Dir(results.CellDir(dir, c.Name)), 0o755); err != nil {
		t.Fatal(err)
	}
	work := func(name string) schedule.Work { return schedule.Work{Cell: matrix.Cell{Name: name}} }
	plan := &Plan{Schedule: schedule.Schedule{Work: []schedule.Work{work("c"), work("late")}, Left: []schedule.Work{work("unplanned")}}}
	out, err := collect(dir, results.Run{}, plan, false)
	if err == nil || len(out.Run.Cells) != 0 || !slices.Equal(out.Run.Left, []string{"c", "late", "unplanned"}) {
		t.Errorf("nothing begun: %+v, %v", out.Run, err)
	}
	if _, _, err := r.one(t.Context(), dir, c, r.without("id", unbuilt)); err != nil {
		t.Fatal(err)
	}
	for _, k := range []struct {
		stopped     bool
		cells, left []string
	}{
		{false, []string{"c"}, []string{"late", "unplanned"}},
		{true, []string{"c", "late"}, []string{"unplanned"}},
	} {
		if _, err := collect(dir, results.Run{Left: []string{"of before"}}, plan, k.stopped); err != nil {
			t.Fatal(err)
		}
		head, err := results.ReadRun(dir)
		if err != nil || !slices.Equal(head.Cells, k.cells) || !slices.Equal(head.Left, k.left) {
			t.Errorf("stopped %v: %+v, %v", k.stopped, head, err)
		}
	}
}

// Two at once: one does the cell, the other waits and finds it done.
func TestTwoAtOneCell(t *testing.T) {
	r, c := resumable()
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Dir(results.CellDir(dir, c.Name)), 0o755); err != nil {
		t.Fatal(err)
	}
	inside, release := make(chan struct{}), make(chan struct{})
	first := make(chan error)
	go func() {
		_, did, err := r.one(t.Context(), dir, c, func(ctx context.Context, dir string, c *prepared) (*verdict.Cell, error) {
			close(inside)
			<-release
			return r.without("id", unbuilt)(ctx, dir, c)
		})
		if !did {
			err = errors.Join(err, errors.New("the first did nothing"))
		}
		first <- err
	}()
	<-inside
	waits := make(chan struct{})
	second := &run{Options: Options{Tell: func(p Progress) {
		if p.Note != "" {
			close(waits)
		}
	}}}
	result := make(chan bool)
	go func() {
		_, did, err := second.one(t.Context(), dir, c, second.without("id", unbuilt))
		result <- did || err != nil
	}()
	<-waits
	close(release)
	if err := <-first; err != nil {
		t.Error(err)
	}
	if <-result {
		t.Error("the second did it again")
	}
}

// A guest that is larger than the machine is refused before anything is spent.
func TestBudgetHolds(t *testing.T) {
	var b budget
	if err := b.share(1, 1000); err != nil {
		t.Fatal(err)
	}
	small, large := &prepared{}, &prepared{}
	small.MemoryMiB, large.MemoryMiB = 512, 1024
	if err := b.hold([]*prepared{small}); err != nil {
		t.Error(err)
	}
	var usage *fault.Usage
	if err := b.hold([]*prepared{small, large}); !errors.As(err, &usage) || usage.Value != "1024" {
		t.Errorf("%v", err)
	}
}

// A plan that somebody wrote by hand names no folder outside of the run.
func TestReadPlan(t *testing.T) {
	for name, good := range map[string]bool{"debian-7.3_noiommu_none": true, "": false, "../x": false, "a/b": false, "..": false, ".": false} {
		dir := t.TempDir()
		p := Plan{Schedule: schedule.Schedule{Work: []schedule.Work{{Number: 1, Cell: matrix.Cell{Name: name}}}}, Until: time.Now().UTC()}
		text, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, planFile), text, 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadPlan(dir); (err == nil) != good {
			t.Errorf("%q: %v", name, err)
		}
	}
}
