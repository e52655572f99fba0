// SPDX-License-Identifier: Apache-2.0

package repro

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"pgregory.net/rapid"

	"noiommu-farm/internal/fault"
	"noiommu-farm/results"
)

func TestCapsule(t *testing.T) {
	c := load(t, record(t), "latest")[0]
	dir := t.TempDir()
	var files [2][]byte
	for i := range files {
		path := filepath.Join(dir, "c.tar.zst")
		if err := WriteCapsule(path, c); err != nil {
			t.Fatal(err)
		}
		files[i], _ = os.ReadFile(path)
	}
	if !bytes.Equal(files[0], files[1]) {
		t.Error("the same case gives different bytes")
	}
	to := t.TempDir()
	got, err := OpenCapsule(filepath.Join(dir, "c.tar.zst"), to)
	if err != nil {
		t.Fatal(err)
	}
	if got.Name() != c.Name() || got.Reason != c.Reason || got.Seen.Difference(c.Seen) != "" {
		t.Errorf("got %+v, want %+v", got, c)
	}
	if diff := cmp.Diff(c.repeat.Planned, got.repeat.Planned); diff != "" {
		t.Errorf("plan (-want +got)\n%s", diff)
	}
	for path, want := range map[string]string{got.repeat.Kernel: "kernel", got.repeat.Initrd: "initramfs"} {
		if text, err := os.ReadFile(path); err != nil || string(text) != want {
			t.Errorf("%s: %q, %v", path, text, err)
		}
	}
	if got.repeat.Config != config || got.repeat.Set["VFIO"] != "y" {
		t.Errorf("configuration: %q %v", got.repeat.Config, got.repeat.Set)
	}
	if left, _ := os.ReadDir(dir); len(left) != 1 {
		t.Errorf("left behind: %v", left)
	}
}

// entry is one file of an archive that no farm wrote.
type entry struct {
	header tar.Header
	text   string
}

func archive(t *testing.T, entries []entry) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "c.tar.zst")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := zstd.NewWriter(f)
	if err != nil {
		t.Fatal(err)
	}
	w := tar.NewWriter(z)
	for _, e := range entries {
		if e.header.Typeflag == 0 {
			e.header.Typeflag = tar.TypeReg
		}
		if e.header.Typeflag == tar.TypeReg {
			e.header.Size = int64(len(e.text))
		}
		if err := w.WriteHeader(&e.header); err != nil {
			t.Fatal(err)
		}
		io.WriteString(w, e.text)
	}
	w.Close()
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

// entries are those of a good capsule, with a manifest that change changed.
func entries(t *testing.T, change func(*manifest)) []entry {
	t.Helper()
	p, err := narrow(planned(), Place{"get_pa", "get_pa.PA-02"})
	if err != nil {
		t.Fatal(err)
	}
	m := manifest{Format: capsuleFormat, Planned: p, Program: "get_pa", Test: "get_pa.PA-02", Files: map[string]string{
		configFile: hash([]byte(config)), consoleFile: hash([]byte("console")), kernelFile: hash([]byte("kernel")), initrdFile: hash([]byte("initramfs")),
	}}
	change(&m)
	text, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return []entry{
		{tar.Header{Name: manifestFile}, string(text)},
		{tar.Header{Name: configFile}, config},
		{tar.Header{Name: consoleFile}, "console"},
		{tar.Header{Name: kernelFile}, "kernel"},
		{tar.Header{Name: initrdFile}, "initramfs"},
	}
}

func TestHostileCapsule(t *testing.T) {
	same := func(*manifest) {}
	for name, c := range map[string]struct {
		change  func(*manifest)
		entries func([]entry) []entry
		want    string // in the error; empty is a good one
	}{
		"good":         {same, func(e []entry) []entry { return e }, ""},
		"empty":        {same, func(e []entry) []entry { return nil }, "ends before"},
		"cut off":      {same, func(e []entry) []entry { return e[:3] }, "ends before vmlinux"},
		"one too many": {same, func(e []entry) []entry { return append(e, entry{tar.Header{Name: "more"}, "x"}) }, "besides"},
		"a file twice": {same, func(e []entry) []entry { e[2] = e[1]; return e }, "belongs"},
		"upwards":      {same, func(e []entry) []entry { e[2].header.Name = "../console.log"; return e }, "belongs"},
		"absolute":     {same, func(e []entry) []entry { e[2].header.Name = "/etc/passwd"; return e }, "belongs"},
		"a symbolic link": {same, func(e []entry) []entry {
			e[3].header.Typeflag, e[3].header.Linkname, e[3].text = tar.TypeSymlink, "/etc/passwd", ""
			return e
		}, "belongs"},
		"a hard link": {same, func(e []entry) []entry {
			e[3].header.Typeflag, e[3].header.Linkname, e[3].text = tar.TypeLink, configFile, ""
			return e
		}, "belongs"},
		"a directory": {same, func(e []entry) []entry { e[3].header.Typeflag, e[3].text = tar.TypeDir, ""; return e }, "belongs"},
		"a device":    {same, func(e []entry) []entry { e[3].header.Typeflag, e[3].text = tar.TypeChar, ""; return e }, "belongs"},
		"extended header": {same, func(e []entry) []entry {
			e[3].header.PAXRecords = map[string]string{"SCHILY.xattr.user.x": "y"}
			return e
		}, "belongs"},
		"another kernel":  {same, func(e []entry) []entry { e[3].text = "other"; return e }, "SHA-256"},
		"too long":        {same, func(e []entry) []entry { e[1].text = strings.Repeat("x", 4<<20+1); return e }, "at most"},
		"no hash":         {func(m *manifest) { delete(m.Files, kernelFile) }, nil, "SHA-256"},
		"another format":  {func(m *manifest) { m.Format = 2 }, nil, "format 2"},
		"a cell upwards":  {func(m *manifest) { m.Planned.Cell = "../../x" }, nil, "no name of a cell"},
		"a hidden cell":   {func(m *manifest) { m.Planned.Cell = ".x" }, nil, "no name of a cell"},
		"a name to print": {func(m *manifest) { m.Planned.Programs[0].Name, m.Program = "\x1b[2J", "\x1b[2J" }, nil, "no name of a program"},
		"two programs":    {func(m *manifest) { m.Planned.Programs = append(m.Planned.Programs, m.Planned.Programs[0]) }, nil, "at most one"},
		"no program":      {func(m *manifest) { m.Planned.Programs = nil }, nil, "without its program"},
		"other program":   {func(m *manifest) { m.Program = "nodes" }, nil, "and the plan has"},
		"relative path":   {func(m *manifest) { m.Planned.Programs[0].Argv = []string{"suites"} }, nil, "absolute"},
		"no argv":         {func(m *manifest) { m.Planned.Programs[0].Argv = nil }, nil, "no arguments"},
		"long argument":   {func(m *manifest) { m.Planned.Programs[0].Env = []string{strings.Repeat("x", 5000)} }, nil, "5000 bytes"},
		"endless":         {func(m *manifest) { m.Planned.Programs[0].Timeout = 1 << 62 }, nil, "time limit"},
		"hugepages":       {func(m *manifest) { m.Planned.Facts.Hugepages = 1 << 40 }, nil, "hugepages"},
	} {
		t.Run(name, func(t *testing.T) {
			all := entries(t, c.change)
			if c.entries != nil {
				all = c.entries(all)
			}
			dir := t.TempDir()
			_, err := OpenCapsule(archive(t, all), dir)
			if c.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			if fault.ExitCode(err) != fault.ExitUsage || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want a usage error with %q", err, c.want)
			}
			if up, _ := os.ReadDir(filepath.Dir(dir)); len(up) > 2 {
				t.Errorf("something was written beside the directory: %v", up)
			}
		})
	}
}

// What a record says of the machine is checked before anything boots.
func TestHostileMachine(t *testing.T) {
	for name, change := range map[string]func(*results.Machine){
		"topology":   func(m *results.Machine) { m.Topology = "none,x" },
		"device":     func(m *results.Machine) { m.Devices = []string{"edu,chardev=qmp"} },
		"devices":    func(m *results.Machine) { m.Devices = strings.Split(strings.Repeat("edu ", 40), " ")[:40] },
		"processors": func(m *results.Machine) { m.CPUs = 1 << 20 },
		"memory":     func(m *results.Machine) { m.MemoryMiB = 1 << 30 },
		"parameter":  func(m *results.Machine) { m.Parameters = []string{"a\nb"} },
		"parameters": func(m *results.Machine) { m.Parameters = []string{strings.Repeat("x", 4000)} },
	} {
		path := archive(t, entries(t, func(m *manifest) { change(&m.Planned.Machine) }))
		c, err := OpenCapsule(path, t.TempDir())
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		runs := t.TempDir()
		if _, err := Tries(t.Context(), c, 1, Options{Runs: runs}); fault.ExitCode(err) != fault.ExitUsage {
			t.Errorf("%s: got %v", name, err)
		}
		if left, _ := os.ReadDir(runs); len(left) > 0 {
			t.Errorf("%s: left %v", name, left)
		}
	}
}

// No byte of a capsule can be changed into something that is taken for it, and
// no such change does more than fail.
func TestDamagedCapsule(t *testing.T) {
	whole, err := os.ReadFile(archive(t, entries(t, func(*manifest) {})))
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(r *rapid.T) {
		damaged := bytes.Clone(whole)
		switch rapid.IntRange(0, 1).Draw(r, "how") {
		case 0:
			damaged = damaged[:rapid.IntRange(0, len(damaged)-1).Draw(r, "length")]
		case 1:
			i := rapid.IntRange(0, len(damaged)-1).Draw(r, "at")
			damaged[i] ^= byte(rapid.IntRange(1, 255).Draw(r, "bits"))
		}
		dir, err := os.MkdirTemp("", "capsule-")
		if err != nil {
			r.Fatal(err)
		}
		defer os.RemoveAll(dir)
		path := filepath.Join(dir, "c")
		if err := os.WriteFile(path, damaged, 0o600); err != nil {
			r.Fatal(err)
		}
		to := filepath.Join(dir, "to")
		os.Mkdir(to, 0o755)
		c, err := OpenCapsule(path, to)
		if err == nil {
			// What zstd and tar do not protect must not matter.
			if c.Name() != "get_pa.PA-02 in debian-7.3_noiommu_none" {
				r.Fatalf("read as %+v", c)
			}
		} else if fault.ExitCode(err) != fault.ExitUsage {
			r.Fatal(err)
		}
	})
}

func TestElsewhere(t *testing.T) {
	m := results.Machine{QEMU: "10.0.2", Accel: "kvm"}
	if d := differences(m, "10.0.2", "kvm"); len(d) != 0 {
		t.Errorf("the same machine differs: %q", d)
	}
	if d := differences(m, "9.2.0", "tcg"); len(d) != 2 || !strings.Contains(d[0], "9.2.0") || !strings.Contains(d[1], "KVM") {
		t.Errorf("got %q", d)
	}
}
