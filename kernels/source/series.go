// SPDX-License-Identifier: Apache-2.0

package source

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"sort"
	"strings"

	"noiommu-farm/internal/fault"
	"noiommu-farm/kernels/series"
)

// With is the tree with a series applied to it. The base stays as it is, and
// so do the time stamps of all that no patch touches: those files are shared
// with it. A series that does not apply is a *fault.Usage that holds a
// *series.Refused, and leaves nothing behind.
func (s *Store) With(ctx context.Context, base Tree, p series.Series) (Tree, error) {
	if len(p.Patches) == 0 {
		return base, nil
	}
	id, err := s.with(ctx, base, p, keyOf(base.ID+"\n"+strings.Join(p.IDs(), "\n")))
	if err != nil {
		return Tree{}, fmt.Errorf("apply series: %w", err)
	}
	t := Tree{
		ID: id, Dir: s.path("sources", id, "tree"),
		Origin: fmt.Sprintf("%s with the series %s", base.Origin, p),
		Base:   base.ID, Series: p,
	}
	t.Version, err = version(os.DirFS(t.Dir))
	return t, err
}

func (s *Store) with(ctx context.Context, base Tree, p series.Series, key string) (string, error) {
	key = "series-" + key
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
	m, err := base.Manifest()
	if err != nil {
		return "", err
	}
	root, err := os.OpenRoot(base.Dir)
	if err != nil {
		return "", err
	}
	defer root.Close()
	files, notes, err := p.Apply(manifestBase{m, root})
	var refused *series.Refused
	if errors.As(err, &refused) {
		err = &fault.Usage{Key: "--series", Value: p.Spec, Err: fmt.Errorf("does not apply to %s: %w", base.Origin, refused)}
	}
	if err != nil {
		return "", err
	}
	for _, n := range notes {
		s.Log(n)
	}
	work, err := s.workDir("import-" + key)
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(work)
	patched, from, err := stage(work, m, files)
	if err != nil {
		return "", err
	}
	defer from.Close()
	if err := stillKernel(files); err != nil {
		return "", &fault.Kernel{Stage: "apply series", Err: err}
	}
	id, err := s.assemble(ctx, work, patched, from, true, func(Manifest) (*os.Root, func(Entry) bool, error) {
		near, err := os.OpenRoot(base.Dir)
		return near, func(e Entry) bool { _, touched := files[e.Path]; return !touched }, err
	})
	if err != nil {
		return "", err
	}
	return id, s.remember(key, id)
}

// stage writes the files of a series below work, and returns the manifest that
// m becomes by them.
func stage(work string, m Manifest, files map[string]series.File) (Manifest, *os.Root, error) {
	raw := filepath.Join(work, "raw")
	if err := os.Mkdir(raw, 0o755); err != nil {
		return nil, nil, err
	}
	root, err := os.OpenRoot(raw)
	if err != nil {
		return nil, nil, err
	}
	patched := make(Manifest, 0, len(m)+len(files))
	for _, e := range m {
		if _, touched := files[e.Path]; !touched {
			patched = append(patched, e)
		}
	}
	dirs := map[string]bool{".": true}
	buffer := make([]byte, 1<<16)
	for name, f := range files {
		if f.Gone {
			continue
		}
		err := makeDirs(root, path.Dir(name), dirs)
		var e Entry
		if err == nil {
			e, err = writeFile(root, name, f.Executable, strings.NewReader(string(f.Data)), buffer)
		}
		if err != nil {
			root.Close()
			return nil, nil, err
		}
		patched = append(patched, e)
	}
	patched.sort()
	return patched, root, nil
}

// manifestBase is a tree in the store, to apply a series to.
type manifestBase struct {
	m    Manifest
	root *os.Root
}

func (b manifestBase) Look(name string) byte {
	i := sort.Search(len(b.m), func(i int) bool { return b.m[i].Path >= name })
	if i < len(b.m) && b.m[i].Path == name {
		return b.m[i].Kind
	}
	// Between a name and what lies below it there may be "name-more".
	i = sort.Search(len(b.m), func(i int) bool { return b.m[i].Path >= name+"/" })
	if i < len(b.m) && strings.HasPrefix(b.m[i].Path, name+"/") {
		return 'd'
	}
	return 0
}

func (b manifestBase) Read(name string) ([]byte, error) { return b.root.ReadFile(name) }

// stillKernel says whether a kernel source is one after a series.
func stillKernel(files map[string]series.File) error {
	if files["Kconfig"].Gone {
		return fmt.Errorf("%w: the series removes its Kconfig", errNotKernel)
	}
	f, touched := files["Makefile"]
	if !touched {
		return nil
	}
	if f.Gone {
		return fmt.Errorf("%w: the series removes its Makefile", errNotKernel)
	}
	_, err := parseVersion(f.Data)
	return err
}
