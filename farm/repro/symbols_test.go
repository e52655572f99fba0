// SPDX-License-Identifier: Apache-2.0

package repro

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// compile makes a program without libraries of drivers/vfio/f.c in a tree. Its
// code is where a kernel's is not, which is of no account.
func compile(t *testing.T, tree, code string, flags ...string) string {
	t.Helper()
	file := filepath.Join(tree, "drivers/vfio/f.c")
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(code), 0o644); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "program")
	argv := slices.Concat([]string{"-O2", "-nostdlib", "-static", "-Wl,--build-id=none", "-Wl,-e,outer", "-o", out}, flags, []string{file})
	if text, err := exec.Command("gcc", argv...).CombinedOutput(); err != nil {
		t.Fatalf("gcc: %v\n%s", err, text)
	}
	return out
}

const inlined = `extern volatile int somewhere;
volatile int somewhere;

static inline __attribute__((always_inline)) void innermost(int *p)
{
	somewhere = *p;
}

static inline __attribute__((always_inline)) void middle(int *p)
{
	innermost(p + 1);
}

void outer(int *p)
{
	middle(p);
}
`

func TestSymbolizer(t *testing.T) {
	tree := t.TempDir()
	ran := compile(t, tree, inlined)
	debug := compile(t, tree, inlined, "-g")
	s, err := newSymbolizer(ran, debug, os.DirFS(tree))
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	size := strconv.FormatUint(s.ran.functions["outer"][0].Size, 16)
	want := []string{
		"    innermost at drivers/vfio/f.c:6 (inlined)",
		"    middle at drivers/vfio/f.c:11 (inlined)",
		"    outer at drivers/vfio/f.c:16",
	}
	for _, line := range []string{
		"RIP: 0010:outer+0x0/0x" + size, // itself
		" outer+0x1/0x" + size,          // what comes before it
	} {
		if got := s.annotate([]string{line}); !slices.Equal(got, append([]string{line}, want...)) {
			t.Errorf("%s:\n%s", line, strings.Join(got, "\n"))
		}
	}
	for _, line := range []string{
		"nothing of the kind",
		" unknown+0x1/0x" + size,
		" outer+0x1/0x1",                           // another function of that name
		" outer+0xffff/0x" + size,                  // outside
		" outer+0xffffffffffffffffff/0x" + size,    // no number
		"RIP: 0010:outer+0x0/0x" + size + "000000", // not as large
	} {
		if got := s.annotate([]string{line}); len(got) != 1 {
			t.Errorf("%s:\n%s", line, strings.Join(got, "\n"))
		}
	}
}

// Lines of other code are no lines.
func TestSymbolizerOfOtherCode(t *testing.T) {
	tree := t.TempDir()
	ran := compile(t, tree, inlined)
	debug := compile(t, tree, strings.ReplaceAll(inlined, "p + 1", "p + 2"), "-g")
	s, err := newSymbolizer(ran, debug, os.DirFS(tree))
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	if line := " outer+0x1/0x" + strconv.FormatUint(s.ran.functions["outer"][0].Size, 16); len(s.annotate([]string{line})) != 1 {
		t.Error("two kernels of different code were taken for one")
	}
}

// The patch applies to the makefiles of a tree, whatever their length.
func TestDebugPatch(t *testing.T) {
	tree := t.TempDir()
	for _, dir := range described {
		if err := os.MkdirAll(filepath.Join(tree, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range map[string]string{"drivers/vfio": "# one line\n", "drivers/iommu": "# a\nobj-y += b/\n\nobj-y += c.o\nobj-y += d.o\n"} {
		if err := os.WriteFile(filepath.Join(tree, name, "Makefile"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	patch, err := debugPatch(tree)
	if err != nil {
		t.Fatal(err)
	}
	git := exec.Command("git", "apply", "-")
	git.Dir, git.Stdin = tree, strings.NewReader(patch)
	if text, err := git.CombinedOutput(); err != nil {
		t.Fatalf("git apply: %v\n%s\n%s", err, text, patch)
	}
	for _, dir := range described {
		text, err := os.ReadFile(filepath.Join(tree, dir, "Makefile"))
		if err != nil || !strings.Contains(string(text), "\nsubdir-ccflags-y += -g\n") {
			t.Errorf("%s: %v\n%s", dir, err, text)
		}
	}
}
