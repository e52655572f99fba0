// SPDX-License-Identifier: Apache-2.0

package present

import (
	"golang.org/x/sys/unix"

	"noiommu-farm/suites/contract"
	"noiommu-farm/suites/lab"
)

// IP-03: an IOMMU has limits, and what is out of them cannot be mapped.
func reservedIOVAs(t *lab.T) {
	for _, d := range t.Devices {
		dev, ioas := t.ToAttached(d)
		ranges, alignment := ioas.IOVARanges()
		lab.Equal(t, alignment, lab.PageSize, "%s: alignment", d.Model)
		lab.Above(t, len(ranges), 1, "%s: number of ranges", d.Model)
		for _, r := range ranges {
			lab.Equal(t, r.Last < lab.MSIStart || r.Start > lab.MSILast, true, "%s: range %#x to %#x is clear of the interrupts", d.Model, r.Start, r.Last)
		}
		end := ranges[len(ranges)-1].Last
		outside := []uint64{lab.MSIStart, lab.MSILast + 1 - lab.PageSize}
		// VT-d is narrower than 64 bits; the others as QEMU has them are not.
		if t.Facts.IOMMU.Kind == contract.Intel && lab.Differ(t, end, ^uint64(0), "%s: the last IOVA", d.Model) {
			outside = append(outside, end+1)
		}

		m := t.Pages(1)
		for _, iova := range outside {
			t.Fails(ioas.TryMap(m.VA(), lab.PageSize, iova), unix.EINVAL, "%s: map at %#x", d.Model, iova)
		}
		for _, iova := range []uint64{lab.MSIStart - lab.PageSize, lab.MSILast + 1, end + 1 - lab.PageSize} {
			t.OK(ioas.TryMap(m.VA(), lab.PageSize, iova), "%s: map at %#x", d.Model, iova)
		}
		t.Must(dev.Close(), "close the cdev")
	}
}
