// SPDX-License-Identifier: Apache-2.0

package series

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"noiommu-farm/internal/fault"
)

// dirBase is a directory as a base.
type dirBase struct{ fs.FS }

func (d dirBase) Look(name string) byte {
	fi, err := fs.Lstat(d.FS, name)
	switch {
	case err != nil:
		return 0
	case fi.Mode()&fs.ModeSymlink != 0:
		return 'l'
	case fi.IsDir():
		return 'd'
	case fi.Mode()&0o111 != 0:
		return 'x'
	}
	return 'f'
}

func (d dirBase) Read(name string) ([]byte, error) { return fs.ReadFile(d.FS, name) }

func tree() dirBase { return dirBase{os.DirFS("testdata/tree")} }

func mustLoad(t *testing.T, spec string) Series {
	t.Helper()
	s, err := Load(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

var v5 = []string{
	"20260511184116.3687397-2-ada@example.org",
	"20260511184116.3687397-3-ada@example.org",
	"20260511184116.3687397-4-ada@example.org",
}

// The same series from everywhere it can come from.
func TestLoad(t *testing.T) {
	want := mustLoad(t, "testdata/patches")
	for _, c := range []struct {
		spec  string
		cover bool
		left  []Left
	}{
		{"testdata/patches", true, nil},
		{"testdata/patches@v5", true, nil},
		{"testdata/stdout.mbox", false, nil},
		{"testdata/maildir", false, []Left{{"Re: [PATCH v5 1/3] vfio: Rename VFIO_NOIOMMU to VFIO_GROUP_NOIOMMU", "a reply"}}},
		{"testdata/thread.mbox", true, []Left{
			{"Re: [PATCH v5 2/3] vfio/group: Tolerate a NULL group", "a reply"},
			{"Re: [PATCH v5 1/3] vfio: Rename VFIO_NOIOMMU to VFIO_GROUP_NOIOMMU", "a reply"},
			{"Re: [PATCH v5 0/3] iommufd: Enable noiommu mode for cdev", "a reply"},
			{"[PATCH v4 0/3] iommufd: Enable noiommu mode for cdev", "of version 4"},
			{"[PATCH v4 1/3] vfio: Rename VFIO_NOIOMMU to VFIO_GROUP_NOIOMMU", "of version 4"},
			{"[PATCH v4 3/3] vfio: Add the cdev’s own file", "of version 4"},
			{"[PATCH v4 2/3] vfio/group: Tolerate a NULL group", "of version 4"},
			{"[PATCH] vfio: While at it, fix a typo", "of version 1"},
			{"[PATCH v5 2/3] vfio/group: Tolerate a NULL group", "there twice"},
		}},
	} {
		t.Run(c.spec, func(t *testing.T) {
			s := mustLoad(t, c.spec)
			if d := cmp.Diff(v5, s.MessageIDs()); d != "" {
				t.Error(d)
			}
			if d := cmp.Diff(want.IDs(), s.IDs()); d != "" {
				t.Error(d)
			}
			if d := cmp.Diff(c.left, s.Left); d != "" {
				t.Error(d)
			}
			if c.cover != (s.Cover == "20260511184116.3687397-1-ada@example.org") || c.cover != (s.Title == "iommufd: Enable noiommu mode for cdev") {
				t.Errorf("cover %q, title %q", s.Cover, s.Title)
			}
			if s.Version != 5 || !filepath.IsAbs(s.Spec) {
				t.Errorf("version %d of %s", s.Version, s.Spec)
			}
			third := s.Patches[2]
			third.Body, third.Diff, third.Origin, third.changes = "", "", "", nil
			if d := cmp.Diff(Patch{
				MessageID: v5[2], InReplyTo: "20260511184116.3687397-1-ada@example.org", Cover: s.Cover,
				Subject: "vfio: Add the cdev’s own file", Author: "Ada Example <ada@example.org>",
				Version: 5, Number: 3, Total: 3,
			}, third, cmp.AllowUnexported(Patch{})); d != "" {
				t.Error(d)
			}
			if body := s.Patches[1].Body; !strings.Contains(body, "\nFrom what was said on the list, the guards\n") {
				t.Errorf("body %q", body)
			}
			if d := cmp.Diff([]string{"Documentation/vfio.rst", "drivers/vfio/Kconfig", "drivers/vfio/cdev.c", "drivers/vfio/group.c", "tools/testing/selftests/vfio/noiommu.sh"}, s.Touched()); d != "" {
				t.Error(d)
			}
			files, notes, err := s.Apply(tree())
			if err != nil || len(notes) > 0 {
				t.Fatal(err, notes)
			}
			if f := files["tools/testing/selftests/vfio/noiommu.sh"]; !f.Executable || string(f.Data) != "#!/bin/sh\necho 1..0\n" {
				t.Errorf("noiommu.sh: %+v", f)
			}
			if f := files["Documentation/vfio.rst"]; f.Executable || string(f.Data) != "VFIO\n====\n\nGrößer.\n" {
				t.Errorf("vfio.rst: %+v", f)
			}
		})
	}
}

func TestVersions(t *testing.T) {
	s := mustLoad(t, "testdata/thread.mbox@v4")
	if s.Version != 4 || len(s.Patches) != 3 || s.Cover != "20260511184116.3687396-1-ada@example.org" || !strings.HasSuffix(s.Spec, "thread.mbox@v4") {
		t.Errorf("got %v of %s", s, s.Spec)
	}
	// What both versions do is the same, whoever sent it.
	if d := cmp.Diff(mustLoad(t, "testdata/thread.mbox").IDs(), s.IDs()); d != "" {
		t.Error(d)
	}
	s = mustLoad(t, "testdata/thread.mbox@v1")
	if d := cmp.Diff([]string{"typo@example.net"}, s.MessageIDs()); d != "" {
		t.Error(d)
	}
	refused(t, "testdata/thread.mbox@v3", "holds no version 3 (allowed: v1, v4, v5)")
}

func TestFirst(t *testing.T) {
	s := mustLoad(t, "testdata/patches")
	two := s.First(2)
	if len(two.Patches) != 2 || len(s.Patches) != 3 || !slices.Equal(two.IDs(), s.IDs()[:2]) {
		t.Errorf("%v of %v", two.IDs(), s.IDs())
	}
	files, _, err := two.Apply(tree())
	if _, has := files["drivers/vfio/cdev.c"]; err != nil || has || len(files) != 2 {
		t.Errorf("%v, %d files", err, len(files))
	}
	if n := len(s.First(9).Patches) + len(s.First(-1).Patches); n != 3 {
		t.Errorf("%d patches", n)
	}
}

func TestGzip(t *testing.T) {
	data, err := os.ReadFile("testdata/thread.mbox")
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	w.Write(data)
	w.Close()
	path := filepath.Join(t.TempDir(), "t.mbox.gz")
	write(t, path, b.String())
	if d := cmp.Diff(v5, mustLoad(t, path).MessageIDs()); d != "" {
		t.Error(d)
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// refused fails unless the series is the user's mistake, for this reason.
func refused(t *testing.T, spec string, why ...string) {
	t.Helper()
	s, err := Load(t.Context(), spec)
	if err == nil {
		t.Errorf("%s: taken: %v", spec, s)
		return
	}
	if fault.ExitCode(err) != fault.ExitUsage {
		t.Errorf("not a usage error: %v", err)
	}
	for _, w := range why {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("got %v, want %q in it", err, w)
		}
	}
}

// repository is a git repository with the small tree and the series on it.
func repository(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "re@po")
	if err := os.CopyFS(dir, os.DirFS("testdata/tree")); err != nil {
		t.Fatal(err)
	}
	run(t, dir, "git", "init", "-q", "-b", "main")
	run(t, dir, "git", "config", "user.name", "Ada Example")
	run(t, dir, "git", "config", "user.email", "ada@example.org")
	run(t, dir, "git", "add", "-A")
	run(t, dir, "git", "commit", "-qm", "base")
	patches, err := filepath.Abs("testdata/patches")
	if err != nil {
		t.Fatal(err)
	}
	list, _ := filepath.Glob(patches + "/*-000[1-9]-*.patch")
	run(t, dir, append([]string{"git", "am", "-q"}, list...)...)
	return dir
}

func run(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%q: %v: %s", args, err, out)
	}
	return string(out)
}

func TestCommits(t *testing.T) {
	dir := repository(t)
	want := mustLoad(t, "testdata/patches")
	// What a user has configured changes nothing, and runs nothing.
	mark := filepath.Join(t.TempDir(), "ran")
	for _, c := range [][2]string{
		{"diff.noprefix", "true"}, {"diff.mnemonicPrefix", "true"}, {"format.attach", "true"}, {"color.ui", "always"},
		{"diff.external", "touch " + mark}, {"diff.evil.command", "touch " + mark}, {"diff.evil.textconv", "touch " + mark + "; cat"},
		{"core.fsmonitor", "touch " + mark}, {"core.pager", "touch " + mark}, {"log.showSignature", "true"}, {"gpg.program", "touch " + mark},
	} {
		run(t, dir, "git", "config", c[0], c[1])
	}
	write(t, filepath.Join(dir, ".git/info/attributes"), "*.c diff=evil\n*.rst diff=evil\n")
	write(t, filepath.Join(dir, "drivers/vfio/group.c"), "dirty\n")
	s := mustLoad(t, dir+"@main~3..main")
	if d := cmp.Diff(want.IDs(), s.IDs()); d != "" {
		t.Error(d)
	}
	if _, err := os.Stat(mark); err == nil {
		t.Error("something in the configuration was run")
	}
	p := s.Patches[1]
	if p.Subject != "vfio/group: Tolerate a NULL group" || p.Author != "Ada Example <ada@example.org>" || p.Number != 2 || p.Total != 3 || p.MessageID != "" || !strings.HasPrefix(p.Origin, "commit ") {
		t.Errorf("got %+v", p)
	}
	if one := mustLoad(t, dir+"@HEAD~2..HEAD~1"); !slices.Equal(one.IDs(), want.IDs()[1:2]) {
		t.Errorf("one commit: %v", one)
	}

	run(t, dir, "git", "config", "--unset", "core.fsmonitor") // it would get in the way of what follows
	run(t, dir, "git", "commit", "-q", "--allow-empty", "-m", "empty")
	run(t, dir, "git", "checkout", "-q", "-f", "-b", "side", "HEAD~1")
	write(t, filepath.Join(dir, "link.c"), "")
	os.Remove(filepath.Join(dir, "link.c"))
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "link.c")); err != nil {
		t.Fatal(err)
	}
	run(t, dir, "git", "add", "-A")
	run(t, dir, "git", "commit", "-qm", "link")
	run(t, dir, "git", "merge", "-q", "-m", "merge", "main")
	refused(t, dir+"@main~1..main", "changes nothing")
	refused(t, dir+"@main~1..side~1", `patch 1/1 "link"`, "a symbolic link")
	refused(t, dir+"@main..side", "is a merge")
	refused(t, dir+"@main..nowhere", `knows no commit "nowhere"`)
	refused(t, dir+"@..main", "a commit on either side")
	refused(t, dir+"@main..main", "no commits")
	refused(t, dir+"@--output=x..main", "knows no commit")
}

func TestCancel(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	dir := repository(t)
	cancel()
	for _, spec := range []string{dir + "@main~3..main", "testdata/patches"} {
		if _, err := Load(ctx, spec); fault.ExitCode(err) != fault.ExitInfra {
			t.Errorf("%s: %v", spec, err)
		}
	}
}

// A file without mail around it is a patch too, and so is one of many without
// numbers, in the order of their names.
func TestBareDiffs(t *testing.T) {
	dir := t.TempDir()
	s := mustLoad(t, "testdata/patches")
	for i := range s.Patches {
		write(t, filepath.Join(dir, fmt.Sprintf("%d.diff", i+1)), s.Patches[i].Diff)
	}
	got := mustLoad(t, dir)
	if d := cmp.Diff(s.IDs(), got.IDs()); d != "" {
		t.Error(d)
	}
	if got.Title != "1.diff" || got.Patches[0].Name() != `patch "1.diff"` {
		t.Errorf("%q, %s", got.Title, got.Patches[0].Name())
	}
	one := mustLoad(t, filepath.Join(dir, "2.diff"))
	if !slices.Equal(one.IDs(), s.IDs()[1:2]) {
		t.Errorf("%v", one)
	}
	// As diff -u writes it.
	plain := "Index: x\n--- linux.orig/drivers/vfio/vfio.h\t2026-01-01 00:00:00\n+++ linux/drivers/vfio/vfio.h\t2026-01-02 00:00:00\n@@ -1,3 +1,3 @@\n /* SPDX-License-Identifier: GPL-2.0-only */\n struct group {\n-\tint opened;\n+\tint open;\n\n"
	path := filepath.Join(dir, "plain.diff")
	write(t, path, strings.TrimSuffix(plain, "\n"))
	plainSeries := mustLoad(t, path)
	if d := cmp.Diff([]string{"drivers/vfio/vfio.h"}, plainSeries.Touched()); d != "" {
		t.Error(d)
	}
}
