// SPDX-License-Identifier: Apache-2.0

// Package dma proves the physical addresses by using them: a device moves
// bytes, and the memory shows where they went.
package dma

import (
	"bytes"
	"slices"

	"noiommu-farm/suites/edu"
	"noiommu-farm/suites/lab"
	"noiommu-farm/suites/witness"
)

// Tests are the suite's tests.
var Tests = []lab.Test{
	{ID: "DM-01", Run: copyBuffer},
	{ID: "DM-02", Run: exactBytes},
	{ID: "DM-03", Run: afterFork},
	{ID: "DM-04", Run: afterDetach},
	{ID: "DM-05", Run: noBusMaster},
	{ID: "DM-06", Run: iovaIsNoAddress},
	{ID: "DM-07", Run: descriptorList},
	{ID: "DM-08", Run: closedDevice},
	{ID: "DM-09", Run: eachItsOwn},
}

const iova = 0x40000000 // where the first buffer is mapped

// prepare has an edu device ready and two buffers mapped.
func prepare(t *lab.T, first, second *lab.Memory) (*edu.Device, *lab.IOAS) {
	dev, ioas := t.ToAttached(edu.Find(t))
	ioas.Map(first, iova)
	ioas.Map(second, 2*iova)
	return edu.New(dev), ioas
}

// address is where the device finds the byte at an IOVA, n bytes in one run.
func address(t *lab.T, ioas *lab.IOAS, at uint64, n int) uint64 {
	pa, length, err := ioas.GetPA(at, uint64(n))
	t.Must(err, "get_pa(iova=%#x)", at)
	lab.Equal(t, length, uint64(n), "get_pa(iova=%#x, length=%#x): length", at, n)
	return pa
}

// DM-01: out of one buffer, into the device, into another buffer.
func copyBuffer(t *lab.T) {
	source, target := t.Pages(4), t.Hugepages(1)
	device, ioas := prepare(t, source, target)
	for _, c := range []struct{ from, to, n int }{
		{0, 0, edu.BufferSize},                                  // a whole page
		{3 * lab.PageSize, lab.HugeSize - 4096, edu.BufferSize}, // the last page of both
		{lab.PageSize + 0x10, 0x12345, 1000},                    // no alignment at all
	} {
		want := bytes.Clone(target.Bytes)
		copy(want[c.to:], source.Bytes[c.from:c.from+c.n])
		original := bytes.Clone(source.Bytes)

		device.Fetch(address(t, ioas, iova+uint64(c.from), c.n), c.n)
		device.Store(address(t, ioas, 2*iova+uint64(c.to), c.n), c.n)
		device.Moved(target.Bytes[c.to:c.to+c.n], want[c.to:c.to+c.n], "target bytes from %#x", c.to)
		witness.Sees(t, address(t, ioas, 2*iova+uint64(c.to), c.n), want[c.to:c.to+c.n], "target bytes from %#x", c.to)
		lab.Equal(t, edu.FirstDifference(target.Bytes, want), -1, "target: first byte that is wrong")
		lab.Equal(t, edu.FirstDifference(source.Bytes, original), -1, "source: first byte that changed")
	}
}

// DM-02: the bytes meant, and no neighbour.
func exactBytes(t *lab.T) {
	guarded, neighbour := t.Hugepages(1), t.Hugepages(1)
	device, ioas := prepare(t, guarded, neighbour)
	message := t.Pages(1)
	ioas.Map(message, 3*iova)
	device.Fetch(address(t, ioas, 3*iova, edu.BufferSize), edu.BufferSize)

	untouched := bytes.Clone(neighbour.Bytes)
	for _, c := range []struct{ at, n int }{
		{0x123, 100},                  // inside a page
		{lab.PageSize - 1, 2},         // over the end of a page
		{5*lab.PageSize - 0x123, 512}, // over the end of another, unaligned
		{0, 1},                        // the first byte
		{lab.HugeSize - 1, 1},         // the last byte
		{lab.HugeSize/2 + 0xabc, edu.BufferSize},
	} {
		// Every byte that is to be written differs from what is written.
		for i := range c.n {
			guarded.Bytes[c.at+i] = ^message.Bytes[i]
		}
		want := slices.Clone(guarded.Bytes)
		copy(want[c.at:], message.Bytes[:c.n])

		pa := address(t, ioas, iova+uint64(c.at), c.n)
		inside := c.at >= lab.PageSize && c.at+c.n+lab.PageSize <= lab.HugeSize // so that the canaries are ours
		var canaries *witness.Canaries
		if inside {
			canaries = witness.Guard(t, pa, c.n)
		}
		device.Store(pa, c.n)
		device.Moved(guarded.Bytes[c.at:c.at+c.n], message.Bytes[:c.n], "bytes from %#x", c.at)
		witness.Sees(t, pa, message.Bytes[:c.n], "bytes from %#x", c.at)
		if inside {
			canaries.Intact("%d bytes at %#x", c.n, c.at)
		}
		lab.Equal(t, edu.FirstDifference(guarded.Bytes, want), -1, "%d bytes at %#x: first wrong byte of the hugepage", c.n, c.at)
		lab.Equal(t, edu.FirstDifference(neighbour.Bytes, untouched), -1, "%d bytes at %#x: first byte changed in the other hugepage", c.n, c.at)
	}
}
