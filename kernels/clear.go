// SPDX-License-Identifier: Apache-2.0

package kernels

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"noiommu-farm/kernels/lock"
)

// A Stored is a build in the cache, as a list shows it.
type Stored struct {
	Key           string
	Configuration string
	Origin        string // what its source was made from
	Version       string
	Compiler      string
	Series        []string // ids of the patches on the source
	Bytes         int64
	Made, Used    time.Time
	Took          time.Duration // to make
	Steps         int           // of kbuild
	Neighbour     string        // key of the build it started from; "" when from nothing
	Warnings      int
	InUse         bool // by a farm that runs now

	source, base string
}

// Stored lists the builds of the cache, the last used first. One without a
// record is none.
func (c *Cache) Stored(ctx context.Context) ([]Stored, error) {
	entries, err := os.ReadDir(c.path("builds"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list builds: %w", err)
	}
	var list []Stored
	for _, e := range entries {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		dir := c.path("builds", e.Name())
		r, err := readRecord(dir)
		if err != nil {
			continue
		}
		s := Stored{
			Key: r.Key, Configuration: r.Configuration, Origin: r.Origin, Version: r.Version, Compiler: r.Compiler,
			Series: r.Series, Bytes: diskUse(dir), Took: time.Duration(r.Seconds * float64(time.Second)), Steps: r.Steps,
			Neighbour: r.Neighbour, Warnings: len(r.Warnings), source: r.Source, base: r.Base,
		}
		if fi, err := os.Stat(filepath.Join(dir, "build.log")); err == nil {
			s.Made = fi.ModTime()
		}
		if fi, err := os.Stat(filepath.Join(dir, recordName)); err == nil {
			s.Used = fi.ModTime()
		}
		free, err := lock.Free(c.useLock(r.Key))
		if err != nil {
			return nil, fmt.Errorf("list builds: %w", err)
		}
		if s.InUse = free == nil; free != nil {
			free()
		}
		list = append(list, s)
	}
	slices.SortStableFunc(list, func(a, b Stored) int { return b.Used.Compare(a.Used) })
	return list, nil
}

// worth is what is lost with a build, by the space that it takes: the time it
// took, which counts half as much for every week that nobody used it.
func (s Stored) worth(now time.Time) float64 {
	weeks := max(now.Sub(s.Used).Hours(), 0) / (7 * 24)
	return (s.Took.Seconds() + 1) * math.Exp2(-weeks) / float64(max(s.Bytes, 1))
}

// Cleared says what went.
type Cleared struct {
	Builds  []Stored // the least useful first
	Sources []string // ids of trees that no build was left of
	InUse   int      // builds and sources that were to go, but somebody uses
	Before  int64    // bytes that the cache had
	After   int64    // and has
}

// Clear makes the cache smaller than a number of bytes, as far as nobody uses
// what is in it: first sources that no build is of, then builds, the least
// useful first, each with its source when that was the last of it. Other farms
// may build and run meanwhile. What is downloaded stays.
func (c *Cache) Clear(ctx context.Context, limit int64) (Cleared, error) {
	cleared, err := c.clear(ctx, limit)
	if err != nil {
		return cleared, fmt.Errorf("clear cache: %w", err)
	}
	return cleared, nil
}

func (c *Cache) clear(ctx context.Context, limit int64) (Cleared, error) {
	if err := c.sweep(); err != nil {
		return Cleared{}, err
	}
	all, err := c.Stored(ctx)
	if err != nil {
		return Cleared{}, err
	}
	done := Cleared{Before: diskUse(c.Dir)}
	done.After = done.Before
	now := time.Now()
	slices.SortStableFunc(all, func(a, b Stored) int {
		return int(math.Copysign(1, a.worth(now)-b.worth(now)))
	})
	skipped := map[string]bool{}
	sources := func() error {
		return c.clearSources(ctx, all, skipped, &done, limit)
	}
	if done.After > limit {
		if err := sources(); err != nil {
			return done, err
		}
	}
	for i := 0; i < len(all) && done.After > limit; {
		if ctx.Err() != nil {
			return done, context.Cause(ctx)
		}
		s := all[i]
		freed, gone, err := c.take(s.Key, "build-", c.path("builds", s.Key))
		if err != nil {
			return done, err
		}
		if !gone {
			skipped[s.Key] = true
			i++
			continue
		}
		all = slices.Delete(all, i, i+1)
		done.Builds = append(done.Builds, s)
		done.After -= freed
		if err := sources(); err != nil {
			return done, err
		}
	}
	done.InUse = len(skipped)
	return done, nil
}

// clearSources removes the trees that no build is of, until the cache has no more
// than limit.
func (c *Cache) clearSources(ctx context.Context, left []Stored, skipped map[string]bool, done *Cleared, limit int64) error {
	needed := map[string]bool{}
	for _, s := range left {
		needed[s.source], needed[s.base] = true, true
	}
	entries, err := os.ReadDir(c.path("sources"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, e := range entries {
		if needed[e.Name()] || done.After <= limit {
			continue
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		freed, gone, err := c.take(e.Name(), "source-", c.path("sources", e.Name()))
		if err != nil {
			return err
		}
		if !gone {
			skipped[e.Name()] = true
			continue
		}
		done.After -= freed
		done.Sources = append(done.Sources, e.Name())
	}
	return nil
}

// take removes dir, by one rename first, if nobody makes or uses it, and says how
// many bytes are free for it.
func (c *Cache) take(id, making, dir string) (freed int64, gone bool, err error) {
	for _, path := range []string{c.path("locks", making+id), c.useLock(id)} {
		release, err := lock.Free(path)
		if err != nil || release == nil {
			return 0, false, err
		}
		defer release()
	}
	// The lock of that name is held: whoever sweeps leaves it alone, and
	// finds it when this farm is killed.
	work := c.path("tmp", making+id)
	if err := errors.Join(os.RemoveAll(work), os.MkdirAll(work, 0o755)); err != nil {
		return 0, false, err
	}
	moved := filepath.Join(work, "gone")
	if err := os.Rename(dir, moved); err != nil {
		return 0, false, err
	}
	// Trees share files: what has another name stays.
	walk(moved, func(st *unix.Stat_t, isDir bool) {
		if isDir || st.Nlink == 1 {
			freed += st.Blocks * 512
		}
	})
	return freed, true, os.RemoveAll(work)
}

func (c *Cache) useLock(id string) string { return c.path("locks", "use-"+id) }

// use keeps a build or a source from being cleared away as long as c lives.
func (c *Cache) use(id string) error {
	release, err := lock.Share(c.useLock(id))
	if err != nil {
		return err
	}
	if _, had := c.uses.LoadOrStore(id, release); had {
		release()
	}
	return nil
}

// diskUse is the space that the files below a directory take, those with
// several names once, in bytes. What goes meanwhile is not counted.
func diskUse(dir string) int64 {
	var sum int64
	seen := map[[2]uint64]bool{}
	walk(dir, func(st *unix.Stat_t, isDir bool) {
		if id := [2]uint64{st.Dev, st.Ino}; st.Nlink > 1 && !isDir {
			if seen[id] {
				return
			}
			seen[id] = true
		}
		sum += st.Blocks * 512
	})
	return sum
}

// walk tells of every file at and below a directory; those that go meanwhile are
// left out.
func walk(dir string, tell func(st *unix.Stat_t, isDir bool)) {
	filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		var st unix.Stat_t
		if err == nil && unix.Lstat(path, &st) == nil {
			tell(&st, d.IsDir())
		}
		return nil
	})
}

// ParseSize reads bytes as people write them: 500M, 20G, 1T, in powers of
// 1024.
func ParseSize(text string) (int64, error) {
	units := map[byte]int{'K': 10, 'M': 20, 'G': 30, 'T': 40}
	digits := strings.TrimSuffix(strings.TrimSuffix(strings.ToUpper(text), "B"), "I")
	shift := 0
	if n := len(digits); n > 0 {
		if s, ok := units[digits[n-1]]; ok {
			shift, digits = s, digits[:n-1]
		}
	}
	var n int64
	for _, d := range digits {
		if d < '0' || d > '9' || n > math.MaxInt64>>44 {
			return 0, fmt.Errorf("%q is no size", text)
		}
		n = n*10 + int64(d-'0')
	}
	if digits == "" || n > math.MaxInt64>>shift {
		return 0, fmt.Errorf("%q is no size", text)
	}
	return n << shift, nil
}
