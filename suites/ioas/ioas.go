// SPDX-License-Identifier: Apache-2.0

// Package ioas proves what an I/O address space promises with a device
// attached.
package ioas

import (
	"unsafe"

	"golang.org/x/sys/unix"

	"noiommu-farm/suites/lab"
	"noiommu-farm/suites/uapi"
)

// Tests are the suite's tests.
var Tests = []lab.Test{
	{ID: "IA-01", Run: iovaRanges},
	{ID: "IA-02", Run: attach},
	{ID: "IA-03", Run: badAttach},
	{ID: "IA-04", Run: detachAlways},
	{ID: "IA-05", Run: replace},
	{ID: "IA-06", Run: ownHWPT},
	{ID: "IA-07", Run: badHWPT},
	{ID: "IA-08", Run: noDirtyTracking},
	{ID: "IA-09", Run: noPASID},
	{ID: "IA-10", Run: pinnedByAttach},
	{ID: "IA-11", Run: wholeIOVASpace},
	{ID: "IA-12", Run: badMap},
	{ID: "IA-13", Run: subPage},
	{ID: "IA-14", Run: unmap},
	{ID: "IA-15", Run: kernelPicksIOVA},
	{ID: "IA-16", Run: mapFile},
	{ID: "IA-17", Run: copyArea},
	{ID: "IA-18", Run: noHugePages},
	{ID: "IA-19", Run: allowedIOVAs},
	{ID: "IA-20", Run: upToTheLast},
}

// IA-01: the whole space, before and after.
func iovaRanges(t *lab.T) {
	for _, d := range t.Devices {
		dev := t.Open(d)
		fd := t.IOMMUFD()
		dev.Bind(fd)
		ioas := fd.IOAS()
		expect := func(when string, wantAlignment uint64) {
			ranges, alignment := ioas.IOVARanges()
			lab.Equal(t, alignment, wantAlignment, "%s: alignment %s", d.Model, when)
			if lab.Equal(t, len(ranges), 1, "%s: number of ranges %s", d.Model, when) {
				lab.Equal(t, ranges[0], uapi.IOVARange{Start: 0, Last: ^uint64(0)}, "%s: range %s", d.Model, when)
			}
		}
		expect("before attach", 1)
		dev.Attach(ioas)
		expect("after attach", lab.PageSize)
		badRanges(t, ioas)
		t.Must(dev.Detach(), "detach")
		expect("after detach", 1)
		dev.Attach(ioas)
		expect("after the second attach", lab.PageSize)
		t.Must(dev.Close(), "close the cdev")
		expect("after close", 1)
	}
}

// badRanges asks for the ranges in ways that cannot be answered.
func badRanges(t *lab.T, ioas *lab.IOAS) {
	type argument = uapi.IOASIOVARanges
	good := argument{Size: uint32(unsafe.Sizeof(argument{})), IOASID: ioas.ID}
	ask := func(arg *argument) error {
		_, err := ioas.FD().Ioctl(uapi.IOMMU_IOAS_IOVA_RANGES, unsafe.Pointer(arg))
		return err
	}
	none := good // room for none says how many there are
	t.Fails(ask(&none), unix.EMSGSIZE, "IOMMU_IOAS_IOVA_RANGES without room")
	lab.Equal(t, none.NumIOVAs, 1, "number of ranges without room")
	lab.Equal(t, none.OutIOVAAlignment, lab.PageSize, "alignment without room")
	for _, c := range []struct {
		name  string
		spoil func(*argument)
		want  unix.Errno
	}{
		{"nowhere to write", func(a *argument) { a.NumIOVAs = 1 }, unix.EFAULT},
		{"reserved", func(a *argument) { a.Reserved = 1 }, unix.EOPNOTSUPP},
		{"unknown id", func(a *argument) { a.IOASID = 0x7fffffff }, unix.ENOENT},
		{"a short size", func(a *argument) { a.Size-- }, unix.EINVAL},
	} {
		bad := good
		c.spoil(&bad)
		t.Fails(ask(&bad), c.want, "IOMMU_IOAS_IOVA_RANGES(%s)", c.name)
	}
}

// IA-02: attach makes a HWPT, which holds the IOAS; detach frees both.
func attach(t *lab.T) {
	for _, d := range t.Devices {
		dev := t.Open(d)
		fd := t.IOMMUFD()
		devid := dev.Bind(fd)
		ioas := fd.IOAS()
		other := fd.IOAS()

		hwpt := dev.Attach(ioas)
		lab.Equal(t, hwpt, max(devid, ioas.ID, other.ID)+1, "%s: attach: pt_id, the next new id", d.Model)
		t.Fails(fd.Destroy(hwpt), unix.EBUSY, "%s: IOMMU_DESTROY(hwpt) while attached", d.Model)
		t.Fails(fd.Destroy(ioas.ID), unix.EBUSY, "%s: IOMMU_DESTROY(ioas) while attached", d.Model)
		t.OK(fd.Destroy(other.ID), "%s: IOMMU_DESTROY(another ioas) while attached", d.Model)

		t.OK(dev.Detach(), "%s: detach", d.Model)
		t.Fails(fd.Destroy(hwpt), unix.ENOENT, "%s: IOMMU_DESTROY(hwpt) after detach", d.Model)

		// Closing the device undoes an attach as detach does.
		hwpt = dev.Attach(ioas)
		t.Fails(fd.Destroy(ioas.ID), unix.EBUSY, "%s: IOMMU_DESTROY(ioas) while attached again", d.Model)
		t.Must(dev.Close(), "close the cdev")
		t.Fails(fd.Destroy(hwpt), unix.ENOENT, "%s: IOMMU_DESTROY(hwpt) after close", d.Model)
		t.OK(fd.Destroy(ioas.ID), "%s: IOMMU_DESTROY(ioas) after close", d.Model)
		t.Fails(fd.Destroy(ioas.ID), unix.ENOENT, "%s: IOMMU_DESTROY(ioas) twice", d.Model)
	}
}

// IA-11: no IOVA is out of reach, and none wraps.
func wholeIOVASpace(t *lab.T) {
	const page, huge = lab.PageSize, lab.HugeSize
	const end = ^uint64(0) // U64_MAX
	_, ioas := t.ToAttached(t.Devices[0])
	small, two, large := t.Pages(1), t.Hugepages(1).Part(0, 2*page), t.Hugepages(1)

	// The areas, from low to high so that the table has to grow, level by
	// level: 1<<39 is where the noiommu table's first top ends.
	var mapped uint64
	for _, a := range []struct {
		m    *lab.Memory
		iova uint64
	}{
		{small, 0},
		{small, 0xfee00000},
		{two, 1<<39 - page},
		{small, 1 << 48},
		{two, 1<<48 - 1<<40 - page},
		{two, 1<<57 - page},
		{large, 1 << 63},
		{small, 1<<63 - page},
		{small, end - page + 1},
	} {
		ioas.Map(a.m, a.iova)
		mapped += uint64(len(a.m.Bytes))
		ioas.ExpectPA(a.iova, lab.MaxLength, a.m.PA(0), a.m.Run(0))
		last := len(a.m.Bytes) - 2 // U64_MAX itself cannot be asked for
		ioas.ExpectPA(a.iova+uint64(last), lab.MaxLength, a.m.PA(last), 2)
	}
	// The first are still there after the table grew.
	ioas.ExpectPA(0, lab.MaxLength, small.PA(0), page)
	ioas.ExpectPA(0xfee00000, lab.MaxLength, small.PA(0), page)
	ioas.ExpectPA(1<<39-page, lab.MaxLength, two.PA(0), 2*page)

	t.Fails(ioas.TryMap(two.VA(), 2*page, end-page+1), unix.EOVERFLOW, "map 2 pages at the last page")
	t.Fails(ioas.TryMap(large.VA(), huge, end-page+1), unix.EOVERFLOW, "map 2 MiB at the last page")
	t.Fails(ioas.TryMap(small.VA(), page, end), unix.EOVERFLOW, "map at U64_MAX")
	t.Fails(ioas.TryMap(small.VA(), end, 0x1000000), unix.EOVERFLOW, "map U64_MAX bytes")

	// The last page alone, and nothing that a search would find from 0 on.
	n, err := ioas.Unmap(end-page+1, page)
	t.OK(err, "unmap the last page")
	lab.Equal(t, n, page, "bytes unmapped of the last page")
	mapped -= page
	ioas.ExpectPA(0, lab.MaxLength, small.PA(0), page)
	ioas.ExpectPA(1<<63, lab.MaxLength, large.PA(0), huge)

	n, err = ioas.Unmap(0, end)
	t.OK(err, "unmap everything")
	lab.Equal(t, n, mapped, "bytes unmapped: the failed maps left none")
	for _, iova := range []uint64{0, 0xfee00000, 1<<39 - page, 1 << 48, 1 << 63, end - page + 1} {
		ioas.ExpectNoPA(iova, 1, unix.ENOENT)
	}
}

// IA-20: the end of the last area is no number of 64 bits, and no page is taken
// for another because of it.
func upToTheLast(t *lab.T) {
	const pages = 8
	const at = ^uint64(0) - pages*lab.PageSize + 1
	dev := t.Open(t.Devices[0])
	fd := t.IOMMUFD()
	dev.Bind(fd)
	m := t.Scattered(pages)
	if m.Run(0) == uint64(len(m.Bytes)) {
		t.Fatalf("the pages are one run: nothing would be tested")
	}
	plain, small := fd.IOAS(), fd.IOAS()
	small.NoHugePages()
	for _, ioas := range []*lab.IOAS{plain, small} {
		dev.Attach(ioas)
		if !t.OK(ioas.TryMap(m.VA(), uint64(len(m.Bytes)), at), "map pages up to the last IOVA") {
			return // small pages would work, and an unmap let go of pages of others
		}
		pas := m.Pagemap()
		for offset := 0; offset < len(m.Bytes); offset += lab.PageSize {
			ioas.ExpectPA(at+uint64(offset), lab.PageSize-1, pas.PA(offset), lab.PageSize-1)
		}
		n, err := ioas.Unmap(at, uint64(len(m.Bytes)))
		t.OK(err, "unmap")
		lab.Equal(t, n, uint64(len(m.Bytes)), "bytes unmapped")
	}
}
