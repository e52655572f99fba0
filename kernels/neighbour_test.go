// SPDX-License-Identifier: Apache-2.0

package kernels

import (
	"bytes"
	"crypto/sha256"
	"debug/elf"
	"flag"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"

	"noiommu-farm/kernels/source"
)

var slow = flag.Bool("noiommu.slow", false, "build real kernels: an hour of one processor")

// usersCache is the cache that the farm itself uses on this machine, and Linux
// 7.3 as a source: for tests of real kernels, which would else begin by fetching
// and building one.
func usersCache(t *testing.T) (*Cache, Source) {
	t.Helper()
	dir, err := DefaultDir()
	if err != nil {
		t.Fatal(err)
	}
	debian, err := ParseSource("debian:7.3")
	if err != nil {
		t.Fatal(err)
	}
	return &Cache{Dir: dir, Jobs: runtime.NumCPU(), Log: func(s string) { t.Log(s) }}, debian
}

// fewSteps is more than kbuild takes for a kernel from a neighbour, and far less
// than for one from nothing: what is compared must not have been compiled whole.
const fewSteps = 300

// A real kernel that was built by two small steps from neighbours, a source that
// goes back to an older one with an option switched off and Intel's IOMMU left
// out, of which hardly an object is compiled again, is the kernel that was built
// from nothing.
func TestNeighbourEqualsClean(t *testing.T) {
	if !*slow {
		t.Skip("builds real kernels: run with -noiommu.slow")
	}
	users, debian := usersCache(t)
	build := func(c *Cache, s Source, config string) *Build {
		t.Helper()
		configuration, err := LoadConfiguration(config)
		if err != nil {
			t.Fatal(err)
		}
		b, err := c.Build(t.Context(), Request{Source: s, Config: configuration}, nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: %s from %q in %v, %d steps", config, b.Key, b.Neighbour, b.Took, b.Steps)
		return b
	}
	first := build(users, debian, "noiommu,lkdtm")

	// A cache with the source, and with that build alone.
	// Beside it, so that files can be shared.
	work, err := os.MkdirTemp(users.Dir, "test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(work) })
	cache := &Cache{Dir: filepath.Join(work, "cache"), Jobs: users.Jobs}
	share(t, users, cache, "sources/"+first.SourceID, "builds/"+first.Key, "downloads", "imports")
	// A newer source: a header and a file of VFIO differ.
	tree := filepath.Join(work, "linux")
	if out, err := exec.Command("cp", "-a", users.path("sources", first.SourceID, "tree"), tree).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, name := range []string{"drivers/vfio/vfio.h", "drivers/vfio/vfio_main.c"} {
		path := filepath.Join(tree, name)
		write(t, path, "#define FARM_LINE \"moves every line number\"\n"+string(read(t, path)))
	}
	// A makefile of a driver too: one more object, and a flag for the others.
	makefile := filepath.Join(tree, "drivers/vfio/Makefile")
	write(t, makefile, string(read(t, makefile))+"ccflags-y += -DFARM_FLAG=1\nobj-$(CONFIG_VFIO) += farm_probe.o\n")
	write(t, filepath.Join(tree, "drivers/vfio/farm_probe.c"), "#ifndef FARM_FLAG\n#error no flag\n#endif\nint farm_probe;\n")
	changed, err := ParseSource("tree:" + tree)
	if err != nil {
		t.Fatal(err)
	}
	newer := build(cache, changed, "noiommu,lkdtm")
	if newer.Neighbour != first.Key {
		t.Fatalf("started from %q", newer.Neighbour)
	}
	if err := os.RemoveAll(cache.path("builds", first.Key)); err != nil {
		t.Fatal(err)
	}
	less := filepath.Join(work, "less.config")
	write(t, less, withoutIntel)
	got := build(cache, debian, "noiommu,"+less)
	if got.Neighbour != newer.Key || got.Steps > fewSteps {
		t.Fatalf("started from %q, %d steps", got.Neighbour, got.Steps)
	}

	clean := &Cache{Dir: filepath.Join(work, "clean"), Jobs: users.Jobs}
	share(t, users, clean, "sources/"+first.SourceID, "downloads", "imports")
	want := build(clean, debian, "noiommu,"+less)
	if want.Neighbour != "" || want.Key != got.Key {
		t.Fatalf("the clean build: %s from %q, want %s from nothing", want.Key, want.Neighbour, got.Key)
	}
	sameBuild(t, want, got)
}

// Options that went from y to m in a neighbour, of which hardly an object is
// compiled again, make the kernel and the modules that a build from nothing
// makes.
func TestModulesOfNeighbourEqualClean(t *testing.T) {
	if !*slow {
		t.Skip("builds real kernels: run with -noiommu.slow")
	}
	users, debian := usersCache(t)
	build := func(c *Cache, config string) *Build {
		t.Helper()
		configuration, err := LoadConfiguration(config)
		if err != nil {
			t.Fatal(err)
		}
		b, err := c.Build(t.Context(), Request{Source: debian, Config: configuration}, nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: %s from %q in %v, %d steps", config, b.Key, b.Neighbour, b.Took, b.Steps)
		return b
	}
	all := build(users, "noiommu")
	work, err := os.MkdirTemp(users.Dir, "test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(work) })
	near, clean := &Cache{Dir: filepath.Join(work, "near"), Jobs: users.Jobs}, &Cache{Dir: filepath.Join(work, "clean"), Jobs: users.Jobs}
	share(t, users, near, "sources/"+all.SourceID, "builds/"+all.Key, "downloads", "imports")
	share(t, users, clean, "sources/"+all.SourceID, "downloads", "imports")
	got := build(near, "k-mod")
	if got.Neighbour != all.Key || got.Steps > fewSteps {
		t.Fatalf("started from %q, %d steps", got.Neighbour, got.Steps)
	}
	want := build(clean, "k-mod")
	if want.Neighbour != "" || want.Key != got.Key {
		t.Fatalf("the clean build: %s from %q, want %s from nothing", want.Key, want.Neighbour, got.Key)
	}
	sameBuild(t, want, got)
	sameFiles(t, want.Modules, got.Modules)
}

// sameBuild compares what a build is for, the kernel section by section.
func sameBuild(t *testing.T, want, got *Build) {
	t.Helper()
	a, b := sections(t, want.Vmlinux), sections(t, got.Vmlinux)
	for name, sum := range a {
		if b[name] != sum {
			t.Errorf("the section %s of vmlinux differs from a clean build's", name)
		}
	}
	if len(a) < 10 || len(a) != len(b) {
		t.Errorf("vmlinux has %d sections, a clean build's %d", len(b), len(a))
	}
	for _, pair := range [][2]string{{want.Vmlinux, got.Vmlinux}, {want.ConfigPath, got.ConfigPath}} {
		if !bytes.Equal(read(t, pair[0]), read(t, pair[1])) {
			t.Errorf("%s differs from a clean build's", filepath.Base(pair[1]))
		}
	}
}

// sections hashes what is in each section of an ELF file.
func sections(t *testing.T, path string) map[string][sha256.Size]byte {
	t.Helper()
	f, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	sums := map[string][sha256.Size]byte{}
	for _, s := range f.Sections {
		if s.Type == elf.SHT_NOBITS || s.Type == elf.SHT_NULL {
			continue
		}
		data, err := s.Data()
		if err != nil {
			t.Fatalf("%s: %s: %v", path, s.Name, err)
		}
		sums[s.Name] = sha256.Sum256(data)
	}
	return sums
}

// sameFiles compares all regular files below two directories.
func sameFiles(t *testing.T, want, got string) {
	t.Helper()
	list := func(dir string) map[string][sha256.Size]byte {
		sums := map[string][sha256.Size]byte{}
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			name, err := filepath.Rel(dir, path)
			sums[name] = sha256.Sum256(read(t, path))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return sums
	}
	a, b := list(want), list(got)
	for name, sum := range a {
		if b[name] != sum {
			t.Errorf("%s differs from a clean build's", name)
		}
	}
	if len(a) == 0 || len(a) != len(b) {
		t.Errorf("%d files, in a clean build %d", len(b), len(a))
	}
}

// share puts parts of a cache in another by hard link.
func share(t *testing.T, from, to *Cache, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if err := os.MkdirAll(filepath.Dir(to.path(part)), 0o755); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command("cp", "-al", from.path(part), to.path(part)).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
}

func TestIncremental(t *testing.T) {
	old, new := &source.Entry{Kind: 'f', Data: "1"}, &source.Entry{Kind: 'f', Data: "2"}
	link := &source.Entry{Kind: 'l', Data: "x"}
	for _, c := range []struct {
		change source.Change
		want   bool
	}{
		{source.Change{Path: "drivers/vfio/vfio_main.c", Old: old, New: new}, true},
		{source.Change{Path: "drivers/vfio/vfio_main.c", New: new}, true},
		{source.Change{Path: "drivers/vfio/vfio_main.c", Old: old}, true},
		{source.Change{Path: "drivers/vfio/vfio_main.c", Old: old, New: link}, false},
		{source.Change{Path: "drivers/vfio/Kconfig", Old: old, New: new}, true},
		{source.Change{Path: "drivers/vfio/Makefile", Old: old, New: new}, true},
		{source.Change{Path: "lib/Makefile", Old: old, New: new}, false},
		{source.Change{Path: "drivers/vfio/Makefile.lib", Old: old, New: new}, false},
		{source.Change{Path: "Kbuild", Old: old, New: new}, false},
		{source.Change{Path: "arch/x86/Makefile.um", Old: old, New: new}, false},
		{source.Change{Path: "scripts/mod/modpost.c", Old: old, New: new}, false},
		{source.Change{Path: "tools/objtool/check.c", Old: old, New: new}, false},
		{source.Change{Path: "tools/testing/selftests/vfio/Makefile", Old: old, New: new}, true},
		{source.Change{Path: "Documentation/Makefile", Old: old, New: new}, true},
	} {
		if got := incremental([]source.Change{c.change}); got != c.want {
			t.Errorf("%+v: %v", c.change, got)
		}
	}
}
