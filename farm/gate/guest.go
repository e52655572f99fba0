// SPDX-License-Identifier: Apache-2.0

package gate

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"noiommu-farm/farm/matrix"
	"noiommu-farm/farm/runner"
	"noiommu-farm/kernels"
	"noiommu-farm/kernels/series"
	"noiommu-farm/results"
	"noiommu-farm/results/verdict"
	"noiommu-farm/suites/contract"
)

// Watchful are the kernel parameters that make much of what needs a sanitizer
// show itself in every cell, for little: what is freed is wiped, memory of
// kmalloc is poisoned instead and has red zones (Documentation/mm/slab.rst), so
// that what is used after it was freed is no pointer, and an oops ends the guest
// at once, because what it left locked would only hang what comes after it.
var Watchful = []string{"init_on_free=1", "slab_debug=FZP,kmalloc-*", "oops=panic"}

// isolation is a guest for every suite: a crash takes with it only what is like
// it, and a guest for every test would take half as long again.
const isolation = results.PerSuite

// boot runs the cells of a state, or finds what they came to: before this gate
// was stopped or, for the base, in another one.
func (g *gate) boot(ctx context.Context, s *State) error {
	if !s.Boots {
		return nil
	}
	file := filepath.Join(g.dir, statesDir, fmt.Sprintf("%03d.json", s.Index))
	var was State
	switch err := readJSON(file, &was); {
	case err == nil:
		s.Cells, s.Took, s.From = s.cellsOf(was), was.Took, was.From
	case !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("read %s: %w", file, err)
	case s.Index == 0 && !g.Fresh:
		s.Cells, s.From = g.knownBase(s)
		for _, dir := range s.From {
			g.note("base: what %s found", dir)
		}
	}
	began := time.Now()
	if err := g.run(ctx, s); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	s.Took += time.Since(began)
	return results.WriteJSON(file, s)
}

// cellsOf are the cells on record that a state need not run again: of the same
// kernels, with its selftests, and none that the farm failed at or that is gone.
func (s *State) cellsOf(was State) []Cell {
	return slices.DeleteFunc(slices.Clone(was.Cells), func(c Cell) bool {
		kernel := was.kernel(c.Config)
		// Selftests are part of one point's cell.
		other := c.Point == Point{all, intel} && !contains(was.Plan.Selftests, s.Plan.Selftests)
		return kernel == "" || kernel != s.kernel(c.Config) || other || !slices.Contains(s.Plan.Points, c.Point) || c.lost() || !exists(c.Dir)
	})
}

// kernel is the key of a state's kernel, "" if it has none: of the source, the
// options and the compiler.
func (s *State) kernel(config string) string {
	i := slices.IndexFunc(s.Builds, func(b Build) bool { return b.Config == config })
	if i < 0 {
		return ""
	}
	return s.Builds[i].Key
}

// lost says whether the farm failed at a cell.
func (c Cell) lost() bool { return c.Verdict == verdict.Infra && c.Reason != "" }

// run runs the cells of a state that are not known yet. A cell that the farm
// itself failed at is tried once more.
func (g *gate) run(ctx context.Context, s *State) error {
	var plan matrix.Plan
	at := make(map[string]Point)
	for _, p := range s.Plan.Points {
		cell := g.cell(s, p)
		known := slices.ContainsFunc(s.Cells, func(c Cell) bool { return c.Point == p })
		if known || len(cell.Tests)+len(cell.Suites) == 0 {
			continue
		}
		plan.Cells = append(plan.Cells, cell)
		at[cell.Name] = p
	}
	for attempt := 0; attempt < 2 && len(plan.Cells) > 0; attempt++ {
		out, err := g.guests(ctx, s.Index, plan)
		if out == nil || ctx.Err() != nil {
			return err
		}
		var again matrix.Plan
		for _, judged := range out.Cells {
			if judged.Verdict == verdict.Infra && judged.Reason != "" && attempt == 0 {
				i := slices.IndexFunc(plan.Cells, func(c matrix.Cell) bool { return c.Name == judged.Name })
				again.Cells = append(again.Cells, plan.Cells[i])
				continue
			}
			s.Cells = append(s.Cells, Cell{
				Point: at[judged.Name], Name: judged.Name, Run: out.Dir,
				Verdict: judged.Verdict, Reason: judged.Reason, Counts: judged.Counts(), Dir: judged.Dir,
			})
		}
		if err != nil && len(again.Cells) == 0 {
			return err
		}
		plan = again
	}
	slices.SortFunc(s.Cells, func(a, b Cell) int {
		return slices.Index(s.Plan.Points, a.Point) - slices.Index(s.Plan.Points, b.Point)
	})
	return nil
}

// runGuests runs the cells of a state.
func (g *gate) runGuests(ctx context.Context, state int, plan matrix.Plan) (*runner.Outcome, error) {
	return runner.Run(ctx, plan, runner.Options{
		Cache: g.Cache, Images: g.Images, Runs: filepath.Join(g.dir, runsDir), Jobs: g.Jobs,
		Series:  map[string]series.Series{g.Series.Spec: g.Series.First(state)},
		Command: g.Command, Tell: g.Tell, Isolation: isolation,
	})
}

// readCell judges a cell from its record.
func readCell(c Cell) (*verdict.Cell, error) {
	rec, err := results.ReadCell(c.Dir)
	if err != nil {
		return nil, err
	}
	return verdict.Judge(rec)
}

// devices are under test in every cell.
func devices(p Point) []string {
	if p.Topology == bypass {
		// One on either side of the IOMMU.
		return []string{"edu", "edu-port", "igb"}
	}
	return []string{"edu", "igb"}
}

// cell is a point of a state as the runner has it.
func (g *gate) cell(s *State, p Point) matrix.Cell {
	c := matrix.Cell{
		Name: strings.Join([]string{fmt.Sprintf("%03d", s.Index), p.Config, p.Topology}, "_"), Source: g.Base, Config: p.Config, Topology: p.Topology,
		Guest: matrix.Guest{Devices: devices(p), CPUs: 1, MemoryMiB: 512, Hugepages: 64, Append: Watchful},
	}
	if s.Index > 0 {
		c.Series = g.Series.Spec
	}
	for _, st := range contract.Statements {
		if (st.Core() || g.Level == Full) && (!st.Nightly || g.Level == Full) {
			c.Selection.Tests = append(c.Selection.Tests, st.ID)
		}
	}
	if p == (Point{all, intel}) {
		for _, name := range s.Plan.Selftests {
			dir, program, one := strings.Cut(name, "/")
			// One that this state's tree does not have comes with a later patch.
			if !one || slices.ContainsFunc(s.selftests(p.Config), func(t kernels.Selftest) bool { return t.Suite == dir && t.Name == program }) {
				c.Selection.Suites = append(c.Selection.Suites, name)
			}
		}
	}
	return c
}

// selftests are those that a state's tree has.
func (s *State) selftests(config string) []kernels.Selftest {
	i := slices.IndexFunc(s.Builds, func(b Build) bool { return b.Config == config })
	return s.Builds[i].selftests
}
