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

	"golang.org/x/sync/errgroup"

	"noiommu-farm/farm/repro"
	"noiommu-farm/results"
)

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
	line = "farm run " + line + " --config " + d.Key.Config + " --topology " + d.Key.Topology
	for _, one := range Watchful {
		line += " --append " + quoted(one)
	}
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

// repeatAtMost is how many differences of a patch are repeated until they are
// sure, for what follows from the same mistake need not be; and how many at all,
// for one that shows now and then takes longest.
func (g *gate) repeatAtMost() (sureOnes, tried int) {
	if g.Level == Quick {
		return 1, 8
	}
	return 3, 16
}

// repeat has the first differences of a state tried again, with the patch and
// before it. What does not show alone is tried with all that ran before it.
func (g *gate) repeat(ctx context.Context, s *State, found []Difference, now, before map[Key]result) error {
	file := filepath.Join(g.dir, statesDir, fmt.Sprintf("%03d.repeated.json", s.Index))
	known := make(map[string]Repeated)
	if err := readJSON(file, &known); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read %s: %w", file, err)
	}
	confirmed, repeated := 0, 0
	enough, most := g.repeatAtMost()
	for i := range found {
		d := &found[i]
		if d.Kind != TestFails {
			d.Repeated.Done = true // they are what they are: nothing runs
			continue
		}
		if confirmed == enough || repeated == most {
			// Where nothing was sure, nobody knows of this.
			d.Repeated.With, d.Repeated.Flaky = Rate{1, 1}, confirmed == 0
			continue
		}
		repeated++
		// Cells that ran anew are other ones.
		id := fmt.Sprintf("%s/%s/%s in %s and %s", d.Key.Point, d.Key.Program, d.Key.Test, now[d.Key].cell.Dir, before[d.Key].cell.Dir)
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
		if d.Repeated = r; d.confirmed() {
			confirmed++
		}
	}
	return nil
}

// locate gives the first crash that is sure the lines of the source, for the
// mail. A kernel is built for it, so only a full gate does it. Without them the
// crash is what it was.
func (g *gate) locate(ctx context.Context, found []Difference, now map[Key]result) {
	i := slices.IndexFunc(found, func(d Difference) bool { return d.Kind == TestFails && d.confirmed() && len(d.Console) > 0 })
	if g.Level != Full || i < 0 {
		return
	}
	d := &found[i]
	cell := now[d.Key].cell
	opt := repro.Options{Cache: g.Cache, Images: g.Images, Runs: filepath.Join(g.dir, runsDir), Command: g.Command, Tell: g.Tell}
	g.note("%s: %s on %s: finding the lines of the crash", stateName(d.Patch, g.Series), d.name(), d.Key.Point)
	cases, err := repro.Load(ctx, repro.Target{Run: cell.Run, Cell: cell.Name, Test: repro.Place{Program: d.Key.Program, Test: d.Key.Test}.String()}, opt)
	if err == nil {
		var lines []string
		if lines, _, err = repro.Lines(ctx, cases[0], opt); err == nil && len(lines) > 0 {
			d.Console = short(lines)
		}
	}
	if err != nil {
		g.note("no lines: %v", err)
	}
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
		if before = before.plus(b); w.Failed > 0 {
			r.Whole, with = true, w
		} else {
			with = with.plus(w)
		}
	}
	if err != nil {
		return r, err
	}
	r.count(with, before)
	return r, nil
}

// count adds what further tries came to. A failure that could not be tried again
// with the patch did not show every time.
func (r *Repeated) count(with, before Rate) {
	r.With, r.Before = r.With.plus(with), r.Before.plus(before)
	r.Sure = sure(r.With, r.Before)
	r.Flaky = with.Tried == 0 || r.With.Failed < r.With.Tried || r.Before.Failed > 0
}

// bothSides has a result tried again with the patch and, if it was there, before
// it, at the same time.
func (g *gate) bothSides(ctx context.Context, k Key, now, was result, had, whole bool) (with, before Rate, err error) {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() (err error) {
		with, err = g.retry(ctx, k, now, whole)
		return err
	})
	if had {
		group.Go(func() (err error) {
			before, err = g.retry(ctx, k, was, whole)
			return err
		})
	}
	return with, before, group.Wait()
}

// tries has one result tried again, in a guest of its own each time: alone, or
// with the whole cell.
func (g *gate) tries(ctx context.Context, k Key, r result, whole bool) (Rate, error) {
	return g.triesAt(ctx, repro.Target{
		Run: r.cell.Run, Cell: r.cell.Name, Test: repro.Place{Program: k.Program, Test: k.Test}.String(), Whole: whole,
	}, filepath.Join(g.dir, runsDir))
}

// triesOf is tries of a place in a cell.
func (g *gate) triesOf(ctx context.Context, at repro.Place, cell Cell) (Rate, error) {
	return g.triesAt(ctx, repro.Target{Run: cell.Run, Cell: cell.Name, Test: at.String()}, g.Runs)
}

func (g *gate) triesAt(ctx context.Context, target repro.Target, runs string) (Rate, error) {
	opt := repro.Options{Cache: g.Cache, Images: g.Images, Runs: runs, Command: g.Command, Tell: g.Tell}
	cases, err := repro.Load(ctx, target, opt)
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
