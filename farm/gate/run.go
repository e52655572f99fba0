// SPDX-License-Identifier: Apache-2.0

package gate

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"noiommu-farm/farm/matrix"
	"noiommu-farm/farm/runner"
	"noiommu-farm/kernels"
	"noiommu-farm/kernels/lock"
	"noiommu-farm/kernels/series"
	"noiommu-farm/results"
	"noiommu-farm/results/verdict"
)

// Options say what is judged, and with what.
type Options struct {
	Series series.Series
	Base   string // a source, as in --kernel
	Level  Level
	Tries  int  // how often a difference is repeated on each side
	Fresh  bool // nothing that was found before is used

	Cache   *kernels.Cache
	Images  string // directory of initramfs
	Runs    string // where the gate's directory is made
	Jobs    int    // guests at once
	Command []string
	Tell    func(runner.Progress)
}

// A gate is one at work.
type gate struct {
	Options
	hands
	dir    string
	base   kernels.Source
	report *Report
}

// hands are all that a gate does with kernels and guests. A test has its own.
type hands struct {
	kconfig func(ctx context.Context, state int) ([]Promise, error)
	compile func(ctx context.Context, state int, config string) (Build, error)
	guests  func(ctx context.Context, state int, plan matrix.Plan) (*runner.Outcome, error)
	read    func(Cell) (*verdict.Cell, error)
	retry   func(ctx context.Context, k Key, r result, whole bool) (Rate, error)
}

func newGate(opt Options) (*gate, error) {
	g := &gate{Options: opt}
	if g.Tell == nil {
		g.Tell = func(runner.Progress) {}
	}
	g.hands = hands{g.checkedKconfig, g.buildOne, g.runGuests, readCell, g.tries}
	var err error
	g.base, err = kernels.ParseSource(opt.Base)
	return g, err
}

// head is gate.json: what a directory is the gate of.
type head struct {
	Key     string    `json:"key"`
	Bench   string    `json:"bench"` // see [gate.bench]
	Started time.Time `json:"started"`
}

const (
	headFile   = "gate.json"
	reportFile = "report.json"
	statesDir  = "states"
	runsDir    = "runs"
)

// Run judges a series. A gate of the same series on the same base that was
// stopped goes on where it was; one that had come to its end begins again. The
// report is nil when nothing could be judged: a *fault.Usage for a series that
// does not apply, a *fault.Kernel for a base that cannot be built.
func Run(ctx context.Context, opt Options) (*Report, error) {
	g, err := newGate(opt)
	if err != nil {
		return nil, err
	}
	plans := make([]Plan, len(opt.Series.Patches)+1)
	for i := range opt.Series.Patches {
		plans[i+1] = PlanFor(opt.Series.Patches[i].Touched(), opt.Level)
	}
	plans[0] = union(plans[1:], opt.Level)
	baseID, err := g.sourceID(ctx, 0)
	if err != nil {
		return nil, err
	}
	// A series that does not apply is found out before anything is built.
	if _, err := g.sourceID(ctx, len(opt.Series.Patches)); err != nil {
		return nil, err
	}
	bench, err := g.bench(ctx, baseID)
	if err != nil {
		return nil, err
	}
	release, answer, err := g.open(ctx, bench)
	if err != nil {
		return nil, err
	}
	defer release()
	if answer != nil {
		return answer, nil
	}
	g.report = &Report{
		Series: Series{
			Spec: opt.Series.Spec, Title: opt.Series.Title, Version: opt.Series.Version, Cover: opt.Series.Cover,
			Patches: len(opt.Series.Patches), Left: len(opt.Series.Left),
		},
		Base: opt.Base, BaseID: baseID, Level: opt.Level, Dir: g.dir,
	}
	if err := g.judgeAll(ctx, plans); err != nil {
		return nil, err
	}
	return g.report, g.write()
}

// judgeAll judges the base and every patch, each with its plan, and all of them.
func (g *gate) judgeAll(ctx context.Context, plans []Plan) error {
	states, err := g.prepare(ctx, plans)
	if err != nil {
		return err
	}
	h := newHistory()
	for _, s := range states {
		if err := g.finish(ctx, h, s); err != nil {
			return fmt.Errorf("%s: %w", stateName(s.Index, g.Series), err)
		}
	}
	g.conclude()
	return nil
}

// prepare does for every state what needs no guest. Only then it is known which
// of them boot, and with which of them the base must be compared.
func (g *gate) prepare(ctx context.Context, plans []Plan) ([]*State, error) {
	states := make([]*State, len(plans))
	for i, plan := range plans {
		states[i] = g.newState(i, plan)
		if err := g.checkKconfig(ctx, states[i], states[:i]); err != nil {
			return nil, fmt.Errorf("%s: %w", stateName(i, g.Series), err)
		}
	}
	base := states[0]
	narrow := func() {
		var left []Plan
		for _, s := range states[1:] {
			if s.Boots {
				left = append(left, s.Plan)
			}
		}
		base.Plan.Points, base.Boots = union(left, g.Level).Points, len(left) > 0
	}
	narrow()
	for i, s := range states {
		if !s.Boots {
			continue
		}
		if i > 0 {
			s.Plan = s.Plan.without(base.failed(), "the base does not build with")
		}
		if err := g.build(ctx, s); err != nil {
			return nil, fmt.Errorf("%s: %w", stateName(i, g.Series), err)
		}
		s.afterBuild(states[:i])
	}
	narrow()
	return states, nil
}

// finish boots a state, unless that was done before, and judges it.
func (g *gate) finish(ctx context.Context, h *history, s *State) error {
	if err := g.boot(ctx, s); err != nil {
		return err
	}
	if s.Index == 0 {
		if err := usable(s); err != nil {
			return err
		}
	}
	if err := g.judge(ctx, h, s); err != nil {
		return err
	}
	g.report.States = append(g.report.States, *s)
	g.note("%s: %s", stateName(s.Index, g.Series), strings.ToUpper(string(s.Verdict)))
	return nil
}

func stateName(i int, s series.Series) string {
	if i == 0 {
		return "base"
	}
	return fmt.Sprintf("patch %d/%d", i, len(s.Patches))
}

func (g *gate) note(format string, args ...any) {
	g.Tell(runner.Progress{Note: fmt.Sprintf(format, args...)})
}

// source is the base with the first n patches on it.
func (g *gate) source(n int) kernels.Source { return g.base.With(g.Series.First(n)) }

func (g *gate) sourceID(ctx context.Context, n int) (string, error) {
	return g.Cache.SourceID(ctx, g.source(n))
}

// open makes the gate's directory, or finds that of the same gate stopped. Until
// release no other process is in it. One that had to wait for the same gate, and
// that one came to an answer, has this answer and nothing to do.
func (g *gate) open(ctx context.Context, bench string) (release func(), answer *Report, err error) {
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %q %q %d", g.Base, g.Level, g.Series.IDs(), g.Series.MessageIDs(), g.Tries))
	h := head{Key: hex.EncodeToString(sum[:8]), Bench: bench, Started: time.Now().UTC()}
	g.dir = filepath.Join(g.Runs, "gate-"+h.Key)
	waited := false
	release, err = lock.Take(ctx, g.dir+".lock", func() {
		waited = true
		g.note("the same gate is at work in %s: waiting until it is over", g.dir)
	})
	if err != nil {
		return nil, nil, fmt.Errorf("open gate: %w", err)
	}
	defer func() {
		if err != nil {
			release()
		}
	}()
	var was head
	switch err := readJSON(filepath.Join(g.dir, headFile), &was); {
	case errors.Is(err, fs.ErrNotExist):
	case err == nil && was.Key == h.Key && was.Bench == bench && !g.Fresh:
		if !exists(filepath.Join(g.dir, reportFile)) {
			g.note("going on with the gate that was begun at %s", was.Started.Format(time.DateTime))
			return release, nil, nil
		}
		var its Report
		if waited && readJSON(filepath.Join(g.dir, reportFile), &its) == nil && its.Verdict != verdict.Infra {
			g.note("the other gate's answer is this one's")
			return release, &its, nil
		}
		fallthrough
	default:
		old := g.dir + "." + was.Started.Format("20060102-150405.000000")
		if err := os.Rename(g.dir, old); err != nil {
			return release, nil, fmt.Errorf("open gate: put the old one aside: %w", err)
		}
	}
	for _, d := range []string{statesDir, runsDir} {
		if err := os.MkdirAll(filepath.Join(g.dir, d), 0o755); err != nil {
			return release, nil, fmt.Errorf("open gate: %w", err)
		}
	}
	return release, nil, results.WriteJSON(filepath.Join(g.dir, headFile), h)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// conclude is the verdict of all. Where no patch was booted, nothing has passed.
func (g *gate) conclude() {
	v := verdict.Skip
	for _, s := range g.report.States[1:] {
		v = verdict.Worst(v, s.Verdict)
	}
	g.report.Verdict = v
	for _, s := range g.report.States {
		for _, c := range s.Cells {
			if g.report.Version == nil {
				g.report.Version = versions(c)
			}
		}
	}
}

// versions are those that a result depends on, as its run recorded them.
func versions(c Cell) map[string]string {
	run, err := results.ReadRun(c.Run)
	if err != nil {
		return nil // the report is worth more than they are
	}
	if rec, err := results.ReadCell(c.Dir); err == nil && run.Versions != nil {
		run.Versions["linux"] = rec.Planned.Kernel.Release
		run.Versions["compiler"] = rec.Planned.Kernel.Compiler
	}
	return run.Versions
}
