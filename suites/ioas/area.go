// SPDX-License-Identifier: Apache-2.0

package ioas

import (
	"golang.org/x/sys/unix"

	"noiommu-farm/suites/lab"
	"noiommu-farm/suites/puppet"
	"noiommu-farm/suites/uapi"
)

// IA-08: a table without hardware sees no writes.
func noDirtyTracking(t *lab.T) {
	dev := t.Open(t.Devices[0])
	fd := t.IOMMUFD()
	devid := dev.Bind(fd)
	ioas := fd.IOAS()
	m := t.Hugepages(1)
	ioas.Map(m, iova)
	automatic := dev.Attach(ioas)
	own, err := fd.AllocHWPT(devid, ioas, 0, uapi.IOMMU_HWPT_DATA_NONE, nil)
	t.Must(err, "IOMMU_HWPT_ALLOC")
	for _, hwpt := range []uint32{automatic, own} {
		for _, flags := range []uint32{uapi.IOMMU_HWPT_DIRTY_TRACKING_ENABLE, 0, 2} {
			t.Fails(fd.SetDirtyTracking(hwpt, flags), unix.EOPNOTSUPP, "IOMMU_HWPT_SET_DIRTY_TRACKING(hwpt %d, flags %d)", hwpt, flags)
		}
		for _, flags := range []uint32{0, uapi.IOMMU_HWPT_GET_DIRTY_BITMAP_NO_CLEAR, 2} {
			bitmap := make([]uint64, 8)
			t.Fails(fd.GetDirtyBitmap(hwpt, flags, iova, lab.HugeSize, bitmap), unix.EOPNOTSUPP, "IOMMU_HWPT_GET_DIRTY_BITMAP(hwpt %d, flags %d)", hwpt, flags)
			for i, word := range bitmap {
				lab.Equal(t, word, 0, "word %d of the bitmap after the failure", i)
			}
		}
	}
	for _, id := range []uint32{devid, ioas.ID, 1000} {
		t.Fails(fd.SetDirtyTracking(id, 0), unix.ENOENT, "IOMMU_HWPT_SET_DIRTY_TRACKING(id %d, no HWPT)", id)
	}
	ioas.ExpectPA(iova, lab.MaxLength, m.PA(0), lab.HugeSize)
}

// IA-10: memory is pinned for the devices, not for the address space.
func pinnedByAttach(t *lab.T) {
	const pages = 64
	dev := t.Open(t.Devices[0])
	fd := t.IOMMUFD()
	devid := dev.Bind(fd)
	ioas := fd.IOAS()
	m := t.Pages(pages)
	expect := func(want uint64, when string) {
		lab.Equal(t, t.Pinned(), want*lab.PageSize/1024, "memory pinned %s, kB", when)
	}
	expect(0, "before the map")
	ioas.Map(m, iova)
	expect(0, "after the map, before the attach")
	for range 3 {
		dev.Attach(ioas)
		expect(pages, "while attached")
		ioas.ExpectPA(iova, lab.MaxLength, m.PA(0), m.Run(0))
		t.Must(dev.Detach(), "detach")
		expect(0, "after detach")
	}
	// An attach that fails at the second area has let go of the first.
	half := fd.IOAS()
	good, gone := t.Pages(pages), t.Pages(pages)
	half.Map(good, iova)
	half.Map(gone, 2*iova)
	// Taken away, not unmapped: nobody else gets the place.
	t.Must(unix.Mprotect(gone.Bytes, unix.PROT_NONE), "mprotect")
	for range 2 {
		_, err := dev.TryAttach(half.ID)
		t.Fails(err, unix.EFAULT, "attach with an area whose memory is gone")
		_, err = fd.AllocHWPT(devid, half, 0, uapi.IOMMU_HWPT_DATA_NONE, nil)
		t.Fails(err, unix.EFAULT, "IOMMU_HWPT_ALLOC with an area whose memory is gone")
		half.ExpectNoPA(iova, lab.MaxLength, unix.EOPNOTSUPP)
		expect(0, "after the failures")
	}
	_, err := half.Unmap(2*iova, pages*lab.PageSize)
	t.OK(err, "unmap the area whose memory is gone")
	dev.Attach(half)
	expect(pages, "while attached to what is left")
	half.ExpectPA(iova, lab.MaxLength, good.PA(0), good.Run(0))

	dev.Attach(ioas)
	other := t.Pages(pages / 2)
	ioas.Map(other, 2*iova)
	expect(pages+pages/2, "after a map while attached")
	_, err = ioas.Unmap(iova, pages*lab.PageSize)
	t.OK(err, "unmap")
	expect(pages/2, "after an unmap")
	t.Must(dev.Close(), "close the cdev")
	expect(0, "after close")
	attachedByAnother(t)
}

// attachedByAnother is the last part of IA-10: the memory is that of the process
// that mapped it, whoever attaches the device.
func attachedByAnother(t *lab.T) {
	const pages = 8
	p := puppet.New(t)
	dev, fd := t.Open(t.Devices[0]), t.IOMMUFD()
	device, theirs := p.Take(dev.File), p.Take(fd.File)
	ioas, m := fd.IOAS(), t.Pages(pages) // where the other process has nothing
	ioas.Map(m, iova)
	p.Bind(device, theirs)
	p.Attach(device, ioas.ID)
	pas := m.Pagemap()
	for offset := 0; offset < len(m.Bytes); offset += lab.PageSize {
		ioas.ExpectPA(iova+uint64(offset), lab.MaxLength, pas.PA(offset), pas.Run(offset))
	}
	lab.Equal(t, t.Pinned(), pages*lab.PageSize/1024, "memory pinned of the process that mapped it, kB")
	lab.Equal(t, t.PinnedBy(p.PID()), 0, "memory pinned of the process that attached, kB")
	p.Kill()
	t.Must(dev.Close(), "close the cdev")
	lab.Equal(t, t.Pinned(), 0, "memory pinned after the close, kB")
}

// IA-13: without a device any byte can be an area; a table needs pages.
func subPage(t *lab.T) {
	dev := t.Open(t.Devices[0])
	fd := t.IOMMUFD()
	devid := dev.Bind(fd)
	ioas := fd.IOAS()
	m := t.Pages(4)
	for _, c := range []struct {
		name         string
		va           uintptr
		length, iova uint64
	}{
		{"iova in a page", m.VA(), lab.PageSize, iova + 0x10},
		{"length of a part of a page", m.VA(), 100, iova},
		{"user_va in a page", m.VA() + 0x10, lab.PageSize, iova},
		{"everything odd", m.VA() + 1, 4097, iova + 3},
	} {
		t.Must(ioas.TryMap(c.va, c.length, c.iova), "map(%s) without a device", c.name)
		for range 2 {
			_, err := dev.TryAttach(ioas.ID)
			t.Fails(err, unix.EADDRINUSE, "attach with %s", c.name)
			_, err = fd.AllocHWPT(devid, ioas, 0, uapi.IOMMU_HWPT_DATA_NONE, nil)
			t.Fails(err, unix.EADDRINUSE, "IOMMU_HWPT_ALLOC with %s", c.name)
			_, alignment := ioas.IOVARanges()
			lab.Equal(t, alignment, 1, "alignment after the failed attach with %s", c.name)
		}
		ioas.ExpectNoPA(c.iova, 1, unix.EOPNOTSUPP)
		n, err := ioas.Unmap(c.iova, c.length)
		t.OK(err, "unmap(%s)", c.name)
		lab.Equal(t, n, c.length, "unmap(%s): bytes", c.name)
		lab.Equal(t, t.Pinned(), 0, "memory pinned after %s, kB", c.name)
	}
	lab.Equal(t, fd.IOAS().ID, ioas.ID+1, "id of the next object: the failures left none")
	ioas.Map(m, iova)
	dev.Attach(ioas)
	ioas.ExpectPA(iova, lab.MaxLength, m.PA(0), m.Run(0))
}

// IA-16: the pages of a file have addresses like those of a process.
func mapFile(t *lab.T) {
	_, ioas := t.ToAttached(t.Devices[0])
	file, m := t.Memfd(16)
	const page = lab.PageSize
	for i, c := range []struct{ start, length int }{{0, 16 * page}, {page, 3 * page}, {15 * page, page}} {
		at := uint64(iova * (i + 1))
		t.Must(ioas.MapFile(file, uint64(c.start), uint64(c.length), at), "IOMMU_IOAS_MAP_FILE(start %#x, length %#x)", c.start, c.length)
		pas := m.Part(c.start, c.length).Pagemap()
		for offset := 0; offset < c.length; offset += page / 2 {
			ioas.ExpectPA(at+uint64(offset), lab.MaxLength, pas.PA(offset), pas.Run(offset))
		}
		ioas.ExpectNoPA(at+uint64(c.length), 1, unix.ENOENT)
	}
	const free = 16 * iova
	t.Fails(ioas.MapFile(file, 0x10, page, free), unix.EINVAL, "IOMMU_IOAS_MAP_FILE from inside a page")
	t.Fails(ioas.MapFile(file, 0, page/2, free), unix.EINVAL, "IOMMU_IOAS_MAP_FILE of half a page")
	t.Fails(ioas.MapFile(file, 0, 0, free), unix.EINVAL, "IOMMU_IOAS_MAP_FILE of nothing")
	t.Fails(ioas.MapFile(file, 0, page, iova), unix.EEXIST, "IOMMU_IOAS_MAP_FILE over an area")
	t.Fails(ioas.MapFile(1<<30, 0, page, free), unix.EBADF, "IOMMU_IOAS_MAP_FILE of a closed descriptor")
	t.Fails(ioas.MapFile(file, 0, 17*page, free), unix.EINVAL, "IOMMU_IOAS_MAP_FILE over the end of the file")
	t.Fails(ioas.MapFile(t.Pipe().Fd(), 0, page, free), unix.EINVAL, "IOMMU_IOAS_MAP_FILE of a pipe")
	ioas.ExpectNoPA(free, 1, unix.ENOENT)
	mapHugeFile(t, ioas)
	filesLetGo(t, ioas)
}

// mapHugeFile is the part of IA-16 with a file of hugepages: an area may begin
// inside one.
func mapHugeFile(t *lab.T, ioas *lab.IOAS) {
	const page, huge = lab.PageSize, lab.HugeSize
	file, m := t.HugeMemfd(2)
	free := t.Free2M()
	for i, c := range []struct{ start, length int }{{3 * page, 5 * page}, {huge - page, 2 * page}, {0, 2 * huge}} {
		at := uint64(iova * (32 + i))
		t.Must(ioas.MapFile(file, uint64(c.start), uint64(c.length), at), "IOMMU_IOAS_MAP_FILE(hugepages, start %#x, length %#x)", c.start, c.length)
		pas := m.Part(c.start, c.length).Pagemap()
		for offset := 0; offset < c.length; offset += min(c.length/2, 61*page) {
			ioas.ExpectPA(at+uint64(offset), lab.MaxLength, pas.PA(offset), pas.Run(offset))
		}
		n, err := ioas.Unmap(at, uint64(c.length))
		t.OK(err, "unmap a file of hugepages")
		lab.Equal(t, n, uint64(c.length), "bytes unmapped of a file of hugepages")
	}
	m.Unmap()
	t.Must(unix.Ftruncate(file, 0), "cut the file of hugepages")
	lab.Equal(t, t.Free2M(), free+2, "free hugepages after the file was cut: nobody holds one")
}

// filesLetGo is the part of IA-16 in which an unmap lets go of the file.
func filesLetGo(t *lab.T, ioas *lab.IOAS) {
	const rounds, page, at = 64, lab.PageSize, 64 * iova
	before := t.SharedMemory()
	for range rounds {
		file, err := unix.MemfdCreate("suites", unix.MFD_CLOEXEC)
		t.Must(err, "memfd_create")
		t.Must(unix.Ftruncate(file, page), "ftruncate")
		t.Must(ioas.MapFile(file, 0, page, at), "IOMMU_IOAS_MAP_FILE")
		t.Must(ioas.Copy(at, page, ioas, 2*at), "IOMMU_IOAS_COPY of a file")
		t.Must(unix.Close(file), "close the file")
		for _, iova := range []uint64{at, 2 * at} {
			_, err := ioas.Unmap(iova, page)
			t.OK(err, "unmap the file")
		}
	}
	// Others may have a file of their own by now.
	lab.Above(t, before+rounds/2, t.SharedMemory(), "pages of files in memory that may be there, above those that are")
}

// IA-17: a copy is another way to the same memory.
func copyArea(t *lab.T) {
	dev := t.Open(t.Devices[0])
	fd := t.IOMMUFD()
	devid := dev.Bind(fd)
	first, second := fd.IOAS(), fd.IOAS()
	m := t.Hugepages(1)
	first.Map(m, iova)
	t.Must(first.Copy(iova, lab.HugeSize, second, 5*iova), "IOMMU_IOAS_COPY")
	t.Fails(first.Copy(iova, lab.HugeSize, second, 5*iova), unix.EEXIST, "IOMMU_IOAS_COPY to the same place")
	t.Fails(first.Copy(0, lab.PageSize, second, 6*iova), unix.ENOENT, "IOMMU_IOAS_COPY of what is not mapped")
	dev.Attach(first)
	second.ExpectNoPA(5*iova, 1, unix.EOPNOTSUPP)
	_, err := fd.AllocHWPT(devid, second, 0, uapi.IOMMU_HWPT_DATA_NONE, nil)
	t.Must(err, "IOMMU_HWPT_ALLOC of the second IOAS")
	pa := m.PA(0)
	for _, offset := range []uint64{0, 0xabc, lab.HugeSize - 1} {
		first.ExpectPA(iova+offset, lab.MaxLength, pa+offset, lab.HugeSize-offset)
		second.ExpectPA(5*iova+offset, lab.MaxLength, pa+offset, lab.HugeSize-offset)
	}
	// Parts of an area, and more than one.
	t.Must(first.Copy(iova+3*lab.PageSize, 5*lab.PageSize, second, 7*iova), "IOMMU_IOAS_COPY of a part")
	second.ExpectPA(7*iova, lab.MaxLength, pa+3*lab.PageSize, 5*lab.PageSize)
	second.ExpectNoPA(7*iova+5*lab.PageSize, 1, unix.ENOENT)
	small := t.Pages(2)
	first.Map(small, iova+lab.HugeSize)
	t.Must(first.Copy(iova+lab.HugeSize-lab.PageSize, 2*lab.PageSize, second, 8*iova), "IOMMU_IOAS_COPY over two areas")
	second.ExpectPA(8*iova, lab.MaxLength, pa+lab.HugeSize-lab.PageSize, lab.PageSize)
	second.ExpectPA(8*iova+lab.PageSize, 1, small.PA(0), 1)
	for _, c := range []struct {
		name         string
		from, length uint64
		dst          *lab.IOAS
		to           uint64
		want         unix.Errno
	}{
		{"a range with a hole at its end", iova + lab.HugeSize, 3 * lab.PageSize, second, 9 * iova, unix.ENOENT},
		{"nothing", iova, 0, second, 9 * iova, unix.EINVAL},
		{"to inside a page", iova, lab.PageSize, second, 9*iova + 1, unix.EINVAL},
		{"half a page", iova, lab.PageSize / 2, second, 9 * iova, unix.EINVAL},
		{"to U64_MAX", iova, lab.PageSize, second, ^uint64(0), unix.EOVERFLOW},
		{"U64_MAX bytes", iova, ^uint64(0), second, 9 * iova, unix.EOVERFLOW},
	} {
		t.Fails(first.Copy(c.from, c.length, c.dst, c.to), c.want, "IOMMU_IOAS_COPY(%s)", c.name)
	}
	second.ExpectNoPA(9*iova, 1, unix.ENOENT)

	// A copy that fails at the second area has undone the first.
	src, good, gone := fd.IOAS(), t.Pages(4), t.Pages(4)
	src.Map(good, iova)
	src.Map(gone, iova+4*lab.PageSize)
	t.Must(unix.Mprotect(gone.Bytes, unix.PROT_NONE), "mprotect")
	pinned := t.Pinned()
	t.Fails(src.Copy(iova, 8*lab.PageSize, second, 10*iova), unix.EFAULT, "IOMMU_IOAS_COPY of areas, the second without memory")
	lab.Equal(t, t.Pinned(), pinned, "memory pinned after the copy that failed, kB")
	second.ExpectNoPA(10*iova, 1, unix.ENOENT)
	second.Map(good, 10*iova)
	second.ExpectPA(10*iova, lab.MaxLength, good.PA(0), good.Run(0))

	// The copy stands alone.
	_, err = first.Unmap(iova, lab.HugeSize)
	t.OK(err, "unmap the original")
	first.ExpectNoPA(iova, 1, unix.ENOENT)
	second.ExpectPA(5*iova, lab.MaxLength, pa, lab.HugeSize)
	t.Must(dev.Detach(), "detach")
	copyOfPart(t, dev, fd)
}

// copyOfPart is the part of IA-17 in which the copy of a part is all that a table
// has: only that part is pinned, and it is that part.
func copyOfPart(t *lab.T, dev *lab.Cdev, fd *lab.IOMMUFD) {
	const page = lab.PageSize
	for _, attached := range []bool{true, false} {
		src, dst := fd.IOAS(), fd.IOAS()
		m := t.Pages(16)
		file, mapped := t.Memfd(16)
		src.Map(m, iova)
		t.Must(src.MapFile(file, 0, 16*page, 2*iova), "IOMMU_IOAS_MAP_FILE")
		before := t.Pinned()
		if attached {
			dev.Attach(dst)
		}
		for _, at := range []uint64{iova, 2 * iova} {
			t.Must(src.Copy(at+3*page, 5*page, dst, at), "IOMMU_IOAS_COPY of a part")
		}
		if !attached {
			dev.Attach(dst)
		}
		lab.Equal(t, t.Pinned()-before, 2*5*page/1024, "memory pinned of parts, kB")
		for at, original := range map[uint64]*lab.Memory{iova: m, 2 * iova: mapped} {
			pas := original.Part(3*page, 5*page).Pagemap()
			for offset := 0; offset < 5*page; offset += page {
				dst.ExpectPA(at+uint64(offset), lab.MaxLength, pas.PA(offset), pas.Run(offset))
			}
		}
		t.Must(dev.Detach(), "detach")
		lab.Equal(t, t.Pinned(), before, "memory pinned after detach, kB")
	}
}

// IA-18: how the table is filled does not show.
func noHugePages(t *lab.T) {
	dev := t.Open(t.Devices[0])
	fd := t.IOMMUFD()
	dev.Bind(fd)
	plain, small := fd.IOAS(), fd.IOAS()
	small.NoHugePages()
	// More pages than the kernel pins at a time, in more pieces than it handles
	// at a time.
	const many = 10240
	for at, m := range map[uint64]*lab.Memory{iova: t.Mixture(), 2 * iova: t.Scattered(many)} {
		for _, ioas := range []*lab.IOAS{plain, small} {
			ioas.Map(m, at)
			dev.Attach(ioas)
			pas := m.Pagemap() // of pages that are pinned: until then the kernel may move them
			for offset := 0; offset < len(m.Bytes); offset += 61*lab.PageSize + 0x123 {
				ioas.ExpectPA(at+uint64(offset), lab.MaxLength, pas.PA(offset), pas.Run(offset))
			}
		}
	}
}

// IA-19: nothing that is allowed can be in a device's way.
func allowedIOVAs(t *lab.T) {
	dev := t.Open(t.Devices[0])
	fd := t.IOMMUFD()
	dev.Bind(fd)
	m := t.Hugepages(1)
	for _, ranges := range [][]uapi.IOVARange{
		{{Start: 0, Last: ^uint64(0)}},
		{{Start: 0xfee00000, Last: 0xfeefffff}},
		{{Start: 0, Last: lab.PageSize - 1}, {Start: ^uint64(0) - lab.PageSize + 1, Last: ^uint64(0)}},
	} {
		ioas := fd.IOAS()
		t.Must(ioas.AllowIOVAs(ranges...), "IOMMU_IOAS_ALLOW_IOVAS(%x)", ranges)
		dev.Attach(ioas)
		got, _ := ioas.IOVARanges()
		lab.Equal(t, len(got), 1, "number of ranges with %x allowed", ranges)
		lab.Equal(t, got[0], uapi.IOVARange{Start: 0, Last: ^uint64(0)}, "range with %x allowed", ranges)
		arg := ioas.MapArg(m.VA(), lab.PageSize, 0)
		arg.Flags &^= uapi.IOMMU_IOAS_MAP_FIXED_IOVA
		// Of the first page and the last two the kernel picks nothing.
		if last := ranges[0].Last; last >= 2*lab.PageSize {
			if t.OK(fd.Map(&arg), "map anywhere with %x allowed", ranges) {
				lab.Equal(t, arg.IOVA >= ranges[0].Start && arg.IOVA+lab.PageSize-1 <= last, true, "the IOVA %#x is in what is allowed, %x", arg.IOVA, ranges)
				ioas.ExpectPA(arg.IOVA, lab.MaxLength, m.PA(0), lab.PageSize)
			}
		} else {
			t.Fails(fd.Map(&arg), unix.ENOSPC, "map anywhere with %x allowed", ranges)
		}
		// What is allowed is where the kernel looks by itself, and no limit.
		ioas.Map(m, iova)
		ioas.ExpectPA(iova, lab.MaxLength, m.PA(0), lab.HugeSize)
		t.OK(dev.Detach(), "detach")
	}
}
