// SPDX-License-Identifier: Apache-2.0

package kernels

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"noiommu-farm/internal/fault"
	"noiommu-farm/kernels/build"
	"noiommu-farm/kernels/lock"
	"noiommu-farm/kernels/series"
	"noiommu-farm/kernels/source"
)

// A BuildVerdict says how a configuration of a kernel compiles. It is good when
// Failure is nil and Warnings and Lint are empty.
type BuildVerdict struct {
	Config   string
	Build    *Build    // nil when it failed
	Failure  error     // a *fault.Kernel; nil
	Warnings []Warning // that the base has not; all when there is no base
	Lint     []Warning // of W=1 and sparse, in the files that differ from the base and not in the base
	Linted   []string  // the files that were looked at so
}

// Good says whether the kernel is without fault.
func (v BuildVerdict) Good() bool {
	return v.Failure == nil && len(v.Warnings) == 0 && len(v.Lint) == 0
}

// JudgeBuild builds a kernel and, when there is a base to hold it to, the same
// configuration of the base. With lint, and a base, it compiles the C files
// that differ once more with W=1, and sparse where that is installed. A kernel
// that does not build is a verdict; a base that does not is an error. progress
// may be nil.
func (c *Cache) JudgeBuild(ctx context.Context, r Request, base *Source, lint bool, progress func(Progress)) (BuildVerdict, error) {
	if progress == nil {
		progress = func(Progress) {}
	}
	v := BuildVerdict{Config: r.Config.Name}
	var had *Build
	if base != nil {
		var err error
		if had, err = c.Build(ctx, Request{Source: *base, Config: r.Config, Compiler: r.Compiler}, progress); err != nil {
			return v, fmt.Errorf("base: %w", err)
		}
	}
	b, err := c.Build(ctx, r, progress)
	var kernel *fault.Kernel
	if errors.As(err, &kernel) {
		v.Failure = kernel
		return v, nil
	}
	if err != nil {
		return v, err
	}
	if v.Failure = b.Breaks(had); v.Failure != nil {
		return v, nil
	}
	v.Build = b
	if had == nil {
		v.Warnings = b.Warnings
		return v, nil
	}
	v.Warnings = build.NewWarnings(had.Warnings, b.Warnings)
	if lint {
		v.Linted, v.Lint, err = c.lint(ctx, r, *base, had, b, progress)
	}
	return v, err
}

// lint compares what W=1 and sparse say of the C files that differ.
func (c *Cache) lint(ctx context.Context, r Request, base Source, had, b *Build, progress func(Progress)) ([]string, []Warning, error) {
	w, err := c.want(ctx, r, progress)
	if err != nil {
		return nil, nil, err
	}
	changed, err := c.diff(w.tree, had.SourceID)
	if err != nil {
		return nil, nil, err
	}
	before, files := lintable(had, changed, func(c source.Change) bool { return c.Old != nil })
	_, after := lintable(b, changed, func(c source.Change) bool { return c.New != nil })
	objects, _ := lintable(b, changed, func(c source.Change) bool { return c.New != nil })
	now, err := c.lintBuild(ctx, w, b, objects, after, progress)
	if err != nil {
		return after, nil, err
	}
	r.Source = base
	old, err := c.want(ctx, r, progress)
	if err != nil {
		return after, nil, err
	}
	then, err := c.lintBuild(ctx, old, had, before, files, progress)
	if err != nil {
		return after, nil, fmt.Errorf("base: %w", err)
	}
	return after, build.NewWarnings(then, now), nil
}

// lintable is the objects that a build has of files that differ.
func lintable(b *Build, changed []source.Change, there func(source.Change) bool) (objects, files []string) {
	for _, ch := range changed {
		object, isC := strings.CutSuffix(ch.Path, ".c")
		if object += ".o"; isC && there(ch) && exists(filepath.Join(b.Dir, "objects", object)) {
			objects = append(objects, object)
			files = append(files, ch.Path)
		}
	}
	return objects, files
}

func (c *Cache) lintBuild(ctx context.Context, w want, b *Build, targets, files []string, progress func(Progress)) ([]Warning, error) {
	if len(targets) == 0 {
		return nil, nil
	}
	name := "lint-" + b.Key
	release, err := lock.Take(ctx, c.path("locks", name), nil)
	if err != nil {
		return nil, err
	}
	defer release()
	// The lock says that whoever worked here before is dead.
	work := c.path("tmp", name)
	if err := os.RemoveAll(work); err != nil {
		return nil, err
	}
	defer os.RemoveAll(work)
	j := build.Job{
		Tree: w.tree.Dir, Version: w.tree.Version, Options: w.options, Toolchain: w.tools,
		Objects: filepath.Join(work, objects), Selftests: filepath.Join(work, "selftests"), Modules: filepath.Join(work, "modules"),
		Jobs: c.Jobs, Limits: c.Limits, Log: io.Discard,
		See: func(step string, done, total int, _ time.Duration) {
			progress(Progress{Step: step, Done: done, Total: total})
		},
	}
	for _, d := range []string{work, j.Selftests, j.Modules} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return nil, err
		}
	}
	if err := os.WriteFile(j.Objects+".request", nil, 0o644); err != nil {
		return nil, err
	}
	same := neighbour{key: b.Key, dir: b.Dir}
	if _, err := same.clone(ctx, w.tree.Dir, work); err != nil {
		return nil, err
	}
	found, err := build.Lint(ctx, j, targets, files)
	return found, blame(err, w.tree.Series)
}

// BlameWarning names the patches of a series that touch the file of a warning.
func BlameWarning(w Warning, s series.Series) []string { return touching(s, w.File) }

// SummarizeWarnings counts them by tool.
func SummarizeWarnings(list []Warning) string { return build.Summary(list) }
