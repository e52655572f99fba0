// SPDX-License-Identifier: Apache-2.0

package kernels

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
	"sync"
	"time"

	"noiommu-farm/kernels/build"
	"noiommu-farm/kernels/kconfig"
	"noiommu-farm/kernels/lock"
	"noiommu-farm/kernels/sandbox"
	"noiommu-farm/kernels/source"
)

// recipe changes when the same request would give other bytes: flags, fixed
// environment, what is built. Builds of another recipe are neighbours, never
// hits.
const recipe = 1

// Limits bound the programs of a build.
type Limits = sandbox.Limits

// A Cache keeps sources and builds in a directory. Any number of goroutines
// and processes may use one directory at once.
type Cache struct {
	Dir  string // see DefaultDir
	Jobs int    // compilers at once; 0 is 1
	// Limits bound what each make may use; a zero field leaves what no build
	// of a kernel comes near.
	Limits Limits
	Log    func(string) // what people should know, a line at a time; nil drops it

	uses sync.Map // id of a build or source → the function that ends its use
}

func (c *Cache) log(format string, args ...any) {
	if c.Log != nil {
		c.Log(fmt.Sprintf(format, args...))
	}
}

func (c *Cache) path(parts ...string) string {
	return filepath.Join(append([]string{c.Dir}, parts...)...)
}

// Build finds or makes the kernel of a request. progress may be nil; it is
// called from one goroutine at a time.
//
// A request that cannot be met is a *fault.Usage, a kernel that does not
// configure or compile a *fault.Kernel, everything else the machine's or the
// farm's doing. When ctx ends, all that Build started is gone before it
// returns, and the cache is as if it had not begun.
func (c *Cache) Build(ctx context.Context, r Request, progress func(Progress)) (*Build, error) {
	if progress == nil {
		progress = func(Progress) {}
	}
	if err := os.MkdirAll(c.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("open cache: %w", err)
	}
	w, err := c.want(ctx, r, progress)
	if err != nil {
		return nil, fmt.Errorf("build kernel: %w", err)
	}
	tree := w.tree
	if b, err := c.lookup(ctx, w, false); b != nil || err != nil {
		return b, err
	}
	if err := c.sweep(); err != nil {
		return nil, fmt.Errorf("build kernel: %w", err)
	}
	release, err := lock.Take(ctx, c.path("locks", "build-"+w.key()), func() {
		c.log("another farm is building %s with %s: waiting for it", tree.Origin, r.Config)
	})
	if err != nil {
		return nil, fmt.Errorf("build kernel: %w", err)
	}
	defer release()
	if b, err := c.lookup(ctx, w, true); b != nil || err != nil {
		return b, err
	}
	if err := c.make(ctx, w, progress); err != nil {
		return nil, fmt.Errorf("build %s with %s: %w", tree.Origin, r.Config, err)
	}
	b, err := c.lookup(ctx, w, false)
	switch {
	case err != nil:
		return nil, err
	case b == nil:
		return nil, fmt.Errorf("build kernel: %s vanished from the cache", w.key())
	}
	b.Cached = false
	return b, nil
}

// want makes content of a request's words.
func (c *Cache) want(ctx context.Context, r Request, progress func(Progress)) (want, error) {
	tools, err := build.FindToolchain(ctx, r.Compiler)
	if err != nil {
		return want{}, err
	}
	tree, err := c.tree(ctx, r.Source, progress)
	if err != nil {
		return want{}, err
	}
	return want{
		tree:    tree,
		base:    r.Config.base,
		options: kconfig.Merge(r.Config.fragments, tree.Version),
		tools:   tools,
		bzImage: r.BzImage,
		config:  r.Config.Name,
	}, nil
}

// sweep removes what killed farms left of builds that nobody asks for again.
func (c *Cache) sweep() error {
	left, err := os.ReadDir(c.path("tmp"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("sweep: %w", err)
	}
	names := make([]string, len(left))
	for i, e := range left {
		names[i] = e.Name()
	}
	return lock.Sweep(c.path("locks"), names, func(name string) error {
		return os.RemoveAll(c.path("tmp", name))
	})
}

func (c *Cache) tree(ctx context.Context, s Source, progress func(Progress)) (source.Tree, error) {
	see, done := serialize(progress)
	defer done()
	store := source.Store{
		Dir: c.Dir,
		Log: func(line string) { c.log("%s", line) },
		See: func(step, note string, done, total int) {
			see(Progress{Step: step, Note: note, Done: done, Total: total})
		},
	}
	// Another farm may clear a source away before this one says that it is in
	// use.
	for {
		tree, err := store.Get(ctx, s.spec)
		if err == nil {
			err = c.use(tree.ID)
		}
		if err == nil && exists(tree.Dir) {
			tree, err = store.With(ctx, tree, s.series)
			if err == nil {
				err = c.use(tree.ID)
			}
		}
		if err != nil || exists(tree.Dir) {
			return tree, err
		}
	}
}

// serialize lets many goroutines call a function that expects one caller.
func serialize(progress func(Progress)) (see func(Progress), done func()) {
	c := make(chan Progress)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for p := range c {
			progress(p)
		}
	}()
	return func(p Progress) { c <- p }, func() { close(c); <-ended }
}

// A want is a request whose words have become content.
type want struct {
	tree    source.Tree
	base    build.Base
	options []kconfig.Option
	tools   build.Toolchain
	bzImage bool
	config  string
}

// key names the build: equal keys are equal bytes. A series is part of it, not
// only what became of the source: it may leave the same files as another, and
// a build that somebody's makefiles ran in must not be taken for one without.
func (w want) key() string {
	text := fmt.Appendf(nil, "recipe %d\nsource %s\ncompiler %s\n%s", recipe, w.tree.ID, w.tools.Version, kconfig.Text(w.options))
	text = append(text, w.on()...)
	if w.bzImage {
		text = append(text, "bzImage\n"...)
	}
	if w.tree.Base != "" {
		text = fmt.Appendf(text, "base %s\nseries %s\n", w.tree.Base, strings.Join(w.tree.Series.IDs(), " "))
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])[:40]
}

// toolchain names the compiler and the linker.
func (w want) toolchain() string {
	return fmt.Sprintf("%.20x", sha256.Sum256([]byte(w.tools.Version)))
}

// on names what the options change; "" is allnoconfig.
func (w want) on() string {
	if w.base == (build.Base{}) {
		return ""
	}
	return fmt.Sprintf("on %q %x\n", w.base.Target, sha256.Sum256([]byte(w.base.Text)))
}

// lookup is the build in the cache, checked; nil when there is none, or a
// damaged one. Whoever holds the build's lock says locked: it takes the damaged
// one away. Nobody else may: by then it could be the mended one.
func (c *Cache) lookup(ctx context.Context, w want, locked bool) (*Build, error) {
	dir := c.path("builds", w.key())
	if !exists(dir) {
		return nil, nil
	}
	if err := c.use(w.key()); err != nil { // before it is looked at: it must not be cleared away any more
		return nil, err
	}
	b, err := open(ctx, dir)
	switch {
	case err == nil:
		now := time.Now()
		if err := os.Chtimes(filepath.Join(dir, recordName), now, now); err != nil {
			return nil, fmt.Errorf("mark the build as used: %w", err)
		}
		b.Cached = true
		b.Origin = w.tree.Origin
		if b.GetPA, err = knowsGetPA(w.tree.Dir); err != nil {
			return nil, err
		}
		return b, nil
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case !locked || !exists(dir):
		return nil, nil
	}
	c.log("the build %s in the cache is damaged (%v): building it again", w.key(), err)
	work := c.workDir(w)
	if err := errors.Join(os.RemoveAll(work), os.MkdirAll(work, 0o755)); err != nil {
		return nil, fmt.Errorf("remove damaged build: %w", err)
	}
	// By one rename: whoever looks now must not see half of it.
	if err := os.Rename(dir, filepath.Join(work, "damaged")); err != nil {
		return nil, fmt.Errorf("remove damaged build: %w", err)
	}
	return nil, os.RemoveAll(work)
}

// workDir belongs to the holder of the lock of the same name.
func (c *Cache) workDir(w want) string { return c.path("tmp", "build-"+w.key()) }

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
