// SPDX-License-Identifier: Apache-2.0

package gate

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"noiommu-farm/results"
	"noiommu-farm/results/verdict"
)

// What any gate found of a base on the same bench is used again, cell by cell;
// what the farm failed at, what is gone and what had fewer selftests is not.
func TestKnownBase(t *testing.T) {
	runs := t.TempDir()
	cell := func(p Point, v verdict.Verdict, reason string) Cell {
		dir := filepath.Join(runs, "cells", p.Config+"_"+p.Topology)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		return Cell{Point: p, Dir: dir, Verdict: v, Reason: reason}
	}
	add := func(name, bench string, selftests []string, cells ...Cell) {
		dir := filepath.Join(runs, "gate-"+name)
		if err := os.MkdirAll(filepath.Join(dir, statesDir), 0o755); err != nil {
			t.Fatal(err)
		}
		for file, v := range map[string]any{
			headFile:                             head{Bench: bench},
			filepath.Join(statesDir, "000.json"): State{Plan: Plan{Selftests: selftests}, Cells: cells},
		} {
			if err := results.WriteJSON(filepath.Join(dir, file), v); err != nil {
				t.Fatal(err)
			}
		}
	}
	onNone := cell(Point{all, none}, verdict.Pass, "")
	onCdev := cell(Point{cdev, none}, verdict.Fail, "PA-02")
	withVFIO := cell(Point{all, intel}, verdict.Pass, "")
	lost := cell(Point{group, none}, verdict.Infra, "QEMU is gone")
	removed := Cell{Point: Point{mod, none}, Dir: filepath.Join(runs, "removed"), Verdict: verdict.Pass}
	add("a", "this", nil, onNone, withVFIO, lost, removed)
	add("b", "this", []string{"vfio"}, onNone, onCdev)
	add("c", "another", []string{"vfio"}, withVFIO)
	add("own", "this", nil)

	g := &gate{Options: Options{Runs: runs}, dir: filepath.Join(runs, "gate-own")}
	plan := Plan{Points: points(Core), Selftests: []string{"vfio"}}
	cells, from := g.knownBase(plan)
	if diff := cmp.Diff([]Cell{onNone, onCdev}, cells); diff != "" {
		t.Errorf("cells (-want +got)\n%s", diff)
	}
	if diff := cmp.Diff([]string{filepath.Join(runs, "gate-a"), filepath.Join(runs, "gate-b")}, from); diff != "" {
		t.Errorf("from (-want +got)\n%s", diff)
	}
	plan = Plan{Points: []Point{{all, intel}}}
	if cells, _ := g.knownBase(plan); len(cells) != 1 || cells[0].Point != withVFIO.Point {
		t.Errorf("without selftests: %v", cells)
	}
}
