// SPDX-License-Identifier: Apache-2.0

// Package source turns what a user calls a kernel into an immutable tree.
//
// In comes a specification: a Debian package, a directory, a git ref, a
// tarball. Out goes a directory whose name is a hash of its content, with a
// manifest beside it. Trees share equal files by hard link, so that kbuild
// sees equal time stamps on them. The package never writes in a user's tree,
// never changes a tree once it has its name, and never runs anything from
// one.
package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"

	"noiommu-farm/internal/fault"
	"noiommu-farm/kernels/lock"
	"noiommu-farm/kernels/series"
)

// A Store keeps trees and what they were made from in a directory:
//
//	downloads/NAME/   a fetched package and download.json
//	imports/KEY       the ID of the tree that an archive or a commit became
//	sources/ID/tree   the files, all read-only in spirit: shared by hard link
//	sources/ID/manifest
//	stat/KEY          what the files of a user's directory hashed to
//	apt/              a private apt root
//	tmp/, locks/      work in progress
type Store struct {
	Dir string
	Log func(string)                             // never nil
	See func(step, note string, done, total int) // progress; never nil; total 0 is not known

	// Keyring verifies the Debian archive; "" is Debian's own.
	Keyring string
}

// A Tree is a source in the store.
type Tree struct {
	ID      string
	Dir     string // the files
	Version string // from the Makefile: "7.3.4", "7.4.0-rc1"
	Origin  string // what it was made from, for people

	// Of a tree that With made: the ID of the tree that was patched, and the
	// series. Such a tree has been written by anyone.
	Base   string
	Series series.Series
}

// Manifest reads the list of the tree's files.
func (t Tree) Manifest() (Manifest, error) {
	return ReadManifest(filepath.Join(filepath.Dir(t.Dir), "manifest"))
}

// Get finds or makes the tree of a specification. A directory or archive that
// is no kernel source is a *fault.Usage.
func (s *Store) Get(ctx context.Context, spec Spec) (Tree, error) {
	var id, origin string
	var err error
	switch {
	case spec.kind == kindDebian:
		id, origin, err = s.fromDebian(ctx, spec.arg)
	case spec.kind == kindTarball:
		id, origin, err = s.fromTarball(ctx, spec)
	case spec.kind == kindTree && spec.ref != "":
		id, origin, err = s.fromCommit(ctx, spec)
	case spec.kind == kindTree:
		id, origin, err = s.fromDirectory(ctx, spec)
	default:
		return Tree{}, &fault.Usage{Key: "kernel", Value: spec.String(), Allowed: forms()}
	}
	if err != nil {
		return Tree{}, fmt.Errorf("source %s: %w", spec, err)
	}
	t := Tree{ID: id, Dir: s.path("sources", id, "tree"), Origin: origin}
	if t.Version, err = version(os.DirFS(t.Dir)); err != nil {
		return Tree{}, fmt.Errorf("source %s: %w", spec, err)
	}
	return t, nil
}

func (s *Store) path(parts ...string) string {
	return filepath.Join(append([]string{s.Dir}, parts...)...)
}

// lock keeps other farms from working on the same source at once.
func (s *Store) lock(ctx context.Context, name string) (func(), error) {
	return lock.Take(ctx, s.path("locks", name), func() {
		s.Log(fmt.Sprintf("another farm is working on %s: waiting for it", name))
	})
}

// has says whether a tree is there, whole.
func (s *Store) has(id string) bool {
	if len(id) != idLength {
		return false
	}
	_, err := os.Stat(s.path("sources", id, "manifest"))
	return err == nil
}

// imported is the tree that the import called key became, if it is there.
func (s *Store) imported(key string) (id string, ok bool) {
	b, err := os.ReadFile(s.path("imports", key))
	return string(b), err == nil && s.has(string(b))
}

// importArchive makes a tree of a stream of tar, once per key.
func (s *Store) importArchive(ctx context.Context, key string, stream func(use func(io.Reader) error) error) (string, error) {
	if id, ok := s.imported(key); ok {
		return id, nil
	}
	release, err := s.lock(ctx, "import-"+key)
	if err != nil {
		return "", err
	}
	defer release()
	if id, ok := s.imported(key); ok {
		return id, nil
	}
	work, err := s.workDir("import-" + key)
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(work)
	raw := filepath.Join(work, "raw")
	if err := os.Mkdir(raw, 0o755); err != nil {
		return "", err
	}
	root, err := os.OpenRoot(raw)
	if err != nil {
		return "", err
	}
	defer root.Close()
	var m Manifest
	err = stream(func(r io.Reader) error {
		m, err = unpack(&reader{ctx, r}, root, func(files int) { s.See("unpack", "", files, 0) })
		return err
	})
	if err != nil {
		return "", err
	}
	m, top := m.withoutTop()
	from, err := root.OpenRoot(top)
	if err != nil {
		return "", err
	}
	defer from.Close()
	id, err := s.put(ctx, work, m, from, true)
	if err != nil {
		return "", err
	}
	return id, s.remember(key, id)
}

func (s *Store) remember(key, id string) error {
	return writeFileAtomic(s.path("imports", key), []byte(id))
}

// withoutTop takes away the one directory that release tarballs put
// everything in.
func (m Manifest) withoutTop() (Manifest, string) {
	if len(m) == 0 {
		return m, "."
	}
	top, _, ok := strings.Cut(m[0].Path, "/")
	if !ok {
		return m, "."
	}
	for _, e := range m {
		if !strings.HasPrefix(e.Path, top+"/") {
			return m, "."
		}
	}
	inner := make(Manifest, len(m))
	for i, e := range m {
		e.Path = strings.TrimPrefix(e.Path, top+"/")
		inner[i] = e
	}
	inner.sort()
	return inner, top
}

// workDir is an empty directory for the holder of the lock of that name. What
// a killed farm left there goes away.
func (s *Store) workDir(name string) (string, error) {
	dir := s.path("tmp", name)
	if err := os.RemoveAll(dir); err != nil {
		return "", fmt.Errorf("clear what a killed farm left: %w", err)
	}
	return dir, os.MkdirAll(dir, 0o755)
}

// put makes the tree of a manifest. Files come from the nearest tree in the
// store where that has them, else from the directory from, by rename (take)
// or as a copy with the time of now: newer than every object file made before.
func (s *Store) put(ctx context.Context, work string, m Manifest, from *os.Root, take bool) (string, error) {
	if _, err := version(from.FS()); err != nil {
		return "", err
	}
	return s.assemble(ctx, work, m, from, take, s.nearest)
}

// assemble is put with the tree to share files with: near opens it, and says
// of which entries.
func (s *Store) assemble(ctx context.Context, work string, m Manifest, from *os.Root, take bool,
	near func(Manifest) (*os.Root, func(Entry) bool, error)) (string, error) {
	id := m.ID()
	if s.has(id) {
		return id, nil
	}
	release, err := s.lock(ctx, "source-"+id)
	if err != nil {
		return "", err
	}
	defer release()
	if s.has(id) {
		return id, nil
	}
	neighbour, shared, err := near(m)
	if err != nil {
		return "", err
	}
	defer func() {
		if neighbour != nil {
			neighbour.Close()
		}
	}()
	whole := filepath.Join(work, "whole")
	if err := os.MkdirAll(filepath.Join(whole, "tree"), 0o755); err != nil {
		return "", err
	}
	out, err := os.OpenRoot(whole)
	if err != nil {
		return "", err
	}
	defer out.Close()
	dirs := map[string]bool{".": true}
	buffer := make([]byte, 1<<18)
	for i, e := range m {
		if i%512 == 0 {
			if ctx.Err() != nil {
				return "", context.Cause(ctx)
			}
			s.See("store", "", i, len(m))
		}
		to := path.Join("tree", e.Path)
		if err := makeDirs(out, path.Dir(to), dirs); err != nil {
			return "", err
		}
		switch {
		case e.Kind == 'l':
			err = out.Symlink(e.Data, to)
		case neighbour != nil && shared(e):
			err = os.Link(filepath.Join(neighbour.Name(), filepath.FromSlash(e.Path)), filepath.Join(whole, filepath.FromSlash(to)))
		case take:
			err = os.Rename(filepath.Join(from.Name(), filepath.FromSlash(e.Path)), filepath.Join(whole, filepath.FromSlash(to)))
		default:
			err = copyChecked(from, out, e, to, buffer)
		}
		if err != nil {
			return "", fmt.Errorf("store tree: %w", err)
		}
	}
	list, err := os.Create(filepath.Join(whole, "manifest"))
	if err != nil {
		return "", err
	}
	if err := errors.Join(m.encode(list), list.Sync(), list.Close()); err != nil {
		return "", fmt.Errorf("store tree: %w", err)
	}
	if err := os.MkdirAll(s.path("sources"), 0o755); err != nil {
		return "", err
	}
	final := s.path("sources", id)
	// A directory without a manifest is not a tree: something broke it.
	if err := os.RemoveAll(final); err != nil {
		return "", err
	}
	if err := os.Rename(whole, final); err != nil {
		return "", fmt.Errorf("store tree: %w", err)
	}
	return id, nil
}

// copyChecked copies a file and makes sure that it still is what the manifest
// says: somebody may be editing the tree right now.
func copyChecked(from, out *os.Root, e Entry, to string, buffer []byte) error {
	f, err := from.Open(e.Path)
	if err != nil {
		return err
	}
	defer f.Close()
	got, err := writeFile(out, to, e.Kind == 'x', f, buffer)
	if err != nil {
		return err
	}
	if got.Data != e.Data {
		return fmt.Errorf("%s changed while it was being read: try again", e.Path)
	}
	return nil
}

// nearest opens the tree in the store that has most entries in common with m,
// and says which. It returns nil when there is none.
func (s *Store) nearest(m Manifest) (*os.Root, func(Entry) bool, error) {
	ids, err := os.ReadDir(s.path("sources"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, nil, err
	}
	want := make(map[Entry]bool, len(m))
	for _, e := range m {
		want[e] = true
	}
	var best string
	var shared map[Entry]bool
	for _, id := range ids {
		other, err := ReadManifest(s.path("sources", id.Name(), "manifest"))
		if err != nil {
			continue // being made, or broken: of no use here
		}
		common := make(map[Entry]bool, len(other))
		for _, e := range other {
			if want[e] {
				common[e] = true
			}
		}
		if len(common) > len(shared) {
			best, shared = id.Name(), common
		}
	}
	if best == "" {
		return nil, nil, nil
	}
	root, err := os.OpenRoot(s.path("sources", best, "tree"))
	return root, func(e Entry) bool { return shared[e] }, err
}

var makefileLine = regexp.MustCompile(`(?m)^(VERSION|PATCHLEVEL|SUBLEVEL|EXTRAVERSION)[ \t]*=[ \t]*([^\s]*)[ \t]*$`)

// errNotKernel is what a user gets who names something else.
var errNotKernel = errors.New("not a kernel source")

// version reads the kernel's version off its top Makefile. A directory that
// has none is errNotKernel.
func version(tree fs.FS) (string, error) {
	if _, err := fs.Stat(tree, "Kconfig"); err != nil {
		return "", fmt.Errorf("%w: it has no Kconfig at its top", errNotKernel)
	}
	data, err := fs.ReadFile(tree, "Makefile")
	if err != nil {
		return "", fmt.Errorf("%w: it has no Makefile at its top", errNotKernel)
	}
	return parseVersion(data)
}

// parseVersion reads the version off the text of a kernel's top Makefile.
func parseVersion(data []byte) (string, error) {
	v := map[string]string{}
	for _, m := range makefileLine.FindAllSubmatch(data, -1) {
		if _, twice := v[string(m[1])]; !twice {
			v[string(m[1])] = string(m[2])
		}
	}
	if v["VERSION"] == "" || v["PATCHLEVEL"] == "" {
		return "", fmt.Errorf("%w: its Makefile has no VERSION and PATCHLEVEL", errNotKernel)
	}
	s := v["VERSION"] + "." + v["PATCHLEVEL"]
	if v["SUBLEVEL"] != "" {
		s += "." + v["SUBLEVEL"]
	}
	return s + v["EXTRAVERSION"], nil
}

// writeFileAtomic puts a file in its place whole or not at all.
func writeFileAtomic(path string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".new-")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	if _, err = f.Write(data); err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// reader ends a long copy when its context ends.
type reader struct {
	ctx context.Context
	r   io.Reader
}

func (r *reader) Read(p []byte) (int, error) {
	if r.ctx.Err() != nil {
		return 0, context.Cause(r.ctx)
	}
	return r.r.Read(p)
}
