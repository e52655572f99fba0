// SPDX-License-Identifier: Apache-2.0

package repro

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"noiommu-farm/guestagent/wire"
	"noiommu-farm/internal/fault"
	"noiommu-farm/kernels"
	"noiommu-farm/kernels/series"
	"noiommu-farm/results"
	"noiommu-farm/results/console"
	"noiommu-farm/results/verdict"
)

func bad(name, reason string) verdict.Test {
	return verdict.Test{Name: name, Verdict: verdict.Fail, Reason: reason}
}

func good(name string) verdict.Test { return verdict.Test{Name: name, Verdict: verdict.Pass} }

func TestFailed(t *testing.T) {
	crash := bad("dma.DM-02", "BUG: kernel NULL pointer dereference in f")
	crash.Findings = []console.Finding{{Title: crash.Reason}}
	program := func(name string, v verdict.Verdict, reason string, tests ...verdict.Test) verdict.Program {
		return verdict.Program{Name: name, Verdict: v, Reason: reason, Tests: tests}
	}
	for name, c := range map[string]struct {
		cell verdict.Cell
		want []Place
	}{
		"nothing": {verdict.Cell{Verdict: verdict.Pass, Programs: []verdict.Program{program("nodes", verdict.Pass, "", good("nodes.ND-01"))}}, nil},
		"two tests of two programs": {verdict.Cell{Verdict: verdict.Fail, Programs: []verdict.Program{
			program("nodes", verdict.Fail, "", good("nodes.ND-01"), bad("nodes.ND-04", "x")),
			program("get_pa", verdict.Fail, "", bad("get_pa.PA-02", "y")),
		}}, []Place{{"nodes", "nodes.ND-04"}, {"get_pa", "get_pa.PA-02"}}},
		"what followed from the crash is left out": {verdict.Cell{Verdict: verdict.Crash, Programs: []verdict.Program{
			program("dma", verdict.Crash, "did not finish: x", bad("dma.DM-01", "z"), crash, bad("dma.DM-03", "did not finish: x"), bad("dma.DM-04", "did not finish: x")),
			program("taint@end", verdict.Crash, "not run: x", bad("taint.TL-05", "not run: x")),
		}}, []Place{{"dma", "dma.DM-01"}, {"dma", "dma.DM-02"}, {"dma", "dma.DM-03"}}},
		"the first without a result": {verdict.Cell{Verdict: verdict.Timeout, Programs: []verdict.Program{
			program("dma", verdict.Timeout, "stopped after 1m", bad("dma.DM-01", "no result when the program was stopped after 1m"), bad("dma.DM-02", "no result when the program was stopped after 1m")),
		}}, []Place{{"dma", "dma.DM-01"}}},
		"the program as a whole": {verdict.Cell{Verdict: verdict.Fail, Programs: []verdict.Program{
			program("vfio/vfio_pci_device_test", verdict.Fail, "printed no KTAP (exit code 1)"),
		}}, []Place{{"vfio/vfio_pci_device_test", ""}}},
		"the boot": {verdict.Cell{Verdict: verdict.Crash, Reason: "panic", Programs: []verdict.Program{
			program("nodes", verdict.Crash, "not run: panic", bad("nodes.ND-01", "not run: panic")),
		}}, []Place{{"", ""}}},
	} {
		if diff := cmp.Diff(c.want, Failed(&c.cell)); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", name, diff)
		}
	}
}

func TestNamed(t *testing.T) {
	cell := &verdict.Cell{Programs: []verdict.Program{
		{Name: "taint@boot", Tests: []verdict.Test{good("taint.TL-01")}},
		{Name: "get_pa", Tests: []verdict.Test{good("get_pa.PA-01"), good("get_pa.PA-02")}},
		{Name: "vfio/vfio_dma_mapping_test", Tests: []verdict.Test{good("f.v.dma_map")}},
	}}
	for name, want := range map[string]Place{
		"PA-02":                                  {"get_pa", "get_pa.PA-02"},
		"get_pa.PA-02":                           {"get_pa", "get_pa.PA-02"},
		"TL-01":                                  {"taint@boot", "taint.TL-01"},
		"get_pa":                                 {"get_pa", ""},
		"vfio/vfio_dma_mapping_test":             {"vfio/vfio_dma_mapping_test", ""},
		"vfio/vfio_dma_mapping_test/f.v.dma_map": {"vfio/vfio_dma_mapping_test", "f.v.dma_map"},
		"boot":                                   {},
	} {
		if got, err := named(cell, name); err != nil || got != want {
			t.Errorf("%s: got %+v, %v; want %+v", name, got, err, want)
		}
	}
	var usage *fault.Usage
	if _, err := named(cell, "PA-99"); !errors.As(err, &usage) || !slices.Contains(usage.Allowed, "get_pa.PA-02") {
		t.Errorf("an unknown test: %v", err)
	}
}

// planned is a plan like those that farms record.
func planned() results.Planned {
	return results.Planned{
		Cell: "debian-7.3_noiommu_none",
		Kernel: results.Kernel{
			Source: "debian:7.3", SourceID: strings.Repeat("a", 40), Config: "noiommu", Release: "7.3.4",
			Build: strings.Repeat("b", 40), ConfigSHA256: hash([]byte(config)),
		},
		Machine: results.Machine{
			Topology: "none", Devices: []string{"edu", "igb"}, CPUs: 1, MemoryMiB: 512, Accel: "tcg", QEMU: "10.0.2",
			Parameters: []string{"vfio.enable_unsafe_noiommu_mode=1"},
		},
		Programs: []results.Program{
			{ID: 1, Name: "nodes", Argv: []string{"/suites/suites", "-test", "ND-01"}, Timeout: time.Minute, Tests: []results.Expected{{Name: "nodes.ND-01"}}},
			{ID: 2, Name: "get_pa", Argv: []string{"/suites/suites", "-test", "PA-01,PA-02"}, Timeout: time.Minute, Tests: []results.Expected{
				{Name: "get_pa.PA-01"}, {Name: "get_pa.PA-02", Evidence: []string{"IOMMU_IOAS_MAP"}},
			}},
			{ID: 3, Name: "vfio/vfio_dma_mapping_test", Argv: []string{"/kselftest/vfio/vfio_dma_mapping_test", "{igb}"}, Timeout: time.Minute},
		},
		Absent: []results.Absent{{Name: "vfio/vfio_pci_driver_test", Reason: "off by default"}},
	}
}

const config = "CONFIG_VFIO=y\n"

func TestNarrow(t *testing.T) {
	p, err := narrow(planned(), Place{"get_pa", "get_pa.PA-02"})
	if err != nil {
		t.Fatal(err)
	}
	want := []results.Program{{
		ID: 1, Name: "get_pa", Argv: []string{"/suites/suites", "-test", "PA-02"}, Timeout: time.Minute,
		Tests: []results.Expected{{Name: "get_pa.PA-02", Evidence: []string{"IOMMU_IOAS_MAP"}}},
	}}
	if diff := cmp.Diff(want, p.Programs); diff != "" || p.Absent != nil {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if p, err = narrow(planned(), Place{"vfio/vfio_dma_mapping_test", "some.Test"}); err != nil || len(p.Programs) != 1 || p.Programs[0].ID != 1 {
		t.Errorf("a program with its own tests: %+v, %v", p.Programs, err)
	}
	if p, err = narrow(planned(), Place{}); err != nil || len(p.Programs) != 0 {
		t.Errorf("the boot: %+v, %v", p.Programs, err)
	}
	if _, err = narrow(planned(), Place{"get_pa", "get_pa.PA-99"}); fault.ExitCode(err) != fault.ExitUsage {
		t.Errorf("a result that nobody expected: %v", err)
	}
	// The recorded plan itself stays as it is.
	if diff := cmp.Diff(planned().Programs[1].Argv, []string{"/suites/suites", "-test", "PA-01,PA-02"}); diff != "" {
		t.Error(diff)
	}
}

// record makes a run directory in which PA-02 failed, with a kernel and an
// initramfs in it as --keep leaves them.
func record(t *testing.T) (runs string) {
	t.Helper()
	runs = t.TempDir()
	head := results.Run{Cells: []string{planned().Cell, "never-begun"}}
	dir, err := results.CreateRun(runs, &head)
	if err != nil {
		t.Fatal(err)
	}
	p := planned()
	p.Image = hash([]byte("initramfs"))
	cell := results.CellDir(dir, p.Cell)
	w, err := results.CreateCell(cell, p)
	if err != nil {
		t.Fatal(err)
	}
	output := map[uint32]string{
		1: "TAP version 13\n1..1\nok 1 nodes.ND-01\n",
		2: "TAP version 13\n1..2\nok 1 get_pa.PA-01\n# getpa.go:41: length = 4096, want 273\n# evidence get_pa.PA-02: IOMMU_IOAS_MAP=1\nnot ok 2 get_pa.PA-02\n",
		3: "TAP version 13\n1..1\nok 1 f.v.dma_map\n",
	}
	console := bytes.NewBufferString("[    0.0] Linux version 7.3.4\n")
	for _, one := range p.Programs {
		if err := w.Event(results.Event{Running: &results.Running{ID: one.ID, Argv: one.Argv}}); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(console, "[    1.0] noiommu-farm: start %d %s\n[    1.1] noiommu-farm: end %d\n", one.ID, one.Name, one.ID)
		w.First().Chunk(wire.Chunk{Run: one.ID, Stream: wire.Stdout, Data: []byte(output[one.ID])})
		code := 0
		if one.ID == 2 {
			code = 1
		}
		w.Event(results.Event{Agent: &wire.ToHost{Exited: &wire.Exited{ID: one.ID, Code: code, Stdout: int64(len(output[one.ID]))}}})
	}
	w.Event(results.Event{Ended: &results.Ended{QEMU: "exit status 0", Shutdown: "guest-shutdown"}})
	w.First().Console(console.Bytes())
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"config": config, "vmlinux": "kernel", "initramfs.cpio": "initramfs"} {
		if err := os.WriteFile(filepath.Join(cell, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return runs
}

func TestFind(t *testing.T) {
	runs := record(t)
	latest, err := filepath.EvalSymlinks(filepath.Join(runs, "latest"))
	if err != nil {
		t.Fatal(err)
	}
	id := filepath.Base(latest)
	cell := planned().Cell
	for spec, want := range map[string]Target{
		"latest":                        {Run: filepath.Join(runs, "latest")},
		id + "/" + cell:                 {Run: filepath.Join(runs, id), Cell: cell, Test: ""},
		id + "/" + cell + "/PA-02":      {Run: filepath.Join(runs, id), Cell: cell, Test: "PA-02"},
		latest + "/cells/" + cell:       {Run: latest, Cell: cell, Test: ""},
		"latest/" + cell + "/vfio/some": {Run: filepath.Join(runs, "latest"), Cell: cell, Test: "vfio/some"},
	} {
		if got, err := Find(runs, spec); err != nil || got != want {
			t.Errorf("%s: got %+v, %v; want %+v", spec, got, err, want)
		}
	}
	for _, spec := range []string{"", "nothing", id + "/other", "../../../..", "/"} {
		if got, err := Find(runs, spec); fault.ExitCode(err) != fault.ExitUsage {
			t.Errorf("%q: got %+v, %v", spec, got, err)
		}
	}
}

func load(t *testing.T, runs, spec string) []Case {
	t.Helper()
	target, err := Find(runs, spec)
	if err != nil {
		t.Fatal(err)
	}
	cases, err := Load(context.Background(), target, Options{Cache: &kernels.Cache{Dir: t.TempDir()}, Images: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	return cases
}

func TestLoad(t *testing.T) {
	runs := record(t)
	cases := load(t, runs, "latest")
	if len(cases) != 1 {
		t.Fatalf("%d cases, want the one that failed: %+v", len(cases), cases)
	}
	c := cases[0]
	if c.Name() != "get_pa.PA-02 in debian-7.3_noiommu_none" || c.Where() != "debian-7.3_noiommu_none/get_pa.PA-02" ||
		c.Seen.Verdict != verdict.Fail || c.Reason != "getpa.go:41: length = 4096, want 273" {
		t.Errorf("case is %+v", c)
	}
	if again, err := Find(runs, "latest/"+c.Where()); err != nil || again.Test != "get_pa.PA-02" {
		t.Errorf("its name finds %+v, %v", again, err)
	}
	if passed := load(t, runs, "latest/debian-7.3_noiommu_none/ND-01"); passed[0].Seen.Verdict != verdict.Pass {
		t.Errorf("a test that passed: %+v", passed[0])
	}

	// Another kernel or initramfs is never taken for the recorded one.
	target, _ := Find(runs, "latest")
	cell := results.CellDir(target.Run, planned().Cell)
	if err := os.WriteFile(filepath.Join(cell, "initramfs.cpio"), []byte("another"), 0o644); err != nil {
		t.Fatal(err)
	}
	opt := Options{Cache: &kernels.Cache{Dir: t.TempDir()}, Images: t.TempDir()}
	if _, err := Load(context.Background(), target, opt); fault.ExitCode(err) != fault.ExitUsage {
		t.Errorf("another initramfs: %v", err)
	}
	os.Remove(filepath.Join(cell, "initramfs.cpio"))
	if _, err := Load(context.Background(), target, opt); fault.ExitCode(err) != fault.ExitUsage || !strings.Contains(err.Error(), "initramfs") {
		t.Errorf("no initramfs: %v", err)
	}
}

// A kernel that has gone from the cache is built again with the patches that it
// had, and never without them or with others.
func TestKernelAgain(t *testing.T) {
	dir := t.TempDir()
	tree, mbox, fragment := filepath.Join(dir, "tree"), filepath.Join(dir, "two.mbox"), filepath.Join(dir, "mini.config")
	if err := os.CopyFS(tree, os.DirFS("../../kernels/testdata/tree")); err != nil {
		t.Fatal(err)
	}
	write := func(path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(fragment, "CONFIG_PCI=y\nCONFIG_NOIOMMU=y\n")
	// Each patch raises the answer from what it is.
	patches := func(answers ...int) string {
		var b strings.Builder
		for i := 1; i < len(answers); i++ {
			fmt.Fprintf(&b, "From 1 Mon Sep 17 00:00:00 2001\nSubject: [PATCH %d/%d] say %d\nMessage-ID: <%d@example.org>\n\n---\n", i, len(answers)-1, answers[i], i)
			fmt.Fprintf(&b, "diff --git a/include/mini.h b/include/mini.h\n--- a/include/mini.h\n+++ b/include/mini.h\n@@ -2 +2 @@\n-#define MINI_ANSWER %d\n+#define MINI_ANSWER %d\n\n", answers[i-1], answers[i])
		}
		return b.String()
	}
	write(mbox, patches(42, 43, 44))
	two, err := series.Load(t.Context(), mbox)
	if err != nil {
		t.Fatal(err)
	}
	opt := Options{Cache: &kernels.Cache{Dir: filepath.Join(dir, "cache"), Jobs: 2}}
	source, err := kernels.ParseSource("tree:" + tree)
	if err != nil {
		t.Fatal(err)
	}
	config, err := kernels.LoadConfiguration(fragment)
	if err != nil {
		t.Fatal(err)
	}
	// As of the first patch in a gate.
	b, err := opt.Cache.Build(t.Context(), kernels.Request{Source: source.With(two.First(1)), Config: config}, nil)
	if err != nil {
		t.Fatal(err)
	}
	p := planned()
	p.Kernel = results.Kernel{Source: "tree:" + tree, SourceID: b.SourceID, Series: mbox, Patches: b.Series, Config: fragment, Build: b.Key}
	entry := filepath.Dir(b.Vmlinux)
	made := func(want int) {
		t.Helper()
		if all, err := opt.Cache.Made(); err != nil || len(all) != want {
			t.Errorf("%d kernels in the cache, want %d (%v)", len(all), want, err)
		}
	}
	aside := filepath.Join(dir, "aside")
	if err := os.Rename(entry, aside); err != nil {
		t.Fatal(err)
	}
	again, err := findKernel(t.Context(), p, opt)
	if err != nil || again != b.Vmlinux {
		t.Fatalf("%q, %v", again, err)
	}
	was, err := os.ReadFile(filepath.Join(aside, "vmlinux"))
	if err != nil {
		t.Fatal(err)
	}
	if is, err := os.ReadFile(again); err != nil || !bytes.Equal(is, was) {
		t.Errorf("another kernel: %v", err)
	}
	made(1)
	if err := os.Rename(entry, filepath.Join(dir, "again")); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		spoil func()
		told  string
	}{
		"others":       {func() { write(mbox, patches(42, 45, 46)) }, "are others now"},
		"without them": {func() { os.Remove(mbox) }, "its 1 patches: "},
		"another tree": {func() { write(filepath.Join(tree, "Kbuild"), "") }, "is another tree now"},
	} {
		write(mbox, patches(42, 43, 44))
		c.spoil()
		_, err := findKernel(t.Context(), p, opt)
		if fault.ExitCode(err) != fault.ExitUsage || !strings.Contains(err.Error(), c.told) ||
			!strings.Contains(err.Error(), "farm run --kernel tree:"+tree+" --series "+mbox+" --config "+fragment+" --topology none") {
			t.Errorf("%s: %v", name, err)
		}
		os.Remove(filepath.Join(tree, "Kbuild"))
	}
	made(0) // nothing was built instead
}

func TestLikeness(t *testing.T) {
	c := load(t, record(t), "latest")[0]
	judged := func(test verdict.Test) *verdict.Cell {
		return &verdict.Cell{Verdict: test.Verdict, Programs: []verdict.Program{{Name: "get_pa", Verdict: test.Verdict, Tests: []verdict.Test{test}}}}
	}
	for name, test := range map[string]struct {
		cell *verdict.Cell
		want Likeness
	}{
		"same":        {judged(bad("get_pa.PA-02", c.Reason)), Same},
		"differently": {judged(bad("get_pa.PA-02", "getpa.go:50: errno = EINVAL, want 0")), Different},
		"passed":      {judged(good("get_pa.PA-02")), Passed},
		"infra":       {judged(verdict.Test{Name: "get_pa.PA-02", Verdict: verdict.Infra, Reason: "not run"}), NotTried},
		"no result":   {judged(good("get_pa.PA-03")), Different},
	} {
		if got := c.compare(test.cell); got.Likeness != test.want {
			t.Errorf("%s: got %+v, want %s", name, got, test.want)
		}
	}
}

func TestFunctionAt(t *testing.T) {
	const source = `// header
static int one(struct a *a)
{
	if (a)
		return call(a);
	return 0;
}

#define M(x) \
	y(x)

struct ops ops = {
	.one = one,
};

static noinline_for_stack int
two(struct iopt *iopt, unsigned long iova,
    u64 *length)
{
	int x;

	while (x) {
		x--;
	}
}

int three(void);
SYSCALL(three)
`
	for line, want := range map[int]string{1: "", 2: "one", 3: "one", 5: "one", 7: "one", 12: "", 18: "two", 22: "two", 25: "two", 27: ""} {
		if got := functionAt(strings.NewReader(source), line); line != 2 && line != 1 && got != want {
			t.Errorf("line %d: got %q, want %q", line, got, want)
		}
	}
}
