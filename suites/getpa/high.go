// SPDX-License-Identifier: Apache-2.0

package getpa

import (
	"bytes"

	"noiommu-farm/suites/edu"
	"noiommu-farm/suites/lab"
	"noiommu-farm/suites/witness"
)

// PA-20: an address has all its bits, and a device reaches it.
func highMemory(t *lab.T) {
	const fourGiB = 1 << 32
	d := t.Devices[0]
	for _, other := range t.Devices {
		if other.Model == "edu" {
			d = other
		}
	}
	dev, ioas := t.ToAttached(d)

	// The kernel gives high memory away first; what it gives is looked at, not
	// believed, when it is mapped and therefore cannot be moved any more.
	var m *lab.Memory
	var pas lab.Pagemap
	for tries := 0; pas == nil || pas[0] < fourGiB; tries++ {
		if tries == 64 {
			t.Fatalf("64 times 1 MiB of memory, and none above 4 GiB")
		}
		if m != nil {
			_, err := ioas.Unmap(iova, uint64(len(m.Bytes)))
			t.Must(err, "unmap")
		}
		m = t.Pages(256)
		ioas.Map(m, iova)
		pas = m.Pagemap()
	}
	high := 0
	for offset := 0; offset < len(m.Bytes); offset += page {
		for _, at := range []int{offset, offset + 0xabc} {
			ioas.ExpectPA(iova+uint64(at), most, pas.PA(at), pas.Run(at))
		}
		if pas[offset/page] >= fourGiB {
			high++
			witness.Sees(t, pas[offset/page], m.Bytes[offset:offset+page], "page %d", offset/page)
		}
	}
	lab.Above(t, high, 0, "pages above 4 GiB")
	t.Tally.Add("high.pages", uint64(high))

	big := t.Hugepages(2)
	ioas.Map(big, 2*iova)
	for _, offset := range []int{0, huge - 1, huge, 2*huge - 1} {
		ioas.ExpectPA(2*iova+uint64(offset), most, big.PA(offset), big.Run(offset))
	}
	if d.Model != "edu" {
		return
	}
	device := edu.New(dev)
	message := bytes.Clone(m.Bytes[:page])
	device.Fetch(pas[0], page)
	clear(m.Bytes[:page])
	device.Store(pas[0], page)
	device.Moved(m.Bytes[:page], message, "page above 4 GiB")
	witness.Sees(t, pas[0], message, "page above 4 GiB after the device wrote it")
}
