// SPDX-License-Identifier: Apache-2.0

package getpa

import (
	"unsafe"

	"golang.org/x/sys/unix"

	"noiommu-farm/suites/lab"
	"noiommu-farm/suites/uapi"
	"noiommu-farm/suites/witness"
)

// PA-03: exactly the physical run, through every kind of page.
func longestRun(t *lab.T) {
	_, ioas := t.ToAttached(t.Devices[0])
	m := t.Mixture()
	ioas.Map(m, iova)
	pas := m.Pagemap()

	// From every page, and from odd offsets in between.
	for _, stride := range []int{page, 3*page + 0x123, 31*page + 1} {
		for offset := 0; offset < len(m.Bytes); offset += stride {
			ioas.ExpectPA(iova+uint64(offset), most, pas.PA(offset), pas.Run(offset))
		}
	}
	// Short runs and long ones, seen whole.
	for offset := 0; offset < len(m.Bytes); offset += 97 * page {
		pa, length := pas.PA(offset), min(16*page, pas.Run(offset))
		ioas.ExpectPA(iova+uint64(offset), 16*page, pa, length)
		witness.Sees(t, pa, m.Bytes[offset:offset+int(length)], "the run at offset %#x", offset)
	}
}

// PA-06: the run ends with the area, though the memory goes on.
func areaEnd(t *lab.T) {
	_, ioas := t.ToAttached(t.Devices[0])
	m := t.Hugepages(1)
	const half = huge / 2
	ioas.Map(m.Part(0, half), iova)
	ioas.Map(m.Part(half, half), iova+half)
	pa := m.PA(0)
	for _, offset := range []uint64{0, 1, page, half - page, half - 1} {
		ioas.ExpectPA(iova+offset, most, pa+offset, half-offset)
		ioas.ExpectPA(iova+half+offset, most, pa+half+offset, half-offset)
	}
	// The other way round: neighbours by IOVA, not by address.
	ioas.Map(m.Part(half, half), 4*iova)
	ioas.Map(m.Part(0, half), 4*iova+half)
	ioas.ExpectPA(4*iova, most, pa+half, half)
	ioas.ExpectPA(4*iova+half, most, pa, half)
}

// PA-07: the last byte of an area is in it, the next one is not.
func lastByte(t *lab.T) {
	_, ioas := t.ToAttached(t.Devices[0])
	at := uint64(iova)
	for _, m := range []*lab.Memory{t.Pages(1), t.Pages(7), t.Hugepages(1), t.Hugepages(1).Part(page, 3*page)} {
		ioas.Map(m, at)
		last := len(m.Bytes) - 1
		ioas.ExpectPA(at+uint64(last), most, m.PA(last), 1)
		ioas.ExpectPA(at+uint64(last)-1, most, m.PA(last-1), 2)
		ioas.ExpectNoPA(at+uint64(last)+1, most, unix.ENOENT)
		ioas.ExpectNoPA(at-1, most, unix.ENOENT)
		at += 2 * huge
	}
}

// PA-08: the last page of the IOVA space has no successor.
func topOfSpace(t *lab.T) {
	_, ioas := t.ToAttached(t.Devices[0])
	m := t.Hugepages(1)
	pa := m.PA(0)
	const top = ^uint64(0) - page + 1
	// IOVA 0 is the next page of the same run: what wraps would find it.
	ioas.Map(m.Part(0, page), top)
	ioas.Map(m.Part(page, huge-page), 0)
	ioas.ExpectPA(top, most, pa, page)
	ioas.ExpectPA(top+0xabc, most, pa+0xabc, page-0xabc)
	ioas.ExpectPA(^uint64(0)-1, most, pa+page-2, 2)
	ioas.ExpectPA(^uint64(0)-1, 1, pa+page-2, 1)
	ioas.ExpectPA(0, most, pa+page, huge-page)
	ioas.ExpectNoPA(top-1, most, unix.ENOENT)
}

// PA-18: a call that fails answers nothing.
func untouched(t *lab.T) {
	dev := t.Open(t.Devices[0])
	fd := t.IOMMUFD()
	dev.Bind(fd)
	ioas := fd.IOAS()
	m := t.Hugepages(1)
	ioas.Map(m, iova)
	// The argument lies between two canaries, every field with a pattern.
	type argument = uapi.IOASNoiommuGetPA
	var memory struct {
		before [8]uint64
		argument
		after [8]uint64
	}
	fails := func(spoil func(*argument), want unix.Errno) {
		for i := range memory.before {
			memory.before[i], memory.after[i] = 0x5a5a5a5a5a5a5a5a, 0xa5a5a5a5a5a5a5a5
		}
		memory.argument = ioas.GetPAArg(iova+0x123, 0x1122334455667788)
		memory.OutPhys = 0x99aabbccddeeff00
		spoil(&memory.argument)
		was := memory
		t.Fails(fd.GetPA(&memory.argument), want, "get_pa(%+v)", was.argument)
		lab.Equal(t, memory, was, "memory after %v", want)
	}
	fails(func(*argument) {}, unix.EOPNOTSUPP)
	dev.Attach(ioas)
	fails(func(a *argument) { a.Flags = 1 }, unix.EOPNOTSUPP)
	fails(func(a *argument) { a.Reserved = 1 }, unix.EOPNOTSUPP)
	fails(func(a *argument) { a.Length = 0 }, unix.EINVAL)
	fails(func(a *argument) { a.Size = 39 }, unix.EINVAL)
	fails(func(a *argument) { a.Size = 41 }, unix.E2BIG)
	fails(func(a *argument) { a.IOVA = most }, unix.EOVERFLOW)
	fails(func(a *argument) { a.IOASID = 1000 }, unix.ENOENT)
	fails(func(a *argument) { a.IOVA = iova - 1 }, unix.ENOENT)
	t.WithCaps(0, func() { fails(func(*argument) {}, unix.EPERM) })

	pa := m.PA(0x123)
	memory.argument = ioas.GetPAArg(iova+0x123, 0x1122334455667788)
	was := memory
	t.OK(fd.GetPA(&memory.argument), "get_pa")
	was.OutPhys, was.Length = pa, huge-0x123
	lab.Equal(t, memory, was, "memory after the answer")

	// Where the argument cannot be written, there is nobody to answer.
	readOnly := t.Pages(1)
	arg := (*argument)(unsafe.Pointer(&readOnly.Bytes[0]))
	*arg = ioas.GetPAArg(iova, most)
	t.Must(unix.Mprotect(readOnly.Bytes, unix.PROT_READ), "mprotect")
	t.Fails(fd.GetPA(arg), unix.EFAULT, "get_pa(argument that cannot be written)")
	letGo(t, dev, ioas)
}
