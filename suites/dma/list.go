// SPDX-License-Identifier: Apache-2.0

package dma

import (
	"bytes"

	"noiommu-farm/suites/edu"
	"noiommu-farm/suites/igb"
	"noiommu-farm/suites/lab"
	"noiommu-farm/suites/witness"
)

// DM-07: one address and one length are enough for a list of descriptors over
// a whole hugepage.
func descriptorList(t *lab.T) {
	rings, source, target := t.Hugepages(1), t.Hugepages(1), t.Hugepages(1)
	dev, ioas := t.ToAttached(igb.Find(t))
	const atRings, atSource, atTarget = 3 * iova, iova, 2 * iova
	ioas.Map(rings, atRings)
	ioas.Map(source, atSource)
	ioas.Map(target, atTarget)
	device := igb.New(dev, rings.Bytes, address(t, ioas, atRings, igb.RingBytes))

	from, to := address(t, ioas, atSource, lab.HugeSize), address(t, ioas, atTarget, lab.HugeSize)
	everyPage(t, device, source, target, from, to)

	// The same with IOVAs that are the addresses: a driver that knows nothing
	// of addresses works.
	for _, m := range []*lab.Memory{source, target} {
		pa := m.PA(0)
		ioas.Map(m, pa)
		ioas.ExpectPA(pa, lab.MaxLength, pa, lab.HugeSize)
	}
	everyPage(t, device, source, target, source.PA(0), target.PA(0))
}

// everyPage has the device fill a part of every page of target, each with a
// part of another page of source and at an offset of its own, from one list.
func everyPage(t *lab.T, device *igb.Device, source, target *lab.Memory, from, to uint64) {
	const pages = lab.HugeSize / lab.PageSize
	const step = 37 // pages from one copy to the next; odd, so that it meets all of them
	clear(target.Bytes)
	want := bytes.Clone(target.Bytes)
	moved := 0
	var list []igb.Copy
	for i := range pages {
		n := igb.MinCopy + i*7%(igb.MaxCopy-igb.MinCopy+1)
		read := i*step%pages*lab.PageSize + i*11%(lab.PageSize-n)
		write := (pages-1-i*step%pages)*lab.PageSize + i*13%(lab.PageSize-n)
		list = append(list, igb.Copy{From: from + uint64(read), To: to + uint64(write), N: n})
		copy(want[write:write+n], source.Bytes[read:read+n])
		moved += n
	}
	original := bytes.Clone(source.Bytes)
	device.Run(list)
	if lab.Equal(t, edu.FirstDifference(target.Bytes, want), -1, "first wrong byte of the hugepage") {
		t.Tally.Add("dma.bytes", uint64(moved))
	}
	witness.Sees(t, to, want[:16*lab.PageSize], "the first pages of the hugepage")
	lab.Equal(t, edu.FirstDifference(source.Bytes, original), -1, "first byte of the source that changed")
}
