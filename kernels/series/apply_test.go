// SPDX-License-Identifier: Apache-2.0

package series

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"pgregory.net/rapid"
)

// Whatever git apply makes of a patch on a tree that moved on, we make of it
// too: the same files, or a refusal.
func TestAppliesLikeGit(t *testing.T) {
	if _, err := exec.LookPath("git"); err != nil {
		t.Fatal(err)
	}
	applied, moved, refusals := 0, 0, 0
	dir := t.TempDir()
	text := func(rt *rapid.T, name string, most int) []string {
		// Few different lines: hunks fit in more than one place.
		return rapid.SliceOfN(rapid.SampledFrom([]string{"a\n", "b\n", "\n", "}\n", "\treturn 0;\n"}), 0, most).Draw(rt, name)
	}
	put := func(rt *rapid.T, name, text string) {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			rt.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			rt.Fatal(err)
		}
	}
	edit := func(rt *rapid.T, lines []string, name string) []string {
		at := rapid.IntRange(0, len(lines)).Draw(rt, name+" at")
		gone := rapid.IntRange(0, min(2, len(lines)-at)).Draw(rt, name+" gone")
		out := append([]string{}, lines[:at]...)
		out = append(out, text(rt, name, 3)...)
		return append(out, lines[at+gone:]...)
	}
	rapid.Check(t, func(rt *rapid.T) {
		old := append(text(rt, "old", 30), text(rt, "more", 30)...)
		new := edit(rt, edit(rt, old, "first"), "second")
		base := old
		switch rapid.IntRange(0, 3).Draw(rt, "drift") {
		case 1:
			base = append(text(rt, "before", 9), old...)
		case 2:
			base = append(append([]string{}, old...), text(rt, "behind", 9)...)
		case 3:
			base = edit(rt, old, "elsewhere")
		}
		oldText, newText, baseText := strings.Join(old, ""), strings.Join(new, ""), strings.Join(base, "")
		if oldText == newText || oldText == "" || newText == "" {
			return
		}
		if rapid.Bool().Draw(rt, "no newline at the end") {
			newText = strings.TrimSuffix(newText, "\n")
		}
		put(rt, "a/d/f", oldText)
		put(rt, "b/d/f", newText)
		cmd := exec.Command("git", "diff", "--no-index", "--no-color", "a/d/f", "b/d/f")
		cmd.Dir = dir
		out, _ := cmd.Output() // exits 1: they differ
		diff := strings.NewReplacer("a/a/d/f", "a/d/f", "b/b/d/f", "b/d/f").Replace(string(out))
		if !hasDiff(diff) {
			return
		}

		put(rt, "d/f", baseText)
		put(rt, "patch", diff)
		cmd = exec.Command("git", "apply", "patch")
		cmd.Dir = dir
		said, gitErr := cmd.CombinedOutput()
		want, err := os.ReadFile(filepath.Join(dir, "d/f"))
		if err != nil {
			rt.Fatal(err)
		}

		_, _, changes, err := parseDiff(diff)
		if err != nil {
			rt.Fatalf("%v:\n%s", err, diff)
		}
		s := Series{Patches: []Patch{{changes: changes}}}
		files, notes, err := s.Apply(dirBase{fstest.MapFS{"d/f": {Data: []byte(baseText), Mode: 0o644}}})
		switch {
		case (err == nil) != (gitErr == nil):
			rt.Fatalf("git says %v (%s), we say %v:\n%s\non\n%s", gitErr, said, err, diff, baseText)
		case err != nil:
			refusals++
		case string(files["d/f"].Data) != string(want):
			rt.Fatalf("git makes\n%q\nwe make\n%q\nof\n%s\non\n%q", want, files["d/f"].Data, diff, baseText)
		default:
			applied++
			moved += min(len(notes), 1)
		}
	})
	if applied == 0 || moved == 0 || refusals == 0 {
		t.Errorf("%d applied, %d with an offset, %d refused", applied, moved, refusals)
	}
	t.Logf("%d applied, %d with an offset, %d refused", applied, moved, refusals)
}

// Renames, copies, modes and files of no bytes.
func TestApplyWholeFiles(t *testing.T) {
	base := dirBase{fstest.MapFS{
		"d/old":  {Data: []byte("one\ntwo\n"), Mode: 0o755},
		"d/gone": {Data: []byte("x\n"), Mode: 0o644},
	}}
	_, _, changes, err := parseDiff(`diff --git a/d/old b/e/new
similarity index 50%
rename from d/old
rename to e/new
index 1111111..2222222
--- a/d/old
+++ b/e/new
@@ -1,2 +1,2 @@
 one
-two
+three
diff --git a/d/gone b/d/copy
similarity index 100%
copy from d/gone
copy to d/copy
diff --git a/d/gone b/d/gone
deleted file mode 100644
index 587be6b..0000000
--- a/d/gone
+++ /dev/null
@@ -1 +0,0 @@
-x
diff --git a/d/empty b/d/empty
new file mode 100644
index 0000000..e69de29
diff --git a/d/copy b/d/copy
old mode 100644
new mode 100755
-- 
2.39.5
`)
	if err != nil {
		t.Fatal(err)
	}
	s := Series{Patches: []Patch{{changes: changes}}}
	files, _, err := s.Apply(base)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]File{
		"e/new":   {Data: []byte("one\nthree\n"), Executable: true},
		"d/old":   {Gone: true},
		"d/gone":  {Gone: true},
		"d/copy":  {Data: []byte("x\n"), Executable: true},
		"d/empty": {},
	} {
		got := files[name]
		if string(got.Data) != string(want.Data) || got.Executable != want.Executable || got.Gone != want.Gone {
			t.Errorf("%s: %+v", name, got)
		}
	}
	if len(files) != 5 {
		t.Errorf("%d files", len(files))
	}
}

// Two patches do the same only if their IDs are equal.
func TestID(t *testing.T) {
	id := func(diff string) string {
		_, _, changes, err := parseDiff(diff)
		if err != nil {
			t.Fatal(err)
		}
		p := Patch{changes: changes}
		return p.ID()
	}
	want := id(good)
	if id("Words.\n\n"+good+"-- \n2.39.5\n") != want {
		t.Error("words before and after the diff matter")
	}
	for name, other := range map[string]string{
		"name":  strings.ReplaceAll(good, "vfio.h", "vfio.c"),
		"line":  strings.ReplaceAll(good, "open;", "opens;"),
		"place": strings.ReplaceAll(good, "-1,5 +1,5", "-2,5 +2,5"),
		"mode":  strings.Replace(good, "---", "old mode 100644\nnew mode 100755\n---", 1),
	} {
		if id(other) == want {
			t.Errorf("the %s does not matter", name)
		}
	}
}
