// SPDX-License-Identifier: Apache-2.0

package kernels

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"noiommu-farm/internal/fault"
	"noiommu-farm/kernels/build"
	"noiommu-farm/kernels/lock"
)

// make builds what is wanted into the cache. The caller holds its lock.
func (c *Cache) make(ctx context.Context, w want, progress func(Progress)) (err error) {
	start := time.Now()
	key := w.key()
	// The lock says that whoever worked here before is dead.
	work := c.workDir(w)
	if err := os.RemoveAll(work); err != nil {
		return fmt.Errorf("clear what a killed farm left: %w", err)
	}
	defer os.RemoveAll(work)
	entry := filepath.Join(work, "entry")
	for _, d := range []string{entry, filepath.Join(work, "selftests"), filepath.Join(entry, "modules"), c.path("builds"), c.path("logs")} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	// Outside the work directory: it must be there to read when this fails.
	logPath := c.path("logs", key+".log")
	logFile, err := os.Create(logPath)
	if err != nil {
		return err
	}
	defer logFile.Close()

	j := build.Job{
		Tree: w.tree.Dir, Version: w.tree.Version, Base: w.base, Options: w.options, Toolchain: w.tools,
		Objects:   filepath.Join(work, objects),
		Selftests: filepath.Join(work, "selftests"),
		Modules:   filepath.Join(entry, "modules"),
		BzImage:   w.bzImage,
		Answers:   c.path("answers", w.toolchain()),
		Learn:     w.tree.Base == "",
		Jobs:      c.Jobs, Limits: c.Limits, Log: logFile, LogPath: logPath,
		See: func(step string, done, total int, eta time.Duration) {
			progress(Progress{Step: step, Done: done, Total: total, ETA: eta})
		},
	}
	near, err := c.neighbour(ctx, w)
	if err != nil {
		return err
	}
	j.Expected = near.expected
	var older []build.Warning
	if near.key != "" {
		// As long as it is copied from, nobody may clear it away.
		inUse, err := lock.Share(c.path("locks", "use-"+near.key))
		if err != nil {
			return err
		}
		defer inUse()
		if r, err := readRecord(near.dir); err == nil {
			older = r.Warnings
			j.Programs = r.programs(near)
			j.Configured = slices.Equal(r.Options, w.list()) && !slices.ContainsFunc(near.changed, configures)
		}
		progress(Progress{Step: "clone", Note: near.key})
		if j.Covers, err = near.clone(ctx, w.tree.Dir, work); err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			// It may have been damaged, and removed while it was copied.
			c.log("cannot start from the build %s (%v): starting from nothing", near.key, err)
			near, older, j.Programs, j.Configured = neighbour{}, nil, nil, false
			if err := os.RemoveAll(j.Objects); err != nil {
				return err
			}
		}
	}
	if err := os.MkdirAll(j.Objects, 0o755); err != nil {
		return err
	}

	result, err := build.Run(ctx, j)
	if err != nil {
		var kernel *fault.Kernel
		if !errors.As(err, &kernel) && ctx.Err() != nil {
			os.Remove(logPath)
		}
		return blame(err, w.tree.Series)
	}

	artefacts := map[string]string{build.Vmlinux: "vmlinux", build.Config: "config"}
	if w.bzImage {
		artefacts[build.BzImage] = "bzImage"
	}
	for from, to := range artefacts {
		if err := collect(j.Objects, from, filepath.Join(entry, to)); err != nil {
			return err
		}
	}
	for _, t := range result.Selftests {
		to := filepath.Join(entry, "selftests", t.Suite, t.Name)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		if err := collect(j.Selftests, path.Join(t.Suite, t.Name), to); err != nil {
			return err
		}
		if err := os.Chmod(to, 0o755); err != nil {
			return err
		}
	}
	if !result.Modules {
		if err := os.RemoveAll(filepath.Join(entry, "modules")); err != nil {
			return err
		}
	}
	if err := os.Rename(logPath, filepath.Join(entry, "build.log")); err != nil {
		return err
	}
	if err := dropLinked(j.Objects); err != nil {
		return err
	}
	if err := os.Rename(j.Objects, filepath.Join(entry, objects)); err != nil {
		return err
	}
	var broken []Unbuilt
	for _, bad := range result.Unbuilt {
		blame(bad, w.tree.Series)
		broken = append(broken, Unbuilt{Suite: path.Base(bad.Stage), Err: bad.Err.Error()})
	}
	r := record{
		Recipe: recipe, Key: key,
		Source: w.tree.ID, Version: w.tree.Version, Origin: w.tree.Origin,
		Base: w.tree.Base, Series: w.series(), Runs: slices.ContainsFunc(w.tree.Series.Touched(), runs),
		Configuration: w.config, Options: w.list(), Compiler: w.tools.Version,
		Release: result.Release, Neighbour: near.key,
		Steps: result.Steps, Seconds: time.Since(start).Seconds(),
		Selftests: result.Selftests, Unbuilt: broken, Modules: result.Modules,
		Warnings: build.Inherit(result.Warnings, older, result.Compiled, func(object string) bool {
			return exists(filepath.Join(entry, objects, object))
		}),
	}
	if err := r.seal(entry); err != nil {
		return fmt.Errorf("seal: %w", err)
	}
	if err := os.Rename(entry, c.path("builds", key)); err != nil {
		return fmt.Errorf("seal: %w", err)
	}
	return nil
}

// dropLinked removes what kbuild links anew in any build that changes something.
// It is two fifths of a build directory, and would be copied with it each time that
// another build starts from here.
func dropLinked(dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	names, err := fs.ReadDir(root.FS(), ".")
	if err != nil {
		return err
	}
	for _, e := range names {
		switch name := e.Name(); {
		case e.IsDir():
		case name == "vmlinux", name == "vmlinux.o", name == "vmlinux.unstripped", strings.HasPrefix(name, ".tmp_vmlinux"):
			if err := root.Remove(name); err != nil {
				return err
			}
		}
	}
	return nil
}

// list is the options as a record has them.
func (w want) list() []string {
	l := make([]string, len(w.options))
	for i, o := range w.options {
		l[i] = o.Name + "=" + o.Value
	}
	if on := w.on(); on != "" {
		l = append(l, strings.TrimSpace(on))
	}
	return l
}

// series is the patches as a record has them; nil when there are none.
func (w want) series() []string {
	if w.tree.Base == "" {
		return nil
	}
	return w.tree.Series.IDs()
}

// collect copies what a build made. A build that left something else in its
// place is a bad kernel.
func collect(dir, name, to string) error {
	in, err := build.Open(dir, name)
	if err != nil {
		return &fault.Kernel{Stage: "collect", Err: fmt.Errorf("the build left no %s: %w", name, err)}
	}
	defer in.Close()
	return copyTo(in, to)
}

// copyFile makes a new file: kbuild writes some of its own in place, so an
// artefact must not share an inode with one.
func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	return copyTo(in, to)
}

func copyTo(in io.Reader, to string) error {
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	// Not synced: what a crash of the machine leaves of it is found out by its
	// hash.
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
