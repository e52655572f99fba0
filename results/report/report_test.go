// SPDX-License-Identifier: Apache-2.0

package report

import (
	"encoding/xml"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"noiommu-farm/results"
	"noiommu-farm/results/console"
	"noiommu-farm/results/ktap"
	"noiommu-farm/results/verdict"
	"noiommu-farm/suites/contract"
)

var update = flag.Bool("update", false, "rewrite the expected files")

// sample has one of everything, and hostile text wherever a guest has a say.
func sample() Run {
	const evil = "\x1b[31mred\x1b[0m <script>alert(1)</script> \xff\u202e ]]>"
	kernel := results.Kernel{Source: "debian:7.3", Config: "noiommu", Release: "7.3.4", Compiler: "gcc 12.2.0"}
	machine := results.Machine{Topology: "none", Accel: "tcg", QEMU: "10.0.2"}
	intel := machine
	intel.Topology = "intel"
	return Run{
		Run:     results.Run{ID: "20260101-000000-abcd", Left: []string{"amd"}},
		Dir:     "/runs/20260101-000000-abcd",
		Verdict: verdict.Crash,
		Cells: []*verdict.Cell{
			{Name: "none", Kernel: kernel, Machine: machine, Verdict: verdict.Pass, Wall: 9 * time.Second, Dir: "/runs/c/none",
				Programs: []verdict.Program{
					{Name: "get_pa", Verdict: verdict.Pass, Wall: time.Second, Tests: []verdict.Test{
						{Name: "get_pa.PA-01", Verdict: verdict.Pass, Wall: 12 * time.Millisecond},
						{Name: "get_pa.PA-04", Verdict: verdict.Skip, Reason: "requires hugepages"},
						{Name: "get_pa.PA-20", Verdict: verdict.XFail, Reason: "finding S9: it is broken", Finding: &contract.Finding{
							ID: "S9", Test: "get_pa.PA-20", Reason: "it is broken", Link: "https://example.org/S9", Expires: "2027-01-31"}},
					}},
				},
				Absent: []results.Absent{{Name: "vfio/x", Reason: "requires iommu"}},
			},
			{Name: "intel", Kernel: kernel, Machine: intel, Verdict: verdict.Crash, Reason: "Oops in f", Wall: 5 * time.Second, Dir: "/runs/c/intel",
				Programs: []verdict.Program{
					{Name: "get_pa", Verdict: verdict.Fail, Reason: "KTAP is not complete", Tests: []verdict.Test{
						{Name: "get_pa.PA-01", Verdict: verdict.Fail, Reason: evil, Diagnostics: []string{"# " + evil}},
						{Name: "get_pa.PA-04", Verdict: verdict.Pass},
					}},
					{Name: "vfio/x", Verdict: verdict.Crash, Reason: "did not finish: Oops in f", Tests: []verdict.Test{
						{Name: evil, Verdict: verdict.Infra, Reason: "x", Findings: []console.Finding{{Title: "Oops in f", Lines: []string{evil}}}},
					}},
					{Name: "dma", Verdict: verdict.Crash, Reason: "not run: Oops in f", Tests: []verdict.Test{
						{Name: "dma.DM-01", Verdict: verdict.Crash, Reason: "not run: Oops in f"},
					}},
				},
				Findings: []console.Finding{{First: 12, Title: evil}},
			},
		},
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

func fit(t *testing.T, what, text string) {
	t.Helper()
	for _, r := range text {
		if r != '\n' && r != '\t' && !unicode.IsPrint(r) {
			t.Fatalf("%s has the character %U", what, r)
		}
	}
	if !utf8.ValidString(text) {
		t.Errorf("%s is not valid UTF-8", what)
	}
}

func TestTable(t *testing.T) {
	var b strings.Builder
	if err := Table(&b, sample(), Style{}); err != nil {
		t.Fatal(err)
	}
	fit(t, "the table", b.String())
	golden(t, "table.txt", b.String())

	b.Reset()
	if err := Table(&b, sample(), Style{All: true}); err != nil {
		t.Fatal(err)
	}
	golden(t, "table-all.txt", b.String())

	b.Reset()
	if err := Table(&b, sample(), Style{Color: true}); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(b.String(), "\x1b[31;1mCRASH\x1b[0m") {
		t.Error("a crash is not red")
	}
}

func TestJUnit(t *testing.T) {
	var b strings.Builder
	if err := JUnit(&b, sample()); err != nil {
		t.Fatal(err)
	}
	golden(t, "junit.xml", b.String())
	var back junitSuites
	if err := xml.Unmarshal([]byte(b.String()), &back); err != nil {
		t.Fatalf("it cannot be read back: %v", err)
	}
	if back.Tests != 13 || back.Failures != 6 || back.Errors != 1 || back.Skipped != 3 {
		t.Errorf("%d tests, %d failures, %d errors, %d skipped", back.Tests, back.Failures, back.Errors, back.Skipped)
	}
}

func TestKTAP(t *testing.T) {
	var b strings.Builder
	if err := KTAP(&b, sample()); err != nil {
		t.Fatal(err)
	}
	fit(t, "the KTAP", b.String())
	golden(t, "results.ktap", b.String())
	var p ktap.Parser
	for line := range strings.Lines(b.String()) {
		p.Line(strings.TrimSuffix(line, "\n"))
	}
	if err := p.Report().Complete(); err != nil {
		t.Errorf("it is not complete: %v", err)
	}
}

func TestClean(t *testing.T) {
	for in, want := range map[string]string{
		"plain, ünïcode":  "plain, ünïcode",
		"\x1b[2J":         `\x1b[2J`,
		"a\xffb":          `a\xffb`,
		"right\u202eleft": `right\u202eleft`,
		"line\nline":      `line\nline`,
		"\ufffd":          "\ufffd",
	} {
		if got := Clean(in); got != want {
			t.Errorf("Clean(%q) = %q, want %q", in, got, want)
		}
	}
	rapid.Check(t, func(r *rapid.T) {
		in := string(rapid.SliceOf(rapid.Byte()).Draw(r, "text"))
		out := Clean(in)
		if !utf8.ValidString(out) || strings.IndexFunc(out, hostile) >= 0 {
			r.Fatalf("Clean(%q) = %q", in, out)
		}
		if Clean(out) != out {
			r.Fatalf("cleaning %q again changes it", out)
		}
	})
}

func TestWrite(t *testing.T) {
	r := sample()
	r.Dir = t.TempDir()
	if err := Write(r); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"results.json", "results.ktap", "junit.xml"} {
		if info, err := os.Stat(filepath.Join(r.Dir, name)); err != nil || info.Size() == 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
	r.Dir = filepath.Join(r.Dir, "missing")
	if err := Write(r); err == nil {
		t.Error("a report that could not be written is no error")
	}
}

// How many guests there were is told when it was not one, and why none was
// restored.
func TestTableGuests(t *testing.T) {
	cell := func(topology string, g verdict.Guests) *verdict.Cell {
		return &verdict.Cell{Kernel: results.Kernel{Source: "debian:7.3"}, Machine: results.Machine{Topology: topology}, Verdict: verdict.Pass, Guests: g}
	}
	one := cell("none", verdict.Guests{Booted: 1})
	for want, cells := range map[string][]*verdict.Cell{
		"":                             {one, one},
		"1 booted, 137 restored":       {one, cell("intel", verdict.Guests{Booted: 1, Restored: 137})},
		"cannot be saved: 'amd-iommu'": {one, cell("amd", verdict.Guests{Booted: 17, Why: "'amd-iommu'"})},
	} {
		var b strings.Builder
		if err := Table(&b, Run{Cells: cells}, Style{}); err != nil {
			t.Fatal(err)
		}
		if told := strings.Contains(b.String(), "guests"); told != (want != "") || !strings.Contains(b.String(), want) {
			t.Errorf("want %q in\n%s", want, b.String())
		}
	}
}
