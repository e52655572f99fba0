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
// what the farm failed at, what is gone, what had fewer selftests and what ran on
// another kernel is not.
func TestKnownBase(t *testing.T) {
	runs := t.TempDir()
	cell := func(p Point, v verdict.Verdict, reason string) Cell {
		dir := filepath.Join(runs, "cells", p.Config+"_"+p.Topology)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		return Cell{Point: p, Dir: dir, Verdict: v, Reason: reason}
	}
	built := func(compiler string) (builds []Build) {
		for _, config := range []string{all, cdev, group, mod} {
			builds = append(builds, Build{Config: config, Key: config + " by " + compiler})
		}
		return builds
	}
	add := func(name, bench, compiler string, selftests []string, cells ...Cell) {
		dir := filepath.Join(runs, "gate-"+name)
		if err := os.MkdirAll(filepath.Join(dir, statesDir), 0o755); err != nil {
			t.Fatal(err)
		}
		for file, v := range map[string]any{
			headFile:                             head{Bench: bench},
			filepath.Join(statesDir, "000.json"): State{Plan: Plan{Selftests: selftests}, Builds: built(compiler), Cells: cells},
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
	onGroup := cell(Point{group, none}, verdict.Pass, "")
	add("a", "this", "gcc 14", nil, onNone, withVFIO, lost, removed)
	add("b", "this", "gcc 14", []string{"vfio"}, onNone, onCdev)
	add("c", "another", "gcc 14", []string{"vfio"}, withVFIO)
	add("d", "this", "gcc 13", []string{"vfio"}, withVFIO, onGroup)
	add("own", "this", "gcc 14", nil)

	g := &gate{Options: Options{Runs: runs}, dir: filepath.Join(runs, "gate-own")}
	base := &State{Builds: built("gcc 14"), Plan: Plan{Points: points(Core), Selftests: []string{"vfio"}}}
	cells, from := g.knownBase(base)
	if diff := cmp.Diff([]Cell{onNone, onCdev}, cells); diff != "" {
		t.Errorf("cells (-want +got)\n%s", diff)
	}
	if diff := cmp.Diff([]string{filepath.Join(runs, "gate-a"), filepath.Join(runs, "gate-b")}, from); diff != "" {
		t.Errorf("from (-want +got)\n%s", diff)
	}
	base.Plan = Plan{Points: []Point{{all, intel}}}
	if cells, _ := g.knownBase(base); len(cells) != 1 || cells[0].Point != withVFIO.Point {
		t.Errorf("without selftests: %v", cells)
	}
}

// A gate that goes on keeps the cells that it has, but runs those anew that the
// farm failed at, whose record is gone, or whose kernel another compiler makes.
func TestCellsOf(t *testing.T) {
	dir := t.TempDir()
	one := Cell{Point: Point{all, none}, Dir: dir, Verdict: verdict.Crash, Reason: "panic"}
	two := Cell{Point: Point{cdev, none}, Dir: dir, Verdict: verdict.Pass}
	with := func(change func(*Cell)) []Cell {
		c := one
		change(&c)
		return []Cell{c, two}
	}
	builds := []Build{{Config: all, Key: "1"}, {Config: cdev, Key: "2"}}
	for name, c := range map[string]struct {
		was    []Cell
		builds []Build
		want   []Cell
	}{
		"all are as they were":  {[]Cell{one, two}, builds, []Cell{one, two}},
		"the farm failed":       {with(func(c *Cell) { c.Verdict = verdict.Infra }), builds, []Cell{two}},
		"a test was lost":       {with(func(c *Cell) { c.Verdict, c.Reason = verdict.Infra, "" }), builds, with(func(c *Cell) { c.Verdict, c.Reason = verdict.Infra, "" })},
		"its record is gone":    {with(func(c *Cell) { c.Dir += "/gone" }), builds, []Cell{two}},
		"another compiler":      {[]Cell{one, two}, []Build{{Config: all, Key: "3"}, builds[1]}, []Cell{two}},
		"it builds no longer":   {[]Cell{one, two}, []Build{{Config: all, Error: "x"}, builds[1]}, []Cell{two}},
		"a point not asked for": {with(func(c *Cell) { c.Topology = amd }), builds, []Cell{two}},
	} {
		s := &State{Builds: c.builds, Plan: Plan{Points: at("noiommu@none", "k-cdev@none")}}
		if diff := cmp.Diff(c.want, s.cellsOf(State{Builds: builds, Cells: c.was})); diff != "" {
			t.Errorf("%s (-want +got)\n%s", name, diff)
		}
	}
}
