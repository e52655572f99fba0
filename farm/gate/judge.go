// SPDX-License-Identifier: Apache-2.0

package gate

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"noiommu-farm/internal/fault"
	"noiommu-farm/results/failure"
	"noiommu-farm/results/verdict"
)

// usable refuses a base that says nothing: it builds with no configuration, or
// the farm failed at it.
func usable(s *State) error {
	if i := slices.IndexFunc(s.Builds, func(b Build) bool { return b.Error != "" }); i >= 0 &&
		!slices.ContainsFunc(s.Builds, func(b Build) bool { return b.Error == "" }) {
		return &fault.Kernel{Stage: "build the base with " + s.Builds[i].Config, Err: errors.New(s.Builds[i].Error), Log: s.Builds[i].Log}
	}
	for _, c := range s.Cells {
		if c.lost() {
			return fmt.Errorf("cell %s: %s", c.Name, c.Reason)
		}
	}
	if p, ok := s.unrun(); ok {
		return fmt.Errorf("%s was not run", p)
	}
	return nil
}

// unrun is a point that a state should have booted and has no cell of.
func (s *State) unrun() (Point, bool) {
	for _, p := range s.Plan.Points {
		if s.Boots && !slices.ContainsFunc(s.Cells, func(c Cell) bool { return c.Point == p }) {
			return p, true
		}
	}
	return Point{}, false
}

// judge holds a state against what was before it, has what is new repeated, and
// says what the state is.
func (g *gate) judge(ctx context.Context, h *history, s *State) error {
	all := make(map[Key]result)
	cells := make(map[Point]*verdict.Cell)
	_, infra := s.unrun()
	for _, cell := range s.Cells {
		judged, err := g.read(cell)
		if err != nil {
			return err
		}
		cells[cell.Point] = judged
		infra = infra || judged.Verdict == verdict.Infra && judged.Reason != ""
		for k, r := range resultsOf(judged, cell) {
			all[k] = r
		}
	}
	for k, r := range s.withoutGuest(g.report.States) {
		all[k] = r
	}
	for k, r := range all {
		if _, known := h.now[k]; known && r.Verdict == verdict.Infra {
			infra = true // the farm lost a result that it had
		}
	}
	missing := h.missing(s, cells, all)
	infra = infra || missing.lost
	brought, before, inherited, mended := h.step(s.Index, all)
	s.Inherited, s.Mended, s.Gone, s.Skipped = inherited, mended, missing.gone, missing.skipped
	var found []Difference
	for _, k := range brought {
		found = append(found, describe(s.Index, k, all[k]))
	}
	found = append(found, h.absent(s, missing)...)
	for i := range found {
		found[i].Again = g.again(found[i])
	}
	// What the touched files promise is told, and repeated, before what only
	// follows from it.
	slices.SortStableFunc(found, func(a, b Difference) int { return a.distance(s.Touched) - b.distance(s.Touched) })
	if s.Index > 0 {
		if err := g.repeat(ctx, s, found, all, before); err != nil {
			return err
		}
		g.locate(ctx, found, all)
	}
	g.report.Found = append(g.report.Found, found...)
	s.Verdict = ofFound(found)
	switch {
	case s.Verdict != verdict.Pass:
	case infra:
		s.Verdict = verdict.Infra
	case len(s.Cells) == 0 && (s.Index > 0 || len(s.Builds) == 0):
		s.Verdict = verdict.Skip // a patch that did not boot has not passed
	}
	return nil
}

// ofFound is the verdict of a state's differences alone.
func ofFound(found []Difference) verdict.Verdict {
	switch {
	case slices.ContainsFunc(found, Difference.confirmed):
		return verdict.Fail
	case slices.ContainsFunc(found, Difference.unclear):
		return verdict.Infra
	}
	return verdict.Pass
}

// withoutGuest are the results of a state that no guest was needed for.
func (s *State) withoutGuest(before []State) map[Key]result {
	all := make(map[Key]result)
	pass := result{Failure: failure.Failure{Verdict: verdict.Pass}}
	for _, b := range s.Builds {
		k := Key{Point: Point{Config: b.Config}}
		if all[k] = pass; b.Error != "" {
			all[k] = result{Failure: failure.Failure{Verdict: verdict.Fail, Text: failure.Steady(b.Error)}, reason: b.Error}
		}
	}
	if !s.Plan.Kconfig {
		return all
	}
	for _, b := range before {
		for _, p := range b.Kconfig {
			all[Key{Program: kconfigProgram, Test: p.ID}] = pass
		}
	}
	for _, p := range s.Kconfig {
		all[Key{Program: kconfigProgram, Test: p.ID}] = result{
			Failure: failure.Failure{Verdict: verdict.Fail, Text: p.Reason}, reason: p.Reason, promise: p.Text,
		}
	}
	return all
}
