// SPDX-License-Identifier: Apache-2.0

package getpa

import (
	"unsafe"

	"golang.org/x/sys/unix"

	"noiommu-farm/suites/lab"
	"noiommu-farm/suites/uapi"
)

// PA-15: a kernel without the mode knows the ioctl and has no address for
// anybody; one from before the mode does not know it.
func notBuiltIn(t *lab.T) {
	want, short, tail, null := unix.EOPNOTSUPP, unix.EINVAL, unix.E2BIG, unix.EFAULT
	if !t.Facts.GetPA {
		want, short, tail, null = unix.ENOTTY, unix.ENOTTY, unix.ENOTTY, unix.ENOTTY
	}
	fd := t.IOMMUFD()
	ioas := fd.IOAS()
	m := t.Pages(4)
	ioas.Map(m, iova)

	type argument = uapi.IOASNoiommuGetPA
	arguments := []struct {
		name  string
		spoil func(*argument)
	}{
		{"a good argument", func(*argument) {}},
		{"length 1", func(a *argument) { a.Length = 1 }},
		{"not mapped", func(a *argument) { a.IOVA = 0 }},
		{"flags 1", func(a *argument) { a.Flags = 1 }},
		{"reserved 1", func(a *argument) { a.Reserved = 1 }},
		{"length 0", func(a *argument) { a.Length = 0 }},
		{"iova U64_MAX", func(a *argument) { a.IOVA = most }},
		{"unknown id", func(a *argument) { a.IOASID = 0x7fffffff }},
		{"everything wrong", func(a *argument) { *a = argument{Size: a.Size, Flags: 1, Reserved: 1, IOVA: most} }},
	}
	refused := func(err error, want unix.Errno, what string, args ...any) {
		if t.Fails(err, want, what, args...) {
			t.Tally.Add("get_pa.refused", 1)
		}
	}
	ask := func(when string) {
		for _, c := range arguments {
			arg := ioas.GetPAArg(iova, most)
			c.spoil(&arg)
			arg.OutPhys = 0xdeadbeefcafef00d
			was := arg
			refused(fd.GetPA(&arg), want, "get_pa(%s) %s", c.name, when)
			lab.Equal(t, arg, was, "get_pa(%s) %s: argument after the failure", c.name, when)
		}
		for _, size := range []uint32{0, 32, 39} {
			arg := ioas.GetPAArg(iova, most)
			arg.Size = size
			refused(fd.GetPA(&arg), short, "get_pa(size %d) %s", size, when)
		}
		var long struct {
			argument
			tail uint64
		}
		for last, want := range []unix.Errno{want, tail} {
			long.argument, long.tail = ioas.GetPAArg(iova, most), uint64(last)
			long.Size = uint32(unsafe.Sizeof(long))
			_, err := fd.Ioctl(uapi.IOMMU_IOAS_NOIOMMU_GET_PA, unsafe.Pointer(&long))
			refused(err, want, "get_pa(size 48, tail %d) %s", last, when)
		}
		_, err := fd.IoctlValue(uapi.IOMMU_IOAS_NOIOMMU_GET_PA, 0)
		refused(err, null, "get_pa(NULL) %s", when)
	}
	ask("as root")
	t.WithCaps(lab.AllCaps&^lab.RawIO, func() { ask("without CAP_SYS_RAWIO") })
	t.WithCaps(0, func() { ask("without capabilities") })

	// A device behind an IOMMU makes no difference.
	for _, d := range t.Devices {
		if !d.BehindIOMMU || !t.Facts.Config.Cdev {
			continue
		}
		dev := t.Open(d)
		dev.Bind(fd)
		dev.Attach(ioas)
		ask("with " + d.Model + " attached")
		t.Must(dev.Close(), "close the cdev")
	}
	n, err := ioas.Unmap(iova, 4*page)
	t.OK(err, "unmap")
	lab.Equal(t, n, 4*page, "bytes unmapped")
	t.OK(fd.Destroy(ioas.ID), "IOMMU_DESTROY(ioas): the refusals hold nothing")
}
