// SPDX-License-Identifier: Apache-2.0

package kernels

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"noiommu-farm/internal/fault"
	"noiommu-farm/kernels/kconfig"
	"noiommu-farm/kernels/lock"
)

// childVariable makes the test binary a farm that builds the request in it
// and prints what it got.
const childVariable = "NOIOMMU_FARM_TEST_BUILD"

type childRequest struct{ Cache, Source, Config string }

func TestMain(m *testing.M) {
	if text := os.Getenv(childVariable); text != "" {
		if err := child(text); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(fault.ExitCode(err))
		}
		return
	}
	os.Exit(m.Run())
}

func child(text string) error {
	var r childRequest
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		return err
	}
	source, err := ParseSource(r.Source)
	if err != nil {
		return err
	}
	config, err := LoadConfiguration(r.Config)
	if err != nil {
		return err
	}
	c := Cache{Dir: r.Cache, Jobs: 1, Log: func(s string) { fmt.Fprintln(os.Stderr, s) }}
	b, err := c.Build(context.Background(), Request{Source: source, Config: config}, func(p Progress) {
		fmt.Fprintf(os.Stderr, "progress %s %d\n", p.Step, p.Done)
	})
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(b)
}

// A lab is a cache, a copy of the small kernel and a fragment for it.
type lab struct {
	cache    *Cache
	tree     string
	fragment string

	mu  sync.Mutex
	log []string
}

func newLab(t *testing.T) *lab {
	t.Helper()
	dir := t.TempDir()
	l := &lab{tree: filepath.Join(dir, "tree"), fragment: filepath.Join(dir, "mini.config")}
	l.cache = &Cache{Dir: filepath.Join(dir, "cache"), Jobs: 2, Log: func(s string) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.log = append(l.log, s)
	}}
	if err := os.CopyFS(l.tree, os.DirFS("testdata/tree")); err != nil {
		t.Fatal(err)
	}
	write(t, l.fragment, "CONFIG_PCI=y\nCONFIG_NOIOMMU=y\n")
	return l
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func (l *lab) request(t *testing.T) Request {
	t.Helper()
	s, err := ParseSource("tree:" + l.tree)
	if err != nil {
		t.Fatal(err)
	}
	c, err := LoadConfiguration(l.fragment)
	if err != nil {
		t.Fatal(err)
	}
	return Request{Source: s, Config: c}
}

func (l *lab) build(t *testing.T) *Build {
	t.Helper()
	b, err := l.cache.Build(t.Context(), l.request(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (l *lab) said(text string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.ContainsFunc(l.log, func(s string) bool { return strings.Contains(s, text) })
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// noWork fails when something of a build that ended is left.
func noWork(t *testing.T, c *Cache) {
	t.Helper()
	left, err := os.ReadDir(c.path("tmp"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	for _, e := range left {
		t.Errorf("tmp/%s is left", e.Name())
	}
}

func TestBuild(t *testing.T) {
	l := newLab(t)
	steps := map[string]int{}
	b, err := l.cache.Build(t.Context(), l.request(t), func(p Progress) {
		steps[p.Step]++
		if p.Step == "compile" && (p.Total < p.Done || p.Total == 0) {
			t.Errorf("progress %+v", p)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if b.Cached || b.Release != "7.3.99-mini" || b.Version != "7.3.99-mini" || b.Neighbour != "" || b.Modules != "" {
		t.Errorf("got %+v", b)
	}
	if !strings.HasPrefix(b.Compiler, "gcc ") || !strings.Contains(b.Compiler, ", GNU ld ") {
		t.Errorf("compiler %q", b.Compiler)
	}
	for _, step := range []string{"hash", "store", "configure", "compile", "selftests"} {
		if steps[step] == 0 {
			t.Errorf("no progress of step %s", step)
		}
	}
	if b.Config["NOIOMMU"] != "y" || b.Config["EDU"] != "" {
		t.Errorf("config %v", b.Config)
	}
	for _, file := range []string{b.Vmlinux, b.ConfigPath, filepath.Join(b.Dir, "build.log")} {
		if len(read(t, file)) == 0 {
			t.Errorf("%s is empty", file)
		}
	}
	if len(b.Selftests) != 1 || b.Selftests[0].Suite != "vfio" || b.Selftests[0].Name != "mini_test" {
		t.Fatalf("selftests %+v", b.Selftests)
	}
	out, err := exec.Command(b.Selftests[0].Path).Output()
	if err != nil || string(out) != "1..1\nok 1 answer 42\n" {
		t.Errorf("mini_test: %v, %q", err, out)
	}
	noWork(t, l.cache)

	again := l.build(t)
	if !again.Cached || again.Key != b.Key {
		t.Errorf("second build: cached %v, key %s, want %s", again.Cached, again.Key, b.Key)
	}
	again.Cached = false
	if d := cmp.Diff(b, again); d != "" {
		t.Errorf("second build differs:\n%s", d)
	}
}

// A bzImage is made for who asks for it, from what is there.
func TestBzImage(t *testing.T) {
	l := newLab(t)
	plain := l.build(t)
	request := l.request(t)
	request.BzImage = true
	b, err := l.cache.Build(t.Context(), request, nil)
	if err != nil {
		t.Fatal(err)
	}
	if plain.BzImage != "" || b.Neighbour != plain.Key || len(read(t, b.BzImage)) == 0 || !bytes.Equal(read(t, b.Vmlinux), read(t, plain.Vmlinux)) {
		t.Errorf("without %q, with %q from %q", plain.BzImage, b.BzImage, b.Neighbour)
	}
}

// The same request gives the same bytes in another cache, from another
// directory.
func TestBuildIsReproducible(t *testing.T) {
	first, second := newLab(t), newLab(t)
	a, b := first.build(t), second.build(t)
	if a.Key != b.Key || b.Cached {
		t.Errorf("keys %s and %s, cached %v", a.Key, b.Key, b.Cached)
	}
	if !bytes.Equal(read(t, a.Vmlinux), read(t, b.Vmlinux)) {
		t.Error("vmlinux differs")
	}
}

// A build that starts from a neighbour is the build that starts from nothing.
func TestNeighbour(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(t *testing.T, l *lab)
		from   bool // a neighbour is of use
	}{
		{"another option", func(t *testing.T, l *lab) {
			write(t, l.fragment, "CONFIG_PCI=y\nCONFIG_NOIOMMU=y\nCONFIG_EDU=y\n")
		}, true},
		{"a changed file", func(t *testing.T, l *lab) {
			write(t, filepath.Join(l.tree, "include/mini.h"), "#define MINI_ANSWER 43\n")
		}, true},
		{"a new file", func(t *testing.T, l *lab) {
			write(t, filepath.Join(l.tree, "include/other.h"), "#define OTHER 1\n")
		}, true},
		{"a header that hides another", func(t *testing.T, l *lab) {
			write(t, filepath.Join(l.tree, "init/mini.h"), "#define MINI_ANSWER 44\n")
		}, false},
		{"a changed makefile", func(t *testing.T, l *lab) {
			path := filepath.Join(l.tree, "Makefile")
			write(t, path, strings.Replace(string(read(t, path)), "-O1", "-O2", 1))
		}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t)
			before := l.build(t)
			c.change(t, l)
			after := l.build(t)
			if after.Cached || after.Key == before.Key {
				t.Fatal("the change made no other build")
			}
			if (after.Neighbour == before.Key) != c.from {
				t.Errorf("started from %q", after.Neighbour)
			}
			clean := &Cache{Dir: t.TempDir(), Jobs: 1}
			want, err := clean.Build(t.Context(), l.request(t), nil)
			if err != nil {
				t.Fatal(err)
			}
			if want.Neighbour != "" || want.Key != after.Key {
				t.Fatalf("the clean build: %+v", want)
			}
			if !bytes.Equal(read(t, want.Vmlinux), read(t, after.Vmlinux)) {
				t.Error("vmlinux differs from a clean build's")
			}
		})
	}
}

// The selftests of a neighbour are taken when nothing that they are made of
// changed, and only whole.
func TestNeighboursSelftests(t *testing.T) {
	log := func(b *Build) string { return string(read(t, filepath.Join(b.Dir, "build.log"))) }
	const making = "tools/testing/selftests/vfio"
	for _, c := range []struct {
		name   string
		change func(t *testing.T, l *lab, first *Build)
		taken  bool
	}{
		{"another option", func(t *testing.T, l *lab, first *Build) {
			write(t, l.fragment, "CONFIG_PCI=y\n")
		}, true},
		{"a file of the kernel", func(t *testing.T, l *lab, first *Build) {
			path := filepath.Join(l.tree, "init/main.c")
			write(t, path, string(read(t, path))+"\n")
		}, true},
		{"a header", func(t *testing.T, l *lab, first *Build) {
			write(t, filepath.Join(l.tree, "include/mini.h"), "#define MINI_ANSWER 43\n")
		}, false},
		{"a selftest", func(t *testing.T, l *lab, first *Build) {
			path := filepath.Join(l.tree, "tools/testing/selftests/vfio/mini_test.c")
			write(t, path, string(read(t, path))+"\n")
		}, false},
		{"a damaged one", func(t *testing.T, l *lab, first *Build) {
			write(t, l.fragment, "CONFIG_PCI=y\n")
			write(t, first.Selftests[0].Path, "something else")
		}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t)
			first := l.build(t)
			if !strings.Contains(log(first), making) {
				t.Fatal("the selftests were not made: the test proves nothing")
			}
			c.change(t, l, first)
			b := l.build(t)
			if b.Neighbour != first.Key {
				t.Fatalf("started from %q", b.Neighbour)
			}
			if got := !strings.Contains(log(b), making); got != c.taken {
				t.Errorf("taken %v, want %v", got, c.taken)
			}
			if out, err := exec.Command(b.Selftests[0].Path).Output(); err != nil || !strings.HasPrefix(string(out), "1..1\nok 1 answer 4") {
				t.Errorf("mini_test: %v, %q", err, out)
			}
		})
	}
}

// A kernel is built although a suite of selftests does not compile; which one,
// the build says, from the cache too.
func TestUnbuiltSelftests(t *testing.T) {
	const making = "tools/testing/selftests/vfio"
	for name, c := range map[string]struct {
		file, text string
		add        bool
		want       string
		left       int // programs that did compile
	}{
		"does not compile":    {"mini_test.c", "int main(void) { return x; }\n", false, "error: 'x' undeclared", 0},
		"writes in the build": {"Makefile", "\t: > /build/vmlinux\n", true, "Makefile:", 1},
		"one of two":          {"Makefile", "all: $(OUTPUT)/a_test\n$(OUTPUT)/a_test:\n\tfalse\n", true, "a_test] Error 1", 1},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			path := filepath.Join(l.tree, making, c.file)
			if c.add {
				c.text = string(read(t, path)) + c.text
			}
			write(t, path, c.text)
			for range 2 {
				b := l.build(t)
				if len(b.Unbuilt) != 1 || b.Unbuilt[0].Suite != "vfio" || !strings.Contains(b.Unbuilt[0].Err, c.want) || len(b.Selftests) != c.left {
					t.Errorf("%+v, %+v", b.Unbuilt, b.Selftests)
				}
				var kernel *fault.Kernel
				if err := b.Breaks(nil); !errors.As(err, &kernel) || kernel.Stage != "selftests/vfio" {
					t.Errorf("nothing was there before: %v", err)
				}
				if err := b.Breaks(b); err != nil {
					t.Errorf("it was so before: %v", err)
				}
			}
		})
	}
}

// An old tree comes back after a newer one was built: its files are older than
// the neighbour's objects, and a stale object would look fresh.
func TestNeighbourOfOlderSource(t *testing.T) {
	l := newLab(t)
	header := filepath.Join(l.tree, "include/mini.h")
	old := read(t, header)
	first := l.build(t)
	write(t, header, "#define MINI_ANSWER 43\n")
	second := l.build(t)
	if err := os.RemoveAll(first.Dir); err != nil {
		t.Fatal(err)
	}
	oldVmlinux := vmlinuxOf(t, newLab(t))
	write(t, header, string(old))
	third := l.build(t)
	if third.Neighbour != second.Key || third.Key != first.Key {
		t.Fatalf("key %s from %q, want %s from %s", third.Key, third.Neighbour, first.Key, second.Key)
	}
	if !bytes.Equal(read(t, third.Vmlinux), oldVmlinux) {
		t.Error("vmlinux has a stale object in it")
	}
}

func vmlinuxOf(t *testing.T, l *lab) []byte {
	t.Helper()
	return read(t, l.build(t).Vmlinux)
}

// Of two neighbours, the one with less to compile is taken: a changed file
// before a changed option.
func TestNearestNeighbour(t *testing.T) {
	l := newLab(t)
	plain := l.build(t)
	write(t, l.fragment, "CONFIG_PCI=y\nCONFIG_NOIOMMU=y\nCONFIG_EDU=y\n")
	edu := l.build(t)
	main := filepath.Join(l.tree, "init/main.c")
	write(t, main, string(read(t, main))+"\n")
	if b := l.build(t); b.Neighbour != edu.Key {
		t.Errorf("with EDU: started from %q, want %s", b.Neighbour, edu.Key)
	}
	write(t, l.fragment, "CONFIG_PCI=y\nCONFIG_NOIOMMU=y\n")
	if b := l.build(t); b.Neighbour != plain.Key {
		t.Errorf("without EDU: started from %q, want %s", b.Neighbour, plain.Key)
	}
}

func TestModules(t *testing.T) {
	l := newLab(t)
	write(t, l.fragment, "CONFIG_PCI=y\nCONFIG_MOD=m\n")
	b := l.build(t)
	if got := string(read(t, filepath.Join(b.Modules, "lib/modules", b.Release, "mini.ko"))); got != "mini\n" {
		t.Errorf("mini.ko: %q", got)
	}
}

// What the fragments change may be the architecture's own configuration or a
// user's.
func TestBase(t *testing.T) {
	l := newLab(t)
	plain := l.build(t)
	users := filepath.Join(filepath.Dir(l.fragment), "config-6.1.0-18")
	write(t, users, "# Automatically generated file; DO NOT EDIT.\nCONFIG_PCI=y\nCONFIG_EDU=y\n# CONFIG_NOIOMMU is not set\nCONFIG_OF_ANOTHER_KERNEL=y\n")
	keys := map[string]bool{plain.Key: true}
	for spec, want := range map[string]map[string]string{
		"defconfig":                          {"PCI": "y"},
		"defconfig," + l.fragment:            {"PCI": "y", "NOIOMMU": "y"},
		users:                                {"PCI": "y", "EDU": "y", "OF_ANOTHER_KERNEL": "y"}, // the small kernel's olddefconfig drops nothing
		users + ",./" + "none":               nil,
		l.fragment + "," + users:             nil,
		l.fragment + ",defconfig":            nil,
		users + "," + l.fragment:             {"PCI": "y", "EDU": "y", "NOIOMMU": "y", "OF_ANOTHER_KERNEL": "y"},
		filepath.Dir(users) + "/config-none": nil,
	} {
		config, err := LoadConfiguration(spec)
		if want == nil {
			if fault.ExitCode(err) != fault.ExitUsage {
				t.Errorf("%s: %v", spec, err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		r := l.request(t)
		r.Config = config
		b, err := l.cache.Build(t.Context(), r, nil)
		if err != nil {
			t.Errorf("%s: %v", spec, err)
			continue
		}
		if d := cmp.Diff(want, b.Config); d != "" {
			t.Errorf("%s: %s", spec, d)
		}
		if keys[b.Key] {
			t.Errorf("%s is the build of another", spec)
		}
		keys[b.Key] = true
	}
}

// Two configurations are compared without building.
func TestCompare(t *testing.T) {
	l := newLab(t)
	a := l.request(t)
	write(t, l.fragment, "CONFIG_PCI=y\nCONFIG_EDU=y\n")
	b := l.request(t)
	got, err := l.cache.Compare(t.Context(), a, b, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := []Difference{
		{Option: "EDU", A: "n", B: "y", WhyA: "its default", WhyB: "asked for at " + l.fragment + ":2"},
		{Option: "NOIOMMU", A: "y", B: "n", WhyA: "asked for at " + l.fragment + ":2", WhyB: "its default"},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if builds, _ := os.ReadDir(l.cache.path("builds")); len(builds) != 0 {
		t.Error("something was built")
	}
	noWork(t, l.cache)
	built := l.build(t)
	if again, err := l.cache.Compare(t.Context(), a, b, nil); err != nil || cmp.Diff(want, again) != "" || !exists(built.Dir) {
		t.Errorf("from the cache: %v, %v", again, err)
	}
}

func TestBadRequests(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(t *testing.T, l *lab)
		exit   int
		want   []string // parts of the message
	}{
		{"unknown option", func(t *testing.T, l *lab) {
			write(t, l.fragment, "CONFIG_PCI=y\nCONFIG_BOGUS=y\n")
		}, fault.ExitUsage, []string{"mini.config:2", "CONFIG_BOGUS", "no such option"}},
		{"unknown option off", func(t *testing.T, l *lab) {
			write(t, l.fragment, "CONFIG_PCI=y\n# CONFIG_BOGUS is not set\n")
		}, fault.ExitUsage, []string{"mini.config:2", "no such option"}},
		{"dependency", func(t *testing.T, l *lab) {
			write(t, l.fragment, "CONFIG_EDU=y\n")
		}, fault.ExitUsage, []string{"CONFIG_EDU=y", "it is n", "depends on PCI [=n]"}},
		{"dependency of the menu around it", func(t *testing.T, l *lab) {
			write(t, l.fragment, "CONFIG_NOIOMMU=y\n")
		}, fault.ExitUsage, []string{"CONFIG_NOIOMMU=y", "depends on PCI [=n]"}},
		{"no prompt", func(t *testing.T, l *lab) {
			write(t, l.fragment, "CONFIG_PCI=y\nCONFIG_HIDDEN=y\n")
		}, fault.ExitUsage, []string{"CONFIG_HIDDEN=y", "has no prompt"}},
		{"unmet dependency in the tree", func(t *testing.T, l *lab) {
			write(t, filepath.Join(l.tree, "unmet"), "")
		}, fault.ExitKernel, []string{"unmet direct dependencies", "EDU", "Selected by [y]: - NOIOMMU"}},
		{"syntax error in the kernel", func(t *testing.T, l *lab) {
			write(t, filepath.Join(l.tree, "init/main.c"), "int x = ;\n")
		}, fault.ExitKernel, []string{"compile", "init/main.c:1:9: error: expected expression", "whole log: "}},
		{"undefined function", func(t *testing.T, l *lab) {
			write(t, filepath.Join(l.tree, "drivers/noiommu.c"), "int other(void) { return 0; }\n")
		}, fault.ExitKernel, []string{"compile", "undefined reference to `noiommu'"}},
		{"no kernel", func(t *testing.T, l *lab) {
			if err := os.Remove(filepath.Join(l.tree, "Kconfig")); err != nil {
				t.Fatal(err)
			}
		}, fault.ExitUsage, []string{"tree:", "not a kernel source", "Kconfig"}},
		{"built in", func(t *testing.T, l *lab) {
			write(t, filepath.Join(l.tree, ".config"), "")
		}, fault.ExitUsage, []string{".config", "make mrproper"}},
		{"no directory", func(t *testing.T, l *lab) {
			if err := os.RemoveAll(l.tree); err != nil {
				t.Fatal(err)
			}
		}, fault.ExitUsage, []string{"no such file or directory"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t)
			c.change(t, l)
			b, err := l.cache.Build(t.Context(), l.request(t), nil)
			if err == nil {
				t.Fatalf("built %+v", b)
			}
			if got := fault.ExitCode(err); got != c.exit {
				t.Errorf("exit code %d, want %d", got, c.exit)
			}
			for _, part := range c.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%q is not in: %v", part, err)
				}
			}
			var kernel *fault.Kernel
			if errors.As(err, &kernel) && len(read(t, kernel.Log)) == 0 {
				t.Error("the log is empty")
			}
			noWork(t, l.cache)
		})
	}
}

// The machine's faults are not the kernel's.
func TestBadMachine(t *testing.T) {
	l := newLab(t)
	write(t, filepath.Join(l.tree, "scripts/pause.sh"), "echo 'gcc: fatal error: Killed signal terminated program cc1' >&2; exit 1\n")
	_, err := l.cache.Build(t.Context(), l.request(t), nil)
	if fault.ExitCode(err) != fault.ExitInfra {
		t.Errorf("exit code %d: %v", fault.ExitCode(err), err)
	}
	l = newLab(t)
	t.Setenv("PATH", t.TempDir())
	_, err = l.cache.Build(t.Context(), l.request(t), nil)
	if fault.ExitCode(err) != fault.ExitInfra || !strings.Contains(err.Error(), "Debian package: bubblewrap") {
		t.Errorf("without bwrap: %v", err)
	}
}

func TestDamagedBuild(t *testing.T) {
	for _, c := range []struct {
		name   string
		damage func(t *testing.T, b *Build)
	}{
		{"changed artefact", func(t *testing.T, b *Build) {
			f, err := os.OpenFile(b.Vmlinux, os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.WriteAt([]byte{0xff}, 100); err != nil {
				t.Fatal(err)
			}
			f.Close()
		}},
		{"truncated artefact", func(t *testing.T, b *Build) {
			if err := os.Truncate(b.Vmlinux, 10); err != nil {
				t.Fatal(err)
			}
		}},
		{"missing selftest", func(t *testing.T, b *Build) {
			if err := os.Remove(b.Selftests[0].Path); err != nil {
				t.Fatal(err)
			}
		}},
		{"bad record", func(t *testing.T, b *Build) { write(t, filepath.Join(b.Dir, "build.json"), "{") }},
		{"no record", func(t *testing.T, b *Build) {
			if err := os.Remove(filepath.Join(b.Dir, "build.json")); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t)
			b := l.build(t)
			want := read(t, b.Vmlinux)
			c.damage(t, b)
			again := l.build(t)
			if again.Cached || again.Neighbour != "" {
				t.Errorf("cached %v, from %q", again.Cached, again.Neighbour)
			}
			if !l.said("damaged") {
				t.Errorf("nothing was said about it: %q", l.log)
			}
			if !bytes.Equal(read(t, again.Vmlinux), want) {
				t.Error("vmlinux differs")
			}
			if !l.build(t).Cached {
				t.Error("the mended build is not found")
			}
			noWork(t, l.cache)
		})
	}
}

// The second of two farms waits, says so, and takes what the first made.
func TestWaitsForAnotherFarm(t *testing.T) {
	l := newLab(t)
	b := l.build(t)
	hidden := b.Dir + ".hidden"
	if err := os.Rename(b.Dir, hidden); err != nil {
		t.Fatal(err)
	}
	release, err := lock.Take(t.Context(), l.cache.path("locks", "build-"+b.Key), nil)
	if err != nil {
		t.Fatal(err)
	}
	waiting := make(chan struct{})
	second := &Cache{Dir: l.cache.Dir, Jobs: 1, Log: func(s string) {
		if strings.Contains(s, "waiting") {
			close(waiting)
		}
	}}
	type result struct {
		b   *Build
		err error
	}
	done := make(chan result)
	request := l.request(t)
	go func() {
		b, err := second.Build(context.Background(), request, nil)
		done <- result{b, err}
	}()
	<-waiting
	if err := os.Rename(hidden, b.Dir); err != nil {
		t.Fatal(err)
	}
	release()
	if r := <-done; r.err != nil || !r.b.Cached {
		t.Errorf("got %+v, %v", r.b, r.err)
	}
}

func (l *lab) child(t *testing.T) *exec.Cmd {
	t.Helper()
	text, err := json.Marshal(childRequest{l.cache.Dir, "tree:" + l.tree, l.fragment})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childVariable+"="+string(text))
	return cmd
}

// Two farms ask for the same at once: one builds, both have it.
func TestTwoProcesses(t *testing.T) {
	l := newLab(t)
	var outs [2]bytes.Buffer
	var cmds [2]*exec.Cmd
	for i := range cmds {
		cmds[i] = l.child(t)
		cmds[i].Stdout, cmds[i].Stderr = &outs[i], t.Output()
		if err := cmds[i].Start(); err != nil {
			t.Fatal(err)
		}
	}
	var builds [2]Build
	for i := range cmds {
		if err := cmds[i].Wait(); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(outs[i].Bytes(), &builds[i]); err != nil {
			t.Fatal(err)
		}
	}
	if builds[0].Key != builds[1].Key || builds[0].Cached == builds[1].Cached {
		t.Errorf("cached %v and %v", builds[0].Cached, builds[1].Cached)
	}
	noWork(t, l.cache)
}

// pause makes builds of the lab's tree stand still, and gives the argument by
// which the process that does is found.
func (l *lab) pause(t *testing.T) string {
	t.Helper()
	seconds := fmt.Sprintf("%d.%d", 100_000+os.Getpid(), time.Now().UnixNano())
	write(t, filepath.Join(l.tree, "pause"), seconds)
	return seconds
}

// running says whether a process has that argument. Nothing tells when a
// process of somebody else's comes or goes, so callers ask again.
func running(t *testing.T, argument string) bool {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		line, err := os.ReadFile(f)
		if err == nil && slices.Contains(strings.Split(string(line), "\x00"), argument) {
			return true
		}
	}
	return false
}

func TestCancel(t *testing.T) {
	l := newLab(t)
	argument := l.pause(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	cause := errors.New("the user had enough")
	stop := make(chan struct{})
	go func() {
		defer close(stop)
		for !running(t, argument) && ctx.Err() == nil {
			time.Sleep(time.Millisecond)
		}
		cancel(cause)
	}()
	_, err := l.cache.Build(ctx, l.request(t), nil)
	cancel(cause)
	<-stop
	if !errors.Is(err, cause) {
		t.Errorf("got %v", err)
	}
	if fault.ExitCode(err) != fault.ExitInfra {
		t.Errorf("exit code %d", fault.ExitCode(err))
	}
	if running(t, argument) {
		t.Error("a process of the build is left")
	}
	noWork(t, l.cache)
}

// A farm that is killed in the middle of a build takes its build with it; the
// next farm clears up and builds.
func TestKilled(t *testing.T) {
	l := newLab(t)
	argument := l.pause(t)
	cmd := l.child(t)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for !running(t, argument) {
		if err := syscall.Kill(cmd.Process.Pid, 0); err != nil {
			t.Fatal("the farm ended by itself")
		}
		time.Sleep(time.Millisecond)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
	for running(t, argument) {
		time.Sleep(time.Millisecond) // until the kernel has ended the sandbox; the test's own deadline bounds it
	}
	left, err := os.ReadDir(l.cache.path("tmp"))
	if err != nil || len(left) == 0 {
		t.Fatalf("the killed build left nothing (%v): the test proves nothing", err)
	}
	if builds, _ := os.ReadDir(l.cache.path("builds")); len(builds) != 0 {
		t.Errorf("the killed build is in the cache: %v", builds)
	}
	// The same request without the pause, which only the store's copy says.
	pauses, err := filepath.Glob(l.cache.path("sources", "*", "tree", "pause"))
	if err != nil || len(pauses) != 1 {
		t.Fatalf("%v, %v", pauses, err)
	}
	write(t, pauses[0], "0")
	if b := l.build(t); b.Cached {
		t.Error("nothing was built")
	}
	noWork(t, l.cache)
}

func TestLoadConfiguration(t *testing.T) {
	c, err := LoadConfiguration("noiommu,lkdtm")
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"base.config", "memcg.config", "ia32.config", "sysctl.config", "sysctl-old.config", "console.config", "guest.config",
		"pci.config", "p2pdma.config", "pm.config", "fault-injection.config", "iommu.config", "vfio.config", "vfio-noiommu.config", "lkdtm.config"}
	if d := cmp.Diff(want, c.Fragments()); d != "" {
		t.Error(d)
	}
	for spec, parts := range map[string][]string{
		"bogus":              {`config: "bogus"`, "noiommu", "lkdtm", "iommufd-test"},
		"":                   {"noiommu"},
		"noiommu,":           {"noiommu"},
		"./missing.config":   {"missing.config", "no such file"},
		"testdata/tree/":     {"not a file"},
		"../kernels_test.go": {"no such file"},
	} {
		_, err := LoadConfiguration(spec)
		if fault.ExitCode(err) != fault.ExitUsage {
			t.Errorf("%q: %v", spec, err)
			continue
		}
		for _, part := range parts {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%q: %q is not in: %v", spec, part, err)
			}
		}
	}
}

// Every fragment of the farm parses, says what it is for, and belongs to no
// two ideas: no option is in two of them with different values, but in those
// that are there to take away a part of VFIO or make it modules, and lockdown,
// which goes without modules.
func TestFragments(t *testing.T) {
	seen := map[string]kconfig.Option{}
	for _, name := range Configurations() {
		c, err := LoadConfiguration(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range c.fragments {
			if len(f.Options) == 0 {
				t.Errorf("%s asks for nothing", f.Name)
			}
			text := read(t, filepath.Join("configs", f.Name))
			if !bytes.HasPrefix(text, []byte("# ")) {
				t.Errorf("%s does not begin with what it is for", f.Name)
			}
			changes := strings.HasPrefix(f.Name, "vfio-") && f.Name != "vfio-noiommu.config" || f.Name == "lockdown.config"
			for _, o := range f.Options {
				if changes {
					continue
				}
				if was, ok := seen[o.Name]; ok && was.Value != o.Value {
					t.Errorf("%s:%d and %s:%d give CONFIG_%s two values", was.File, was.Line, o.File, o.Line, o.Name)
				}
				seen[o.Name] = o
			}
		}
	}
}

// A kernel without the feature is told apart from one that breaks it; one that
// has it but no conf is a bad kernel, and leaves nothing behind.
func TestKconfig(t *testing.T) {
	l := newLab(t)
	source := l.request(t).Source
	results, err := l.cache.Kconfig(t.Context(), source)
	if err != nil {
		t.Fatal(err)
	}
	if len(results) != 11 {
		t.Errorf("%d results", len(results))
	}
	for _, r := range results {
		if r.Verdict != KconfigNotApplicable || !strings.Contains(r.Reason, "Linux 7.3.99-mini does not have") {
			t.Errorf("%s: %s: %s", r.ID, r.Verdict, r.Reason)
		}
	}
	noWork(t, l.cache)

	header := filepath.Join(l.tree, "include/uapi/linux/iommufd.h")
	if err := os.MkdirAll(filepath.Dir(header), 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, header, "#define IOMMU_IOAS_NOIOMMU_GET_PA 1\n")
	if _, err := l.cache.Kconfig(t.Context(), source); fault.ExitCode(err) != fault.ExitKernel || !strings.Contains(err.Error(), "build_config") {
		t.Errorf("no conf: %v", err)
	}
	noWork(t, l.cache)
}
