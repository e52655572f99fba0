// SPDX-License-Identifier: Apache-2.0

package runner

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"noiommu-farm/farm/matrix/schedule"
	"noiommu-farm/results"
	"noiommu-farm/results/verdict"
)

// A Board shows a run directory that others are at, from what they leave
// there.
type Board struct {
	dir    string
	plan   *Plan
	opt    Options
	open   map[string]schedule.Work // by name of the cell
	status Status
}

// NewBoard looks at a run directory.
func NewBoard(dir string, plan *Plan, opt Options) (*Board, error) {
	b := &Board{dir: dir, plan: plan, opt: opt, open: make(map[string]schedule.Work)}
	b.status = Status{Total: len(plan.Schedule.Work), Verdicts: make(verdict.Counts)}
	for _, w := range plan.Schedule.Work {
		b.open[w.Cell.Name] = w
	}
	return b, b.Look()
}

// Look finds the cells that were finished meanwhile, and tells of them.
func (b *Board) Look() error {
	for _, w := range b.plan.Schedule.Work {
		if _, ok := b.open[w.Cell.Name]; !ok {
			continue
		}
		dir := results.CellDir(b.dir, w.Cell.Name)
		if !sealed(dir) {
			continue // at work, or not begun
		}
		judged, err := finished(dir)
		if err != nil {
			return err
		}
		if judged == nil {
			continue
		}
		delete(b.open, w.Cell.Name)
		b.status.Done++
		b.status.Verdicts[judged.Verdict]++
		if !judged.Verdict.Good() {
			b.status.Failed = append(b.status.Failed, judged)
		}
		b.opt.Tell(Progress{Cell: w.Cell.Name, Judged: judged})
	}
	return nil
}

// Open lists the cells that are not finished, in the order of the plan.
func (b *Board) Open() []schedule.Work {
	var list []schedule.Work
	for _, w := range b.plan.Schedule.Work {
		if _, ok := b.open[w.Cell.Name]; ok {
			list = append(list, w)
		}
	}
	return list
}

// Show shows the run: how many tasks of others are in which state.
func (b *Board) Show(states map[string]int) {
	if b.opt.Watch == nil {
		return
	}
	now := b.status
	var words []string
	for _, state := range slices.Sorted(maps.Keys(states)) {
		words = append(words, fmt.Sprintf("%d %s", states[state], strings.ToLower(state)))
	}
	now.Elsewhere = strings.Join(words, ", ")
	var busy time.Duration
	for _, w := range b.open {
		busy += w.Cost
	}
	now.Left = busy
	b.opt.Watch(now)
}

// Abandon records of the cells that are still open that nobody brought them to
// an end, and why.
func (b *Board) Abandon(ctx context.Context, why func(schedule.Work) string) error {
	cells, err := checkWork(b.plan.Schedule.Work)
	if err != nil {
		return err
	}
	r := &run{Options: b.opt}
	for _, c := range cells {
		w, ok := b.open[c.Name]
		if !ok || b.ended(c.Name) {
			continue
		}
		reason := errors.New(why(w))
		if _, _, err := r.one(ctx, b.dir, c, r.without(b.plan.Sources[c.Source], reason)); err != nil {
			return err
		}
	}
	return nil
}

// ended says whether a cell came to an end, if only to one that says nothing of
// the kernel.
func (b *Board) ended(cell string) bool {
	var c verdict.Cell
	return readJSON(filepath.Join(results.CellDir(b.dir, cell), verdictFile), &c) == nil
}
