// SPDX-License-Identifier: Apache-2.0

package repro

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"noiommu-farm/farm/runner"
	"noiommu-farm/internal/fault"
	"noiommu-farm/kernels"
	"noiommu-farm/kernels/series"
	"noiommu-farm/results"
	"noiommu-farm/results/verdict"
)

// Load reads a target's cases from its run, and finds the kernel and the
// initramfs that each ran with. A run in which nothing failed, of which nothing
// was named, is a *fault.Usage.
func Load(ctx context.Context, t Target, opt Options) ([]Case, error) {
	head, err := results.ReadRun(t.Run)
	if err != nil {
		return nil, err
	}
	cells := head.Cells
	if t.Cell != "" {
		cells = []string{t.Cell}
	}
	var all []Case
	for _, name := range cells {
		dir := results.CellDir(t.Run, name)
		if _, err := os.Stat(dir); t.Cell == "" && errors.Is(err, os.ErrNotExist) {
			continue // the run was stopped before it
		}
		rec, err := results.ReadCell(dir)
		if err != nil {
			return nil, err
		}
		cell, err := verdict.Judge(rec)
		if err != nil {
			return nil, err
		}
		places := Failed(cell)
		if t.Test != "" {
			one, err := named(cell, t.Test)
			if err != nil {
				return nil, err
			}
			places = []Place{one}
		}
		if len(places) == 0 {
			continue
		}
		a, err := findArtefacts(ctx, rec, opt)
		if err != nil {
			return nil, err
		}
		for _, p := range places {
			c, err := newCase(rec.Planned, cell, p, t.Whole, a)
			if err != nil {
				return nil, err
			}
			all = append(all, c)
		}
	}
	if len(all) == 0 {
		return nil, &fault.Usage{Key: "RUN", Value: t.Run, Err: errors.New("nothing failed in it; name a cell and a test to see that one again")}
	}
	return all, nil
}

func newCase(planned results.Planned, cell *verdict.Cell, p Place, whole bool, a artefacts) (Case, error) {
	c := Case{Cell: planned.Cell, Program: p.Program, Test: p.Test, Dir: cell.Dir}
	c.Seen, c.Reason = c.of(cell)
	c.log = text(c.heard(cell))
	if !whole {
		var err error
		if planned, err = narrow(planned, p); err != nil {
			return c, err
		}
	}
	c.repeat = runner.Repeat{Planned: planned, Kernel: a.kernel, Initrd: a.initrd, Config: a.config, Set: a.set}
	return c, nil
}

// narrow is a plan with only one test in it.
func narrow(p results.Planned, at Place) (results.Planned, error) {
	programs := p.Programs
	broken := p.Broken
	p.Programs, p.Absent, p.Broken = nil, nil, nil
	p.Isolation = results.PerCell // of one program there is one guest anyway
	if at.Program == "" {
		return p, nil
	}
	for _, b := range broken {
		if b.Name == at.Program {
			return p, fmt.Errorf("%s of cell %s did not compile, which needs no guest: \"farm kernel build\" shows it", b.Name, p.Cell)
		}
	}
	i := slices.IndexFunc(programs, func(one results.Program) bool { return one.Name == at.Program })
	if i < 0 {
		return p, fmt.Errorf("read cell %s: its plan has no program %s", p.Cell, at.Program)
	}
	one := programs[i]
	one.ID = 1
	// A program that decides for itself which tests it has runs whole.
	if at.Test != "" && one.Tests != nil {
		j := slices.IndexFunc(one.Tests, func(e results.Expected) bool { return e.Name == at.Test })
		if j < 0 {
			return p, &fault.Usage{Key: "TEST", Value: at.Test, Err: errors.New("a result that nobody expected; name the program")}
		}
		one.Tests = one.Tests[j : j+1]
		_, id, _ := strings.Cut(at.Test, ".")
		if k := slices.Index(one.Argv, "-test"); k >= 0 && k+1 < len(one.Argv) {
			one.Argv = slices.Clone(one.Argv)
			one.Argv[k+1] = id
		}
	}
	p.Programs = []results.Program{one}
	return p, nil
}

// artefacts are what a guest boots.
type artefacts struct {
	kernel, initrd string // paths
	config         string // text of the .config
	set            map[string]string
}

// findArtefacts looks for a cell's kernel and initramfs in its own folder, where
// "farm run --keep" leaves them, and in the cache. A kernel that has gone from
// the cache is built again, if that gives the same one.
func findArtefacts(ctx context.Context, rec *results.Record, opt Options) (artefacts, error) {
	var a artefacts
	text, err := os.ReadFile(filepath.Join(rec.Dir, "config"))
	if err != nil {
		return a, fmt.Errorf("read cell %s: %w", rec.Planned.Cell, err)
	}
	if a, err = withConfig(string(text)); err != nil {
		return a, err
	}
	if a.kernel = filepath.Join(rec.Dir, "vmlinux"); !exists(a.kernel) {
		if a.kernel, err = findKernel(ctx, rec.Planned, opt); err != nil {
			return a, err
		}
	}
	if a.initrd = filepath.Join(rec.Dir, "initramfs.cpio"); exists(a.initrd) {
		return a, checkSum(a.initrd, rec.Planned.Image)
	}
	a.initrd = filepath.Join(opt.Images, filepath.Base(rec.Planned.Image)+".cpio")
	if !exists(a.initrd) {
		return a, &fault.Usage{Key: "RUN", Value: rec.Dir, Err: fmt.Errorf(
			"its initramfs %s is not in %s any more; farm run --keep leaves one in the run directory, a capsule has one", rec.Planned.Image, opt.Images)}
	}
	return a, checkSum(a.initrd, rec.Planned.Image)
}

func withConfig(text string) (artefacts, error) {
	set, err := kernels.ReadConfig(strings.NewReader(text))
	return artefacts{config: text, set: set}, err
}

// findKernel is the path of the kernel that a cell was planned with.
func findKernel(ctx context.Context, p results.Planned, opt Options) (string, error) {
	b, err := opt.Cache.Open(ctx, p.Kernel.Build)
	if err == nil {
		return b.Vmlinux, nil
	}
	gone := func(why error) error {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		line := "farm run --kernel " + p.Kernel.Source
		if p.Kernel.Series != "" {
			line += " --series " + p.Kernel.Series
		}
		return &fault.Usage{Key: "RUN", Value: p.Cell, Err: fmt.Errorf(
			"its kernel %s is not in the cache any more, and cannot be built again: %w; have the test run anew: %s --config %s --topology %s",
			p.Kernel.Build, why, line, p.Kernel.Config, p.Machine.Topology)}
	}
	var r kernels.Request
	if r.Source, err = sourceAgain(ctx, p.Kernel, opt.Cache); err != nil {
		return "", gone(err)
	}
	if r.Config, err = kernels.LoadConfiguration(p.Kernel.Config); err != nil {
		return "", gone(err)
	}
	b, err = opt.Cache.Build(ctx, r, func(now kernels.Progress) {
		if opt.Tell != nil {
			opt.Tell(runner.Progress{Cell: p.Cell, Build: &now})
		}
	})
	switch {
	case err != nil:
		return "", gone(err)
	case b.Key != p.Kernel.Build:
		return "", gone(fmt.Errorf("the compiler or the configuration of today gives another one (%s)", b.Key))
	}
	return b.Vmlinux, nil
}

// sourceAgain is the source of a recorded kernel with the patches that it had,
// read from where they were. Nothing is built of what is not the same any more.
func sourceAgain(ctx context.Context, k results.Kernel, cache *kernels.Cache) (kernels.Source, error) {
	source, err := kernels.ParseSource(k.Source)
	if err != nil {
		return source, err
	}
	if n := len(k.Patches); n > 0 {
		patches, err := series.Load(ctx, k.Series)
		if err != nil {
			return source, fmt.Errorf("its %d patches: %w", n, err)
		}
		// A gate has the first of them on it.
		patches = patches.First(n)
		if !slices.Equal(patches.IDs(), k.Patches) {
			return source, fmt.Errorf("it had %d patches of %s on it, and these are others now", n, k.Series)
		}
		source = source.With(patches)
	}
	id, err := cache.SourceID(ctx, source)
	if err == nil && id != k.SourceID {
		err = fmt.Errorf("%s is another tree now", k.Source)
	}
	return source, err
}

// checkSum refuses a file that is not the recorded one.
func checkSum(path, want string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return err
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != want {
		return &fault.Usage{Key: "RUN", Value: path, Err: fmt.Errorf("has the SHA-256 %s, recorded was %s", got, want)}
	}
	return nil
}

func exists(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

// forever is the time limit of a program that a person watches.
const forever = 30 * 24 * time.Hour
