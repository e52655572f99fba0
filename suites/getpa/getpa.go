// SPDX-License-Identifier: Apache-2.0

// Package getpa proves what IOMMU_IOAS_NOIOMMU_GET_PA promises. The judge of a
// physical address is /proc/self/pagemap.
package getpa

import (
	"golang.org/x/sys/unix"

	"noiommu-farm/suites/lab"
	"noiommu-farm/suites/uapi"
	"noiommu-farm/suites/witness"
)

// Tests are the suite's tests.
var Tests = []lab.Test{
	{ID: "PA-01", Run: samePagemap},
	{ID: "PA-02", Run: subPage},
	{ID: "PA-03", Run: longestRun},
	{ID: "PA-04", Run: hugepage},
	{ID: "PA-05", Run: lengthCap},
	{ID: "PA-06", Run: areaEnd},
	{ID: "PA-07", Run: lastByte},
	{ID: "PA-08", Run: topOfSpace},
	{ID: "PA-09", Run: zeroLength},
	{ID: "PA-10", Run: badArguments},
	{ID: "PA-11", Run: argumentSize},
	{ID: "PA-12", Run: unmapped},
	{ID: "PA-13", Run: needsDevice},
	{ID: "PA-14", Run: realDomain},
	{ID: "PA-15", Run: notBuiltIn},
	{ID: "PA-16", Run: pinned},
	{ID: "PA-17", Run: forked},
	{ID: "PA-18", Run: untouched},
	{ID: "PA-19", Run: deviceMemory},
	{ID: "PA-20", Run: highMemory},
	{ID: "PA-21", Run: resetRevokes},
}

const (
	page = lab.PageSize
	huge = lab.HugeSize
	most = lab.MaxLength

	iova = 0x40000000 // where most tests map
)

// PA-01: the address is the one that pagemap shows.
func samePagemap(t *lab.T) {
	_, ioas := t.ToAttached(t.Devices[0])

	// Three kinds of memory in one address space, a hole between them.
	at := uint64(iova)
	for _, m := range []*lab.Memory{t.Pages(32), t.SharedPages(32), t.Hugepages(1)} {
		ioas.Map(m, at)
		step := page
		if len(m.Bytes) == huge {
			step = 37 * page // odd, so that the last steps are not aligned to anything
		}
		for offset := 0; offset < len(m.Bytes); offset += step {
			ioas.ExpectPA(at+uint64(offset), 1, m.PA(offset), 1)
			ioas.ExpectPA(at+uint64(offset), most, m.PA(offset), m.Run(offset))
		}
		// What is there is what the process wrote.
		for _, offset := range []int{0, len(m.Bytes)/2 + 0x123, len(m.Bytes) - 0x321} {
			pa, length := m.PA(offset), min(0x321, m.Run(offset))
			ioas.ExpectPA(at+uint64(offset), 0x321, pa, length)
			witness.Sees(t, pa, m.Bytes[offset:offset+int(length)], "memory at offset %#x", offset)
		}
		at += uint64(len(m.Bytes)) + 5*page
	}

	// An area that begins in the middle of a hugepage, at an IOVA that shares
	// no low bits with it.
	m := t.Hugepages(1)
	const start, length = 3 * page, 6 * page
	part := m.Part(start, length)
	ioas.Map(part, at+page)
	for offset := 0; offset < length; offset += page {
		ioas.ExpectPA(at+page+uint64(offset), most, m.PA(start+offset), uint64(length-offset))
	}

	// The same memory again at another IOVA: the same address.
	ioas.Map(m, 1<<40)
	ioas.ExpectPA(1<<40+start, page, m.PA(start), page)
}

// PA-02: an offset into the page is kept and shortens the length.
func subPage(t *lab.T) {
	_, ioas := t.ToAttached(t.Devices[0])
	single, run, scattered := t.Pages(1), t.Hugepages(1), t.Pages(16)
	const atSingle, atRun, atScattered = iova, 2 * iova, 3 * iova
	ioas.Map(single, atSingle)
	ioas.Map(run, atRun)
	ioas.Map(scattered, atScattered)

	for _, offset := range []int{0x1, 0x7ff, 0x800, 0xabc, 0xffe, 0xfff} {
		// One page alone: up to its end.
		ioas.ExpectPA(atSingle+uint64(offset), most, single.PA(0)+uint64(offset), uint64(page-offset))
		// A run of pages: up to the run's end, from its first, a middle and its
		// last page.
		for _, first := range []int{0, 100 * page, huge - page} {
			from := first + offset
			ioas.ExpectPA(atRun+uint64(from), most, run.PA(0)+uint64(from), uint64(huge-from))
		}
		// Single pages: up to where the physical run ends.
		for first := 0; first < len(scattered.Bytes); first += page {
			from := first + offset
			ioas.ExpectPA(atScattered+uint64(from), most, scattered.PA(from), scattered.Run(from))
		}
	}

	pa, length, err := ioas.GetPA(atRun+0xabc, most)
	t.Must(err, "get_pa(offset 0xabc)")
	lab.Equal(t, (pa+length)%page, 0, "get_pa(offset 0xabc): (out_phys+length) %% 4096")
	lab.Equal(t, pa%page, 0xabc, "get_pa(offset 0xabc): out_phys %% 4096")
}

// PA-04: one hugepage is one run.
func hugepage(t *lab.T) {
	_, ioas := t.ToAttached(t.Devices[0])
	m := t.Hugepages(1)
	ioas.Map(m, iova)
	pa := m.PA(0)
	lab.Equal(t, pa%huge, 0, "pagemap: hugepage address %% 2 MiB")

	ioas.ExpectPA(iova, most, pa, 0x200000)
	ioas.ExpectPA(iova+0xfff, most, pa+0xfff, 0x1ff001)
	ioas.ExpectPA(iova+page, most, pa+page, 0x1ff000)
	ioas.ExpectPA(iova+huge-page, most, pa+huge-page, page)
	ioas.ExpectPA(iova+huge-1, most, pa+huge-1, 1)
	ioas.ExpectNoPA(iova+huge, most, unix.ENOENT)

	// Two hugepages in one area are one run only where they are neighbours,
	// and at an IOVA that is not aligned to 2 MiB the table holds small pages.
	two := t.Hugepages(2)
	const at = 4*iova + 3*page
	ioas.Map(two, at)
	for _, offset := range []int{0, page, huge - page, huge, 2*huge - page} {
		ioas.ExpectPA(at+uint64(offset), most, two.PA(offset), two.Run(offset))
	}

	_, err := ioas.Unmap(0, ^uint64(0))
	t.Must(err, "unmap everything")
	m.Unmap()
	two.Unmap()
	neighbours(t, ioas)
}

// neighbours is the part of PA-04 about hugepages that are neighbours in
// memory. Whether some of the pool are is the kernel's affair: those that are
// count as "hugepages.neighbours".
func neighbours(t *lab.T, ioas *lab.IOAS) {
	const enough, at = 16, 8 * iova
	row := t.HugeRow(min(t.Free2M(), enough))
	ioas.Map(row, at)
	pas := row.Pagemap()
	for first := 0; first < len(row.Bytes); first += huge {
		for _, offset := range []int{first, first + 0xabc, first + page, first + huge - 1} {
			ioas.ExpectPA(at+uint64(offset), most, pas.PA(offset), pas.Run(offset))
		}
		if pas.Run(first) > huge {
			ioas.ExpectPA(at+uint64(first), huge+1, pas.PA(first), huge+1)
			t.Tally.Add("hugepages.neighbours", 1)
		}
	}
}

// PA-05: never more than was asked for.
func lengthCap(t *lab.T) {
	_, ioas := t.ToAttached(t.Devices[0])
	m := t.Hugepages(1)
	ioas.Map(m, iova)
	pa := m.PA(0)
	for _, offset := range []uint64{0, 0xabc, page, huge - page - 1} {
		run := huge - offset
		caps := []uint64{1, 2, page - 1, page, page + 1, 0x1234, 2*page - 1, 2 * page, 2*page + 1,
			page - offset%page, page - offset%page + 1, run - 1, run, run + 1, 1 << 32, most - 1, most}
		for _, asked := range caps {
			ioas.ExpectPA(iova+offset, asked, pa+offset, min(asked, run))
		}
	}
}

// PA-09: zero is not "no limit".
func zeroLength(t *lab.T) {
	_, ioas := t.ToAttached(t.Devices[0])
	m := t.Hugepages(1)
	ioas.Map(m, iova)
	for _, offset := range []uint64{0, 0xabc, huge - 1, huge} {
		ioas.ExpectNoPA(iova+offset, 0, unix.EINVAL)
	}
	ioas.ExpectPA(iova, 1, m.PA(0), 1)
	ioas.ExpectPA(iova, most, m.PA(0), huge)
}

// PA-10: each bad argument has its errno, and the first one wins.
func badArguments(t *lab.T) {
	dev := t.Open(t.Devices[0])
	fd := t.IOMMUFD()
	devid := dev.Bind(fd)
	ioas := fd.IOAS()
	hwpt := dev.Attach(ioas)
	m := t.Hugepages(1)
	ioas.Map(m, iova)

	good := ioas.GetPAArg(iova, most)
	ioas.ExpectPA(iova, most, m.PA(0), huge)

	type argument = uapi.IOASNoiommuGetPA
	flags := func(a *argument) { a.Flags = 1 }
	reserved := func(a *argument) { a.Reserved = 1 }
	length := func(a *argument) { a.Length = 0 }
	last := func(a *argument) { a.IOVA = ^uint64(0) }
	noIOAS := func(a *argument) { a.IOASID = 0x7fffffff }
	hole := func(a *argument) { a.IOVA = iova - page }

	for _, c := range []struct {
		name  string
		spoil []func(*argument)
		want  unix.Errno
	}{
		{"flags 1", []func(*argument){flags}, unix.EOPNOTSUPP},
		{"reserved 1", []func(*argument){reserved}, unix.EOPNOTSUPP},
		{"length 0", []func(*argument){length}, unix.EINVAL},
		{"iova U64_MAX", []func(*argument){last}, unix.EOVERFLOW},
		{"unknown id", []func(*argument){noIOAS}, unix.ENOENT},
		{"id 0", []func(*argument){func(a *argument) { a.IOASID = 0 }}, unix.ENOENT},
		{"device id", []func(*argument){func(a *argument) { a.IOASID = devid }}, unix.ENOENT},
		{"HWPT id", []func(*argument){func(a *argument) { a.IOASID = hwpt }}, unix.ENOENT},
		{"iova U64_MAX-1, not mapped", []func(*argument){func(a *argument) { a.IOVA = ^uint64(0) - 1 }}, unix.ENOENT},

		{"flags before all", []func(*argument){flags, length, last, noIOAS}, unix.EOPNOTSUPP},
		{"reserved before all", []func(*argument){reserved, length, last, noIOAS}, unix.EOPNOTSUPP},
		{"length before iova and id", []func(*argument){length, last, noIOAS}, unix.EINVAL},
		{"length before id", []func(*argument){length, noIOAS}, unix.EINVAL},
		{"length before a hole", []func(*argument){length, hole}, unix.EINVAL},
		{"iova before id", []func(*argument){last, noIOAS}, unix.EOVERFLOW},
		{"flags before a hole", []func(*argument){flags, hole}, unix.EOPNOTSUPP},
	} {
		bad := good
		for _, spoil := range c.spoil {
			spoil(&bad)
		}
		fd.ExpectNoPA(bad, c.want, "get_pa(%s)", c.name)
	}
	for bit := range 32 {
		bad := good
		bad.Flags = 1 << bit
		fd.ExpectNoPA(bad, unix.EOPNOTSUPP, "get_pa(flags 1<<%d)", bit)
		bad.Flags, bad.Reserved = 0, 1<<bit
		fd.ExpectNoPA(bad, unix.EOPNOTSUPP, "get_pa(reserved 1<<%d)", bit)
	}
	ioas.ExpectPA(iova, most, m.PA(0), huge)
	letGo(t, dev, ioas)
}

// letGo asserts that no answer of GET_PA, good or bad, holds the address space:
// once the device is detached it can be destroyed at once.
func letGo(t *lab.T, dev *lab.Cdev, ioas *lab.IOAS) {
	t.OK(dev.Detach(), "detach")
	ioas.ExpectNoPA(iova, most, unix.EOPNOTSUPP)
	t.OK(ioas.FD().Destroy(ioas.ID), "IOMMU_DESTROY(ioas)")
	ioas.ExpectNoPA(iova, most, unix.ENOENT)
}

// PA-12: what is not mapped has no address, and what is mapped anew has the
// new one.
func unmapped(t *lab.T) {
	_, ioas := t.ToAttached(t.Devices[0])
	first, second := t.Hugepages(1), t.Hugepages(1)
	lab.Differ(t, second.PA(0), first.PA(0), "address of the second hugepage")

	ioas.ExpectNoPA(iova, most, unix.ENOENT)
	ioas.Map(first, iova)
	ioas.ExpectPA(iova, most, first.PA(0), huge)
	ioas.ExpectNoPA(iova-1, most, unix.ENOENT)
	ioas.ExpectNoPA(iova-page, most, unix.ENOENT)
	ioas.ExpectNoPA(iova+huge, most, unix.ENOENT)
	ioas.ExpectNoPA(0, most, unix.ENOENT)

	// A neighbour area comes and goes without changing this one.
	ioas.Map(second, iova+huge)
	ioas.ExpectPA(iova+huge, most, second.PA(0), huge)
	n, err := ioas.Unmap(iova+huge, huge)
	t.OK(err, "unmap the neighbour")
	lab.Equal(t, n, huge, "bytes unmapped")
	ioas.ExpectNoPA(iova+huge, most, unix.ENOENT)
	ioas.ExpectPA(iova, most, first.PA(0), huge)

	n, err = ioas.Unmap(iova, huge)
	t.OK(err, "unmap")
	lab.Equal(t, n, huge, "bytes unmapped")
	for _, offset := range []uint64{0, 0xabc, huge - 1} {
		ioas.ExpectNoPA(iova+offset, most, unix.ENOENT)
	}

	ioas.Map(second, iova)
	ioas.ExpectPA(iova, most, second.PA(0), huge)
	ioas.ExpectPA(iova+0xabc, 1, second.PA(0xabc), 1)
	witness.Sees(t, second.PA(0), second.Bytes[:page], "the second hugepage")
}
