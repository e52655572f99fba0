// SPDX-License-Identifier: Apache-2.0

package kernels

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"noiommu-farm/kernels/sandbox"
	"noiommu-farm/kernels/source"
)

// A neighbour is a build whose objects a new one can start from.
type neighbour struct {
	key      string // "" when there is none
	dir      string
	changed  []source.Change // files that differ
	expected int             // kbuild's steps of a like build; 0 when not known
}

// maxChanged is the number of differing files from which on copying and
// comparing is not worth it.
const maxChanged = 500

// defaultSteps is what kbuild prints for the configuration noiommu on 7.3.4.
const defaultSteps = 1724

// What a difference makes kbuild compile again, roughly, in objects. One option
// of the machine (PCI_MMCONFIG) cost 870 steps, one test driver (LKDTM) 58, a
// line in vfio_main.c 38, most of them the final links.
const (
	costOfOption = 100
	costOfHeader = 20
	costOfFile   = 1
)

// trusts says whether the objects of a build may become part of what is
// wanted. What a series had a build execute may have left anything in them: a
// build with a series is good for that series alone, and for what comes behind
// it when it changed nothing that a build executes.
func (w want) trusts(r record) bool {
	if len(r.Series) == 0 {
		return r.Base == ""
	}
	mine := w.series()
	return !r.Runs && r.Base == w.tree.Base && len(r.Series) <= len(mine) && slices.Equal(r.Series, mine[:len(r.Series)])
}

// runs says whether a build may execute what is in a file, rather than compile
// it into the kernel.
func runs(name string) bool {
	switch {
	case strings.HasPrefix(name, "Documentation/"), strings.HasPrefix(name, "tools/testing/"):
		return false // selftests are built where no object is
	case strings.HasPrefix(name, "scripts/"), strings.HasPrefix(name, "usr/"), strings.Contains("/"+name, "/tools/"), strings.Contains(name, "/boot/"):
		return true // programs that a build makes for itself
	}
	return !slices.Contains([]string{".c", ".h", ".S", ".dts", ".dtsi", ".rst", ".txt", ".yaml"}, path.Ext(name)) && path.Base(name) != "MAINTAINERS"
}

// neighbour finds the build that has least to be compiled again. Builds with
// another compiler share nothing, and see trusts.
func (c *Cache) neighbour(ctx context.Context, w want) (neighbour, error) {
	entries, err := os.ReadDir(c.path("builds"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return neighbour{}, err
	}
	var candidates []record
	likest := -1
	best := neighbour{expected: defaultSteps}
	options := map[string]int{} // what a build's options cost, by its key
	for _, e := range entries {
		r, err := readRecord(c.path("builds", e.Name()))
		if err != nil {
			continue // whoever wants that build will say so
		}
		cost := costOfOption * different(r.Options, w.list())
		if r.Neighbour == "" && (likest < 0 || cost < likest) {
			likest, best.expected = cost, r.Steps
		}
		if r.Compiler == w.tools.Version && w.trusts(r) && exists(c.path("builds", r.Key, objects)) {
			candidates = append(candidates, r)
			options[r.Key] = cost
		}
	}
	// Comparing sources takes longest: those that need no comparing, or are
	// likely to be nearest, come first.
	rank := func(r record) int {
		switch r.Source {
		case w.tree.ID:
			return 0
		case w.tree.Base:
			return 1
		}
		return 2
	}
	slices.SortStableFunc(candidates, func(a, b record) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(options[a.Key], options[b.Key]))
	})
	nearest := -1
	diffs := map[string][]source.Change{w.tree.ID: nil} // by source
	for _, r := range candidates {
		if ctx.Err() != nil {
			return neighbour{}, context.Cause(ctx)
		}
		if nearest >= 0 && options[r.Key] >= nearest {
			continue
		}
		changed, known := diffs[r.Source]
		if !known {
			if changed, err = c.diff(w.tree, r.Source); err != nil {
				changed = []source.Change{{Path: "Makefile"}} // unknown: start from nothing
			}
			diffs[r.Source] = changed
		}
		if len(changed) > maxChanged || !incremental(changed) {
			continue
		}
		if cost := options[r.Key] + costOf(changed); nearest < 0 || cost < nearest {
			best = neighbour{key: r.Key, dir: c.path("builds", r.Key), changed: changed}
			nearest = cost
		}
	}
	return best, nil
}

// configures says whether conf may read a changed file, or run it.
func configures(c source.Change) bool {
	return runs(c.Path) || strings.HasPrefix(path.Base(c.Path), "Kconfig")
}

func costOf(changed []source.Change) int {
	cost := 0
	for _, f := range changed {
		if strings.HasSuffix(f.Path, ".h") {
			cost += costOfHeader
		} else {
			cost += costOfFile
		}
	}
	return cost
}

func (c *Cache) diff(tree source.Tree, other string) ([]source.Change, error) {
	new, err := tree.Manifest()
	if err != nil {
		return nil, err
	}
	old, err := source.ReadManifest(c.path("sources", other, "manifest"))
	if err != nil {
		return nil, err
	}
	changed := new.Diff(old)
	if shadows(changed, old) {
		return nil, errors.New("a new header may take the place of an old one")
	}
	return changed, nil
}

// different counts the options that only one of two lists has.
func different(a, b []string) int {
	in := map[string]int{}
	for _, o := range a {
		in[o]++
	}
	for _, o := range b {
		in[o]--
	}
	n := 0
	for _, v := range in {
		if v != 0 {
			n++
		}
	}
	return n
}

// incremental says whether kbuild can be trusted to find what a change
// touches. It follows the files that a compiler read; it does not follow
// makefiles, its own scripts, or the programs that it builds for itself.
func incremental(changed []source.Change) bool {
	for _, c := range changed {
		base := path.Base(c.Path)
		switch {
		case c.Old != nil && c.Old.Kind == 'l' || c.New != nil && c.New.Kind == 'l':
			return false
		case strings.HasPrefix(c.Path, "tools/testing/"):
			continue // selftests are always built from nothing
		case strings.HasPrefix(c.Path, "Documentation/"):
			continue
		case strings.HasPrefix(c.Path, "drivers/") && (base == "Makefile" || base == "Kbuild"):
			continue // lists of objects and flags, which kbuild compares with the commands it kept
		case strings.HasPrefix(c.Path, "scripts/"), strings.HasPrefix(c.Path, "tools/"), strings.HasPrefix(c.Path, "arch/x86/tools/"),
			strings.HasPrefix(base, "Makefile"), strings.HasPrefix(base, "Kbuild"), strings.HasSuffix(base, ".mk"):
			return false
		}
	}
	return true
}

// shadows says whether a header that is new has the name of one that was
// there: the compiler may find it first, and no dependency says so.
func shadows(changed []source.Change, old source.Manifest) bool {
	added := map[string]bool{}
	for _, c := range changed {
		if c.Old == nil && strings.HasSuffix(c.Path, ".h") {
			added[path.Base(c.Path)] = true
		}
	}
	if len(added) == 0 {
		return false
	}
	for _, e := range old {
		if added[path.Base(e.Path)] {
			return true
		}
	}
	return false
}

// clone copies the neighbour's objects into work, with their times. It returns
// the mounts that make every differing file of the tree newer than they are:
// the tree's own may be older, and make would keep a stale object.
func (n neighbour) clone(ctx context.Context, tree, work string) ([]sandbox.Mount, error) {
	// Never hard links: kbuild appends to some files in place.
	cmd := exec.CommandContext(ctx, "cp", "-a", "--reflink=auto", "--no-target-directory", filepath.Join(n.dir, objects), filepath.Join(work, objects))
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("copy: %w: %.200s", err, out)
	}
	fresh := filepath.Join(work, "fresh")
	if err := os.Mkdir(fresh, 0o755); err != nil {
		return nil, err
	}
	var covers []sandbox.Mount
	for i, c := range n.changed {
		if c.New == nil {
			continue
		}
		to := filepath.Join(fresh, fmt.Sprint(i))
		if err := copyFile(filepath.Join(tree, filepath.FromSlash(c.Path)), to); err != nil {
			return nil, err
		}
		if c.New.Kind == 'x' {
			if err := os.Chmod(to, 0o755); err != nil {
				return nil, err
			}
		}
		covers = append(covers, sandbox.Mount{Outside: to, Inside: path.Join("/src", c.Path)})
	}
	return covers, nil
}
