// SPDX-License-Identifier: Apache-2.0

package verdict

import (
	"slices"
	"strings"
	"testing"

	"noiommu-farm/guestagent/wire"
	"noiommu-farm/results"
	"noiommu-farm/suites/contract"
)

// counters of a guest with 64 hugepages, of which that many are free.
func counters(free int64) map[string]int64 {
	return map[string]int64{
		wire.PinsAcquired: 1000, wire.PinsReleased: 1000, wire.IOMMUPages: 3,
		wire.HugepagesTotal: 64, wire.HugepagesFree: free, wire.Unreclaimable: 20000,
	}
}

func TestLost(t *testing.T) {
	for _, c := range []struct {
		name   string
		facts  contract.Facts
		change func(map[string]int64)
		lost   string
	}{
		{"nothing", contract.Facts{}, func(map[string]int64) {}, ""},
		{"pinned and released", contract.Facts{}, func(m map[string]int64) { m[wire.PinsAcquired] += 512; m[wire.PinsReleased] += 512 }, ""},
		{"still pinned", contract.Facts{}, func(m map[string]int64) { m[wire.PinsAcquired] += 512; m[wire.PinsReleased] += 511 }, "1 pages are still pinned"},
		{"a hugepage", contract.Facts{}, func(m map[string]int64) { m[wire.HugepagesFree]-- }, "1 hugepages are not free again"},
		{"a pool that a program made smaller", contract.Facts{}, func(m map[string]int64) { m[wire.HugepagesFree] -= 4; m[wire.HugepagesTotal] -= 4 }, ""},
		{"page tables", contract.Facts{}, func(m map[string]int64) { m[wire.IOMMUPages]++ }, "1 pages of IOMMU page tables"},
		{"page tables of an IOMMU", contract.Facts{IOMMU: contract.IOMMUFacts{Kind: contract.Intel}}, func(m map[string]int64) { m[wire.IOMMUPages]++ }, ""},
		{"a little slab memory", contract.Facts{}, func(m map[string]int64) { m[wire.Unreclaimable] += maxSlabGrowth }, ""},
		{"much slab memory", contract.Facts{}, func(m map[string]int64) { m[wire.Unreclaimable] += maxSlabGrowth + 1 }, "16385 KiB of slab memory"},
		{"KASAN's quarantine", contract.Facts{Config: contract.Config{KASAN: true}}, func(m map[string]int64) { m[wire.Unreclaimable] += 1 << 20 }, ""},
		{"an older kernel's counters", contract.Facts{}, func(m map[string]int64) { delete(m, wire.IOMMUPages) }, ""},
	} {
		after := counters(64)
		c.change(after)
		if got := strings.Join(Lost(c.facts, wire.Measured{Counters: counters(64)}, wire.Measured{Counters: after}, false), "; "); got != c.lost && (c.lost == "" || !strings.Contains(got, c.lost)) {
			t.Errorf("%s: %q, want %q", c.name, got, c.lost)
		}
	}
}

// After a single test there is less to fill.
func TestLostOfTest(t *testing.T) {
	after := counters(64)
	after[wire.Unreclaimable] += maxSlabGrowthOfTest + 1
	for single, want := range map[bool]int{false: 0, true: 1} {
		if lost := Lost(contract.Facts{}, wire.Measured{Counters: counters(64)}, wire.Measured{Counters: after}, single); len(lost) != want {
			t.Errorf("single %v: %q", single, lost)
		}
	}
}

func TestSingle(t *testing.T) {
	i := slices.IndexFunc(contract.Statements, func(s contract.Statement) bool { return s.Nightly })
	for _, c := range []struct {
		tests []string
		want  bool
	}{
		{nil, false}, {[]string{"cdev.CD-01"}, true}, {[]string{"cdev.CD-01", contract.Statements[i].Name()}, false},
	} {
		if got := Single(c.tests); got != c.want {
			t.Errorf("%q: %v", c.tests, got)
		}
	}
}

const kmemleakReport = `unreferenced object 0xffff888103a4b000 (size 64):
  comm "suites", pid 77, jiffies 4294899999
  hex dump (first 32 bytes):
    00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00  ................
  backtrace (crc 1234abcd):
    __kmalloc_cache_noprof+0x2e4/0x3d0
    iommufd_get_group+0x90/0x200
    iommufd_device_bind+0x4c/0x1f0
`

func TestJudgeLeaks(t *testing.T) {
	measured := func(free int64, leaks string) results.Event {
		return results.Event{Agent: &wire.ToHost{Measured: &wire.Measured{Counters: counters(free), Leaks: leaks}}}
	}
	for _, c := range []struct {
		name    string
		events  []results.Event
		verdict Verdict
		reason  string
	}{
		{"not planned", nil, Pass, ""},
		{"nothing lost", []results.Event{measured(64, ""), measured(64, "")}, Pass, ""},
		{"lost for a moment", []results.Event{measured(64, ""), measured(60, ""), measured(64, "")}, Pass, ""},
		{"hugepages", []results.Event{measured(64, ""), measured(62, "")}, Fail, "leak: 2 hugepages are not free again"},
		{"an object", []results.Event{measured(64, ""), measured(64, kmemleakReport)}, Fail, "iommufd_get_group"},
		{"something else", []results.Event{measured(64, ""), measured(64, "what?\n")}, Fail, "what?"},
		{"a counter that is not there", []results.Event{measured(64, ""), {Agent: &wire.ToHost{Measured: &wire.Measured{}}}}, Infra, "does not count vmstat.nr_foll_pin_acquired"},
		{"measured once", []results.Event{measured(64, "")}, Infra, "not measured before and after"},
	} {
		rec := tale{program: planned, out: good, exit: clean(0), after: c.events}.record(t)
		rec.Planned.Measured = c.events != nil
		got, err := Judge(rec)
		if err != nil {
			t.Fatal(err)
		}
		if got.Verdict != c.verdict || !strings.Contains(got.Reason, c.reason) {
			t.Errorf("%s: %s (%s), want %s (%s)", c.name, got.Verdict, got.Reason, c.verdict, c.reason)
		}
		rec.Planned.Facts.Config.DebugKmemleak = true
		if again, err := Judge(rec); err != nil || len(c.events) > 1 && Worst(again.Verdict, Infra) != again.Verdict {
			t.Errorf("%s, and kmemleak was not asked: %s, %v", c.name, again.Verdict, err)
		}
		if c.name == "an object" && (len(got.Findings) != 1 || !strings.Contains(strings.Join(got.Findings[0].Lines, "\n"), "iommufd_device_bind")) {
			t.Errorf("findings %+v", got.Findings)
		}
	}
}
