// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"strings"
	"time"
)

// Finding is what is believed to be a bug of the kernel: a test that fails
// because of it is expected to fail, until a day.
type Finding struct {
	ID      string `json:"id"`      // "S1"
	Test    string `json:"test"`    // the test's name: that of a statement ("coexistence.CX-07"), or of a test in a kernel selftest ("vfio/PROGRAM:TEST")
	Reason  string `json:"reason"`  // what is wrong, one sentence
	Link    string `json:"link"`    // where it is described
	Expires string `json:"expires"` // the last day on which the failure is expected, as in 2027-06-30
}

// Findings are all there are for Linux 7.3.4. When a kernel no longer has one,
// its test passes, and that is told as a failure: then the entry must go.
var Findings = []Finding{
	{
		ID: "S1", Test: "coexistence.CX-07",
		Reason:  "A no-IOMMU device joins the page table of a device behind an IOMMU that was attached first, and addresses are not told.",
		Link:    "docs/findings/s1-attach-order.md",
		Expires: "2027-06-30",
	},
	{
		ID: "S6", Test: "coexistence.CX-12",
		Reason:  "A replace that fails drops what the IOMMU reserves in the IOAS where the device stays: memory can be mapped at 0xfee00000.",
		Link:    "docs/findings/failed-replace-limits.md",
		Expires: "2027-06-30",
	},
	{
		ID: "S7", Test: "ioas.IA-20",
		Reason:  "Scattered pages that are mapped up to the last IOVA get the addresses of other pages, with HUGE_PAGES=0, or EINVAL.",
		Link:    "docs/findings/last-iova.md",
		Expires: "2027-06-30",
	},
}

// FindingOf finds what is believed of a test.
func FindingOf(test string) *Finding {
	for i := range Findings {
		if Findings[i].Test == test {
			found := Findings[i]
			return &found
		}
	}
	return nil
}

// FindingsOf are those about tests of a kernel selftest ("vfio/PROGRAM"), with
// the tests' own names.
func FindingsOf(program string) []Finding {
	var all []Finding
	for _, f := range Findings {
		if test, ok := strings.CutPrefix(f.Test, program+":"); ok {
			f.Test = test
			all = append(all, f)
		}
	}
	return all
}

// Expired says whether the failure is no longer expected at a time.
func (f Finding) Expired(now time.Time) bool {
	last, err := time.Parse(time.DateOnly, f.Expires)
	return err != nil || !now.Before(last.AddDate(0, 0, 1))
}
