// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"bytes"
	"encoding/json"
	"errors"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"noiommu-farm/suites/contract"
)

// meetsAll are facts that meet every requirement but IOMMU.
var meetsAll = contract.Facts{
	Config: contract.Config{
		Group: true, Container: true, CompatContainer: true, Cdev: true,
		IOMMUFD: true, Noiommu: true, NoiommuCdev: true,
	},
	GetPA: true, UnsafeMode: true, Hugepages: 64, Devices: []contract.Device{{Model: "edu"}, {Model: "igb"}},
}

// runTests runs tests and returns the KTAP and what went to the kernel log.
func runTests(facts contract.Facts, tests ...Test) (result Result, ktap, kmsg string) {
	var out, log bytes.Buffer
	bench := Bench{Facts: facts, Out: &out, Kmsg: &log}
	result = bench.Run(tests)
	said, err := json.Marshal(facts)
	if err != nil {
		panic(err)
	}
	// Before the plan, the facts.
	ktap = strings.Replace(out.String(), contract.FactsLine+string(said)+"\n1..", "1..", 1)
	return result, ktap, log.String()
}

var lineNumber = regexp.MustCompile(`run_test\.go:\d+`)

func TestKTAP(t *testing.T) {
	result, ktap, kmsg := runTests(meetsAll,
		Test{"PA-01", func(t *T) {
			t.Tally.Did("IOMMU_IOAS_MAP", nil)
			t.Tally.Did("IOMMU_IOAS_MAP", unix.EINVAL)
			t.Tally.Add("dma.bytes", 4096)
			Equal(t, uint64(1), 1, "number")
		}},
		Test{"PA-02", func(t *T) {
			Equal(t, uint64(0x1000), 0x554, "get_pa(iova=%#x): length", 0xabc)
			t.Fails(unix.EOPNOTSUPP, unix.EPERM, "get_pa")
			t.OK(nil, "fine")
		}},
		Test{"IP-01", func(*T) { panic("must not run") }},
		Test{"PA-04", func(*T) {}},
	)
	want := `KTAP version 1
1..4
# evidence get_pa.PA-01: IOMMU_IOAS_MAP:EINVAL=1 IOMMU_IOAS_MAP=1 dma.bytes=4096 asserts=1
ok 1 get_pa.PA-01
# run_test.go:N: PA-02: get_pa(iova=0xabc): length = 0x1000, want 0x554
# run_test.go:N: PA-02: get_pa: errno = EOPNOTSUPP, want EPERM
# PA-02 promises: An IOVA inside a page gives the same offset in the physical address, and a length that is shorter by it.
# evidence get_pa.PA-02: asserts=3
not ok 2 get_pa.PA-02
ok 3 iommu_present.IP-01 # SKIP requires iommu
# PA-04: the test asserted nothing
# PA-04 promises: A 2 MiB hugepage mapped as one area is one run: 0x200000 bytes, and 0x1ff001 from offset 0xfff. Those that are neighbours in memory are one run.
# evidence get_pa.PA-04: asserts=0
not ok 4 get_pa.PA-04
# Totals: pass:1 fail:2 xfail:0 xpass:0 skip:1 error:0
`
	if diff := cmp.Diff(want, lineNumber.ReplaceAllString(ktap, "run_test.go:N")); diff != "" {
		t.Errorf("KTAP (-want +got):\n%s", diff)
	}
	if want := (Result{Passed: 1, Failed: 2, Skipped: 1}); result != want {
		t.Errorf("result = %+v, want %+v", result, want)
	}
	wantLog := `noiommu-farm: test get_pa.PA-01
noiommu-farm: done get_pa.PA-01
noiommu-farm: test get_pa.PA-02
noiommu-farm: done get_pa.PA-02
noiommu-farm: test get_pa.PA-04
noiommu-farm: done get_pa.PA-04
`
	if diff := cmp.Diff(wantLog, kmsg); diff != "" {
		t.Errorf("kernel log (-want +got):\n%s", diff)
	}
}

// TestCleanup: whatever the end of a test, what it did is undone, last first,
// and a cleanup that fails makes the test fail.
func TestCleanup(t *testing.T) {
	endings := map[string]struct {
		end    func(*T)
		passes bool
	}{
		"returns":       {func(*T) {}, true},
		"must fails":    {func(t *T) { t.Must(unix.EBUSY, "open") }, false},
		"fatal":         {func(t *T) { t.Fatalf("no device") }, false},
		"panics":        {func(*T) { panic("index out of range") }, false},
		"bad cleanup":   {func(t *T) { t.Cleanup(func() { t.OK(unix.EIO, "close") }) }, false},
		"panic in caps": {func(t *T) { t.Cleanup(func() { panic("cleanup") }) }, false},
	}
	for name, ending := range endings {
		var order []string
		result, ktap, _ := runTests(meetsAll, Test{"PA-01", func(t *T) {
			t.OK(nil, "begin")
			t.Cleanup(func() { order = append(order, "first") })
			t.Cleanup(func() { order = append(order, "second") })
			ending.end(t)
		}}, Test{"PA-02", func(t *T) { t.OK(nil, "the next test") }})
		if got := strings.Join(order, " "); got != "second first" {
			t.Errorf("%s: cleanups ran as %q", name, got)
		}
		if passed := strings.Contains(ktap, "\nok 1 get_pa.PA-01\n"); passed != ending.passes {
			t.Errorf("%s: passed = %v, want %v:\n%s", name, passed, ending.passes, ktap)
		}
		if !strings.Contains(ktap, "\nok 2 get_pa.PA-02\n") {
			t.Errorf("%s: the next test did not pass:\n%s", name, ktap)
		}
		if result.Passed+result.Failed != 2 {
			t.Errorf("%s: %+v", name, result)
		}
	}
}

// TestOneLine: nothing that a test prints can be taken for a result.
func TestOneLine(t *testing.T) {
	_, ktap, _ := runTests(meetsAll, Test{"PA-01", func(t *T) {
		Equal(t, "a\nok 1 get_pa.PA-01", "b", "name")
		t.Fails(errors.New("x\nok 1 get_pa.PA-01"), unix.EPERM, "y\nok 1 get_pa.PA-01")
		panic("z\nok 1 get_pa.PA-01")
	}})
	for line := range strings.Lines(ktap) {
		if strings.HasPrefix(line, "ok ") {
			t.Errorf("a test printed the result line %q", line)
		}
	}
}

// TestSkip: a test whose requirements are not met is skipped with all of them,
// and one whose requirements are met is run.
func TestSkip(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(*contract.Facts)
		want  string
	}{
		{"all met", func(*contract.Facts) {}, "ok 1 get_pa.PA-01\n"},
		{"no hugepages", func(f *contract.Facts) { f.Hugepages = 0 }, "ok 1 get_pa.PA-01 # SKIP requires hugepages\n"},
		{"one hugepage too few", func(f *contract.Facts) { f.Hugepages = contract.MinHugepages - 1 }, "ok 1 get_pa.PA-01 # SKIP requires hugepages\n"},
		{"just enough", func(f *contract.Facts) { f.Hugepages = contract.MinHugepages }, "ok 1 get_pa.PA-01\n"},
		{"other privileges", func(f *contract.Facts) { f.Hugepages = 0; f.Privileges = contract.NoRawIO }, "ok 1 get_pa.PA-01 # SKIP requires root\n"},
		{"mode off, IOMMU", func(f *contract.Facts) {
			f.UnsafeMode = false
			f.Devices = []contract.Device{{Model: "edu", Behind: true}}
		}, "ok 1 get_pa.PA-01 # SKIP requires unsafe-mode,no-iommu\n"},
	} {
		facts := meetsAll
		c.spoil(&facts)
		_, ktap, _ := runTests(facts, Test{"PA-01", func(t *T) { t.OK(nil, "ran") }})
		if !strings.Contains(ktap, "\n"+c.want) {
			t.Errorf("%s: no line %q in:\n%s", c.name, c.want, ktap)
		}
	}
}
