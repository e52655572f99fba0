// SPDX-License-Identifier: Apache-2.0

package source

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"noiommu-farm/internal/fault"
	"noiommu-farm/kernels/series"
)

// patches is a series of the given diffs.
func patches(t *testing.T, diffs ...string) series.Series {
	t.Helper()
	dir := t.TempDir()
	for i, d := range diffs {
		write(t, filepath.Join(dir, fmt.Sprintf("%d.patch", i+1)), fmt.Sprintf("Subject: [PATCH %d/%d] change %d\n\n---\n%s", i+1, len(diffs), i+1, d))
	}
	s, err := series.Load(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

const (
	changeHeader = "diff --git a/include/mini.h b/include/mini.h\n--- a/include/mini.h\n+++ b/include/mini.h\n@@ -1,2 +1,2 @@\n /* SPDX-License-Identifier: Apache-2.0 */\n-#define ANSWER 42\n+#define ANSWER 43\n"
	newFile      = "diff --git a/drivers/more/new.sh b/drivers/more/new.sh\nnew file mode 100755\n--- /dev/null\n+++ b/drivers/more/new.sh\n@@ -0,0 +1 @@\n+true\n"
	removeFile   = "diff --git a/drivers/more/new.sh b/drivers/more/new.sh\ndeleted file mode 100755\n--- a/drivers/more/new.sh\n+++ /dev/null\n@@ -1 +0,0 @@\n-true\n"
	changeBack   = "diff --git a/include/mini.h b/include/mini.h\n--- a/include/mini.h\n+++ b/include/mini.h\n@@ -1,2 +1,2 @@\n /* SPDX-License-Identifier: Apache-2.0 */\n-#define ANSWER 43\n+#define ANSWER 42\n"
)

// snapshot is all that can be seen of the files below a directory.
func snapshot(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		fi, err := d.Info()
		if err != nil {
			return err
		}
		fmt.Fprintf(&b, "%s %v %d %d", name, fi.Mode(), fi.ModTime().UnixNano(), inode(t, name))
		if fi.Mode().IsRegular() {
			data, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			fmt.Fprintf(&b, " %x", sha256.Sum256(data))
		}
		b.WriteByte('\n')
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestWith(t *testing.T) {
	s := newStore(t)
	dir := kernel(t)
	write(t, filepath.Join(dir, "include/mini.h"), "/* SPDX-License-Identifier: Apache-2.0 */\n#define ANSWER 42\n")
	base := s.get(t, "tree:"+dir)
	before := snapshot(t, base.Dir)
	p := patches(t, changeHeader, newFile)
	tree, err := s.With(t.Context(), base, p)
	if err != nil {
		t.Fatal(err)
	}
	if tree.Base != base.ID || !cmp.Equal(tree.Series.IDs(), p.IDs()) || tree.Version != base.Version || tree.ID == base.ID ||
		!strings.Contains(tree.Origin, `with the series "change 1", 2 patches`) {
		t.Errorf("got %+v", tree)
	}
	if got, err := os.ReadFile(filepath.Join(tree.Dir, "include/mini.h")); err != nil || !strings.HasSuffix(string(got), "ANSWER 43\n") {
		t.Errorf("%v, %q", err, got)
	}
	if fi, err := os.Stat(filepath.Join(tree.Dir, "drivers/more/new.sh")); err != nil || fi.Mode().Perm() != 0o755 {
		t.Errorf("%v, %v", err, fi)
	}
	// All else is the base's, down to the inode, and the base is as it was.
	old, err := base.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range old {
		same := inode(t, filepath.Join(base.Dir, e.Path)) == inode(t, filepath.Join(tree.Dir, e.Path))
		if same != (e.Path != "include/mini.h") {
			t.Errorf("%s: shared is %v", e.Path, same)
		}
	}
	if d := cmp.Diff(before, snapshot(t, base.Dir)); d != "" {
		t.Errorf("the base changed:\n%s", d)
	}
	// The manifest is that of a directory with the same files.
	m, err := tree.Manifest()
	if err != nil || m.ID() != tree.ID {
		t.Errorf("%v, manifest of %s", err, m.ID())
	}
	var changed []string
	for _, c := range m.Diff(old) {
		changed = append(changed, c.Path)
	}
	if d := cmp.Diff(p.Touched(), []string(changed)); d != "" {
		t.Error(d)
	}
	copied := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(copied, os.DirFS(tree.Dir)); err != nil {
		t.Fatal(err)
	}
	if got := s.get(t, "tree:"+copied); got.ID != tree.ID || got.Base != "" {
		t.Errorf("as a directory: %+v", got)
	}

	// The second time nothing is applied; a prefix is a tree of its own.
	before = snapshot(t, tree.Dir)
	again, err := s.With(t.Context(), base, p)
	if err != nil || !reflect.DeepEqual(again, tree) || snapshot(t, tree.Dir) != before {
		t.Errorf("again: %v, %+v", err, again)
	}
	first, err := s.With(t.Context(), base, p.First(1))
	if err != nil || first.ID == tree.ID || exists(first.Dir, "drivers/more/new.sh") {
		t.Errorf("first: %v, %+v", err, first)
	}
	none, err := s.With(t.Context(), base, p.First(0))
	if err != nil || !reflect.DeepEqual(none, base) {
		t.Errorf("none: %v, %+v", err, none)
	}
	// Back to the same files: the same tree, but of other descent.
	round, err := s.With(t.Context(), base, patches(t, changeHeader, newFile, changeBack, removeFile))
	if err != nil || round.ID != base.ID || len(round.Series.Patches) != 4 || round.Base != base.ID {
		t.Errorf("there and back: %v, %+v", err, round)
	}
	if left, err := os.ReadDir(filepath.Join(s.Dir, "tmp")); err != nil || len(left) != 0 {
		t.Errorf("%v, %d left in tmp", err, len(left))
	}
}

func TestWithRefused(t *testing.T) {
	s := newStore(t)
	dir := kernel(t)
	base := s.get(t, "tree:"+dir)
	makefile, err := os.ReadFile(filepath.Join(base.Dir, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(strings.TrimSuffix(string(makefile), "\n"), "\n")
	noMakefile := fmt.Sprintf("diff --git a/Makefile b/Makefile\ndeleted file mode 100644\n--- a/Makefile\n+++ /dev/null\n@@ -1,%d +0,0 @@\n-%s\n", len(lines), strings.Join(lines, "-"))
	for _, c := range []struct {
		name, diff, why string
		code            int
	}{
		{"does not fit", strings.ReplaceAll(changeHeader, "42", "41"), `does not apply to directory ` + dir + `: patch 2/2 "change 2": "include/mini.h": hunk 1`, fault.ExitUsage},
		{"no longer a kernel", noMakefile, "the series removes its Makefile", fault.ExitKernel},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := s.With(t.Context(), base, patches(t, newFile, c.diff))
			if fault.ExitCode(err) != c.code || !strings.Contains(fmt.Sprint(err), c.why) {
				t.Errorf("got %v, want %q", err, c.why)
			}
			var refused *series.Refused
			if errors.As(err, &refused) != (c.code == fault.ExitUsage) || refused != nil && refused.Index != 2 {
				t.Errorf("refused: %+v", refused)
			}
		})
	}
	if left, err := os.ReadDir(filepath.Join(s.Dir, "sources")); err != nil || len(left) != 1 {
		t.Errorf("%v, %d sources", err, len(left))
	}
	if left, err := os.ReadDir(filepath.Join(s.Dir, "tmp")); err != nil || len(left) != 0 {
		t.Errorf("%v, %d left in tmp", err, len(left))
	}
}

// A ref of a dirty tree is what was committed, nothing in the tree or its
// repository is written, and what two refs have in common is shared.
func TestRefOfDirtyTree(t *testing.T) {
	s := newStore(t)
	dir := kernel(t)
	for _, args := range [][]string{
		{"init", "-q"}, {"config", "user.name", "A"}, {"config", "user.email", "a@example.org"},
		{"add", "-A"}, {"commit", "-qm", "one"}, {"tag", "one"},
	} {
		run(t, dir, append([]string{"git"}, args...)...)
	}
	write(t, filepath.Join(dir, "include/mini.h"), "#define ANSWER 1\n")
	run(t, dir, "git", "commit", "-qam", "two")
	write(t, filepath.Join(dir, "include/mini.h"), "#define ANSWER dirty\n")
	write(t, filepath.Join(dir, "drivers/untracked.c"), "dirty\n")
	write(t, filepath.Join(dir, "staged.c"), "dirty\n")
	run(t, dir, "git", "add", "staged.c")
	if err := os.Remove(filepath.Join(dir, "init/main.c")); err != nil {
		t.Fatal(err)
	}
	before := snapshot(t, dir)
	two := s.get(t, "tree:"+dir+"@HEAD")
	one := s.get(t, "tree:"+dir+"@one")
	s.get(t, "tree:"+dir)
	if d := cmp.Diff(before, snapshot(t, dir)); d != "" {
		t.Errorf("the tree was written to:\n%s", d)
	}
	if got, err := os.ReadFile(filepath.Join(two.Dir, "include/mini.h")); err != nil || string(got) != "#define ANSWER 1\n" {
		t.Errorf("%v, %q", err, got)
	}
	if exists(two.Dir, "drivers/untracked.c") || exists(two.Dir, "staged.c") || !exists(two.Dir, "init/main.c") {
		t.Error("the ref has what was not committed, or has not what was")
	}
	m, err := one.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range m {
		if e.Kind == 'l' {
			continue
		}
		a, errA := os.Stat(filepath.Join(one.Dir, e.Path))
		b, errB := os.Stat(filepath.Join(two.Dir, e.Path))
		if err := errors.Join(errA, errB); err != nil {
			t.Fatal(err)
		}
		if same := a.ModTime().Equal(b.ModTime()) && os.SameFile(a, b); same != (e.Path != "include/mini.h") {
			t.Errorf("%s: shared is %v", e.Path, same)
		}
	}
}

// A hunk that fits elsewhere than it says is applied there, and told.
func TestWithOffset(t *testing.T) {
	s := newStore(t)
	dir := kernel(t)
	write(t, filepath.Join(dir, "include/mini.h"), "/* one */\n/* two */\n#define A 1\n#define B 2\n#define C 3\n")
	base := s.get(t, "tree:"+dir)
	p := patches(t, "diff --git a/include/mini.h b/include/mini.h\n--- a/include/mini.h\n+++ b/include/mini.h\n@@ -2,3 +2,3 @@\n #define A 1\n-#define B 2\n+#define B 4\n #define C 3\n")
	tree, err := s.With(t.Context(), base, p)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(filepath.Join(tree.Dir, "include/mini.h")); err != nil || string(got) != "/* one */\n/* two */\n#define A 1\n#define B 4\n#define C 3\n" {
		t.Errorf("%v, %q", err, got)
	}
	if d := cmp.Diff([]string{`patch 1/1 "change 1": include/mini.h: hunk 1 fits at line 3, not at line 2 as it says`}, s.log); d != "" {
		t.Error(d)
	}
}
