// SPDX-License-Identifier: Apache-2.0

package kernels

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"noiommu-farm/internal/fault"
	"noiommu-farm/kernels/series"
)

// patches is a series that makes files of the small kernel what they are in
// each of the steps, one patch a step.
func (l *lab) patches(t *testing.T, steps ...map[string]string) series.Series {
	t.Helper()
	dir := t.TempDir()
	now := map[string]string{}
	for i, step := range steps {
		var b strings.Builder
		fmt.Fprintf(&b, "Subject: [PATCH %d/%d] step %d\nMessage-ID: <%d@example.org>\n\n---\n", i+1, len(steps), i+1, i+1)
		for name, text := range step {
			old, known := now[name]
			if !known {
				old = string(read(t, filepath.Join(l.tree, name)))
			}
			now[name] = text
			count := func(s string) int { return strings.Count(s, "\n") }
			fmt.Fprintf(&b, "diff --git a/%[1]s b/%[1]s\n--- a/%[1]s\n+++ b/%[1]s\n@@ -1,%d +1,%d @@\n", name, count(old), count(text))
			for line := range strings.Lines(old) {
				b.WriteString("-" + line)
			}
			for line := range strings.Lines(text) {
				b.WriteString("+" + line)
			}
		}
		write(t, filepath.Join(dir, fmt.Sprintf("%d.patch", i+1)), b.String())
	}
	s, err := series.Load(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (l *lab) with(t *testing.T, p series.Series) *Build {
	t.Helper()
	r := l.request(t)
	r.Source = r.Source.With(p)
	b, err := l.cache.Build(t.Context(), r, nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// fresh is a lab with the same tree and fragment, and an empty cache.
func (l *lab) fresh(t *testing.T) *lab {
	t.Helper()
	return &lab{tree: l.tree, fragment: l.fragment, cache: &Cache{Dir: t.TempDir(), Jobs: 2}}
}

func mini(answer int) map[string]string {
	return map[string]string{"include/mini.h": fmt.Sprintf("#define MINI_ANSWER %d\n", answer)}
}

func TestBuildWithSeries(t *testing.T) {
	l := newLab(t)
	base := l.build(t)
	p := l.patches(t, mini(1), mini(2))
	b := l.with(t, p)
	if b.Neighbour != base.Key || b.Base != base.SourceID || !cmp.Equal(b.Series, p.IDs()) || b.SourceID == base.SourceID || !strings.Contains(b.Origin, `with the series "step 1", 2 patches`) {
		t.Errorf("got %+v", b)
	}
	// The same options, and nothing that conf reads: conf need not run, and
	// does when it must.
	log := func(b *Build) string { return string(read(t, filepath.Join(b.Dir, "build.log"))) }
	kconfig := string(read(t, filepath.Join(l.tree, "drivers/Kconfig")))
	asks := l.with(t, l.patches(t, map[string]string{"drivers/Kconfig": kconfig + "# more\n"}))
	if strings.Contains(log(b), "allnoconfig") || !strings.Contains(log(asks), "allnoconfig") || asks.Neighbour == "" {
		t.Errorf("conf ran: %v, and %v when a Kconfig file changed", strings.Contains(log(b), "allnoconfig"), strings.Contains(log(asks), "allnoconfig"))
	}
	if d := cmp.Diff(base.Config, b.Config); d != "" {
		t.Error(d)
	}
	again := l.with(t, p)
	if !again.Cached || again.Key != b.Key || !cmp.Equal(again.Series, b.Series) {
		t.Errorf("again: %+v", again)
	}
	// It is the kernel that the patched files give, built from nothing.
	other := l.fresh(t)
	for name, text := range mini(2) {
		write(t, filepath.Join(l.tree, name), text)
	}
	clean := other.build(t)
	if clean.Neighbour != "" || clean.SourceID != b.SourceID || clean.Key == b.Key {
		t.Errorf("clean build: %+v", clean)
	}
	if !bytes.Equal(read(t, clean.Vmlinux), read(t, b.Vmlinux)) {
		t.Error("vmlinux is not that of a clean build")
	}
}

func TestSeriesThatDoesNotApply(t *testing.T) {
	l := newLab(t)
	p := l.patches(t, mini(1))
	write(t, filepath.Join(l.tree, "include/mini.h"), "#define MINI_ANSWER 7\n")
	r := l.request(t)
	r.Source = r.Source.With(p)
	_, err := l.cache.Build(t.Context(), r, nil)
	var refused *series.Refused
	if fault.ExitCode(err) != fault.ExitUsage || !errors.As(err, &refused) || refused.File != "include/mini.h" || refused.Hunk != 1 {
		t.Error(err)
	}
	noWork(t, l.cache)
}

// What was built with a series is a neighbour only for what comes behind it.
func TestSeriesAsNeighbour(t *testing.T) {
	makefile := func(l *lab) map[string]string {
		return map[string]string{"Makefile": string(read(t, filepath.Join(l.tree, "Makefile"))) + "# changed\n"}
	}
	t.Run("for none", func(t *testing.T) {
		l := newLab(t)
		l.with(t, l.patches(t, mini(1)))
		if b := l.build(t); b.Neighbour != "" {
			t.Errorf("the source without a series started from %s", b.Neighbour)
		}
	})
	t.Run("for another", func(t *testing.T) {
		l := newLab(t)
		l.with(t, l.patches(t, mini(1), mini(2)))
		for _, p := range []series.Series{l.patches(t, mini(3)), l.patches(t, mini(1)), l.patches(t, mini(1), mini(3))} {
			if b := l.with(t, p); b.Neighbour != "" && len(p.Patches) == 1 {
				t.Errorf("%v started from %s", p, b.Neighbour)
			}
		}
	})
	t.Run("for its continuation", func(t *testing.T) {
		l := newLab(t)
		p := l.patches(t, mini(1), mini(2))
		first := l.with(t, p.First(1))
		if b := l.with(t, p); b.Neighbour != first.Key {
			t.Errorf("started from %q", b.Neighbour)
		}
		// Another configuration of the same series.
		write(t, l.fragment, "CONFIG_PCI=y\n")
		if b := l.with(t, p.First(1)); b.Neighbour != first.Key {
			t.Errorf("another configuration started from %q", b.Neighbour)
		}
	})
	t.Run("of another base", func(t *testing.T) {
		l := newLab(t)
		p := l.patches(t, mini(1))
		l.with(t, p)
		write(t, filepath.Join(l.tree, "drivers/noiommu.c"), "int noiommu(void)\n{\n\treturn 2;\n}\n")
		if b := l.with(t, p); b.Neighbour != "" {
			t.Errorf("started from %s", b.Neighbour)
		}
	})
	t.Run("when it changed what a build runs", func(t *testing.T) {
		l := newLab(t)
		base := l.build(t)
		p := l.patches(t, makefile(l), mini(2))
		if b := l.with(t, p.First(1)); b.Neighbour != "" {
			t.Errorf("started from %s", b.Neighbour)
		}
		if b := l.with(t, p); b.Neighbour != "" {
			t.Errorf("the second patch started from %s, base %s", b.Neighbour, base.Key)
		}
	})
}

// A series whose makefile leaves a forged object, and whose last patch takes
// the makefile back: nobody else's kernel has that object in it.
func TestForgedObjects(t *testing.T) {
	l := newLab(t)
	makefile := string(read(t, filepath.Join(l.tree, "Makefile")))
	const build = "\t@gcc -static -nostdlib -Wl,--build-id=none -o $(B)vmlinux $(objects)\n"
	evil := strings.Replace(makefile, build, build+
		"\t@printf 'int noiommu(void) { return 666; }' | gcc -x c -ffreestanding -c -o $(B)drivers/noiommu.o - && touch -d 2100-01-01 $(B)drivers/noiommu.o\n", 1)
	if evil == makefile {
		t.Fatal("the small kernel's makefile has changed")
	}
	p := l.patches(t, map[string]string{"Makefile": evil}, map[string]string{"Makefile": makefile})
	forged := l.with(t, p.First(1))
	if fi, err := os.Stat(filepath.Join(forged.Dir, objects, "drivers/noiommu.o")); err != nil || fi.ModTime().Year() != 2100 {
		t.Fatalf("nothing was forged: %v, %v", err, fi)
	}
	back := l.with(t, p)
	base := l.build(t)
	if back.SourceID != base.SourceID || back.Key == base.Key || base.Cached || base.Neighbour != "" {
		t.Errorf("there and back: %+v\nbase: %+v", back, base)
	}
	other := l.with(t, l.patches(t, mini(42)))
	clean := l.fresh(t).build(t)
	for name, b := range map[string]*Build{"base": base, "there and back": back} {
		if !bytes.Equal(read(t, b.Vmlinux), read(t, clean.Vmlinux)) {
			t.Errorf("%s: not the kernel of a clean build", name)
		}
	}
	if other.Neighbour == forged.Key || other.Neighbour == back.Key {
		t.Errorf("another series started from %s", other.Neighbour)
	}
}

func TestRuns(t *testing.T) {
	for name, want := range map[string]bool{
		"drivers/vfio/vfio_main.c":              false,
		"include/uapi/linux/iommufd.h":          false,
		"Documentation/driver-api/vfio.rst":     false,
		"Documentation/Makefile":                false,
		"tools/testing/selftests/vfio/lib.mk":   false,
		"MAINTAINERS":                           false,
		"drivers/vfio/Kconfig":                  true, // it may call a shell
		"drivers/vfio/Makefile":                 true,
		"Kbuild":                                true,
		"scripts/basic/fixdep.c":                true,
		"tools/objtool/check.c":                 true,
		"arch/x86/tools/relocs.c":               true,
		"arch/x86/boot/mkcpustr.c":              true,
		"usr/gen_init_cpio.c":                   true,
		"drivers/tty/vt/gen_ucs_width_table.py": true,
	} {
		if got := runs(name); got != want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// Of two refs of a tree, what is the same in both is compiled once, whichever
// comes first and whatever the tree itself looks like.
func TestRefsShareObjects(t *testing.T) {
	l := newLab(t)
	git := func(args ...string) {
		t.Helper()
		cmd := exec.Command("git", append([]string{"-C", l.tree, "-c", "user.name=A", "-c", "user.email=a@example.org"}, args...)...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %q: %v: %s", args, err, out)
		}
	}
	git("init", "-q")
	git("add", "-A")
	git("commit", "-qm", "one")
	git("tag", "one")
	main := filepath.Join(l.tree, "init/main.c")
	write(t, main, strings.Replace(string(read(t, main)), "answer++", "answer += 2", 1))
	git("commit", "-qam", "two")
	git("tag", "two")
	write(t, main, "dirty\n")
	write(t, filepath.Join(l.tree, "drivers/noiommu.c"), "dirty\n")
	for _, order := range [][2]string{{"one", "two"}, {"two", "one"}} {
		l := l.fresh(t)
		ref := func(name string) *Build {
			r := l.request(t)
			var err error
			if r.Source, err = ParseSource("tree:" + l.tree + "@" + name); err != nil {
				t.Fatal(err)
			}
			b, err := l.cache.Build(t.Context(), r, nil)
			if err != nil {
				t.Fatal(err)
			}
			return b
		}
		first := ref(order[0])
		second := ref(order[1])
		log := string(read(t, filepath.Join(second.Dir, "build.log")))
		if second.Neighbour != first.Key || !strings.Contains(log, "CC      init/main.o") || strings.Contains(log, "drivers/noiommu.o\n") {
			t.Errorf("%v: from %q:\n%s", order, second.Neighbour, log)
		}
		if bytes.Equal(read(t, first.Vmlinux), read(t, second.Vmlinux)) {
			t.Errorf("%v: the same kernel", order)
		}
	}
}
