// SPDX-License-Identifier: Apache-2.0

package getpa

import (
	"bytes"
	"unsafe"

	"golang.org/x/sys/unix"

	"noiommu-farm/suites/lab"
	"noiommu-farm/suites/uapi"
	"noiommu-farm/suites/witness"
)

// PA-11: the size of the argument is the interface's version.
func argumentSize(t *lab.T) {
	dev, ioas := t.ToAttached(t.Devices[0])
	fd := ioas.FD()
	m := t.Hugepages(1)
	ioas.Map(m, iova)

	for _, size := range []uint32{0, 1, 32, 39} {
		short := ioas.GetPAArg(iova, most)
		short.Size = size
		fd.ExpectNoPA(short, unix.EINVAL, "get_pa(size %d)", size)
	}
	var long struct {
		uapi.IOASNoiommuGetPA
		tail uint64
	}
	for _, tail := range []uint64{1, 1 << 63} {
		long.IOASNoiommuGetPA, long.tail = ioas.GetPAArg(iova, most), tail
		long.Size = uint32(unsafe.Sizeof(long))
		_, err := fd.Ioctl(uapi.IOMMU_IOAS_NOIOMMU_GET_PA, unsafe.Pointer(&long))
		t.Fails(err, unix.E2BIG, "get_pa(size 48, tail %#x)", tail)
		lab.Equal(t, long.Length, most, "get_pa(size 48, tail %#x): length after the failure", tail)
	}
	long.IOASNoiommuGetPA, long.tail = ioas.GetPAArg(iova, most), 0
	long.Size = uint32(unsafe.Sizeof(long))
	_, err := fd.Ioctl(uapi.IOMMU_IOAS_NOIOMMU_GET_PA, unsafe.Pointer(&long))
	t.OK(err, "get_pa(size 48, zero tail)")
	lab.Equal(t, long.OutPhys, m.PA(0), "get_pa(size 48, zero tail): out_phys")
	lab.Equal(t, long.Length, huge, "get_pa(size 48, zero tail): length")
	_, err = fd.IoctlValue(uapi.IOMMU_IOAS_NOIOMMU_GET_PA, 0)
	t.Fails(err, unix.EFAULT, "get_pa(NULL)")

	// An argument that ends where memory does: what is told of it is read, and
	// no more.
	edge := t.Pages(2)
	t.Must(unix.Mprotect(edge.Bytes[page:], unix.PROT_NONE), "mprotect")
	const size = int(unsafe.Sizeof(uapi.IOASNoiommuGetPA{}))
	last := (*uapi.IOASNoiommuGetPA)(unsafe.Pointer(&edge.Bytes[page-size]))
	*last = ioas.GetPAArg(iova, most)
	t.OK(fd.GetPA(last), "get_pa(argument at the end of memory)")
	lab.Equal(t, last.OutPhys, m.PA(0), "get_pa(argument at the end of memory): out_phys")
	over := (*uapi.IOASNoiommuGetPA)(unsafe.Pointer(&edge.Bytes[page-size]))
	*over = ioas.GetPAArg(iova, most)
	over.Size++
	t.Fails(fd.GetPA(over), unix.EFAULT, "get_pa(argument over the end of memory)")
	letGo(t, dev, ioas)
}

// PA-13: the addresses are there while a device is attached.
func needsDevice(t *lab.T) {
	dev := t.Open(t.Devices[0])
	fd := t.IOMMUFD()
	ioas := fd.IOAS()
	m := t.Hugepages(1)
	ioas.Map(m, iova)
	ioas.ExpectNoPA(iova, most, unix.EOPNOTSUPP)
	ioas.ExpectNoPA(iova-page, most, unix.ENOENT)
	dev.Bind(fd)
	ioas.ExpectNoPA(iova, most, unix.EOPNOTSUPP)

	pa := m.PA(0)
	for range 3 {
		dev.Attach(ioas)
		ioas.ExpectPA(iova, most, pa, huge)
		t.Must(dev.Detach(), "detach")
		ioas.ExpectNoPA(iova, most, unix.EOPNOTSUPP)
	}
	// What is mapped while attached is there at once, and gone with close.
	dev.Attach(ioas)
	second := t.Hugepages(1)
	ioas.Map(second, 2*iova)
	ioas.ExpectPA(2*iova, most, second.PA(0), huge)
	t.Must(dev.Close(), "close the cdev")
	ioas.ExpectNoPA(iova, most, unix.EOPNOTSUPP)
	ioas.ExpectNoPA(2*iova, most, unix.EOPNOTSUPP)
}

// PA-16: the mapping in the IOAS keeps the memory, not the one in the process.
func pinned(t *lab.T) {
	_, ioas := t.ToAttached(t.Devices[0])
	big, small := t.Hugepages(1), t.Pages(8)
	ioas.Map(big, iova)
	ioas.Map(small, 2*iova)
	bigPA, smallPages := big.PA(0), small.Pagemap()
	free := t.Free2M()
	bigBytes, smallBytes := bytes.Clone(big.Bytes[:page]), bytes.Clone(small.Bytes)

	big.Unmap()
	small.Unmap()
	lab.Equal(t, t.Free2M(), free, "free hugepages after munmap: the page is held")
	// New memory gets other pages.
	other := t.Hugepages(1)
	lab.Differ(t, other.PA(0), bigPA, "address of a new hugepage")
	ioas.ExpectPA(iova, most, bigPA, huge)
	for offset := 0; offset < len(small.Bytes); offset += page {
		ioas.ExpectPA(2*iova+uint64(offset), most, smallPages.PA(offset), smallPages.Run(offset))
	}
	witness.Sees(t, bigPA, bigBytes, "a hugepage that the process has no more")
	for offset := 0; offset < len(smallBytes); offset += page {
		witness.Sees(t, smallPages.PA(offset), smallBytes[offset:offset+page], "page %d that the process has no more", offset/page)
	}
	other.Unmap()
	n, err := ioas.Unmap(iova, huge)
	t.OK(err, "unmap")
	lab.Equal(t, n, huge, "bytes unmapped")
	lab.Equal(t, t.Free2M(), free+1, "free hugepages after the IOAS let go of it")
}

// PA-17: a pinned page is the parent's; a child gets a copy.
func forked(t *lab.T) {
	_, ioas := t.ToAttached(t.Devices[0])
	big, small := t.Hugepages(1), t.Pages(8)
	ioas.Map(big, iova)
	ioas.Map(small, 2*iova)
	bigPA, smallPages := big.PA(0), small.Pagemap()
	expect := func(when string) {
		lab.Equal(t, big.PA(0), bigPA, "pagemap of the hugepage %s", when)
		ioas.ExpectPA(iova, most, bigPA, huge)
		for offset := 0; offset < len(small.Bytes); offset += page {
			lab.Equal(t, small.PA(offset), smallPages.PA(offset), "pagemap of page %d %s", offset/page, when)
			ioas.ExpectPA(2*iova+uint64(offset), most, smallPages.PA(offset), smallPages.Run(offset))
		}
	}
	child := t.Fork()
	expect("after the fork")
	for i := range big.Bytes {
		big.Bytes[i]++
	}
	for i := range small.Bytes {
		small.Bytes[i]++
	}
	expect("after the parent wrote")
	witness.Sees(t, bigPA, big.Bytes[:page], "the parent's hugepage")
	witness.Sees(t, smallPages.PA(3*page), small.Bytes[3*page:4*page], "the parent's fourth page")
	child.Kill()
	expect("after the child died")
}
