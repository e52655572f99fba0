// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"noiommu-farm/internal/fault"
	"noiommu-farm/suites/contract"
)

// feature is every file that the no-IOMMU feature is made of.
var feature = []string{
	"drivers/vfio/Kconfig", "drivers/vfio/container.c", "drivers/vfio/device_cdev.c", "drivers/vfio/group.c",
	"drivers/vfio/iommufd.c", "drivers/vfio/vfio.h", "drivers/vfio/vfio_main.c", "drivers/vfio/pci/vfio_pci_core.c",
	"drivers/iommu/iommu.c", "drivers/iommu/iommufd/Kconfig", "drivers/iommu/iommufd/device.c",
	"drivers/iommu/iommufd/hw_pagetable.c", "drivers/iommu/iommufd/hwpt_noiommu.c", "drivers/iommu/iommufd/io_pagetable.c",
	"drivers/iommu/iommufd/ioas.c", "drivers/iommu/iommufd/iommufd_private.h", "drivers/iommu/iommufd/main.c",
	"drivers/iommu/iommufd/pages.c", "drivers/iommu/iommufd/vfio_compat.c", "drivers/iommu/iommufd/viommu.c",
}

// The patches of this repository say all that is needed, and touch every file.
func TestOwnMutants(t *testing.T) {
	all, err := read([]string{filepath.Join("..", "..", home)}, "*")
	if err != nil {
		t.Fatal(err)
	}
	bugs, benign := 0, 0
	touched := map[string]bool{}
	for _, m := range all {
		switch {
		case m.benign:
			benign++
			continue
		case m.broken == nil:
			t.Errorf("%s does not say what it breaks", m.name)
		}
		bugs++
		for _, f := range m.files {
			touched[f] = true
		}
		for _, id := range m.broken {
			if _, ok := contract.ByID(id); !ok && !strings.HasPrefix(id, "KC-") {
				t.Errorf("%s breaks %s, which is no statement", m.name, id)
			}
		}
	}
	if bugs < 60 || benign < 4 {
		t.Errorf("%d bugs and %d benign changes", bugs, benign)
	}
	for _, f := range feature {
		if !touched[f] {
			t.Errorf("no bug in %s", f)
		}
	}
}

const patch = "--- a/drivers/vfio/group.c\n+++ b/drivers/vfio/group.c\n@@ -1 +1 @@\n-a\n+b\n"

func TestParse(t *testing.T) {
	for _, c := range []struct {
		name, head string
		want       mutant
		bad        string
	}{{
		name: "defaults", head: "Catches: PA-02\n",
		want: mutant{broken: []string{"PA-02"}, cells: []cell{{config: "noiommu", topology: "none"}}},
	}, {
		name: "all", head: "Subject: x\n\nCatches: PA-02 PA-05\nConfig: k-all,mtty k-cdev\nTopology: none,intel\nDevice: edu\nMemory: 5120\n",
		want: mutant{broken: []string{"PA-02", "PA-05"}, cells: []cell{
			{"k-all,mtty", "none", "edu", "5120"}, {"k-cdev", "none", "edu", "5120"},
			{"k-all,mtty", "intel", "edu", "5120"}, {"k-cdev", "intel", "edu", "5120"},
		}},
	}, {
		name: "nothing said", head: "Subject: x\n", want: mutant{},
	}, {
		name: "said not to be one", head: "Catches: none\nTopology: none\n",
		want: mutant{benign: true, cells: []cell{{config: "noiommu", topology: "none"}}},
	}, {
		name: "a benign one by name", head: "",
		want: mutant{benign: true, cells: []cell{{config: "noiommu", topology: "none"}, {config: "noiommu", topology: "intel"}}},
	}, {
		name: "after the header", head: "---\nCatches: PA-02\n", want: mutant{},
	}, {
		name: "no id", head: "Catches: PA-2\n", bad: "no id of a statement",
	}, {
		name: "twice", head: "Catches: PA-02\nCatches: PA-03\n", bad: "twice",
	}} {
		t.Run(c.name, func(t *testing.T) {
			got, err := parse("dir/"+c.name+".patch", []byte(c.head+patch))
			if c.bad != "" {
				if fault.ExitCode(err) != fault.ExitUsage || !strings.Contains(err.Error(), c.bad) {
					t.Fatalf("%v, want one that says %q", err, c.bad)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			c.want.name, c.want.path, c.want.text, c.want.files = got.name, got.path, got.text, []string{"drivers/vfio/group.c"}
			c.want.hunks = []span{{"drivers/vfio/group.c", 1, 1}}
			if d := cmp.Diff(c.want, got, cmp.AllowUnexported(mutant{}, cell{}, span{})); d != "" {
				t.Error(d)
			}
		})
	}
	for _, text := range []string{"Catches: PA-02\n", "+++ b/../../etc/passwd\n"} {
		if _, err := parse("x.patch", []byte(text)); fault.ExitCode(err) != fault.ExitUsage {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// What becomes of a mutant, from what the farm prints.
func TestJudge(t *testing.T) {
	for _, c := range []struct {
		file    string
		catches string
		want    outcome
		red     []string
		why     string
	}{
		{file: "red.json", catches: "PA-02", want: caught, red: []string{"PA-02", "PA-03"}},
		{file: "red.json", catches: "PA-02 PA-03", want: caught, red: []string{"PA-02", "PA-03"}},
		{file: "red.json", catches: "PA-01", want: missed, red: []string{"PA-02", "PA-03"}, why: "PA-01 passed"},
		{file: "red.json", catches: "PA-02 PA-20", want: missed, red: []string{"PA-02", "PA-03"}, why: "PA-20 was skipped (requires memory-above-4g)"},
		{file: "red.json", catches: "", want: caught, red: []string{"PA-02", "PA-03"}, why: "PA-02: out_phys is 0x1000, want 0x1abc"},
		{file: "red.json", catches: "none", want: flagged, red: []string{"PA-02", "PA-03"}, why: "PA-02: out_phys is 0x1000, want 0x1abc"},
		{file: "green.json", catches: "PA-02", want: missed, why: "PA-02 passed"},
		{file: "green.json", catches: "", want: missed, why: "nothing turned red anywhere"},
		{file: "green.json", catches: "none", want: quiet},
		// A crash is the fault of the test that ran, not of those after it.
		{file: "crash.json", catches: "ND-12", want: caught, red: []string{"ND-12"}},
		{file: "crash.json", catches: "ND-13", want: missed, red: []string{"ND-12"}, why: "ND-13 was not reached"},
		// A warning between tests.
		{file: "between.json", catches: "none", want: flagged, red: []string{"get_pa"}, why: "get_pa: WARNING in iopt_release_pages"},
		{file: "infra.json", catches: "PA-02", want: notJudged, why: "connection to the agent lost"},
		{file: "infra.json", catches: "none", want: notJudged, why: "connection to the agent lost"},
	} {
		t.Run(c.file+" "+c.catches, func(t *testing.T) {
			text, err := os.ReadFile(filepath.Join("testdata", c.file))
			if err != nil {
				t.Fatal(err)
			}
			f, err := readRun(text)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(c.red, f.Red); d != "" {
				t.Error(d)
			}
			head := ""
			if c.catches != "" {
				head = "Catches: " + c.catches + "\n"
			}
			m, err := parse("x.patch", []byte(head+patch))
			if err != nil {
				t.Fatal(err)
			}
			if got, why := judge(m, f); got != c.want || !strings.Contains(why, c.why) || c.why == "" && why != "" {
				t.Errorf("%s (%s), want %s (%s)", got, why, c.want, c.why)
			}
		})
	}
}

func TestJudgeNotBuilt(t *testing.T) {
	var f found
	f.red(compiles, "build: compile: no member named group")
	for catches, want := range map[string]outcome{"KC-12": caught, "PA-02": notBuilt, "": caught} {
		m := mutant{broken: strings.Fields(catches)}
		if catches == "" {
			m.broken = nil
		}
		if got, _ := judge(m, f); got != want {
			t.Errorf("%q: %s, want %s", catches, got, want)
		}
	}
}

// A patch that does not say what it breaks is tried where its files can show,
// what is cheap first.
func TestSteps(t *testing.T) {
	for _, c := range []struct {
		files []string
		want  []string
	}{{
		files: []string{"drivers/iommu/iommufd/hwpt_noiommu.c"},
		want: []string{
			"boot noiommu on none everything", "build noiommu", "build k-cdev", "build k-compat", "build k-mod",
			"boot k-cdev on none everything", "boot k-compat on none everything", "boot k-mod on none everything",
			"boot noiommu on bypass everything", "boot noiommu on intel-off everything",
			"boot k-more on none everything", "boot noiommu on intel-pt open", "boot noiommu on intel-nointremap open",
			"boot k-dbg on none about",
		},
	}, {
		files: []string{"drivers/iommu/amd/init.c"},
		want: []string{
			"boot noiommu on amd everything", "build noiommu",
			"boot k-more on none everything", "boot noiommu on intel-pt open", "boot noiommu on intel-nointremap open",
		},
	}, {
		files: []string{"Documentation/driver-api/vfio.rst"},
	}} {
		var got []string
		for _, s := range (mutant{files: c.files}).steps() {
			words := []string{string(s.task), s.cell.String(), string(s.test)}
			if s.task == build {
				words = []string{string(s.task), s.cell.config}
			}
			got = append(got, strings.Join(words, " "))
		}
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%v: %s", c.files, d)
		}
	}
	if first := (mutant{files: []string{"drivers/vfio/Kconfig", "drivers/vfio/group.c"}}).steps()[0]; first.task != kconfig {
		t.Errorf("Kconfig: the first step is %v", first)
	}
}

// With the sanitizers it is tested on what is about its files.
func TestAbout(t *testing.T) {
	ids := mutant{files: []string{"drivers/iommu/iommufd/hwpt_noiommu.c"}}.about()
	if !slices.Contains(ids, "ST-04") || !slices.Contains(ids, "DM-04") || slices.Contains(ids, "GR-01") {
		t.Errorf("%q", ids)
	}
	if ids := (mutant{files: []string{"mm/gup.c"}}).about(); !slices.Contains(ids, "GR-01") {
		t.Errorf("a file of no statement: %q", ids)
	}
}

// What turned red is told in the order in which it is about the patch.
func TestNearest(t *testing.T) {
	text := "--- a/drivers/iommu/iommufd/io_pagetable.c\n+++ b/drivers/iommu/iommufd/io_pagetable.c\n@@ -897,7 +897,7 @@\n-a\n+b\n"
	m, err := parse("x.patch", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	want := []span{{"drivers/iommu/iommufd/io_pagetable.c", 897, 903}}
	if d := cmp.Diff(want, m.hunks, cmp.AllowUnexported(span{})); d != "" {
		t.Error(d)
	}
	// CD-10 is about another file, IA-14 about other lines of this one.
	if got := m.nearest([]string{"get_pa", "CD-10", "IA-14", "PA-02"}); !slices.Equal(got, []string{"PA-02", "IA-14", "get_pa", "CD-10"}) {
		t.Errorf("%q", got)
	}
	for source, want := range map[string]span{
		"a/b.c": {file: "a/b.c"}, "a/b.c:7": {"a/b.c", 7, 7}, "a/b.c:7-9": {"a/b.c", 7, 9},
	} {
		if got := sourceSpan(source); got != want {
			t.Errorf("%s: %v", source, got)
		}
	}
}

func TestOpen(t *testing.T) {
	f := found{Passed: []string{"IP-01"}, Skipped: map[string]string{"IP-01": "requires iommu", "PA-20": "requires memory-above-4g"}, Red: []string{"cell"}}
	if got := f.open([]string{"IP-01", "PA-20", "PA-01"}); !slices.Equal(got, []string{"PA-20"}) {
		t.Errorf("%q", got)
	}
	if f.named() {
		t.Error("a cell is no statement")
	}
	f.red("PA-20", "")
	if !f.named() {
		t.Error("PA-20 is one")
	}
}

func TestReadBuild(t *testing.T) {
	for text, want := range map[string]found{
		`[{"Config":"k-cdev","Verdict":"pass","Key":"abc"}]`:                                         {builds: []string{"abc"}},
		`[{"Config":"k-cdev","Verdict":"fail","Failure":"no member named group"}]`:                   {Red: []string{"KC-12"}, Why: map[string]string{"KC-12": "k-cdev: no member named group"}},
		`[{"Config":"k-cdev","Verdict":"fail","Key":"abc","Warnings":[{"Text":"unused variable"}]}]`: {Red: []string{"KC-12"}, Why: map[string]string{"KC-12": `k-cdev: new warning: {"Text":"unused variable"}`}, builds: []string{"abc"}},
	} {
		got, err := readBuild([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, got, cmp.AllowUnexported(found{})); d != "" {
			t.Error(d)
		}
	}
	if _, err := readBuild([]byte("[]")); err == nil {
		t.Error("nothing was judged, and no error")
	}
}

func TestReadKconfig(t *testing.T) {
	text := `{"Statements":[{"ID":"KC-01","Verdict":"pass"},{"ID":"KC-09","Verdict":"fail","Findings":[{"Option":"IOMMUFD_NOIOMMU"}]},` +
		`{"ID":"KC-10","Verdict":"not-applicable"}],"Support":{"Cases":12,"Wrong":[]},"Difference":{"Unmet":[{"Option":"IOMMU_PT"}]}}`
	f, err := readKconfig([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	want := found{
		Red: []string{"KC-09", "unmet dependencies"}, Passed: []string{"KC-01"},
		Why: map[string]string{"KC-09": `{"Option":"IOMMUFD_NOIOMMU"}`, "unmet dependencies": `{"Option":"IOMMU_PT"}`},
	}
	if d := cmp.Diff(want, f, cmp.AllowUnexported(found{})); d != "" {
		t.Error(d)
	}
	for _, text := range []string{"", "{}", "[]"} {
		if _, err := readKconfig([]byte(text)); err == nil {
			t.Errorf("%q: no error", text)
		}
	}
}

// A mutant is tested on the whole of its suites, expensive statements apart.
func TestStatements(t *testing.T) {
	ids := mutant{broken: []string{"PA-02"}}.statements()
	if !slices.Contains(ids, "PA-01") || !slices.Contains(ids, "PA-02") || slices.Contains(ids, "CD-01") {
		t.Errorf("%q", ids)
	}
	all := mutant{}.statements()
	for _, s := range contract.Statements {
		if slices.Contains(all, s.ID) == s.Nightly {
			t.Errorf("%s: nightly is %v", s.ID, s.Nightly)
		}
		if s.Nightly && !slices.Contains(mutant{broken: []string{s.ID}}.statements(), s.ID) {
			t.Errorf("%s is not tested on its own mutant", s.ID)
		}
	}
}

// What was tried is not tried again, unless the patch changed.
func TestMemory(t *testing.T) {
	d := memory(t.TempDir())
	m := mutant{name: "x", text: []byte("one")}
	if _, ok := d.recall(m, usual); ok {
		t.Fatal("remembers what never was")
	}
	want := result{Mutant: "x", Version: "v", When: time.Unix(1, 0).UTC(), Seconds: 2, Found: found{Red: []string{"PA-02"}}}
	if err := d.keep(m, want); err != nil {
		t.Fatal(err)
	}
	got, ok := d.recall(m, usual)
	if d := cmp.Diff(want, got, cmp.AllowUnexported(found{})); !ok || d != "" {
		t.Error(ok, d)
	}
	if _, ok := d.recall(m, "debian:7.2"); ok {
		t.Error("takes another kernel for the same")
	}
	m.text = []byte("two")
	if _, ok := d.recall(m, usual); ok {
		t.Error("takes another patch for the same")
	}
}

// The table tells what is wrong, and the exit code too.
func TestTable(t *testing.T) {
	m := mutant{name: "getpa-no-cap", files: []string{"drivers/iommu/iommufd/io_pagetable.c"}, broken: []string{"PA-05"}, cells: []cell{{config: "noiommu", topology: "none"}}}
	r := newRow(m, result{Seconds: 31.4, Found: found{Red: []string{"PA-01", "PA-05"}}})
	var b bytes.Buffer
	r.print(&b)
	if got := strings.Join(strings.Fields(b.String()), " "); got != "getpa-no-cap PA-05 PA-05 PA-01 caught 31s" {
		t.Error(got)
	}
	b.Reset()
	markdown(&b, []row{r})
	if !strings.HasSuffix(b.String(), "| getpa-no-cap | io_pagetable.c | noiommu on none | PA-05 | PA-05 PA-01 | caught |\n") {
		t.Error(b.String())
	}
	if got := summary([]row{r, {outcome: missed}, {outcome: quiet}}); got != "3 mutants, 1 caught, 1 missed, 1 not flagged" {
		t.Error(got)
	}
	for err, want := range map[error]int{nil: 0, errMissed: 1, &fault.Usage{Key: "x"}: 2, errors.New("x"): 3} {
		if got := exit(&b, err); got != want {
			t.Errorf("%v: exit code %d, want %d", err, got, want)
		}
	}
}
