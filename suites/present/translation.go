// SPDX-License-Identifier: Apache-2.0

package present

import (
	"bytes"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"noiommu-farm/suites/edu"
	"noiommu-farm/suites/lab"
)

// The range that x86 reserves for the messages of interrupts.
const (
	msiStart = 0xfee00000
	msiLast  = 0xfeefffff
)

// IP-03: an IOMMU has limits, and what is out of them cannot be mapped.
func reservedIOVAs(t *lab.T) {
	for _, d := range t.Devices {
		dev, ioas := t.ToAttached(d)
		ranges, alignment := ioas.IOVARanges()
		lab.Equal(t, alignment, lab.PageSize, "%s: alignment", d.Model)
		lab.Above(t, len(ranges), 1, "%s: number of ranges", d.Model)
		for _, r := range ranges {
			lab.Equal(t, r.Last < msiStart || r.Start > msiLast, true, "%s: range %#x to %#x is clear of the interrupts", d.Model, r.Start, r.Last)
		}
		end := ranges[len(ranges)-1].Last
		outside := []uint64{msiStart, msiLast + 1 - lab.PageSize}
		// VT-d is narrower than 64 bits; the others as QEMU has them are not.
		if kindOf(t, d) == "dmar" && lab.Differ(t, end, ^uint64(0), "%s: the last IOVA", d.Model) {
			outside = append(outside, end+1)
		}

		m := t.Pages(1)
		for _, iova := range outside {
			t.Fails(ioas.TryMap(m.VA(), lab.PageSize, iova), unix.EINVAL, "%s: map at %#x", d.Model, iova)
		}
		for _, iova := range []uint64{msiStart - lab.PageSize, msiLast + 1, end + 1 - lab.PageSize} {
			t.OK(ioas.TryMap(m.VA(), lab.PageSize, iova), "%s: map at %#x", d.Model, iova)
		}
		t.Must(dev.Close(), "close the cdev")
	}
}

// faults are what the drivers of IOMMUs log of a fault, by their names in
// sysfs. QEMU's amd-iommu is not among them: it lets through what it has no
// mapping for.
var faults = map[string]string{
	"dmar":   "DMA Write",
	"virtio": "fault from EP",
}

// kindOf is the kind of IOMMU that the device is behind: "dmar" for dmar0.
func kindOf(t *lab.T, d *lab.Device) string {
	return strings.TrimRight(filepath.Base(t.ReadLink(d.Sysfs("iommu"))), "0123456789")
}

// IP-05: the device uses the IOVA; the physical address is a fault.
func translated(t *lab.T) {
	const iova = 0x40000000
	dev, ioas := t.ToAttached(edu.Find(t))
	m := t.Hugepages(1)
	ioas.Map(m, iova)
	device := edu.New(dev)
	pa := m.PA(0)
	source, target := 0, lab.HugeSize/2
	device.Fetch(iova+uint64(source), edu.BufferSize)
	want := bytes.Clone(m.Bytes)

	if message, blocks := faults[kindOf(t, dev.Device)]; blocks {
		log := t.KernelLog()
		device.Store(pa+uint64(target), edu.BufferSize)
		log.Await(message)
		lab.Equal(t, edu.FirstDifference(m.Bytes, want), -1, "first byte changed by a write to the physical address")
	}

	copy(want[target:], want[source:source+edu.BufferSize])
	device.Store(iova+uint64(target), edu.BufferSize)
	device.Moved(m.Bytes[target:target+edu.BufferSize], want[target:target+edu.BufferSize], "bytes written to the IOVA")
	lab.Equal(t, edu.FirstDifference(m.Bytes, want), -1, "first wrong byte of the hugepage")
}
