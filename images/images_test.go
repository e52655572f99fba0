// SPDX-License-Identifier: Apache-2.0

package images

import (
	"context"
	"debug/elf"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/u-root/u-root/pkg/cpio"

	"noiommu-farm/internal/fault"
)

// spec is an image with one of everything but the shell. The agent stands for
// a test program: it is a main package of this module like any other.
var spec = Spec{
	Programs: []GoProgram{{Package: agentPackage, Path: "/suites/suites"}},
	Files: []File{
		{Path: "/kselftest/vfio/vfio_test", Host: "testdata/script", Mode: 0o755},
		{Path: "etc//./motd", Data: []byte("hello\n"), Mode: 0o644},
	},
}

func build1(t *testing.T, spec Spec, dir string) Image {
	t.Helper()
	image, err := Build(context.Background(), spec, dir)
	if err != nil {
		t.Fatal(err)
	}
	return image
}

// read reads an archive back.
func read(t *testing.T, path string) []cpio.Record {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	records, err := cpio.ReadAllRecords(cpio.Newc.Reader(f))
	if err != nil {
		t.Fatal(err)
	}
	return records
}

func content(t *testing.T, r cpio.Record) []byte {
	t.Helper()
	b, err := io.ReadAll(io.NewSectionReader(r, 0, int64(r.FileSize)))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestContents(t *testing.T) {
	image := build1(t, spec, t.TempDir())
	type entry struct {
		Name          string
		Mode          uint64
		Rmajor, Minor uint64
	}
	var got []entry
	for _, r := range read(t, image.Path) {
		got = append(got, entry{r.Name, r.Mode, r.Rmajor, r.Rminor})
		switch r.Name {
		case "init", "suites/suites":
			program, err := elf.NewFile(r)
			if err != nil {
				t.Fatalf("%s: %v", r.Name, err)
			}
			if program.Machine != elf.EM_X86_64 || program.Section(".interp") != nil {
				t.Errorf("%s: not a static program for x86_64", r.Name)
			}
		case "etc/motd":
			if string(content(t, r)) != "hello\n" {
				t.Errorf("%s: %q", r.Name, content(t, r))
			}
		}
		if r.MTime != 0 || r.UID != 0 || r.GID != 0 {
			t.Errorf("%s: not reproducible: %v", r.Name, r.Info)
		}
	}
	want := []entry{
		{"dev", cpio.S_IFDIR | 0o755, 0, 0},
		{"dev/console", cpio.S_IFCHR | 0o600, 5, 1},
		{"dev/null", cpio.S_IFCHR | 0o666, 1, 3},
		{"etc", cpio.S_IFDIR | 0o755, 0, 0},
		{"etc/motd", cpio.S_IFREG | 0o644, 0, 0},
		{"init", cpio.S_IFREG | 0o755, 0, 0},
		{"kselftest", cpio.S_IFDIR | 0o755, 0, 0},
		{"kselftest/vfio", cpio.S_IFDIR | 0o755, 0, 0},
		{"kselftest/vfio/vfio_test", cpio.S_IFREG | 0o755, 0, 0},
		{"suites", cpio.S_IFDIR | 0o755, 0, 0},
		{"suites/suites", cpio.S_IFREG | 0o755, 0, 0},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	info, err := os.Stat(image.Path)
	if err != nil || info.Size() != image.Size {
		t.Errorf("size %d, the file says %v (%v)", image.Size, info, err)
	}
}

func TestSameBytes(t *testing.T) {
	one, two := build1(t, spec, t.TempDir()), build1(t, spec, t.TempDir())
	a, err := os.ReadFile(one.Path)
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(two.Path)
	if err != nil {
		t.Fatal(err)
	}
	if one.SHA256 != two.SHA256 || string(a) != string(b) {
		t.Errorf("%s and %s differ", one.Path, two.Path)
	}
	other := spec
	other.Files = append([]File{{Path: "/more", Data: []byte("x"), Mode: 0o600}}, spec.Files...)
	more := build1(t, other, t.TempDir())
	if more.SHA256 == one.SHA256 {
		t.Error("another file in the image, and the same hash")
	}
	if more.Programs != one.Programs || len(one.Programs) != 64 {
		t.Errorf("hashes of the same programs: %q and %q", one.Programs, more.Programs)
	}
	fewer := spec
	fewer.Programs = nil
	if build1(t, fewer, t.TempDir()).Programs == one.Programs {
		t.Error("without a program, and the same hash of them")
	}
	written := filepath.Join(t.TempDir(), "env")
	if err := os.WriteFile(written, []byte("GOFLAGS=-gcflags=all=-N\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, env := range map[string][2]string{
		"go build's flags of the user": {"GOFLAGS", "-tags=other -gcflags=all=-N"},
		"go env -w":                    {"GOENV", written},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("GOFLAGS", "")
			t.Setenv(env[0], env[1])
			if got := build1(t, spec, t.TempDir()); got.SHA256 != one.SHA256 {
				t.Errorf("%s=%s makes another image of the same sources", env[0], env[1])
			}
		})
	}
}

// Several farms build into one directory at once.
func TestAtOnce(t *testing.T) {
	dir := t.TempDir()
	paths := make([]string, 3)
	var all sync.WaitGroup
	for i := range paths {
		all.Go(func() {
			image, err := Build(context.Background(), spec, dir)
			if err != nil {
				t.Error(err)
			}
			paths[i] = image.Path
		})
	}
	all.Wait()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 1 || filepath.Join(dir, entries[0].Name()) != paths[0] || paths[0] != paths[1] || paths[1] != paths[2] {
		t.Errorf("%v in the directory, built %v", entries, paths)
	}
}

// A damaged image in the directory is not handed out.
func TestDamaged(t *testing.T) {
	dir := t.TempDir()
	image := build1(t, spec, dir)
	if err := os.Truncate(image.Path, 100); err != nil {
		t.Fatal(err)
	}
	again := build1(t, spec, dir)
	if info, err := os.Stat(again.Path); err != nil || info.Size() != image.Size {
		t.Errorf("%v (%v), want %d bytes", info, err, image.Size)
	}
}

func TestRefusedFiles(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing")
	tests := []struct {
		name string
		file File
		says string
	}{
		{"up and out", File{Path: "/../../etc/passwd"}, `".."`},
		{"up within", File{Path: "/a/../b"}, `".."`},
		{"no name", File{Path: "/"}, "names no file"},
		{"empty name", File{}, "names no file"},
		{"zero byte", File{Path: "/a\x00b"}, "zero byte"},
		{"long name", File{Path: strings.Repeat("/abcdefg", 600)}, "cannot hold"},
		{"trailer", File{Path: "/TRAILER!!!"}, "cannot hold"},
		{"missing on the host", File{Path: "/a", Host: missing}, missing},
		{"a directory", File{Path: "/a", Host: t.TempDir()}, "not a regular file"},
		{"a device", File{Path: "/a", Host: "/dev/zero"}, "not a regular file"},
		{"setuid", File{Path: "/a", Mode: os.ModeSetuid | 0o755}, "permission bits"},
		{"a device node's place", File{Path: "/dev/console"}, "two of this name"},
		{"below a file", File{Path: "/dev/null/a"}, "in the place of a directory"},
		{"a directory's place", File{Path: "/dev"}, "in the place of a directory"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := Build(context.Background(), Spec{Files: []File{test.file}}, t.TempDir())
			var usage *fault.Usage
			if !errors.As(err, &usage) {
				t.Fatalf("%v, want a fault.Usage", err)
			}
			if !strings.Contains(err.Error(), test.says) {
				t.Errorf("%v, want it to say %q", err, test.says)
			}
		})
	}
}

// What is wrong with programs is the farm's fault, and leaves nothing behind.
func TestRefusedPrograms(t *testing.T) {
	stopped, stop := context.WithCancel(context.Background())
	stop()
	tests := []struct {
		name string
		ctx  context.Context
		p    GoProgram
		says string
	}{
		{"no such package", context.Background(), GoProgram{module + "/no/such/package", "/a"}, "no/such/package"},
		{"like the agent", context.Background(), GoProgram{module + "/other/guestagent", "/a"}, "same name"},
		{"init's place", context.Background(), GoProgram{agentPackage, "/init"}, "two of this name"},
		{"stopped", stopped, GoProgram{agentPackage, "/a"}, "canceled"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			_, err := Build(test.ctx, Spec{Programs: []GoProgram{test.p}}, dir)
			if err == nil || fault.ExitCode(err) != fault.ExitInfra || !strings.Contains(err.Error(), test.says) {
				t.Errorf("%v, want an infrastructure error that says %q", err, test.says)
			}
			if left, _ := os.ReadDir(dir); len(left) != 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

func TestModuleRoot(t *testing.T) {
	here, err := moduleRoot()
	if err != nil {
		t.Fatal(err)
	}
	elsewhere := t.TempDir()
	if err := os.WriteFile(filepath.Join(elsewhere, "go.mod"), []byte("module other\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Chdir(elsewhere)
	t.Setenv(rootVariable, "")
	if root, err := moduleRoot(); err == nil || !strings.Contains(err.Error(), rootVariable) {
		t.Errorf("found %q (%v), want an error that names %s", root, err, rootVariable)
	}
	t.Setenv(rootVariable, elsewhere)
	if root, err := moduleRoot(); err == nil || !strings.Contains(err.Error(), elsewhere) {
		t.Errorf("found %q (%v), want an error that names the directory", root, err)
	}
	t.Setenv(rootVariable, here)
	if root, err := moduleRoot(); err != nil || root != here {
		t.Errorf("found %q (%v), want %q", root, err, here)
	}
}

// What a killed farm left goes when nobody can be at work in it.
func TestSweep(t *testing.T) {
	dir := t.TempDir()
	now := time.Now()
	for name, age := range map[string]time.Duration{workDir + "old": 2 * time.Hour, workDir + "new": 0, "other": 2 * time.Hour} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Join(path, "in"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, now.Add(-age), now.Add(-age)); err != nil {
			t.Fatal(err)
		}
	}
	sweep(dir, now.Add(-time.Hour))
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 2 || left[0].Name() != workDir+"new" || left[1].Name() != "other" {
		t.Errorf("left: %v, %v", left, err)
	}
}
