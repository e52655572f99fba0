// SPDX-License-Identifier: Apache-2.0

package gate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"noiommu-farm/farm/runner"
	"noiommu-farm/internal/fault"
	"noiommu-farm/kernels"
	"noiommu-farm/kernels/series"
)

// newState is a state that nothing was done for yet.
func (g *gate) newState(i int, plan Plan) *State {
	s := &State{Index: i, Plan: plan}
	if i > 0 {
		p := &g.Series.Patches[i-1]
		s.Subject, s.Author, s.MessageID, s.PatchID, s.Touched = p.Subject, p.Author, p.MessageID, p.ID(), p.Touched()
		s.Prefix = prefix(g.Series, i)
	}
	return s
}

// prefix is what stands before a patch's subject in its mail.
func prefix(s series.Series, i int) string {
	p := s.Patches[i-1]
	words := []string{"PATCH"}
	if p.Version > 1 {
		words = append(words, fmt.Sprintf("v%d", p.Version))
	}
	if p.Total > 0 {
		words = append(words, fmt.Sprintf("%d/%d", p.Number, p.Total))
	}
	return strings.Join(words, " ")
}

// checkKconfig holds a state to the Kconfig statements if it may break one. A
// state in which more of them fail than before it is not built. before are the
// states before it.
func (g *gate) checkKconfig(ctx context.Context, s *State, before []*State) (err error) {
	s.Boots = true
	if !s.Plan.Kconfig {
		return nil
	}
	g.note("%s: Kconfig statements", stateName(s.Index, g.Series))
	if s.Kconfig, err = g.kconfig(ctx, s.Index); err != nil {
		return err
	}
	s.Boots = s.Index == 0 || contains(ids(lastKconfig(before)), ids(s.Kconfig))
	return nil
}

// lastKconfig are the promises that did not hold when they were last looked at.
func lastKconfig(states []*State) []Promise {
	for _, s := range slices.Backward(states) {
		if s.Plan.Kconfig {
			return s.Kconfig
		}
	}
	return nil
}

func ids(list []Promise) []string {
	var all []string
	for _, p := range list {
		all = append(all, p.ID)
	}
	return all
}

// checkedKconfig holds a state to the Kconfig statements. A kernel whose files
// cannot even be read fails them as a whole.
func (g *gate) checkedKconfig(ctx context.Context, n int) ([]Promise, error) {
	all, err := g.Cache.Kconfig(ctx, g.source(n))
	var bad *fault.Kernel
	if errors.As(err, &bad) {
		return []Promise{{ID: "KC-12", Text: "The Kconfig files can be read.", Reason: bad.Error()}}, nil
	}
	if err != nil {
		return nil, err
	}
	var failed []Promise
	for _, r := range all {
		if r.Verdict == kernels.KconfigFail {
			p := Promise{ID: r.ID, Text: r.Promise, Reason: r.Reason}
			for i, f := range r.Findings {
				if i == 0 {
					p.Reason = f.String()
				}
			}
			failed = append(failed, p)
		}
	}
	return failed, nil
}

// buildsAtOnce is how many kernels are built at the same time: while one is
// linked, which takes one processor, another is compiled.
const buildsAtOnce = 2

// build builds every configuration of a state's plan, each even if another
// failed.
func (g *gate) build(ctx context.Context, s *State) error {
	for _, p := range s.Plan.Points {
		if !slices.ContainsFunc(s.Builds, func(b Build) bool { return b.Config == p.Config }) {
			s.Builds = append(s.Builds, Build{Config: p.Config})
		}
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(buildsAtOnce)
	for i := range s.Builds {
		group.Go(func() (err error) {
			s.Builds[i], err = g.compile(ctx, s.Index, s.Builds[i].Config)
			return err
		})
	}
	return group.Wait()
}

// buildOne builds a state with one configuration.
func (g *gate) buildOne(ctx context.Context, state int, name string) (Build, error) {
	config, err := kernels.LoadConfiguration(name)
	if err != nil {
		return Build{}, err
	}
	cell := stateName(state, g.Series) + " with " + name
	b, err := g.Cache.Build(ctx, kernels.Request{Source: g.source(state), Config: config}, func(now kernels.Progress) {
		g.Tell(runner.Progress{Cell: cell, Build: &now})
	})
	var bad *fault.Kernel
	var cannot *fault.Usage
	switch {
	case errors.As(err, &bad):
		return Build{Config: name, Error: bad.Stage + ": " + bad.Err.Error(), Log: bad.Log}, nil
	case errors.As(err, &cannot) && state == 0:
		// An older tree may not have what a profile is about.
		return Build{Config: name, Error: cannot.Error()}, nil
	case err != nil:
		return Build{}, err
	}
	if state > 0 && len(b.Unbuilt) > 0 {
		base, err := g.Cache.Build(ctx, kernels.Request{Source: g.source(0), Config: config}, nil)
		switch {
		case errors.As(err, &bad), errors.As(err, &cannot):
			// Nothing was there that could be broken.
		case err != nil:
			return Build{}, err
		case errors.As(b.Breaks(base), &bad):
			return Build{Config: name, Error: bad.Stage + ": " + bad.Err.Error(), Log: bad.Log}, nil
		}
	}
	return Build{Config: name, Key: b.Key, selftests: b.Selftests}, nil
}

// failed are the configurations that a state does not build with.
func (s *State) failed() []string {
	var configs []string
	for _, b := range s.Builds {
		if b.Error != "" {
			configs = append(configs, b.Config)
		}
	}
	return configs
}

// afterBuild says whether a built state boots. A build that the state breaks
// keeps it from that; one that was broken before it only leaves out its points,
// for the state may break more where it does build.
func (s *State) afterBuild(before []*State) {
	s.Boots = true
	if s.Index > 0 {
		var old []string
		for _, config := range s.failed() {
			if buildFails(before, config) {
				old = append(old, config)
			} else {
				s.Boots = false
			}
		}
		s.Plan = s.Plan.without(old, "it still does not build with")
	}
	s.Boots = s.Boots && len(s.Plan.Points) > 0
}

// buildFails says whether a configuration did not build when it was last built.
func buildFails(states []*State, config string) bool {
	for _, s := range slices.Backward(states) {
		if slices.ContainsFunc(s.Builds, func(b Build) bool { return b.Config == config }) {
			return slices.Contains(s.failed(), config)
		}
	}
	return false
}

// without is a plan without configurations that do not build: nothing could be
// compared there.
func (p Plan) without(configs []string, why string) Plan {
	var left []Point
	for _, at := range p.Points {
		if slices.Contains(configs, at.Config) {
			p.Omitted = append(slices.Clone(p.Omitted), Omitted{at.String(), why + " " + at.Config})
		} else {
			left = append(left, at)
		}
	}
	p.Points = left
	return p
}
