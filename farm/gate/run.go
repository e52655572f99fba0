// SPDX-License-Identifier: Apache-2.0

package gate

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"noiommu-farm/farm/matrix"
	"noiommu-farm/farm/repro"
	"noiommu-farm/farm/runner"
	"noiommu-farm/internal/fault"
	"noiommu-farm/kernels"
	"noiommu-farm/kernels/series"
	"noiommu-farm/results"
	"noiommu-farm/results/verdict"
	"noiommu-farm/suites/contract"
)

// Options say what is judged, and with what.
type Options struct {
	Series series.Series
	Base   string // a source, as in --kernel
	Level  Level
	Tries  int // how often a difference is repeated on each side

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
	dir    string
	base   kernels.Source
	report *Report
}

// head is gate.json: what a directory is the gate of.
type head struct {
	Key     string    `json:"key"`
	BaseID  string    `json:"base_id"`
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
	g := &gate{Options: opt}
	if g.Tell == nil {
		g.Tell = func(runner.Progress) {}
	}
	var err error
	if g.base, err = kernels.ParseSource(opt.Base); err != nil {
		return nil, err
	}
	plans := make([]Plan, len(opt.Series.Patches)+1)
	for i := range opt.Series.Patches {
		plans[i+1] = planFor(opt.Series.Patches[i].Touched(), opt.Level)
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
	if err := g.open(baseID); err != nil {
		return nil, err
	}
	g.report = &Report{
		Series: Series{
			Spec: opt.Series.Spec, Title: opt.Series.Title, Version: opt.Series.Version, Cover: opt.Series.Cover,
			Patches: len(opt.Series.Patches), Left: len(opt.Series.Left),
		},
		Base: opt.Base, BaseID: baseID, Level: opt.Level, Dir: g.dir,
	}
	h := newHistory()
	for i := range plans {
		s, err := g.state(ctx, i, plans[i])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", stateName(i, opt.Series), err)
		}
		if i == 0 {
			if err := g.usable(s); err != nil {
				return nil, err
			}
		}
		if err := g.judge(ctx, h, &s); err != nil {
			return nil, fmt.Errorf("%s: %w", stateName(i, opt.Series), err)
		}
		g.report.States = append(g.report.States, s)
		g.note("%s: %s", stateName(i, opt.Series), strings.ToUpper(string(s.Verdict)))
	}
	g.conclude()
	return g.report, g.write()
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

// open makes the gate's directory, or finds that of the same gate stopped.
func (g *gate) open(baseID string) error {
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %q %q %d", g.Base, g.Level, g.Series.IDs(), g.Series.MessageIDs(), g.Tries))
	h := head{Key: hex.EncodeToString(sum[:8]), BaseID: baseID, Started: time.Now().UTC()}
	g.dir = filepath.Join(g.Runs, "gate-"+h.Key)
	text, err := os.ReadFile(filepath.Join(g.dir, headFile))
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return fmt.Errorf("open gate: %w", err)
	default:
		var was head
		if json.Unmarshal(text, &was) == nil && was.Key == h.Key && was.BaseID == baseID && !exists(filepath.Join(g.dir, reportFile)) {
			g.note("going on with the gate that was begun at %s", was.Started.Format(time.DateTime))
			return nil
		}
		old := g.dir + "." + was.Started.Format("20060102-150405")
		if err := os.Rename(g.dir, old); err != nil {
			return fmt.Errorf("open gate: put the old one aside: %w", err)
		}
	}
	for _, d := range []string{statesDir, runsDir} {
		if err := os.MkdirAll(filepath.Join(g.dir, d), 0o755); err != nil {
			return fmt.Errorf("open gate: %w", err)
		}
	}
	return results.WriteJSON(filepath.Join(g.dir, headFile), h)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// state carries out one state, or reads what a stopped gate found of it.
func (g *gate) state(ctx context.Context, i int, plan Plan) (State, error) {
	file := filepath.Join(g.dir, statesDir, fmt.Sprintf("%03d.json", i))
	if text, err := os.ReadFile(file); err == nil {
		var s State
		if err := json.Unmarshal(text, &s); err != nil {
			return s, fmt.Errorf("read %s: %w", file, err)
		}
		return s, nil
	}
	began := time.Now()
	s := State{Index: i, Plan: plan}
	if i > 0 {
		p := &g.Series.Patches[i-1]
		s.Subject, s.Author, s.MessageID, s.PatchID, s.Touched = p.Subject, p.Author, p.MessageID, p.ID(), p.Touched()
		s.Prefix = prefix(g.Series, i)
	}
	if err := g.carryOut(ctx, &s); err != nil {
		return s, err
	}
	if ctx.Err() != nil {
		return s, context.Cause(ctx)
	}
	s.Took = time.Since(began)
	return s, results.WriteJSON(file, s)
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

// carryOut does what a state's plan says: nothing boots before all that can be
// said without is said.
func (g *gate) carryOut(ctx context.Context, s *State) error {
	name := stateName(s.Index, g.Series)
	if s.Plan.Kconfig {
		g.note("%s: Kconfig statements", name)
		failed, err := g.kconfig(ctx, s.Index)
		if err != nil {
			return err
		}
		s.Kconfig = failed
		// The base is run all the same: its tests are what others are
		// compared with.
		if len(failed) > 0 && s.Index > 0 && !g.baseFails(failed) {
			return nil
		}
	}
	builds, err := g.build(ctx, s)
	if err != nil || slices.ContainsFunc(s.Builds, func(b Build) bool { return b.Error != "" }) && s.Index > 0 {
		return err
	}
	return g.boot(ctx, s, builds)
}

// kconfig holds a state to the Kconfig statements. A kernel whose files cannot
// even be read fails them as a whole.
func (g *gate) kconfig(ctx context.Context, n int) ([]Promise, error) {
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

// baseFails says whether the base fails all of these promises too.
func (g *gate) baseFails(failed []Promise) bool {
	for _, p := range failed {
		if !slices.ContainsFunc(g.report.States[0].Kconfig, func(b Promise) bool { return b.ID == p.ID }) {
			return false
		}
	}
	return true
}

// build builds every configuration of a state's plan, each even if another
// failed.
func (g *gate) build(ctx context.Context, s *State) (map[string]*kernels.Build, error) {
	builds := make(map[string]*kernels.Build)
	for _, p := range s.Plan.Points {
		if slices.ContainsFunc(s.Builds, func(b Build) bool { return b.Config == p.Config }) {
			continue
		}
		config, err := kernels.LoadConfiguration(p.Config)
		if err != nil {
			return nil, err
		}
		cell := stateName(s.Index, g.Series)
		b, err := g.Cache.Build(ctx, kernels.Request{Source: g.source(s.Index), Config: config}, func(now kernels.Progress) {
			g.Tell(runner.Progress{Cell: cell, Build: &now})
		})
		var bad *fault.Kernel
		switch {
		case errors.As(err, &bad):
			s.Builds = append(s.Builds, Build{Config: p.Config, Error: bad.Stage + ": " + bad.Err.Error(), Log: bad.Log})
		case err != nil:
			return nil, err
		default:
			s.Builds = append(s.Builds, Build{Config: p.Config, Key: b.Key})
			builds[p.Config] = b
		}
	}
	return builds, nil
}

// wipe makes the allocators wipe what is freed: much of what needs a sanitizer
// to be seen is seen so, in every cell, for next to nothing. (slab_debug would
// poison it, and changes the counts that tests of leaks go by.)
const wipe = "init_on_free=1"

// boot runs the cells of a state. A cell that the farm itself failed at is tried
// once more.
func (g *gate) boot(ctx context.Context, s *State, builds map[string]*kernels.Build) error {
	var plan matrix.Plan
	at := make(map[string]Point)
	for _, p := range s.Plan.Points {
		b := builds[p.Config]
		if b == nil {
			continue
		}
		cell := g.cell(s, p, b)
		if len(cell.Tests)+len(cell.Suites) == 0 {
			continue
		}
		plan.Cells = append(plan.Cells, cell)
		at[cell.Name] = p
	}
	for attempt := 0; attempt < 2 && len(plan.Cells) > 0; attempt++ {
		out, err := runner.Run(ctx, plan, runner.Options{
			Cache: g.Cache, Images: g.Images, Runs: filepath.Join(g.dir, runsDir), Jobs: g.Jobs,
			Series:  map[string]series.Series{seriesName: g.Series.First(s.Index)},
			Command: g.Command, Tell: g.Tell,
		})
		if out == nil || ctx.Err() != nil {
			return err
		}
		var again matrix.Plan
		for _, judged := range out.Cells {
			if judged.Verdict == verdict.Infra && attempt == 0 {
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
	return nil
}

// seriesName is what the plan's cells call the series.
const seriesName = "the series"

// devices are under test in every cell.
func devices(p Point) []string {
	if p.Topology == bypass {
		// One on either side of the IOMMU.
		return []string{"edu", "edu-port", "igb"}
	}
	return []string{"edu", "igb"}
}

// cell is a point of a state as the runner has it.
func (g *gate) cell(s *State, p Point, b *kernels.Build) matrix.Cell {
	c := matrix.Cell{
		Name: strings.Join([]string{fmt.Sprintf("%03d", s.Index), p.Config, p.Topology}, "_"), Source: g.Base, Config: p.Config, Topology: p.Topology,
		Guest: matrix.Guest{Devices: devices(p), CPUs: 1, MemoryMiB: 512, Hugepages: 64, Append: []string{wipe}},
	}
	if s.Index > 0 {
		c.Series = seriesName
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
			if !one || slices.ContainsFunc(b.Selftests, func(t kernels.Selftest) bool { return t.Suite == dir && t.Name == program }) {
				c.Selection.Suites = append(c.Selection.Suites, name)
			}
		}
	}
	return c
}

// usable refuses a base that says nothing: it does not build, or no guest of it
// comes up.
func (g *gate) usable(s State) error {
	for _, b := range s.Builds {
		if b.Error != "" {
			return &fault.Kernel{Stage: "build the base with " + b.Config, Err: errors.New(b.Error), Log: b.Log}
		}
	}
	for _, c := range s.Cells {
		if c.Verdict == verdict.Infra {
			return fmt.Errorf("base: cell %s: %s", c.Name, c.Reason)
		}
	}
	return nil
}

// judge holds a state against what was before it, has what is new repeated, and
// says what the state is.
func (g *gate) judge(ctx context.Context, h *history, s *State) error {
	all := make(map[Key]result)
	infra := false
	for _, cell := range s.Cells {
		rec, err := results.ReadCell(cell.Dir)
		if err != nil {
			return err
		}
		judged, err := verdict.Judge(rec)
		if err != nil {
			return err
		}
		infra = infra || judged.Verdict == verdict.Infra
		for k, r := range resultsOf(judged, cell) {
			all[k] = r
		}
	}
	brought, before, inherited, mended := h.step(s.Index, all)
	s.Inherited, s.Mended = inherited, mended
	var found []Difference
	for _, p := range s.Kconfig {
		if s.Index == 0 || !slices.ContainsFunc(g.report.States[s.Index-1].Kconfig, func(b Promise) bool { return b.ID == p.ID }) {
			found = append(found, Difference{Kind: KconfigFails, Patch: s.Index, Statement: p.ID, Promise: p.Text, Reason: p.Reason})
		}
	}
	for _, b := range s.Builds {
		if b.Error != "" {
			found = append(found, Difference{
				Kind: BuildFails, Patch: s.Index, Key: Key{Point: Point{Config: b.Config}},
				Statement: "KC-12", Promise: "Every profile compiles.", Reason: b.Error,
			})
		}
	}
	for _, k := range brought {
		found = append(found, describe(s.Index, k, all[k]))
	}
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
	}
	g.report.Found = append(g.report.Found, found...)
	switch {
	case slices.ContainsFunc(found, Difference.confirmed):
		s.Verdict = verdict.Fail
	case infra:
		s.Verdict = verdict.Infra
	case len(s.Cells) == 0 && len(s.Builds) == 0:
		s.Verdict = verdict.Skip
	default:
		s.Verdict = verdict.Pass
	}
	return nil
}

// again is the command that shows a difference to somebody who has only the
// series.
func (g *gate) again(d Difference) string {
	line := "--kernel " + g.Base
	if d.Patch > 0 {
		line += " --series " + quoted(filepath.Base(g.Series.Spec))
	}
	switch d.Kind {
	case KconfigFails:
		return "farm kconfig " + line
	case BuildFails:
		return "farm run " + line + " --config " + d.Key.Config
	}
	line = "farm run " + line + " --config " + d.Key.Config + " --topology " + d.Key.Topology + " --append " + wipe
	for _, one := range devices(d.Key.Point) {
		line += " --device " + one
	}
	switch {
	case d.Statement != "":
		line += " --test " + d.Statement
	case strings.Contains(d.Key.Program, "/"):
		line += " --suite " + d.Key.Program
	case d.Key.Program != "":
		suite, _, _ := strings.Cut(d.Key.Program, "@")
		line += " --suite " + suite
	}
	return line
}

func quoted(word string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_=+,./:@%", r)
	}
	if strings.TrimFunc(word, plain) == "" {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

// repeatAtMost is how many differences of a patch are repeated; what follows
// from the same mistake need not be.
func (g *gate) repeatAtMost() int {
	if g.Level == Quick {
		return 1
	}
	return 3
}

// repeat has the first differences of a state tried again, with the patch and
// before it. What does not show alone is tried with all that ran before it.
func (g *gate) repeat(ctx context.Context, s *State, found []Difference, now, before map[Key]result) error {
	file := filepath.Join(g.dir, statesDir, fmt.Sprintf("%03d.repeated.json", s.Index))
	known := make(map[string]Repeated)
	if text, err := os.ReadFile(file); err == nil {
		if err := json.Unmarshal(text, &known); err != nil {
			return fmt.Errorf("read %s: %w", file, err)
		}
	}
	done := 0
	for i := range found {
		d := &found[i]
		if d.Kind != TestFails {
			d.Repeated.Done = true // they are what they are: nothing runs
			continue
		}
		if done == g.repeatAtMost() {
			d.Repeated.With = Rate{1, 1}
			continue
		}
		done++
		id := fmt.Sprintf("%s/%s/%s", d.Key.Point, d.Key.Program, d.Key.Test)
		r, ok := known[id]
		if !ok {
			g.note("%s: %s on %s: repeating", stateName(s.Index, g.Series), d.name(), d.Key.Point)
			var err error
			was, had := before[d.Key]
			if r, err = g.tryAgain(ctx, d.Key, now[d.Key], was, had); err != nil {
				return err
			}
			known[id] = r
			if err := results.WriteJSON(file, known); err != nil {
				return err
			}
		}
		d.Repeated = r
	}
	return nil
}

// tryAgain repeats one result on both sides.
func (g *gate) tryAgain(ctx context.Context, k Key, now, was result, had bool) (Repeated, error) {
	r := Repeated{Done: true, With: Rate{1, 1}}
	if had {
		r.Before = Rate{0, 1}
	}
	with, before, err := g.bothSides(ctx, k, now, was, had, false)
	if err == nil && with.Failed == 0 {
		// It may need what ran before it.
		var w, b Rate
		w, b, err = g.bothSides(ctx, k, now, was, had, true)
		if w.Failed > 0 {
			r.Whole, with, before = true, w, b
		}
	}
	if err != nil {
		return r, err
	}
	r.With.Failed += with.Failed
	r.With.Tried += with.Tried
	r.Before.Failed += before.Failed
	r.Before.Tried += before.Tried
	r.Sure = sure(r.With, r.Before)
	r.Flaky = r.With.Failed < r.With.Tried || r.Before.Failed > 0
	return r, nil
}

// bothSides has a result tried again with the patch and, if it was there, before
// it, at the same time.
func (g *gate) bothSides(ctx context.Context, k Key, now, was result, had, whole bool) (with, before Rate, err error) {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() (err error) {
		with, err = g.tries(ctx, k, now, whole)
		return err
	})
	if had {
		group.Go(func() (err error) {
			before, err = g.tries(ctx, k, was, whole)
			return err
		})
	}
	return with, before, group.Wait()
}

// tries has one result tried again, in a guest of its own each time: alone, or
// with the whole cell.
func (g *gate) tries(ctx context.Context, k Key, r result, whole bool) (Rate, error) {
	opt := repro.Options{
		Cache: g.Cache, Images: g.Images, Runs: filepath.Join(g.dir, runsDir), Command: g.Command, Tell: g.Tell,
	}
	cases, err := repro.Load(ctx, repro.Target{
		Run: r.cell.Run, Cell: r.cell.Name, Test: repro.Place{Program: k.Program, Test: k.Test}.String(), Whole: whole,
	}, opt)
	if err != nil {
		return Rate{}, err
	}
	result, err := repro.Tries(ctx, cases[0], g.Tries, opt)
	if err != nil {
		return Rate{}, err
	}
	rate := Rate{}
	for _, t := range result.Tries {
		switch {
		case t.Likeness == repro.NotTried:
			continue
		case !t.Seen.Verdict.Good():
			rate.Failed++
		}
		rate.Tried++
	}
	return rate, nil
}

// conclude is the verdict of all.
func (g *gate) conclude() {
	v := verdict.Pass
	for _, s := range g.report.States[1:] {
		v = verdict.Worst(v, s.Verdict)
	}
	g.report.Verdict = v
	for _, s := range g.report.States {
		for _, c := range s.Cells {
			if run, err := results.ReadRun(c.Run); err == nil && g.report.Version == nil {
				g.report.Version = run.Versions
			}
		}
	}
}
