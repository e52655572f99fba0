// SPDX-License-Identifier: Apache-2.0

package gate

import (
	"context"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"

	"noiommu-farm/farm/matrix"
	"noiommu-farm/farm/repro"
	"noiommu-farm/farm/runner"
	"noiommu-farm/internal/fault"
	"noiommu-farm/kernels"
	"noiommu-farm/kernels/series"
	"noiommu-farm/results"
	"noiommu-farm/results/verdict"
)

// Word is what a bisection says of a state, in git's terms.
type Word string

const (
	Good Word = "good"
	Bad  Word = "bad"
	Skip Word = "skip" // it does not build, or the test does not apply to it
)

// Probe is a state that a bisection tried.
type Probe struct {
	Index int    `json:"index"` // 0 is the base
	Word  Word   `json:"word"`
	Rate  Rate   `json:"rate"`
	Why   string `json:"why,omitempty"` // of a skip; else what failed
	Cell  Cell   `json:"cell"`
}

// Bisection is where a test began to fail.
type Bisection struct {
	Test   string  `json:"test"`
	First  []int   `json:"first"` // the first bad state; several when those between could not be tried
	Probes []Probe `json:"probes"`
	Sure   float64 `json:"sure"` // confidence that no good state was bad by luck, 0 to 1
	Report *Report `json:"report"`
}

// maxTries bounds how often a test is tried in a state when it fails rarely.
const maxTries = 20

// Bisect finds the patch of a series from which on a test fails: a statement, or
// a program of the kernel's own selftests. It must pass on the base and fail
// with all patches, or the error is a *fault.Usage. A test that does not fail
// every time is tried so often in every state that a good one is bad by luck
// with less than one percent.
func Bisect(ctx context.Context, opt Options, at Point, test string) (*Bisection, error) {
	g, err := newGate(opt)
	if err != nil {
		return nil, err
	}
	if _, err := g.sourceID(ctx, len(opt.Series.Patches)); err != nil {
		return nil, err
	}
	g.dir = g.Runs
	b := &Bisection{Test: test}
	results := make(map[int]result)
	probe := func(i int) (Word, error) {
		p, r, err := g.probe(ctx, i, at, test)
		if err != nil {
			return Skip, fmt.Errorf("%s: %w", stateName(i, opt.Series), err)
		}
		results[i] = r
		b.Probes = append(b.Probes, p)
		g.note("%s: %s (fails %s)", stateName(i, opt.Series), p.Word, p.Rate)
		return p.Word, nil
	}
	n := len(opt.Series.Patches)
	switch word, err := probe(n); {
	case err != nil:
		return nil, err
	case word != Bad:
		return nil, &fault.Usage{Key: "BAD", Value: opt.Series.Spec, Err: fmt.Errorf("%s does not fail with all patches: it is %s", test, word)}
	}
	g.Tries = triesFor(b.Probes[0].Rate, opt.Tries)
	switch word, err := probe(0); {
	case err != nil:
		return nil, err
	case word != Good:
		return nil, &fault.Usage{Key: "GOOD", Value: opt.Base, Err: fmt.Errorf("%s does not pass on the base: it is %s", test, word)}
	}
	if b.First, err = search(n, probe); err != nil {
		return nil, err
	}
	b.Sure = 1
	for _, p := range b.Probes {
		if p.Word == Good {
			b.Sure *= 1 - lucky(b.Probes[0].Rate, p.Rate.Tried)
		}
	}
	b.Report = g.bisected(b, at, results)
	return b, nil
}

// search finds the first bad state of 0 (good) to n (bad). Those that could not
// be tried and may be it are returned with it.
func search(n int, probe func(int) (Word, error)) ([]int, error) {
	good, bad := 0, n
	skipped := make(map[int]bool)
	for {
		// The untried state that is nearest to the middle.
		best := -1
		for i := good + 1; i < bad; i++ {
			if !skipped[i] && (best < 0 || abs(2*i-good-bad) < abs(2*best-good-bad)) {
				best = i
			}
		}
		if best < 0 {
			var first []int
			for i := good + 1; i <= bad; i++ {
				first = append(first, i)
			}
			return first, nil
		}
		word, err := probe(best)
		switch {
		case err != nil:
			return nil, err
		case word == Good:
			good = best
		case word == Bad:
			bad = best
		default:
			skipped[best] = true
		}
	}
}

func abs(n int) int { return max(n, -n) }

// lucky is the probability that a bad state passes so many tries, when it fails
// at this rate.
func lucky(r Rate, tries int) float64 {
	return math.Pow(1-float64(r.Failed)/float64(r.Tried), float64(tries))
}

// triesFor is how often a state must be tried, at least: until a bad one passes
// by luck with less than one percent.
func triesFor(r Rate, least int) int {
	n := least
	for n < maxTries && lucky(r, n) >= 0.01 {
		n++
	}
	return n
}

// probe tries a test on one state.
func (g *gate) probe(ctx context.Context, i int, at Point, test string) (Probe, result, error) {
	p := Probe{Index: i, Word: Skip}
	config, err := kernels.LoadConfiguration(at.Config)
	if err != nil {
		return p, result{}, err
	}
	cell := matrix.Cell{
		Name: fmt.Sprintf("%03d_%s_%s", i, at.Config, at.Topology), Source: g.Base, Config: at.Config, Topology: at.Topology,
		Guest:     matrix.Guest{Devices: devices(at), CPUs: 1, MemoryMiB: 512, Hugepages: 64, Append: Watchful},
		Selection: matrix.Selection{Tests: []string{test}},
	}
	if strings.Contains(test, "/") {
		cell.Selection = matrix.Selection{Suites: []string{test}}
	}
	if i > 0 {
		cell.Series = g.Series.Spec
	}
	_, err = g.Cache.Build(ctx, kernels.Request{Source: g.source(i), Config: config}, func(now kernels.Progress) {
		g.Tell(runner.Progress{Cell: stateName(i, g.Series), Build: &now})
	})
	var bad *fault.Kernel
	if errors.As(err, &bad) {
		p.Why, _, _ = strings.Cut(bad.Error(), "\n")
		return p, result{}, nil
	}
	if err != nil {
		return p, result{}, err
	}
	out, err := runner.Run(ctx, matrix.Plan{Cells: []matrix.Cell{cell}}, runner.Options{
		Cache: g.Cache, Images: g.Images, Runs: g.Runs, Jobs: 1, Command: g.Command, Tell: g.Tell,
		Series: map[string]series.Series{g.Series.Spec: g.Series.First(i)},
	})
	var unasked *fault.Usage
	switch {
	case errors.As(err, &unasked):
		p.Why = err.Error() // the test is not there, or does not apply
		return p, result{}, nil
	case err != nil:
		return p, result{}, err
	}
	judged := out.Cells[0]
	p.Cell = Cell{Point: at, Name: judged.Name, Run: out.Dir, Verdict: judged.Verdict, Reason: judged.Reason, Counts: judged.Counts(), Dir: judged.Dir}
	// Whatever went wrong in a cell in which nothing else runs is the test's.
	key, r := Key{Point: at}, result{}
	all := resultsOf(judged, p.Cell)
	for k, one := range all {
		if k.Program != "" && (r.cell.Run == "" || k.Test != "" && !r.bad() || one.bad()) {
			key, r = k, one
		}
	}
	if boot := all[Key{Point: at}]; boot.bad() || judged.Verdict == verdict.Infra {
		key, r = Key{Point: at}, boot
	}
	switch {
	case judged.Verdict == verdict.Infra:
		return p, r, fmt.Errorf("cell %s: %s", judged.Name, judged.Reason)
	case judged.Verdict == verdict.Skip:
		p.Why = judged.Reason
		return p, r, nil
	}
	p.Rate.Tried = 1
	if r.bad() {
		p.Rate.Failed, p.Why = 1, r.reason
	}
	if g.Tries > 1 {
		rest := *g
		rest.Tries--
		more, err := rest.triesOf(ctx, repro.Place{Program: key.Program, Test: key.Test}, r.cell)
		if err != nil {
			return p, r, err
		}
		p.Rate.Failed += more.Failed
		p.Rate.Tried += more.Tried
	}
	if p.Word = Good; p.Rate.Failed > 0 {
		p.Word = Bad
	}
	return p, r, nil
}

// bisected is a bisection as a report, for the same mail.
func (g *gate) bisected(b *Bisection, at Point, found map[int]result) *Report {
	r := &Report{
		Series: Series{
			Spec: g.Series.Spec, Title: g.Series.Title, Version: g.Series.Version, Cover: g.Series.Cover, Patches: len(g.Series.Patches),
		},
		Base: g.Base, Level: "bisect", Verdict: verdict.Fail, Dir: g.Runs,
	}
	for i := 0; i <= len(g.Series.Patches); i++ {
		s := *g.newState(i, Plan{Points: []Point{at}})
		s.Verdict = verdict.Skip
		for _, p := range b.Probes {
			if p.Index == i && p.Word != Skip {
				s.Cells = []Cell{p.Cell}
				s.Verdict = p.Cell.Verdict
				if r.Version == nil {
					r.Version = versions(p.Cell)
				}
			}
		}
		r.States = append(r.States, s)
	}
	if len(b.First) != 1 {
		return r
	}
	first := b.First[0]
	key := Key{Point: at}
	if rec, err := results.ReadCell(found[first].cell.Dir); err == nil {
		if judged, err := verdict.Judge(rec); err == nil {
			if places := repro.Failed(judged); len(places) > 0 {
				key.Program, key.Test = places[0].Program, places[0].Test
			}
		}
	}
	d := describe(first, key, found[first])
	d.Again = g.again(d)
	d.Repeated = Repeated{Done: true}
	for _, p := range b.Probes {
		switch p.Index {
		case first:
			d.Repeated.With = p.Rate
		case first - 1:
			d.Repeated.Before = p.Rate
		}
	}
	d.Repeated.Sure = sure(d.Repeated.With, d.Repeated.Before)
	r.Found = []Difference{d}
	return r
}

// Log is the bisection as git bisect writes it: "git bisect replay" takes it, if
// the series is a range of commits. Other states are comments.
func (b *Bisection) Log(s series.Series) string {
	var out strings.Builder
	out.WriteString("git bisect start\n")
	for _, p := range b.Probes {
		subject, commit := "the base", ""
		if p.Index > 0 {
			patch := s.Patches[p.Index-1]
			subject = fmt.Sprintf("patch %d/%d %q", p.Index, len(s.Patches), patch.Subject)
			commit, _ = strings.CutPrefix(patch.Origin, "commit ")
			if commit == patch.Origin {
				commit = ""
			}
		} else if dir, rest, ok := strings.Cut(s.Spec, "@"); ok && filepath.IsAbs(dir) {
			commit, _, _ = strings.Cut(rest, "..")
		}
		fmt.Fprintf(&out, "# %s: %s, fails %s\n", p.Word, subject, p.Rate)
		if commit != "" {
			fmt.Fprintf(&out, "git bisect %s %s\n", p.Word, commit)
		}
	}
	return out.String()
}

// Headline is the answer in a line.
func (b *Bisection) Headline(s series.Series) string {
	if len(b.First) == 1 {
		i := b.First[0]
		return fmt.Sprintf("%s fails from patch %d/%d %q on (%.1f %% sure)", b.Test, i, len(s.Patches), s.Patches[i-1].Subject, 100*b.Sure)
	}
	last := slices.Max(b.First)
	return fmt.Sprintf("%s fails from one of the patches %d to %d on: those between could not be tried (%.1f %% sure)", b.Test, b.First[0], last, 100*b.Sure)
}
