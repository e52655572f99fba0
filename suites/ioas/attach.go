// SPDX-License-Identifier: Apache-2.0

package ioas

import (
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
	// None of them attached anything: the IOAS has no user.
	t.OK(fd.Destroy(ioas.ID), "IOMMU_DESTROY(ioas) after the failures")

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
	dev.Attach(fd.IOAS())
	t.OK(dev.Detach(), "detach after another attach")
}

// IA-05: an attached device goes over to another IOAS in one step.
func replace(t *lab.T) {
	dev := t.Open(t.Devices[0])
	fd := t.IOMMUFD()
	dev.Bind(fd)
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
	t.Must(dev.Close(), "close the cdev")
	ioas.ExpectPA(iova, lab.MaxLength, pa, lab.HugeSize)

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
	t.OK(dev.Detach(), "detach")
}
