// SPDX-License-Identifier: Apache-2.0

package matrix

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"noiommu-farm/internal/fault"
	"noiommu-farm/suites/contract"
)

// Excluded says how many points a rule left out.
type Excluded struct {
	Reason string `json:"reason"`
	Points int    `json:"points"`
}

// Planned is what a matrix file comes to.
type Planned struct {
	Plan
	Points   []Point       // of the cells, in order
	Weights  []float64     // of the cells
	Strategy Strategy      //
	Budget   time.Duration // 0: none
	Excluded []Excluded
	Possible int    // points that no rule left out
	Pairs    int    // pairs of values that possible points have
	Missed   []Pair // of them, those that no cell has
	// Unproven are the statements that no cell must pass; nil without facts.
	Unproven []contract.Statement
}

// Plan makes the cells. The same file gives the same plan. An impossible
// combination that no rule leaves out is a *fault.Usage.
func (f *File) Plan(v Vocabulary) (*Planned, error) {
	total := 1
	for _, list := range f.values {
		if total *= len(list); total > maxPoints {
			return nil, f.refuse(f.axesAt, "", fmt.Errorf("their product has more than %d points", maxPoints))
		}
	}
	out := &Planned{Budget: f.Budget, Strategy: f.strategy}
	for _, r := range slices.Concat(f.exclude, f.constraints) {
		out.Excluded = append(out.Excluded, Excluded{Reason: r.reason})
	}
	proven := newProof(v)
	var possible []Point
	facts := make(map[Point]contract.Facts)
	for p := range f.product() {
		known, ok, err := f.admit(p, f.values, v, proven, out.Excluded)
		if err != nil {
			return nil, err
		}
		if ok {
			possible, facts[p] = append(possible, p), known
		}
	}
	var chosen []Point
	switch f.strategy {
	case Pairwise:
		chosen = pairwise(possible)
	case Sample:
		chosen = f.sampled(possible)
	default:
		chosen = slices.Clone(possible)
	}
	have := make(map[Point]bool, len(chosen))
	for _, p := range chosen {
		have[p] = true
	}
	for _, r := range f.include {
		var p Point
		for a, list := range r.values {
			p[a] = list[0].text
		}
		known, ok, err := f.admit(p, r.values, v, proven, out.Excluded)
		switch {
		case err != nil:
			return nil, err
		case !ok:
			return nil, f.refuse(r.at, p.String(), errors.New("is left out by another rule"))
		case have[p]:
			return nil, f.refuse(r.at, p.String(), errors.New("is in the plan already"))
		}
		if _, member := facts[p]; !member {
			possible = append(possible, p)
		}
		have[p], facts[p] = true, known
		chosen = append(chosen, p)
	}
	if len(chosen) == 0 {
		return nil, f.refuse(f.axesAt, "", errors.New("no cell is left"))
	}
	for _, p := range chosen {
		cell := p.Cell()
		out.Cells = append(out.Cells, cell)
		out.Weights = append(out.Weights, f.weightOf(p))
		proven.add(p, cell, facts[p])
	}
	number(out.Cells)
	out.Points, out.Possible, out.Unproven = chosen, len(possible), proven.left
	out.Pairs, out.Missed = pairs(possible, chosen)
	return out, nil
}

// product yields the points of the axes, the first axis outermost.
func (f *File) product() func(yield func(Point) bool) {
	return func(yield func(Point) bool) {
		var at [axes]int
		for {
			var p Point
			for a, i := range at {
				p[a] = f.values[a][i].text
			}
			if !yield(p) {
				return
			}
			a := int(axes) - 1
			for ; a >= 0; a-- {
				if at[a]++; at[a] < len(f.values[a]) {
					break
				}
				at[a] = 0
			}
			if a < 0 {
				return
			}
		}
	}
}

// admit foretells the facts of a point, or counts it for the rule that leaves
// it out. where has the places of its values.
func (f *File) admit(p Point, where [axes][]word, v Vocabulary, proven *proof, excluded []Excluded) (contract.Facts, bool, error) {
	for i, r := range f.exclude {
		if r.picks(p) {
			excluded[i].Points++
			return contract.Facts{}, false, nil
		}
	}
	if v.Facts == nil {
		return contract.Facts{}, true, nil
	}
	cell := p.Cell()
	facts, err := v.Facts(cell)
	if err != nil {
		return facts, false, f.impossible(p, where, err)
	}
	for i, r := range f.constraints {
		if r.picks(p) && slices.ContainsFunc(r.requires, func(q contract.Requirement) bool { return !facts.Meets(q) }) {
			excluded[len(f.exclude)+i].Points++
			return facts, false, nil
		}
	}
	if !proven.tests(p, cell, facts) {
		return facts, false, f.impossible(p, where, &fault.Usage{Key: Suite.String(), Value: p[Suite],
			Err: errors.New("nothing of it applies there, so nothing would be tested")})
	}
	return facts, true, nil
}

// tests says whether there is anything that a cell with these facts must pass.
func (c Cell) tests(f contract.Facts) bool {
	if slices.ContainsFunc(contract.Statements, func(s contract.Statement) bool { return c.runs(s) && len(s.Unmet(f)) == 0 }) {
		return true
	}
	return slices.ContainsFunc(contract.Kselftests, func(k contract.Kselftest) bool {
		run, evenOff := c.Kselftest(k.Suite, k.Program)
		return run && (evenOff || k.Off == "") && c.MemoryMiB >= k.Memory && len(f.Unmet(k.Requires)) == 0
	})
}

// impossible is the error of a combination that cannot be, at the place of the
// value that it is about.
func (f *File) impossible(p Point, where [axes][]word, err error) error {
	var usage *fault.Usage
	if !errors.As(err, &usage) {
		return fmt.Errorf("plan %s: %w", p, err)
	}
	axis := Configuration
	for _, a := range AllAxes() {
		if a.String() == usage.Key {
			axis = a
		}
	}
	i := slices.IndexFunc(where[axis], func(w word) bool { return w.text == p[axis] })
	return f.refuse(where[axis][i].at, p[axis], fmt.Errorf("impossible in %s, exclude it: %w", p, err))
}

// sampled is a random choice, in the order of the points.
func (f *File) sampled(points []Point) []Point {
	if f.cells >= len(points) {
		return slices.Clone(points)
	}
	picked := rand.New(rand.NewPCG(f.seed, 0)).Perm(len(points))[:f.cells]
	slices.Sort(picked)
	chosen := make([]Point, len(picked))
	for n, i := range picked {
		chosen[n] = points[i]
	}
	return chosen
}

// weightOf is the product of the weights of the rules that pick a point.
func (f *File) weightOf(p Point) float64 {
	w := 1.0
	for _, r := range f.weights {
		if r.picks(p) {
			w *= r.weight
		}
	}
	return w
}

// proof knows what cells must pass. It looks once at cells that are alike.
type proof struct {
	left []contract.Statement // that no cell so far must pass; nil without facts
	seen map[string]bool      // facts and suite → whether anything is tested
}

func newProof(v Vocabulary) *proof {
	p := &proof{seen: make(map[string]bool)}
	if v.Facts != nil {
		p.left = slices.Clone(contract.Statements)
	}
	return p
}

func alike(suite string, f contract.Facts) string { return fmt.Sprint(suite, f) }

// tests says whether there is anything that such a cell must pass.
func (p *proof) tests(at Point, c Cell, f contract.Facts) bool {
	key := "tests " + alike(at[Suite], f)
	known, ok := p.seen[key]
	if !ok {
		known = c.tests(f)
		p.seen[key] = known
	}
	return known
}

// add strikes out what a cell must pass.
func (p *proof) add(at Point, c Cell, f contract.Facts) {
	key := "proves " + alike(at[Suite], f)
	if p.seen[key] {
		return
	}
	p.seen[key] = true
	p.left = slices.DeleteFunc(p.left, func(s contract.Statement) bool { return c.runs(s) && len(s.Unmet(f)) == 0 })
}
