// SPDX-License-Identifier: Apache-2.0

package ioas

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"

	"noiommu-farm/suites/lab"
	"noiommu-farm/suites/uapi"
)

const iova = 0x40000000 // where the tests map one hugepage

// IA-03: each bad argument has its errno, and none attaches.
func badAttach(t *lab.T) {
	dev := t.Open(t.Devices[0])
	fd := t.IOMMUFD()
	devid := dev.Bind(fd)
	ioas := fd.IOAS()

	type argument = uapi.DeviceAttachIOMMUFDPT
	for _, c := range []struct {
		name  string
		spoil func(*argument)
		want  unix.Errno
	}{
		{"unknown id", func(a *argument) { a.PTID = 0x7fffffff }, unix.ENOENT},
		{"id 0", func(a *argument) { a.PTID = 0 }, unix.ENOENT},
		{"device id", func(a *argument) { a.PTID = devid }, unix.EINVAL},
		{"flag 2", func(a *argument) { a.Flags = 2 }, unix.EINVAL},
		{"flag 1<<31", func(a *argument) { a.Flags = 1 << 31 }, unix.EINVAL},
		{"argsz 0", func(a *argument) { a.Argsz = 0 }, unix.EINVAL},
		{"argsz one short of pt_id", func(a *argument) { a.Argsz = 11 }, unix.EINVAL},
	} {
		bad := dev.AttachArg(ioas.ID)
		c.spoil(&bad)
		id := bad.PTID
		t.Fails(dev.AttachWith(&bad), c.want, "attach(%s)", c.name)
		lab.Equal(t, bad.PTID, id, "attach(%s): pt_id after the failure", c.name)
	}
	_, err := dev.IoctlValue(uapi.VFIO_DEVICE_ATTACH_IOMMUFD_PT, 0)
	t.Fails(err, unix.EFAULT, "attach(NULL)")
	// The last thing that can fail is to say the id; the attach is undone.
	for range 2 {
		readOnly := t.Pages(1)
		arg := (*argument)(unsafe.Pointer(&readOnly.Bytes[0]))
		*arg = dev.AttachArg(ioas.ID)
		t.Must(unix.Mprotect(readOnly.Bytes, unix.PROT_READ), "mprotect")
		t.Fails(dev.AttachWith(arg), unix.EFAULT, "attach(argument that cannot be written)")
	}
	// None of them attached anything: the IOAS has no user.
	t.OK(fd.Destroy(ioas.ID), "IOMMU_DESTROY(ioas) after the failures")

	// An attached device stays where it is.
	stays := fd.IOAS()
	hwpt := dev.Attach(stays)
	for _, c := range []struct {
		id   uint32
		want unix.Errno
	}{{0x7fffffff, unix.ENOENT}, {0, unix.ENOENT}, {devid, unix.EINVAL}} {
		_, err := dev.TryAttach(c.id)
		t.Fails(err, c.want, "attach an attached device to id %d", c.id)
		t.Fails(fd.Destroy(stays.ID), unix.EBUSY, "IOMMU_DESTROY(ioas) after a failed attach to id %d", c.id)
		t.Fails(fd.Destroy(hwpt), unix.EBUSY, "IOMMU_DESTROY(hwpt) after a failed attach to id %d", c.id)
	}
	lab.Equal(t, dev.Attach(stays), hwpt, "attach to the same IOAS after the failures: pt_id")
	t.OK(dev.Detach(), "detach")
	t.OK(fd.Destroy(stays.ID), "IOMMU_DESTROY(ioas) after detach")

	// The argument of the first kernels ended with pt_id.
	short := dev.AttachArg(fd.IOAS().ID)
	short.Argsz = 12
	t.OK(dev.AttachWith(&short), "attach(argsz 12)")
}

// IA-04: there is always nothing left to detach.
func detachAlways(t *lab.T) {
	dev := t.Open(t.Devices[0])
	fd := t.IOMMUFD()
	dev.Bind(fd)
	t.OK(dev.Detach(), "detach without an attach")
	ioas := fd.IOAS()
	dev.Attach(ioas)
	t.OK(dev.Detach(), "detach")
	t.OK(dev.Detach(), "detach again")
	t.OK(fd.Destroy(ioas.ID), "IOMMU_DESTROY(ioas): the second detach took no reference twice")
	last := fd.IOAS()
	dev.Attach(last)
	type argument = uapi.DeviceDetachIOMMUFDPT
	for _, c := range []struct {
		name string
		arg  argument
	}{
		{"argsz 0", argument{}},
		{"argsz one short of flags", argument{Argsz: 7}},
		{"flag 2", argument{Argsz: 12, Flags: 2}},
		{"flag 1<<31", argument{Argsz: 12, Flags: 1 << 31}},
		{"a PASID that is not there", argument{Argsz: 8, Flags: uapi.VFIO_DEVICE_DETACH_PASID}},
	} {
		_, err := dev.Ioctl(uapi.VFIO_DEVICE_DETACH_IOMMUFD_PT, unsafe.Pointer(&c.arg))
		t.Fails(err, unix.EINVAL, "detach(%s)", c.name)
		t.Fails(fd.Destroy(last.ID), unix.EBUSY, "IOMMU_DESTROY(ioas) after detach(%s)", c.name)
	}
	_, err := dev.IoctlValue(uapi.VFIO_DEVICE_DETACH_IOMMUFD_PT, 0)
	t.Fails(err, unix.EFAULT, "detach(NULL)")
	short := argument{Argsz: 8} // of the first kernels
	_, err = dev.Ioctl(uapi.VFIO_DEVICE_DETACH_IOMMUFD_PT, unsafe.Pointer(&short))
	t.OK(err, "detach(argsz 8)")
	t.OK(fd.Destroy(last.ID), "IOMMU_DESTROY(ioas) after detach(argsz 8)")
}

// IA-05: an attached device goes over to another IOAS in one step.
func replace(t *lab.T) {
	dev := t.Open(t.Devices[0])
	fd := t.IOMMUFD()
	devid := dev.Bind(fd)
	first, second := fd.IOAS(), fd.IOAS()
	one, two := t.Hugepages(1), t.Hugepages(1)
	first.Map(one, iova)
	second.Map(two, iova)

	hwpt := dev.Attach(first)
	first.ExpectPA(iova, lab.MaxLength, one.PA(0), lab.HugeSize)
	lab.Equal(t, dev.Attach(first), hwpt, "attach to the same IOAS again: pt_id")
	first.ExpectPA(iova, lab.MaxLength, one.PA(0), lab.HugeSize)

	next := dev.Attach(second)
	lab.Differ(t, next, hwpt, "attach to another IOAS: pt_id")
	t.Fails(fd.Destroy(hwpt), unix.ENOENT, "IOMMU_DESTROY(the first HWPT) after the replace")
	t.Fails(fd.Destroy(next), unix.EBUSY, "IOMMU_DESTROY(the second HWPT) after the replace")
	first.ExpectNoPA(iova, lab.MaxLength, unix.EOPNOTSUPP)
	second.ExpectPA(iova, lab.MaxLength, two.PA(0), lab.HugeSize)

	// A replace that fails changes nothing: here the other IOAS has a part of a
	// page, which no table can hold.
	odd := fd.IOAS()
	t.Must(odd.TryMap(one.VA(), 100, iova), "map a part of a page")
	for range 2 {
		_, err := dev.TryAttach(odd.ID)
		t.Fails(err, unix.EADDRINUSE, "attach to an IOAS with a part of a page")
		second.ExpectPA(iova, lab.MaxLength, two.PA(0), lab.HugeSize)
	}
	lab.Equal(t, dev.Attach(second), next, "attach to the same IOAS after the failures: pt_id")
	t.OK(fd.Destroy(odd.ID), "IOMMU_DESTROY(the IOAS with a part of a page)")

	// There and back again, and by a HWPT of one's own, which stays.
	lab.Differ(t, dev.Attach(first), next, "attach to the first IOAS again: pt_id")
	second.ExpectNoPA(iova, lab.MaxLength, unix.EOPNOTSUPP)
	first.ExpectPA(iova, lab.MaxLength, one.PA(0), lab.HugeSize)
	own, err := fd.AllocHWPT(devid, second, 0, uapi.IOMMU_HWPT_DATA_NONE, nil)
	t.Must(err, "IOMMU_HWPT_ALLOC")
	id, err := dev.TryAttach(own)
	t.OK(err, "attach to the HWPT in the place of the first IOAS")
	lab.Equal(t, id, own, "attach to the HWPT: pt_id")
	first.ExpectNoPA(iova, lab.MaxLength, unix.EOPNOTSUPP)
	second.ExpectPA(iova, lab.MaxLength, two.PA(0), lab.HugeSize)
	automatic := dev.Attach(second)
	lab.Differ(t, automatic, own, "attach to the IOAS of the HWPT: pt_id")
	t.OK(fd.Destroy(own), "IOMMU_DESTROY(the HWPT) after the replace")
	second.ExpectPA(iova, lab.MaxLength, two.PA(0), lab.HugeSize)

	t.OK(fd.Destroy(first.ID), "IOMMU_DESTROY(the first IOAS) after the replace")
	t.Fails(fd.Destroy(second.ID), unix.EBUSY, "IOMMU_DESTROY(the second IOAS) after the replace")
	t.OK(dev.Detach(), "detach")
	t.OK(fd.Destroy(second.ID), "IOMMU_DESTROY(the second IOAS) after detach")
}

// IA-06: a HWPT of one's own has the addresses without an attach, and stays.
func ownHWPT(t *lab.T) {
	dev := t.Open(t.Devices[0])
	fd := t.IOMMUFD()
	devid := dev.Bind(fd)
	ioas := fd.IOAS()
	m := t.Hugepages(1)
	ioas.Map(m, iova)
	pa := m.PA(0)
	ioas.ExpectNoPA(iova, lab.MaxLength, unix.EOPNOTSUPP)

	hwpt, err := fd.AllocHWPT(devid, ioas, 0, uapi.IOMMU_HWPT_DATA_NONE, nil)
	t.Must(err, "IOMMU_HWPT_ALLOC")
	ioas.ExpectPA(iova, lab.MaxLength, pa, lab.HugeSize)
	t.Fails(fd.Destroy(ioas.ID), unix.EBUSY, "IOMMU_DESTROY(ioas) with a HWPT")

	id, err := dev.TryAttach(hwpt)
	t.OK(err, "attach to the HWPT")
	lab.Equal(t, id, hwpt, "attach to the HWPT: pt_id")
	t.Fails(fd.Destroy(hwpt), unix.EBUSY, "IOMMU_DESTROY(hwpt) while attached")
	t.OK(dev.Detach(), "detach")
	ioas.ExpectPA(iova, lab.MaxLength, pa, lab.HugeSize)

	// Of two, either has the addresses; the memory goes over to the one that
	// is left, without a moment in between.
	second, err := fd.AllocHWPT(devid, ioas, 0, uapi.IOMMU_HWPT_DATA_NONE, nil)
	t.Must(err, "IOMMU_HWPT_ALLOC of a second one")
	lab.Differ(t, second, hwpt, "id of the second HWPT")
	// An unmap takes the memory out of both.
	for range 2 {
		m := t.Pages(4)
		ioas.Map(m, 8*iova)
		_, err = ioas.Unmap(8*iova, uint64(len(m.Bytes)))
		t.OK(err, "unmap while there are two HWPTs")
	}
	both := t.Pages(4)
	ioas.Map(both, 8*iova)
	t.OK(fd.Destroy(hwpt), "IOMMU_DESTROY(the first HWPT)")
	ioas.ExpectPA(iova, lab.MaxLength, pa, lab.HugeSize)
	ioas.ExpectPA(8*iova, lab.MaxLength, both.PA(0), both.Run(0))
	late := t.Hugepages(1)
	ioas.Map(late, 2*iova)
	hwpt, err = fd.AllocHWPT(devid, ioas, 0, uapi.IOMMU_HWPT_DATA_NONE, nil)
	t.Must(err, "IOMMU_HWPT_ALLOC of a third one")
	t.OK(fd.Destroy(second), "IOMMU_DESTROY(the second HWPT)")
	ioas.ExpectPA(iova, lab.MaxLength, pa, lab.HugeSize)
	ioas.ExpectPA(2*iova, lab.MaxLength, late.PA(0), lab.HugeSize)
	t.Must(dev.Close(), "close the cdev")
	ioas.ExpectPA(iova, lab.MaxLength, pa, lab.HugeSize)
	fourth := t.Pages(1)
	ioas.Map(fourth, 3*iova)
	ioas.ExpectPA(3*iova, lab.MaxLength, fourth.PA(0), lab.PageSize)

	t.OK(fd.Destroy(hwpt), "IOMMU_DESTROY(hwpt) after close")
	ioas.ExpectNoPA(iova, lab.MaxLength, unix.EOPNOTSUPP)
	t.OK(fd.Destroy(ioas.ID), "IOMMU_DESTROY(ioas)")
}

// IA-07: a table without hardware has no features.
func badHWPT(t *lab.T) {
	dev := t.Open(t.Devices[0])
	fd := t.IOMMUFD()
	devid := dev.Bind(fd)
	ioas := fd.IOAS()
	for _, c := range []struct {
		name     string
		flags    uint32
		dataType uint32
		data     []byte
		want     unix.Errno
	}{
		{"NEST_PARENT", uapi.IOMMU_HWPT_ALLOC_NEST_PARENT, uapi.IOMMU_HWPT_DATA_NONE, nil, unix.EOPNOTSUPP},
		{"DIRTY_TRACKING", uapi.IOMMU_HWPT_ALLOC_DIRTY_TRACKING, uapi.IOMMU_HWPT_DATA_NONE, nil, unix.EOPNOTSUPP},
		{"PASID", uapi.IOMMU_HWPT_ALLOC_PASID, uapi.IOMMU_HWPT_DATA_NONE, nil, unix.EOPNOTSUPP},
		{"an unknown flag", 16, uapi.IOMMU_HWPT_DATA_NONE, nil, unix.EOPNOTSUPP},
		{"data of Intel's IOMMU", 0, uapi.IOMMU_HWPT_DATA_VTD_S1, make([]byte, 24), unix.EOPNOTSUPP},
	} {
		_, err := fd.AllocHWPT(devid, ioas, c.flags, c.dataType, c.data)
		t.Fails(err, c.want, "IOMMU_HWPT_ALLOC(%s)", c.name)
	}
	own, err := fd.AllocHWPT(devid, ioas, 0, uapi.IOMMU_HWPT_DATA_NONE, nil)
	t.Must(err, "IOMMU_HWPT_ALLOC without any of it")
	type argument = uapi.HWPTAlloc
	good := argument{Size: uint32(unsafe.Sizeof(argument{})), DevID: devid, PTID: ioas.ID}
	refused := func(what string, want unix.Errno, spoil func(*argument)) {
		bad := good
		spoil(&bad)
		was := bad
		_, err := fd.Ioctl(uapi.IOMMU_HWPT_ALLOC, unsafe.Pointer(&bad))
		t.Fails(err, want, "IOMMU_HWPT_ALLOC(%s)", what)
		lab.Equal(t, bad, was, "IOMMU_HWPT_ALLOC(%s): argument after the failure", what)
	}
	const faultIDValid = 2 // the bit of IOMMU_HWPT_FAULT_ID_VALID, which asks for a queue of faults
	for bit := range 32 {
		want := unix.EOPNOTSUPP
		if bit == faultIDValid {
			want = unix.ENOENT // there is no such queue
		}
		refused(fmt.Sprintf("flag 1<<%d", bit), want, func(a *argument) { a.Flags = 1 << bit })
	}
	refused("reserved", unix.EOPNOTSUPP, func(a *argument) { a.Reserved = 1 })
	refused("data without a type", unix.EINVAL, func(a *argument) { a.DataLen = 24 })
	refused("a type without data", unix.EINVAL, func(a *argument) { a.DataType = uapi.IOMMU_HWPT_DATA_VTD_S1 })
	refused("an unknown device", unix.ENOENT, func(a *argument) { a.DevID = 1000 })
	refused("an IOAS as device", unix.ENOENT, func(a *argument) { a.DevID = ioas.ID })
	refused("an unknown IOAS", unix.EINVAL, func(a *argument) { a.PTID = 1000 })
	refused("a device as IOAS", unix.EINVAL, func(a *argument) { a.PTID = devid })
	refused("a HWPT as parent", unix.EOPNOTSUPP, func(a *argument) { a.PTID = own })
	refused("a HWPT as parent, with data", unix.EOPNOTSUPP, func(a *argument) {
		a.PTID, a.DataType, a.DataLen, a.DataUptr = own, uapi.IOMMU_HWPT_DATA_VTD_S1, 24, uint64(t.Pages(1).VA())
	})
	t.OK(fd.Destroy(own), "IOMMU_DESTROY(the HWPT)")
	t.OK(fd.Destroy(ioas.ID), "IOMMU_DESTROY(ioas): the failures left no HWPT")
}

// IA-09: there are no PASIDs.
func noPASID(t *lab.T) {
	dev := t.Open(t.Devices[0])
	fd := t.IOMMUFD()
	devid := dev.Bind(fd)
	ioas := fd.IOAS()
	hwpt, err := fd.AllocHWPT(devid, ioas, 0, uapi.IOMMU_HWPT_DATA_NONE, nil)
	t.Must(err, "IOMMU_HWPT_ALLOC")
	for _, id := range []uint32{ioas.ID, hwpt} {
		for _, pasid := range []uint32{1, 100} {
			arg := dev.AttachArg(id)
			arg.Flags, arg.PASID = uapi.VFIO_DEVICE_ATTACH_PASID, pasid
			err := dev.AttachWith(&arg)
			// vfio-pci has no PASID operations in some versions; 7.3 has them
			// and iommufd refuses.
			t.Fails(err, unix.EINVAL, "attach(id %d, PASID %d)", id, pasid)
		}
	}
	m := t.Hugepages(1)
	ioas.Map(m, iova)
	dev.Attach(ioas)
	ioas.ExpectPA(iova, lab.MaxLength, m.PA(0), lab.HugeSize)

	// While it is attached, too; and there is no PASID to detach.
	for _, id := range []uint32{ioas.ID, hwpt} {
		arg := dev.AttachArg(id)
		arg.Flags, arg.PASID = uapi.VFIO_DEVICE_ATTACH_PASID, 1
		t.Fails(dev.AttachWith(&arg), unix.EINVAL, "attach(id %d, PASID 1) of an attached device", id)
		arg.Argsz = 12
		t.Fails(dev.AttachWith(&arg), unix.EINVAL, "attach(id %d, an argument without the PASID it speaks of)", id)
	}
	gone := uapi.DeviceDetachIOMMUFDPT{Argsz: 12, Flags: uapi.VFIO_DEVICE_DETACH_PASID, PASID: 1}
	_, err = dev.Ioctl(uapi.VFIO_DEVICE_DETACH_IOMMUFD_PT, unsafe.Pointer(&gone))
	t.OK(err, "detach(PASID 1), which is not attached")
	ioas.ExpectPA(iova, lab.MaxLength, m.PA(0), lab.HugeSize)
	t.OK(dev.Detach(), "detach")
	t.OK(fd.Destroy(hwpt), "IOMMU_DESTROY(hwpt)")
	t.OK(fd.Destroy(ioas.ID), "IOMMU_DESTROY(ioas): the refused attaches hold nothing")
}
