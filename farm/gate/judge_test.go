// SPDX-License-Identifier: Apache-2.0

package gate

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"noiommu-farm/farm/matrix"
	"noiommu-farm/farm/runner"
	"noiommu-farm/kernels"
	"noiommu-farm/kernels/series"
	"noiommu-farm/results"
	"noiommu-farm/results/verdict"
)

// A world is a base and a series of patches, with what comes of their kernels. A
// gate decides in it as anywhere, but nothing is built or booted.
type world struct {
	patches  [][]string       // files that each touches
	level    Level            // "" is quick
	kconfig  map[int]string   // statement that does not hold, by state
	unbuilt  map[int][]string // configurations that a state does not build with
	builtin  []string         // the kernel's own selftests of every tree; nil is two
	cells    map[int]effect   // what comes of a state's cells; nil is that all pass
	rates    map[int]Rate     // how often a state fails when it is tried again; 3 of 3 from the first patch on
	whole    map[int]Rate     // the same with the whole cell
	booted   []string         // cells that were run
	recorded map[string]*verdict.Cell
}

// An effect changes what comes of a cell in which everything passes.
type effect func(c *verdict.Cell)

func together(all ...effect) effect {
	return func(c *verdict.Cell) {
		for _, one := range all {
			one(c)
		}
	}
}

func program(c *verdict.Cell, name string) *verdict.Program {
	i := slices.IndexFunc(c.Programs, func(p verdict.Program) bool { return p.Name == name })
	if i < 0 {
		return &verdict.Program{} // not of this cell
	}
	return &c.Programs[i]
}

// becomes gives a test a result.
func becomes(name string, v verdict.Verdict, reason string) effect {
	return func(c *verdict.Cell) {
		for i := range c.Programs {
			for j := range c.Programs[i].Tests {
				if t := &c.Programs[i].Tests[j]; t.Name == name {
					t.Verdict, t.Reason = v, reason
				}
			}
		}
	}
}

func fails(names ...string) effect {
	return func(c *verdict.Cell) {
		for _, n := range names {
			becomes(n, verdict.Fail, "wrong")(c)
		}
	}
}

// loses takes tests out of a program, or all of it.
func drops(name string, tests ...string) effect {
	return func(c *verdict.Cell) {
		if len(tests) == 0 {
			c.Programs = slices.DeleteFunc(c.Programs, func(p verdict.Program) bool { return p.Name == name })
		}
		p := program(c, name)
		p.Tests = slices.DeleteFunc(p.Tests, func(t verdict.Test) bool { return slices.Contains(tests, t.Name) })
	}
}

// ends gives a program as a whole a result.
func ends(name string, v verdict.Verdict, reason string) effect {
	return func(c *verdict.Cell) {
		p := program(c, name)
		p.Verdict, p.Reason = v, reason
		for i := range p.Tests {
			if strings.HasPrefix(reason, "not run: ") {
				p.Tests[i].Verdict, p.Tests[i].Reason = v, reason
			}
		}
	}
}

func broken(v verdict.Verdict, reason string) effect {
	return func(c *verdict.Cell) {
		c.Verdict, c.Reason = v, reason
		for _, p := range c.Programs {
			ends(p.Name, v, "not run: "+reason)(c)
		}
	}
}

// cell is what a planned cell comes to where everything passes: two suites, and
// the selftests that were asked for, as the runner chooses them.
func (w *world) cell(state int, planned matrix.Cell) *verdict.Cell {
	add := func(c *verdict.Cell, name string, tests ...string) {
		p := verdict.Program{Name: name}
		for _, t := range tests {
			p.Tests = append(p.Tests, verdict.Test{Name: t, Verdict: verdict.Pass})
		}
		c.Programs = append(c.Programs, p)
	}
	c := &verdict.Cell{Name: planned.Name}
	add(c, "nodes", "nodes.ND-01", "nodes.ND-04")
	many := []string{"get_pa.PA-01", "get_pa.PA-02", "get_pa.PA-03"}
	for i := range 9 {
		many = append(many, fmt.Sprintf("get_pa.more-%d", i))
	}
	add(c, "get_pa", many...)
	for _, name := range w.selftests() {
		dir, one, _ := strings.Cut(name, "/")
		if run, _ := planned.Selection.Kselftest(dir, one); run {
			add(c, name, "f.a.map", "f.b.map")
		}
	}
	if change := w.cells[state]; change != nil {
		change(c)
	}
	for i := range c.Programs {
		p := &c.Programs[i]
		p.Verdict = cmp.Or(p.Verdict, verdict.Skip)
		for _, t := range p.Tests {
			p.Verdict = verdict.Worst(p.Verdict, t.Verdict)
		}
		c.Verdict = verdict.Worst(cmp.Or(c.Verdict, verdict.Skip), p.Verdict)
	}
	return c
}

func (w *world) selftests() []string {
	if w.builtin != nil {
		return w.builtin
	}
	return []string{"vfio/vfio_dma_mapping_test", "vfio/vfio_pci_device_test"}
}

// gate is one that judges the world, in a directory of runs.
func (w *world) gate(t *testing.T, runs string) *gate {
	t.Helper()
	dir := t.TempDir()
	for i, files := range w.patches {
		text := fmt.Sprintf("From: A <a@example.org>\nSubject: [PATCH %d/%d] change %d\nMessage-ID: <%d@example.org>\n\n---\n", i+1, len(w.patches), i+1, i+1)
		for _, f := range files {
			text += fmt.Sprintf("diff --git a/%[1]s b/%[1]s\n--- a/%[1]s\n+++ b/%[1]s\n@@ -1 +1 @@\n-%d\n+%d\n", f, i, i+1)
		}
		write(t, filepath.Join(dir, fmt.Sprintf("%d.patch", i+1)), text)
	}
	var patches series.Series
	if len(w.patches) > 0 {
		var err error
		if patches, err = series.Load(t.Context(), dir); err != nil {
			t.Fatal(err)
		}
	}
	g := &gate{Options: Options{Series: patches, Base: "debian:7.3", Level: cmp.Or(w.level, Quick), Tries: 3, Runs: runs, Tell: func(runner.Progress) {}}}
	g.report = &Report{Series: Series{Patches: len(w.patches), Title: "x"}, Base: g.Base, Level: g.Level}
	w.booted, w.recorded = nil, make(map[string]*verdict.Cell)
	g.hands = hands{
		kconfig: func(_ context.Context, state int) ([]Promise, error) {
			if id := w.kconfig[state]; id != "" {
				return []Promise{{ID: id, Text: "It holds.", Reason: "it does not"}}, nil
			}
			return nil, nil
		},
		compile: func(_ context.Context, state int, config string) (Build, error) {
			if slices.Contains(w.unbuilt[state], config) {
				return Build{Config: config, Error: "compile: x.c:1:2: error"}, nil
			}
			b := Build{Config: config, Key: fmt.Sprintf("%s %d", config, state)}
			for _, s := range w.selftests() {
				dir, name, _ := strings.Cut(s, "/")
				b.selftests = append(b.selftests, kernels.Selftest{Suite: dir, Name: name})
			}
			return b, nil
		},
		guests: func(_ context.Context, state int, plan matrix.Plan) (*runner.Outcome, error) {
			out := &runner.Outcome{Dir: fmt.Sprintf("state %d", state)}
			for _, planned := range plan.Cells {
				c := w.cell(state, planned)
				c.Dir = filepath.Join(runs, "cells", planned.Name)
				if err := os.MkdirAll(c.Dir, 0o755); err != nil {
					return nil, err
				}
				w.booted, w.recorded[c.Dir] = append(w.booted, c.Name), c
				out.Cells = append(out.Cells, c)
			}
			return out, nil
		},
		read: func(c Cell) (*verdict.Cell, error) { return w.recorded[c.Dir], nil },
		retry: func(_ context.Context, k Key, r result, whole bool) (Rate, error) {
			var state int
			if _, err := fmt.Sscanf(r.cell.Run, "state %d", &state); err != nil {
				return Rate{}, fmt.Errorf("%v was not run: %w", k, err)
			}
			rates := w.rates
			if whole {
				rates = w.whole
			}
			if rate, ok := rates[state]; ok {
				return rate, nil
			}
			return Rate{min(3, 3*state), 3}, nil
		},
	}
	return g
}

// judge has the gate judge the world, from its directory to its report.
func (w *world) judge(t *testing.T, runs string) (*Report, error) {
	t.Helper()
	g := w.gate(t, runs)
	release, _, err := g.open(t.Context(), "bench")
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	plans := make([]Plan, len(w.patches)+1)
	for i, files := range w.patches {
		plans[i+1] = PlanFor(files, g.Level)
	}
	plans[0] = union(plans[1:], g.Level)
	if err := g.judgeAll(t.Context(), plans); err != nil {
		return nil, err
	}
	return g.report, g.write()
}

const (
	vfioFile = "drivers/vfio/vfio_main.c"
	cdevFile = "drivers/vfio/device_cdev.c"
	document = "Documentation/driver-api/vfio.rst"
	makefile = "tools/testing/selftests/vfio/Makefile"
	device   = "tools/testing/selftests/vfio/vfio_pci_device_test.c"
)

// What a gate decides, from the results of its states to the first line of its
// report.
func TestJudge(t *testing.T) {
	const pass, fail, skip, infra = verdict.Pass, verdict.Fail, verdict.Skip, verdict.Infra
	one := func(files ...string) [][]string { return [][]string{files} }
	two := [][]string{{vfioFile}, {vfioFile}}
	const selftest = "vfio/vfio_pci_device_test"
	for name, c := range map[string]struct {
		world world
		want  []verdict.Verdict // of the states, the base first
		first string            // words of the first line, at its beginning
		told  string            // in the table
	}{
		"passes": {world{patches: two}, []verdict.Verdict{pass, pass, pass}, "PASS: each of 2 patches builds", ""},
		"breaks a test": {world{patches: two, cells: map[int]effect{1: fails("get_pa.PA-02"), 2: fails("get_pa.PA-02")}},
			[]verdict.Verdict{pass, fail, pass}, `FAIL patch 1/2 "change 1": PA-02: `, "still broken since patch 1/2: PA-02"},
		"mends it": {world{patches: two, cells: map[int]effect{1: fails("get_pa.PA-02")}},
			[]verdict.Verdict{pass, fail, pass}, `FAIL patch 1/2 "change 1": PA-02: `, "mends PA-02"},
		"the base fails too": {world{patches: two, cells: map[int]effect{0: fails("get_pa.PA-02"), 1: fails("get_pa.PA-02"), 2: fails("get_pa.PA-02")}},
			[]verdict.Verdict{fail, pass, pass}, "PASS: each of 2 patches", "fails by itself: PA-02"},

		// Builds.
		"breaks a build": {world{patches: one(vfioFile), unbuilt: map[int][]string{1: {all}}},
			[]verdict.Verdict{pass, fail}, `FAIL patch 1/1 "change 1": KC-12: `, "breaks KC-12"},
		"a build that was broken, and nothing else": {world{patches: two, unbuilt: map[int][]string{1: {all}, 2: {all}}},
			[]verdict.Verdict{pass, fail, skip}, `FAIL patch 1/2 "change 1": KC-12: `, "2/2    not booted"},
		"a build that was broken, and a crash where it builds": {world{patches: two, level: Core, unbuilt: map[int][]string{1: {cdev}, 2: {cdev}}, cells: map[int]effect{2: becomes("get_pa.PA-02", verdict.Crash, "BUG: x")}},
			[]verdict.Verdict{pass, fail, fail}, `FAIL patch 1/2 "change 1": KC-12: `, "breaks PA-02; still broken since patch 1/2: KC-12"},
		"the base does not build with one": {world{patches: one(vfioFile), level: Core, unbuilt: map[int][]string{0: {cdev}, 1: {cdev}}},
			[]verdict.Verdict{fail, pass}, "PASS: the patch builds", "k-cdev on none: the base does not build with k-cdev"},
		"the base does not build with what it touches": {world{patches: [][]string{{vfioFile}, {"drivers/iommu/iommufd/vfio_compat.c"}}, level: Core,
			unbuilt: map[int][]string{0: {all, compat}, 1: {all, compat}, 2: {all, compat}}},
			[]verdict.Verdict{fail, pass, skip}, "PASS: 1 of 2 patches builds, boots and passes on debian:7.3; nothing was booted for the other", "2/2    nothing to run"},

		// Repetition.
		"every time": {world{patches: one(vfioFile), cells: map[int]effect{1: fails("get_pa.PA-02")}},
			[]verdict.Verdict{pass, fail}, "FAIL patch 1/1", "fails 4 of 4 with the patch, 0 of 4 before it (98.6 % sure)"},
		"3 of 4, and 0 of 4 before": {world{patches: one(vfioFile), cells: map[int]effect{1: fails("get_pa.PA-02")}, rates: map[int]Rate{1: {2, 3}}},
			[]verdict.Verdict{pass, fail}, "FAIL patch 1/1", "fails 3 of 4 with the patch, 0 of 4 before it (92.9 % sure); not every time"},
		"with the whole cell alone": {world{patches: one(vfioFile), cells: map[int]effect{1: fails("get_pa.PA-02")}, rates: map[int]Rate{1: {0, 3}}},
			[]verdict.Verdict{pass, fail}, "FAIL patch 1/1", "fails 4 of 4 with the patch, 0 of 7 before it (99.7 % sure); not when it runs alone"},
		"seen once": {world{patches: one(vfioFile), cells: map[int]effect{1: fails("get_pa.PA-02")}, rates: map[int]Rate{1: {0, 3}}, whole: map[int]Rate{1: {0, 3}}},
			[]verdict.Verdict{pass, infra}, "INFRA: nobody knows whether patch 1/1 breaks PA-02: it fails 1 of 7", "UNCLEAR"},
		"now and then, before too": {world{patches: one(vfioFile), cells: map[int]effect{1: fails("get_pa.PA-02")}, rates: map[int]Rate{0: {1, 3}, 1: {1, 3}}},
			[]verdict.Verdict{pass, pass}, "PASS: the patch builds, boots and passes on debian:7.3; 2 results did not repeat", "FLAKY"},
		"too many that do not repeat": {world{patches: one(vfioFile), rates: map[int]Rate{0: {1, 3}, 1: {1, 3}}, cells: map[int]effect{1: fails(
			"get_pa.PA-01", "get_pa.PA-02", "get_pa.PA-03", "get_pa.more-0", "get_pa.more-1", "get_pa.more-2", "get_pa.more-3", "get_pa.more-4", "get_pa.more-5")}},
			[]verdict.Verdict{pass, infra}, "INFRA: too many results do not repeat", ""},

		// The farm.
		"a cell is lost": {world{patches: two, cells: map[int]effect{1: broken(infra, "QEMU is gone")}},
			[]verdict.Verdict{pass, infra, pass}, "INFRA: the farm failed", ""},
		"a result is lost": {world{patches: two, cells: map[int]effect{1: becomes("get_pa.PA-02", infra, "not run: no memory")}},
			[]verdict.Verdict{pass, infra, pass}, "INFRA: the farm failed", ""},
		"a program is lost": {world{patches: two, cells: map[int]effect{1: ends("get_pa", infra, "not run: agent died")}},
			[]verdict.Verdict{pass, infra, pass}, "INFRA: the farm failed", ""},
		"a program is lost behind a test that the base fails": {world{patches: one(vfioFile), cells: map[int]effect{0: fails("nodes.ND-04"), 1: together(fails("nodes.ND-04"), ends("get_pa", infra, "not run: agent died"))}},
			[]verdict.Verdict{fail, infra}, "INFRA: the farm failed", ""},
		"a result is lost that the base fails": {world{patches: one(vfioFile), cells: map[int]effect{0: fails("nodes.ND-04"), 1: becomes("nodes.ND-04", infra, "not run: no memory")}},
			[]verdict.Verdict{fail, infra}, "INFRA: the farm failed", ""},
		"a crash says more than what was lost": {world{patches: one(vfioFile), cells: map[int]effect{1: together(becomes("nodes.ND-01", verdict.Crash, "BUG: x"), ends("get_pa", infra, "not run: agent died"))}},
			[]verdict.Verdict{pass, fail}, `FAIL patch 1/1 "change 1": ND-01`, ""},

		// What vanishes.
		"a test vanishes": {world{patches: two, level: Core, cells: map[int]effect{1: drops(selftest, "f.b.map"), 2: drops(selftest, "f.b.map")}},
			[]verdict.Verdict{pass, fail, pass}, `FAIL patch 1/2 "change 1": vfio/vfio_pci_device_test: no result any more of 1 test that passed before the patch (f.b.map)`, "still broken since patch 1/2: vfio/vfio_pci_device_test f.b.map"},
		"and comes back": {world{patches: two, level: Core, cells: map[int]effect{1: drops(selftest, "f.b.map")}},
			[]verdict.Verdict{pass, fail, pass}, `FAIL patch 1/2 "change 1": vfio/vfio_pci_device_test: no result`, "mends vfio/vfio_pci_device_test f.b.map"},
		"and is gone again": {world{patches: [][]string{{vfioFile}, {vfioFile}, {vfioFile}}, level: Core, cells: map[int]effect{1: drops(selftest, "f.b.map"), 3: drops(selftest, "f.b.map")}},
			[]verdict.Verdict{pass, fail, pass, fail}, `FAIL patch 1/3 "change 1": vfio/vfio_pci_device_test: no result`, ""},
		"a statement vanishes": {world{patches: one(device, vfioFile), cells: map[int]effect{1: drops("get_pa", "get_pa.PA-02")}},
			[]verdict.Verdict{pass, fail}, `FAIL patch 1/1 "change 1": get_pa: no result any more of 1 test that passed before the patch (get_pa.PA-02)`, ""},
		"a program vanishes with its line": {world{patches: [][]string{{makefile}, {device}}, cells: map[int]effect{1: drops(selftest), 2: drops(selftest)}},
			[]verdict.Verdict{pass, pass, pass}, "PASS: each of 2 patches builds, boots and passes on debian:7.3; it runs fewer tests than before",
			"no result any more of 2 tests of vfio/vfio_pci_device_test with noiommu on intel, which passed before"},
		"a test is taken out": {world{patches: one(device), cells: map[int]effect{1: drops(selftest, "f.b.map")}},
			[]verdict.Verdict{pass, pass}, "PASS: the patch builds, boots and passes on debian:7.3; it runs fewer tests", "1/1    pass, but"},
		"a test of another program vanishes": {world{patches: one(device, vfioFile), level: Core, cells: map[int]effect{1: drops("vfio/vfio_dma_mapping_test", "f.a.map")}},
			[]verdict.Verdict{pass, fail}, `FAIL patch 1/1 "change 1": vfio/vfio_dma_mapping_test: no result any more of 1 test`, ""},
		"a test is taken out, and one of another program vanishes": {world{patches: one(device, vfioFile), level: Core, cells: map[int]effect{1: together(drops(selftest, "f.b.map"), drops("vfio/vfio_dma_mapping_test", "f.a.map"))}},
			[]verdict.Verdict{pass, fail}, `FAIL patch 1/1 "change 1": vfio/vfio_dma_mapping_test: no result any more of 1 test`, "no result any more of 1 test of vfio/vfio_pci_device_test with noiommu on intel"},
		"a selftest that this patch does not have run": {world{patches: [][]string{{device}, {vfioFile}}},
			[]verdict.Verdict{pass, pass, pass}, "PASS: each of 2 patches builds, boots and passes on debian:7.3", ""},
		"one that is off by default": {world{patches: [][]string{{"tools/testing/selftests/vfio/vfio_pci_driver_test.c"}, {"tools/testing/selftests/vfio/lib/libvfio.c"}}, builtin: []string{"vfio/vfio_pci_driver_test"},
			cells: map[int]effect{2: drops("vfio/vfio_pci_driver_test")}},
			[]verdict.Verdict{pass, pass, pass}, "PASS: each of 2 patches builds, boots and passes on debian:7.3", ""},
		"a statement is skipped for a reason": {world{patches: one(vfioFile), cells: map[int]effect{1: becomes("nodes.ND-04", skip, "requires cdev")}},
			[]verdict.Verdict{pass, pass}, "PASS: the patch builds, boots and passes on debian:7.3; it runs fewer tests", "skips 1 test of nodes with noiommu on none, which passed before"},
		"a program cannot run for a reason": {world{patches: one(vfioFile), level: Core, cells: map[int]effect{1: together(drops(selftest), func(c *verdict.Cell) {
			c.Absent = []results.Absent{{Name: selftest, Reason: "requires SRIOV"}}
		})}}, []verdict.Verdict{pass, pass}, "PASS: the patch builds, boots and passes on debian:7.3; it runs fewer tests", "skips 2 tests of vfio/vfio_pci_device_test"},
		"a variant cannot run for a reason": {world{patches: one(vfioFile), level: Core, cells: map[int]effect{1: together(drops(selftest, "f.b.map"), func(c *verdict.Cell) {
			c.Absent = []results.Absent{{Name: selftest + " -v b", Reason: "requires a native container"}}
		})}}, []verdict.Verdict{pass, pass}, "PASS: the patch builds, boots and passes on debian:7.3; it runs fewer tests", "skips 1 test of vfio/vfio_pci_device_test"},
		"another variant vanishes beside it": {world{patches: one(vfioFile), level: Core, cells: map[int]effect{1: together(drops(selftest, "f.a.map", "f.b.map"), func(c *verdict.Cell) {
			c.Absent = []results.Absent{{Name: selftest + " -v b", Reason: "requires a native container"}}
		})}}, []verdict.Verdict{pass, fail}, `FAIL patch 1/1 "change 1": vfio/vfio_pci_device_test: no result any more of 1 test that passed before the patch (f.a.map)`, "skips 1 test of vfio/vfio_pci_device_test"},
		"the program crashes before it": {world{patches: one(vfioFile), level: Core, cells: map[int]effect{1: together(drops(selftest, "f.b.map"), ends(selftest, verdict.Crash, "did not finish: BUG: x"))}},
			[]verdict.Verdict{pass, fail}, `FAIL patch 1/1 "change 1": vfio/vfio_pci_device_test: did not finish: BUG: x`, ""},
		"the guest dies in the suite before it": {world{patches: one(vfioFile), cells: map[int]effect{1: together(becomes("nodes.ND-04", verdict.Crash, "did not finish: panic"), ends("get_pa", verdict.Crash, "not run: panic"))}},
			[]verdict.Verdict{pass, fail}, `FAIL patch 1/1 "change 1": ND-04`, ""},
		"it dies there on one machine, and without a word on another": {world{patches: one(vfioFile), cells: map[int]effect{0: fails("nodes.ND-01"), 1: func(c *verdict.Cell) {
			fails("nodes.ND-01")(c)
			if strings.HasSuffix(c.Name, "_"+none) {
				becomes("nodes.ND-04", verdict.Crash, "did not finish: panic")(c)
			}
			ends("get_pa", verdict.Crash, "not run: panic")(c)
		}}}, []verdict.Verdict{fail, fail}, `FAIL patch 1/1 "change 1": ND-04`, "get_pa: no result of 12 tests that passed before the patch: not run: panic"},
		"it does not boot": {world{patches: one(vfioFile), cells: map[int]effect{1: broken(verdict.Crash, "Kernel panic")}},
			[]verdict.Verdict{pass, fail}, `FAIL patch 1/1 "change 1": the boot: Kernel panic`, ""},
		// The base's own failure must not hide another one.
		"cut off behind a test that the base fails": {world{patches: one(vfioFile), level: Core, cells: map[int]effect{
			0: fails("f.a.map"), 1: together(fails("f.a.map"), drops(selftest, "f.b.map"), ends(selftest, fail, "killed by signal 11"))}},
			[]verdict.Verdict{fail, infra}, "INFRA: nobody knows whether patch 1/1 breaks vfio/vfio_pci_device_test: no result of 1 test that passed before the patch: killed by signal 11", "UNCLEAR on noiommu on intel"},
		"not run behind a test that the base fails": {world{patches: one(vfioFile), cells: map[int]effect{
			0: fails("nodes.ND-04"), 1: together(fails("nodes.ND-04"), ends("get_pa", verdict.Crash, "not run: panic"))}},
			[]verdict.Verdict{fail, infra}, "INFRA: nobody knows whether patch 1/1 breaks get_pa: no result of 12 tests that passed before the patch: not run: panic", "without results of get_pa"},

		// Nothing to run.
		"text alone": {world{patches: [][]string{{document}, {document}}},
			[]verdict.Verdict{skip, skip, skip}, "SKIP: nothing was run: vfio.rst: no kernel has it", "nothing to run"},
		"text beside code": {world{patches: [][]string{{document}, {vfioFile}}},
			[]verdict.Verdict{pass, skip, pass}, "PASS: 1 of 2 patches builds, boots and passes on debian:7.3; nothing was booted for the other", ""},
		"another machine's Kconfig": {world{patches: one("arch/arm64/Kconfig")},
			[]verdict.Verdict{skip, skip}, "SKIP: nothing was run but the Kconfig statements: Kconfig: not of this architecture", ""},
		"Kconfig breaks": {world{patches: one("arch/arm64/Kconfig"), kconfig: map[int]string{1: "KC-01"}},
			[]verdict.Verdict{skip, fail}, `FAIL patch 1/1 "change 1": KC-01: It holds.`, ""},
		"no patch": {world{}, []verdict.Verdict{skip}, "SKIP: nothing was run: the series is empty", ""},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := c.world.judge(t, t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			var got []verdict.Verdict
			for _, s := range r.States {
				got = append(got, s.Verdict)
			}
			var table strings.Builder
			if err := r.Table(&table, false); err != nil {
				t.Fatal(err)
			}
			if diff := gocmp.Diff(c.want, got); diff != "" {
				t.Errorf("states (-want +got)\n%s\n%s", diff, &table)
			}
			if line := r.Headline(); !strings.HasPrefix(line, c.first) {
				t.Errorf("the first line is %q, want %q", line, c.first)
			}
			if word, _, _ := strings.Cut(strings.Fields(c.first)[0], ":"); strings.ToLower(word) != string(r.Verdict) {
				t.Errorf("the verdict is %s", r.Verdict)
			}
			if !strings.Contains(table.String(), c.told) {
				t.Errorf("the table does not say %q\n%s", c.told, &table)
			}
			for _, d := range r.Found {
				if d.Kind == ResultsGone && !strings.Contains(c.first+c.told, "no result") {
					t.Errorf("gone: %s", d.line())
				}
				if d.Again == "" || d.name() == "" || d.Reason == "" {
					t.Errorf("a difference without its name, reason or command: %+v", d)
				}
			}
		})
	}
}

// A base that cannot be judged ends the gate, and the same gate started again
// runs what is missing and nothing else.
func TestResume(t *testing.T) {
	runs := t.TempDir()
	w := world{patches: [][]string{{vfioFile}}}
	w.cells = map[int]effect{0: func(c *verdict.Cell) {
		if strings.HasSuffix(c.Name, "_"+intel) {
			broken(verdict.Infra, "no memory")(c)
		}
	}}
	if _, err := w.judge(t, runs); err == nil || !strings.Contains(err.Error(), "base: cell 000_noiommu_intel: no memory") {
		t.Fatalf("a base that the farm failed at: %v", err)
	}
	// Twice, for the farm may have had bad luck.
	if want := []string{"000_noiommu_none", "000_noiommu_intel", "000_noiommu_intel"}; !slices.Equal(w.booted, want) {
		t.Errorf("ran %q, want %q", w.booted, want)
	}
	known := maps.Clone(w.recorded)
	w.cells = nil
	g := w.gate(t, runs)
	maps.Copy(w.recorded, known)
	release, _, err := g.open(t.Context(), "bench")
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	plan := PlanFor(w.patches[0], Quick)
	if err := g.judgeAll(t.Context(), []Plan{union([]Plan{plan}, Quick), plan}); err != nil {
		t.Fatal(err)
	}
	if want := []string{"000_noiommu_intel", "001_noiommu_none", "001_noiommu_intel"}; !slices.Equal(w.booted, want) {
		t.Errorf("ran %q, want %q", w.booted, want)
	}
	if g.report.Verdict != verdict.Pass {
		t.Errorf("it is %s", g.report.Headline())
	}
}

// A base of which a cell is missing, or that builds with nothing, says nothing.
func TestUsable(t *testing.T) {
	plan := Plan{Points: at("noiommu@none")}
	for name, s := range map[string]State{
		"not run":        {Boots: true, Plan: plan, Builds: []Build{{Config: all}}},
		"does not build": {Plan: plan, Builds: []Build{{Config: all, Error: "x"}}},
		"lost":           {Boots: true, Plan: plan, Cells: []Cell{{Point: onNone, Verdict: verdict.Infra, Reason: "x"}}},
	} {
		if usable(&s) == nil {
			t.Errorf("%s: it is usable", name)
		}
	}
	if err := usable(&State{Boots: true, Plan: plan, Cells: []Cell{{Point: onNone, Verdict: verdict.Fail, Reason: "x"}}}); err != nil {
		t.Errorf("one that fails by itself: %v", err)
	}
	// A patch of which a cell is missing has not passed.
	g := &gate{report: &Report{}}
	s := &State{Index: 1, Boots: true, Plan: plan, Builds: []Build{{Config: all}}}
	if err := g.judge(t.Context(), newHistory(), s); err != nil || s.Verdict != verdict.Infra {
		t.Errorf("a patch that was not run: %s, %v", s.Verdict, err)
	}
}
