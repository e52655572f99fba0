// SPDX-License-Identifier: Apache-2.0

package ioas

import (
	"golang.org/x/sys/unix"

	"noiommu-farm/suites/lab"
	"noiommu-farm/suites/uapi"
)

// IA-12: each bad mapping has its errno, and none leaves anything.
func badMap(t *lab.T) {
	const page = lab.PageSize
	dev, ioas := t.ToAttached(t.Devices[0])
	hwpt := dev.Attach(ioas)
	m := t.Hugepages(1)
	ioas.Map(m.Part(0, 4*page), iova)

	readOnly := t.Pages(1)
	t.Must(unix.Mprotect(readOnly.Bytes, unix.PROT_READ), "mprotect")

	const free = 2 * iova // nothing is mapped there
	va := uint64(m.VA())
	type argument = uapi.IOASMap
	for _, c := range []struct {
		name  string
		spoil func(*argument)
		want  unix.Errno
	}{
		{"iova in a page", func(a *argument) { a.IOVA++ }, unix.EINVAL},
		{"length of half a page", func(a *argument) { a.Length = page / 2 }, unix.EINVAL},
		{"length a page and a byte", func(a *argument) { a.Length = page + 1 }, unix.EINVAL},
		{"user_va in a page", func(a *argument) { a.UserVA++ }, unix.EINVAL},
		{"length 0", func(a *argument) { a.Length = 0 }, unix.EINVAL},
		{"neither readable nor writeable", func(a *argument) { a.Flags = uapi.IOMMU_IOAS_MAP_FIXED_IOVA }, unix.EINVAL},
		{"an unknown flag", func(a *argument) { a.Flags |= 8 }, unix.EOPNOTSUPP},
		{"reserved", func(a *argument) { a.Reserved = 1 }, unix.EOPNOTSUPP},
		{"unknown id", func(a *argument) { a.IOASID = 0x7fffffff }, unix.ENOENT},
		{"an IOAS that is a HWPT", func(a *argument) { a.IOASID = hwpt }, unix.ENOENT},
		{"iova and length over the top", func(a *argument) { a.IOVA = ^uint64(0) - page + 1; a.Length = 2 * page }, unix.EOVERFLOW},
		{"user_va and length over the top", func(a *argument) { a.UserVA = ^uint64(0) - page + 1; a.Length = 2 * page }, unix.EOVERFLOW},
		{"over the first page of an area", func(a *argument) { a.IOVA = iova - page; a.Length = 2 * page }, unix.EEXIST},
		{"over the last page of an area", func(a *argument) { a.IOVA = iova + 3*page; a.Length = 2 * page }, unix.EEXIST},
		{"inside an area", func(a *argument) { a.IOVA = iova + page }, unix.EEXIST},
		{"no memory at user_va", func(a *argument) { a.UserVA = 0 }, unix.EFAULT}, // where the kernel puts nothing
		{"read-only memory, writeable", func(a *argument) { a.UserVA = uint64(readOnly.VA()) }, unix.EFAULT},
	} {
		bad := ioas.MapArg(uintptr(va), page, free)
		c.spoil(&bad)
		t.Fails(ioas.FD().Map(&bad), c.want, "map(%s)", c.name)
	}
	// Memory that ends before the mapping does: what was pinned is let go.
	pinned := t.Pinned()
	half := t.Pages(64)
	t.Must(unix.Mprotect(half.Bytes[32*page:], unix.PROT_NONE), "mprotect")
	t.Fails(ioas.TryMap(half.VA(), 64*page, free), unix.EFAULT, "map(half of it no memory)")
	lab.Equal(t, t.Pinned(), pinned, "memory pinned after map(half of it no memory), kB")
	ioas.ExpectNoPA(free, 1, unix.ENOENT)
	ioas.ExpectNoPA(iova-page, 1, unix.ENOENT)
	ioas.ExpectNoPA(iova+4*page, 1, unix.ENOENT)

	good := ioas.MapArg(readOnly.VA(), page, free)
	good.Flags &^= uapi.IOMMU_IOAS_MAP_WRITEABLE
	t.OK(ioas.FD().Map(&good), "map(read-only memory, readable)")
	ioas.ExpectPA(free, lab.MaxLength, readOnly.PA(0), page)
	t.Fails(ioas.Copy(free, page, ioas, free+page), unix.EPERM, "IOMMU_IOAS_COPY(read-only memory, writeable)")
	ioas.ExpectNoPA(free+page, 1, unix.ENOENT)

	n, err := ioas.Unmap(0, ^uint64(0))
	t.OK(err, "unmap everything")
	lab.Equal(t, n, 5*page, "bytes unmapped: the failed maps left none")
}

// IA-14: areas go whole or not at all.
func unmap(t *lab.T) {
	const page = lab.PageSize
	_, ioas := t.ToAttached(t.Devices[0])
	m := t.Hugepages(1)
	ioas.Map(m.Part(0, 4*page), iova)
	ioas.Map(m.Part(8*page, 2*page), iova+4*page)

	for _, c := range []struct {
		name         string
		iova, length uint64
		want         unix.Errno
	}{
		{"the first page of an area", iova, page, unix.ENOENT},
		{"the last page of an area", iova + 3*page, page, unix.ENOENT},
		{"all but the first page", iova + page, 3 * page, unix.ENOENT},
		{"a page over the boundary", iova + 3*page, 2 * page, unix.ENOENT},
		{"a part of an area and the next", iova + 3*page, 3 * page, unix.ENOENT},
		{"nothing", iova + 64*page, page, unix.ENOENT},
		{"length 0", iova, 0, unix.EINVAL},
		{"iova U64_MAX", ^uint64(0), page, unix.EOVERFLOW},
		{"U64_MAX bytes from an area on", iova, ^uint64(0), unix.EOVERFLOW},
		{"over the top", ^uint64(0) - page + 1, 2 * page, unix.EOVERFLOW},
	} {
		_, err := ioas.Unmap(c.iova, c.length)
		t.Fails(err, c.want, "unmap(%s)", c.name)
		ioas.ExpectPA(iova, lab.MaxLength, m.PA(0), 4*page)
		ioas.ExpectPA(iova+4*page, lab.MaxLength, m.PA(8*page), 2*page)
	}

	n, err := ioas.Unmap(iova+3*page+page, 64*page) // begins where the second area does
	t.OK(err, "unmap(more than an area)")
	lab.Equal(t, n, 2*page, "unmap(more than an area): bytes")
	ioas.ExpectNoPA(iova+4*page, 1, unix.ENOENT)
	ioas.ExpectPA(iova, lab.MaxLength, m.PA(0), 4*page)
	_, err = ioas.Unmap(iova+4*page, 2*page)
	t.Fails(err, unix.ENOENT, "unmap(the same again)")

	// A range that cuts the last of several areas fails there; what was before
	// it may be gone, the cut area is not.
	ioas.Map(m.Part(8*page, 2*page), iova+4*page)
	_, err = ioas.Unmap(iova, 5*page)
	t.Fails(err, unix.ENOENT, "unmap(an area and a part of the next)")
	ioas.ExpectPA(iova+4*page, lab.MaxLength, m.PA(8*page), 2*page)
	_, err = ioas.Unmap(0, ^uint64(0))
	t.OK(err, "unmap(everything)")

	ioas.Map(m.Part(0, 4*page), iova)
	ioas.Map(m.Part(0, page), 0)
	ioas.Map(m.Part(page, page), 1<<48)
	n, err = ioas.Unmap(0, ^uint64(0))
	t.OK(err, "unmap(everything)")
	lab.Equal(t, n, 6*page, "unmap(everything): bytes")
	for _, at := range []uint64{0, iova, 1 << 48} {
		ioas.ExpectNoPA(at, 1, unix.ENOENT)
	}
}

// IA-15: an IOVA that the kernel picks can be used and is never 0.
func kernelPicksIOVA(t *lab.T) {
	_, ioas := t.ToAttached(t.Devices[0])
	seen := make(map[uint64]bool)
	for _, m := range []*lab.Memory{t.Pages(1), t.Hugepages(1), t.Pages(3), t.Hugepages(1)} {
		arg := ioas.MapArg(m.VA(), uint64(len(m.Bytes)), 0)
		arg.Flags &^= uapi.IOMMU_IOAS_MAP_FIXED_IOVA
		if !t.OK(ioas.FD().Map(&arg), "map %#x bytes anywhere", len(m.Bytes)) {
			continue
		}
		lab.Above(t, arg.IOVA, uint64(lab.PageSize)-1, "the IOVA for %#x bytes", len(m.Bytes))
		lab.Equal(t, arg.IOVA%lab.PageSize, 0, "the IOVA for %#x bytes %% 4096", len(m.Bytes))
		lab.Equal(t, seen[arg.IOVA], false, "the IOVA %#x was given before", arg.IOVA)
		seen[arg.IOVA] = true
		ioas.ExpectPA(arg.IOVA, lab.MaxLength, m.PA(0), m.Run(0))
	}
}
