// SPDX-License-Identifier: Apache-2.0

package source

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"noiommu-farm/internal/fault"
)

type store struct {
	*Store
	log []string
}

func newStore(t *testing.T) *store {
	s := &store{}
	s.Store = &Store{
		Dir: t.TempDir(),
		Log: func(line string) { s.log = append(s.log, line) },
		See: func(string, string, int, int) {},
	}
	return s
}

func (s *store) get(t *testing.T, spec string) Tree {
	t.Helper()
	p, err := Parse(spec)
	if err != nil {
		t.Fatal(err)
	}
	tree, err := s.Get(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

// kernel is a fresh copy of the small kernel.
func kernel(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "linux")
	if err := os.CopyFS(dir, os.DirFS("../testdata/tree")); err != nil {
		t.Fatal(err)
	}
	return dir
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

func run(t *testing.T, dir string, args ...string) {
	t.Helper()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%q: %v: %s", args, err, out)
	}
}

func inode(t *testing.T, path string) uint64 {
	t.Helper()
	fi, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	return fi.Sys().(*syscall.Stat_t).Ino
}

func TestParse(t *testing.T) {
	wd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for spec, want := range map[string]string{
		"debian:7.3":       "debian:7.3",
		"tree:/a/b":        "tree:/a/b",
		"tree:x":           "tree:" + wd + "/x",
		"tree:/a@v7.3":     "tree:/a@v7.3",
		"tree:/a@b@v7.3":   "tree:/a@b@v7.3",
		"tree:/a@x/topic":  "tree:/a@x/topic",
		"tarball:x.tar.xz": "tarball:" + wd + "/x.tar.xz",
	} {
		s, err := Parse(spec)
		if err != nil || s.String() != want {
			t.Errorf("%s: %v, %v, want %s", spec, s, err, want)
		}
	}
	for _, spec := range []string{"", "debian", "debian:", "debian:5.0", "git:x", "/a/b", "tree:", "tree:/a@", "tree:/a@-x", "tree:/a\n"} {
		_, err := Parse(spec)
		var usage *fault.Usage
		if !errors.As(err, &usage) || !slices.Contains(usage.Allowed, "debian:7.3") || !slices.Contains(usage.Allowed, "tree:DIR@REF") {
			t.Errorf("%q: %v", spec, err)
		}
	}
}

// Equal content has one name, whatever it came in.
func TestIDIsContent(t *testing.T) {
	s := newStore(t)
	dir := kernel(t)
	want := s.get(t, "tree:"+dir)
	if want.Version != "7.3.99-mini" {
		t.Errorf("version %q", want.Version)
	}
	parent := filepath.Dir(dir)
	for _, how := range [][]string{
		{"tar", "-cf", "plain.tar", "linux"},
		{"tar", "-czf", "x.tar.gz", "linux"},
		{"tar", "-cJf", "x.tar.xz", "linux"},
		{"tar", "-C", "linux", "-cf", "notop.tar", "."},
	} {
		run(t, parent, how...)
		name := how[len(how)-2]
		if got := s.get(t, "tarball:"+filepath.Join(parent, name)); got.ID != want.ID {
			t.Errorf("%s: ID %s, want %s", name, got.ID, want.ID)
		}
	}
	run(t, dir, "git", "init", "-q")
	run(t, dir, "git", "add", "-A")
	run(t, dir, "git", "-c", "user.name=n", "-c", "user.email=n@example.invalid", "commit", "-qm", "x")
	if got := s.get(t, "tree:"+dir); got.ID != want.ID {
		t.Errorf("git tree: ID %s, want %s", got.ID, want.ID)
	}
	if got := s.get(t, "tree:"+dir+"@HEAD"); got.ID != want.ID || !strings.Contains(got.Origin, "commit ") {
		t.Errorf("git ref: ID %s, want %s; %s", got.ID, want.ID, got.Origin)
	}
	// What git would commit is the source; what it ignores is not.
	write(t, filepath.Join(dir, ".gitignore"), "*.o\n")
	ignoring := s.get(t, "tree:"+dir)
	write(t, filepath.Join(dir, "init/main.o"), "x")
	if got := s.get(t, "tree:"+dir); got.ID != ignoring.ID {
		t.Error("an ignored file is part of the source")
	}
	write(t, filepath.Join(dir, "init/new.c"), "x")
	if err := os.Remove(filepath.Join(dir, "scripts/pause.sh")); err != nil {
		t.Fatal(err)
	}
	dirty := s.get(t, "tree:"+dir)
	if !exists(dirty.Dir, "init/new.c") || exists(dirty.Dir, "scripts/pause.sh") || exists(dirty.Dir, ".git") || exists(dirty.Dir, "init/main.o") {
		t.Error("the dirty tree is not what lies there")
	}
	if got := s.get(t, "tree:"+dir+"@HEAD"); got.ID != want.ID {
		t.Error("the commit changed with the files")
	}
}

func exists(dir, name string) bool {
	_, err := os.Lstat(filepath.Join(dir, name))
	return err == nil
}

// Trees share equal files; a changed one is a new file with a new time.
func TestTreesShareFiles(t *testing.T) {
	s := newStore(t)
	dir := kernel(t)
	if err := os.Symlink("main.c", filepath.Join(dir, "init/link.c")); err != nil {
		t.Fatal(err)
	}
	one := s.get(t, "tree:"+dir)
	if inode(t, filepath.Join(one.Dir, "Makefile")) == inode(t, filepath.Join(dir, "Makefile")) {
		t.Error("the store shares a file with the user's tree")
	}
	write(t, filepath.Join(dir, "init/main.c"), "int changed;\n")
	if err := os.Chmod(filepath.Join(dir, "drivers/noiommu.c"), 0o755); err != nil {
		t.Fatal(err)
	}
	two := s.get(t, "tree:"+dir)
	tar := filepath.Join(t.TempDir(), "x.tar")
	write(t, filepath.Join(dir, "init/main.c"), "int changed_again;\n")
	run(t, filepath.Dir(dir), "tar", "-cf", tar, "linux")
	three := s.get(t, "tarball:"+tar)
	for _, tree := range []Tree{two, three} {
		for name, shared := range map[string]bool{"Makefile": true, "drivers/Kconfig": true, "init/main.c": false, "drivers/noiommu.c": false} {
			if got := inode(t, filepath.Join(one.Dir, name)) == inode(t, filepath.Join(tree.Dir, name)); got != shared {
				t.Errorf("%s: shared %v", name, got)
			}
		}
	}
	if target, err := os.Readlink(filepath.Join(two.Dir, "init/link.c")); err != nil || target != "main.c" {
		t.Errorf("link: %q, %v", target, err)
	}
	a, err := one.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	b, err := two.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	var changed []string
	for _, c := range b.Diff(a) {
		changed = append(changed, c.Path)
	}
	if d := cmp.Diff([]string{"drivers/noiommu.c", "init/main.c"}, changed); d != "" {
		t.Error(d)
	}
}

// The second time, only what changed is read.
func TestHashesAreRemembered(t *testing.T) {
	s := newStore(t)
	dir := kernel(t)
	// Files change and are imported within one tick here; older ones are
	// remembered. The change time cannot be set, so the clock is.
	first := s.get(t, "tree:"+dir)
	h := s.openHashes(dir)
	h.start = time.Now().Add(time.Hour)
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	names, err := allFiles(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	m, err := s.list(t.Context(), root, names, h)
	if err != nil || m.ID() != first.ID {
		t.Fatalf("%v, ID %s, want %s", err, m.ID(), first.ID)
	}
	if err := h.save(); err != nil {
		t.Fatal(err)
	}
	// A remembered hash is believed ...
	text, err := os.ReadFile(h.file)
	if err != nil {
		t.Fatal(err)
	}
	sum := ""
	for _, e := range m {
		if e.Path == "init/main.c" {
			sum = e.Data
		}
	}
	write(t, h.file, strings.Replace(string(text), sum, strings.Repeat("0", 64), 1))
	lie, err := s.list(t.Context(), root, names, s.openHashes(dir))
	if err != nil || lie.ID() == first.ID {
		t.Fatalf("init/main.c was read again (%v)", err)
	}
	// ... until the file changes.
	now := time.Now()
	if err := os.Chtimes(filepath.Join(dir, "init/main.c"), now, now); err != nil {
		t.Fatal(err)
	}
	truth, err := s.list(t.Context(), root, names, s.openHashes(dir))
	if err != nil || truth.ID() != first.ID {
		t.Errorf("init/main.c was not read again (%v)", err)
	}
}

type member struct {
	name, link string
	kind       byte
	body       string
}

func archive(t *testing.T, members ...member) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	all := append([]member{{name: "l/Kconfig"}, {name: "l/Makefile", body: "VERSION = 7\nPATCHLEVEL = 3\n"}}, members...)
	for _, m := range all {
		if m.kind == 0 {
			m.kind = tar.TypeReg
		}
		h := &tar.Header{Name: m.name, Linkname: m.link, Typeflag: m.kind, Mode: 0o644, Size: int64(len(m.body))}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, m.body); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestHostileArchives(t *testing.T) {
	for name, c := range map[string]struct {
		members []member
		want    string
	}{
		"absolute":              {[]member{{name: "/etc/x"}}, "is absolute"},
		"upwards":               {[]member{{name: "l/../../x"}}, "goes upwards"},
		"upwards and back":      {[]member{{name: "../l/x"}}, "goes upwards"},
		"newline":               {[]member{{name: "l/a\nb"}}, "control character"},
		"tab":                   {[]member{{name: "l/a\tb"}}, "control character"},
		"long":                  {[]member{{name: "l/" + strings.Repeat("x/", 600) + "x"}}, "too long"},
		"link outside":          {[]member{{name: "l/x", kind: tar.TypeSymlink, link: "../../x"}}, "leads out of the tree"},
		"absolute link":         {[]member{{name: "l/x", kind: tar.TypeSymlink, link: "/etc/passwd"}}, "leads out of the tree"},
		"link down and up":      {[]member{{name: "l/x", kind: tar.TypeSymlink, link: "d/../../l"}}, "down and up"},
		"through a link":        {[]member{{name: "l/d", kind: tar.TypeSymlink, link: "e"}, {name: "l/d/x"}}, "behind the link"},
		"link over a directory": {[]member{{name: "l/d/x"}, {name: "l/d", kind: tar.TypeSymlink, link: "e"}}, "file exists"},
		"twice":                 {[]member{{name: "l/x"}, {name: "l/x"}}, "file exists"},
		"file as directory":     {[]member{{name: "l/x"}, {name: "l/x/y"}}, "file exists"},
		"hard link":             {[]member{{name: "l/x", kind: tar.TypeLink, link: "l/Makefile"}}, "no entries of type"},
		"device":                {[]member{{name: "l/x", kind: tar.TypeChar}}, "no entries of type"},
		"fifo":                  {[]member{{name: "l/x", kind: tar.TypeFifo}}, "no entries of type"},
		"more than one top":     {[]member{{name: "m/x"}}, "not a kernel source"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			file := filepath.Join(t.TempDir(), "x.tar")
			write(t, file, string(archive(t, c.members...)))
			spec, err := Parse("tarball:" + file)
			if err != nil {
				t.Fatal(err)
			}
			_, err = s.Get(t.Context(), spec)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			clean(t, s)
		})
	}
}

// clean fails when a failed import left anything.
func clean(t *testing.T, s *store) {
	t.Helper()
	for _, dir := range []string{"tmp", "sources", "imports"} {
		if left, _ := os.ReadDir(s.path(dir)); len(left) > 0 {
			t.Errorf("%s/%s is left", dir, left[0].Name())
		}
	}
}

func TestBrokenArchives(t *testing.T) {
	var z bytes.Buffer
	w := gzip.NewWriter(&z)
	w.Write(archive(t))
	w.Close()
	xz := exec.Command("xz", "-c")
	xz.Stdin = bytes.NewReader(archive(t, member{name: "l/big", body: strings.Repeat("not the same 0123456789", 1<<15)}))
	packed, err := xz.Output()
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{
		"empty":         nil,
		"text":          []byte("this is no archive"),
		"cut tar":       archive(t)[:700],
		"cut gzip":      z.Bytes()[:z.Len()-20],
		"cut xz":        packed[:len(packed)-40],
		"garbage in xz": append(slices.Clone(packed[:len(packed)/2]), bytes.Repeat([]byte{0xff}, 100)...),
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			file := filepath.Join(t.TempDir(), "x")
			write(t, file, string(data))
			spec, err := Parse("tarball:" + file)
			if err != nil {
				t.Fatal(err)
			}
			_, err = s.Get(t.Context(), spec)
			if fault.ExitCode(err) != fault.ExitUsage {
				t.Errorf("exit code %d: %v", fault.ExitCode(err), err)
			}
			clean(t, s)
		})
	}
}

func TestCancelImport(t *testing.T) {
	s := newStore(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	spec, err := Parse("tree:" + kernel(t))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get(ctx, spec); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	clean(t, s)
}

// The listing of a manifest reads back, and a difference is found both ways.
func TestManifest(t *testing.T) {
	entry := rapid.Custom(func(t *rapid.T) Entry {
		return Entry{
			Path: rapid.StringMatching(`[a-d](/[a-d]{1,2}){0,2}`).Draw(t, "path"),
			Kind: rapid.SampledFrom([]byte("fxl")).Draw(t, "kind"),
			Data: rapid.StringMatching(`[0-9a-f]{4}`).Draw(t, "data"),
		}
	})
	manifest := rapid.Custom(func(t *rapid.T) Manifest {
		m := Manifest(rapid.SliceOfNDistinct(entry, 0, 20, func(e Entry) string { return e.Path }).Draw(t, "entries"))
		m.sort()
		return m
	})
	file := filepath.Join(t.TempDir(), "manifest")
	rapid.Check(t, func(t *rapid.T) {
		a, b := manifest.Draw(t, "a"), manifest.Draw(t, "b")
		var text bytes.Buffer
		if err := a.encode(&text); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, text.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		got, err := ReadManifest(file)
		if err != nil || !slices.Equal(got, a) {
			t.Fatalf("read %v, %v, want %v", got, err, a)
		}
		if (a.ID() == b.ID()) != slices.Equal(a, b) {
			t.Fatal("IDs and content disagree")
		}
		// Applying the difference to b gives a.
		paths := map[string]Entry{}
		for _, e := range b {
			paths[e.Path] = e
		}
		for _, c := range a.Diff(b) {
			if c.New == nil {
				delete(paths, c.Path)
			} else {
				paths[c.Path] = *c.New
			}
		}
		var applied Manifest
		for _, e := range paths {
			applied = append(applied, e)
		}
		applied.sort()
		if !slices.Equal(applied, a) {
			t.Fatalf("applied %v, want %v", applied, a)
		}
	})
}

// debianArchive is a copy of the signed archive under testdata, which the
// store is told to use.
func debianArchive(t *testing.T, s *store) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("testdata/archive")); err != nil {
		t.Fatal(err)
	}
	t.Setenv(mirrorVariable, "copy:"+dir)
	s.Keyring = filepath.Join(dir, "keyring.gpg")
	return dir
}

const debInArchive = "pool/main/l/linux/linux-source-7.3_7.3.99-1~test_all.deb"

func TestDebian(t *testing.T) {
	s := newStore(t)
	dir := debianArchive(t, s)
	tree := s.get(t, "debian:7.3")
	if tree.Version != "7.3.99-mini" || tree.Origin != "linux-source-7.3 7.3.99-1~test" || !exists(tree.Dir, "Kconfig") {
		t.Errorf("got %+v", tree)
	}
	if len(s.log) != 1 || !strings.Contains(s.log[0], "7.3.99-1~test") {
		t.Errorf("log %q", s.log)
	}
	// From now on the archive is not needed, and its newer packages not taken.
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if again := s.get(t, "debian:7.3"); !reflect.DeepEqual(again, tree) {
		t.Errorf("got %+v, want %+v", again, tree)
	}
	if err := os.RemoveAll(filepath.Dir(tree.Dir)); err != nil {
		t.Fatal(err)
	}
	if again := s.get(t, "debian:7.3"); !reflect.DeepEqual(again, tree) {
		t.Errorf("unpacked again: %+v, want %+v", again, tree)
	}
}

func TestDebianDamagedPackage(t *testing.T) {
	for name, damage := range map[string]func(data []byte) []byte{
		"truncated": func(d []byte) []byte { return d[:len(d)/2] },
		"tampered":  func(d []byte) []byte { d[len(d)/2] ^= 1; return d },
	} {
		t.Run(name+" in the archive", func(t *testing.T) {
			s := newStore(t)
			deb := filepath.Join(debianArchive(t, s), debInArchive)
			data, err := os.ReadFile(deb)
			if err != nil {
				t.Fatal(err)
			}
			write(t, deb, string(damage(data)))
			spec, err := Parse("debian:7.3")
			if err != nil {
				t.Fatal(err)
			}
			_, err = s.Get(t.Context(), spec)
			if err == nil || fault.ExitCode(err) != fault.ExitInfra || !strings.Contains(err.Error(), "fetch: apt-get") {
				t.Errorf("got %v", err)
			}
			clean(t, s)
			if left, _ := os.ReadDir(s.path("downloads")); len(left) > 0 {
				t.Errorf("downloads/%s is left", left[0].Name())
			}
		})
		t.Run(name+" in the cache", func(t *testing.T) {
			s := newStore(t)
			debianArchive(t, s)
			tree := s.get(t, "debian:7.3")
			if err := os.RemoveAll(s.path("sources")); err != nil {
				t.Fatal(err)
			}
			debs, err := filepath.Glob(s.path("downloads", "*", "*.deb"))
			if err != nil || len(debs) != 1 {
				t.Fatalf("%v, %v", debs, err)
			}
			data, err := os.ReadFile(debs[0])
			if err != nil {
				t.Fatal(err)
			}
			write(t, debs[0], string(damage(data)))
			s.log = nil
			if again := s.get(t, "debian:7.3"); !reflect.DeepEqual(again, tree) {
				t.Errorf("got %+v, want %+v", again, tree)
			}
			if len(s.log) == 0 || !strings.Contains(s.log[0], "damaged") {
				t.Errorf("log %q", s.log)
			}
		})
	}
}

// What the key did not sign is not taken.
func TestDebianSignature(t *testing.T) {
	s := newStore(t)
	dir := debianArchive(t, s)
	release := filepath.Join(dir, "dists/trixie-backports/InRelease")
	data, err := os.ReadFile(release)
	if err != nil {
		t.Fatal(err)
	}
	write(t, release, strings.Replace(string(data), "Codename: trixie", "Codename: t*ixie", 1))
	spec, err := Parse("debian:7.3")
	if err != nil {
		t.Fatal(err)
	}
	if _, err = s.Get(t.Context(), spec); err == nil || fault.ExitCode(err) != fault.ExitInfra {
		t.Errorf("got %v", err)
	}
	clean(t, s)
}

func TestVersion(t *testing.T) {
	for makefile, want := range map[string]string{
		"VERSION = 7\nPATCHLEVEL = 3\nSUBLEVEL = 4\nEXTRAVERSION =\n":      "7.3.4",
		"VERSION = 7\nPATCHLEVEL = 4\nSUBLEVEL = 0\nEXTRAVERSION = -rc1\n": "7.4.0-rc1",
		"all:\n\techo\n": "",
	} {
		dir := t.TempDir()
		write(t, filepath.Join(dir, "Makefile"), makefile)
		write(t, filepath.Join(dir, "Kconfig"), "")
		got, err := version(os.DirFS(dir))
		if got != want || errors.Is(err, errNotKernel) != (want == "") {
			t.Errorf("%q: %q, %v", makefile, got, err)
		}
	}
	for _, spec := range []string{"tree:" + t.TempDir(), "tarball:" + notKernel(t)} {
		p, err := Parse(spec)
		if err != nil {
			t.Fatal(err)
		}
		_, err = newStore(t).Get(t.Context(), p)
		if fault.ExitCode(err) != fault.ExitUsage || !strings.Contains(err.Error(), "not a kernel source: it has no Kconfig") {
			t.Errorf("%s: %v", spec, err)
		}
	}
}

// notKernel is an archive of something else.
func notKernel(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "x/README"), "not a kernel")
	run(t, dir, "tar", "-cf", "x.tar", "x")
	return filepath.Join(dir, "x.tar")
}
