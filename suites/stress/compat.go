// SPDX-License-Identifier: Apache-2.0

package stress

import (
	"unsafe"

	"golang.org/x/sys/unix"

	"noiommu-farm/suites/contract"
	"noiommu-farm/suites/lab"
	"noiommu-farm/suites/uapi"
)

// int80 makes a system call of the 32-bit table, as a 32-bit program does. A
// 64-bit program may do so too: the kernel takes it by how it was entered
// (do_int80_emulation of arch/x86/entry/syscall_32.c), and what it answers for
// an ioctl is what a 32-bit process gets. The answer below zero is an errno.
func int80(nr, a, b, c uint32) int32

// Numbers of arch/x86/entry/syscalls/syscall_32.tbl.
const (
	ioctl32  = 54
	getpid32 = 20
)

// compat is memory below 4 GiB for the arguments of 32-bit calls.
type compat struct {
	t    *lab.T
	room []byte
}

func newCompat(t *lab.T) *compat {
	room, err := unix.Mmap(-1, 0, lab.PageSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_32BIT)
	t.Must(err, "mmap below 4 GiB")
	t.Cleanup(func() { t.OK(unix.Munmap(room), "cleanup: munmap") })
	return &compat{t, room}
}

// call is an ioctl with arg, which is copied there and back.
func call32[V any](c *compat, f *uapi.File, op uapi.Ioctl, arg *V) (int, error) {
	there := (*V)(unsafe.Pointer(&c.room[0]))
	*there = *arg
	result, err := c.value(f, op, uint32(uintptr(unsafe.Pointer(there))))
	*arg = *there
	return result, err
}

// value is an ioctl whose argument is a number.
func (c *compat) value(f *uapi.File, op uapi.Ioctl, arg uint32) (int, error) {
	result := int80(ioctl32, uint32(f.Fd()), uint32(op.Number), arg)
	var err error
	if result < 0 {
		err = unix.Errno(-result)
	}
	c.t.Tally.Did(op.Name, err)
	return int(result), err
}

// ST-10: a 32-bit program can use the device, and cannot use an iommufd.
func compat32(t *lab.T) {
	c := newCompat(t)
	// 20 is writev for 64-bit programs, so an answer that is the process id
	// says that the call went through the other table.
	lab.Equal(t, int(int80(getpid32, 0, 0, 0)), unix.Getpid(), "getpid through int 0x80")

	for _, d := range t.Devices {
		dev := t.Open(d)
		fd := t.IOMMUFD()
		info := uapi.DeviceInfo{Argsz: uint32(unsafe.Sizeof(uapi.DeviceInfo{}))}
		_, err := call32(c, dev.File, uapi.VFIO_DEVICE_GET_INFO, &info)
		t.Fails(err, unix.EINVAL, "%s: 32-bit VFIO_DEVICE_GET_INFO before bind, as for 64 bits", d.Model)
		bind := dev.BindArg(fd)
		_, err = call32(c, dev.File, uapi.VFIO_DEVICE_BIND_IOMMUFD, &bind)
		t.Must(err, "%s: 32-bit VFIO_DEVICE_BIND_IOMMUFD", d.Model)
		lab.Above(t, bind.OutDevID, 0, "%s: device id", d.Model)
		_, err = call32(c, dev.File, uapi.VFIO_DEVICE_GET_INFO, &info)
		t.OK(err, "%s: 32-bit VFIO_DEVICE_GET_INFO", d.Model)
		want, err := dev.Info()
		t.OK(err, "%s: VFIO_DEVICE_GET_INFO", d.Model)
		lab.Equal(t, info, want, "%s: the device's info in both", d.Model)
		ioas := fd.IOAS()
		attach := dev.AttachArg(ioas.ID)
		_, err = call32(c, dev.File, uapi.VFIO_DEVICE_ATTACH_IOMMUFD_PT, &attach)
		t.OK(err, "%s: 32-bit VFIO_DEVICE_ATTACH_IOMMUFD_PT", d.Model)
		lab.Above(t, attach.PTID, ioas.ID, "%s: id of the HWPT", d.Model)

		// The iommufd has no ioctls for it, good or bad.
		alloc := uapi.IOASAlloc{Size: uint32(unsafe.Sizeof(uapi.IOASAlloc{}))}
		_, err = call32(c, fd.File, uapi.IOMMU_IOAS_ALLOC, &alloc)
		t.Fails(err, unix.ENOTTY, "32-bit IOMMU_IOAS_ALLOC")
		get := ioas.GetPAArg(iova, lab.MaxLength)
		_, err = call32(c, fd.File, uapi.IOMMU_IOAS_NOIOMMU_GET_PA, &get)
		t.Fails(err, unix.ENOTTY, "32-bit IOMMU_IOAS_NOIOMMU_GET_PA")
		lab.Equal(t, get.Length, lab.MaxLength, "length after the failure")
		destroy := uapi.Destroy{Size: uint32(unsafe.Sizeof(uapi.Destroy{})), ID: ioas.ID}
		_, err = call32(c, fd.File, uapi.IOMMU_DESTROY, &destroy)
		t.Fails(err, unix.ENOTTY, "32-bit IOMMU_DESTROY")
		ioas.ExpectNoPA(iova, lab.MaxLength, unix.ENOENT) // it is still there

		detach := uapi.DeviceDetachIOMMUFDPT{Argsz: uint32(unsafe.Sizeof(uapi.DeviceDetachIOMMUFDPT{}))}
		_, err = call32(c, dev.File, uapi.VFIO_DEVICE_DETACH_IOMMUFD_PT, &detach)
		t.OK(err, "%s: 32-bit VFIO_DEVICE_DETACH_IOMMUFD_PT", d.Model)
		t.Must(dev.Close(), "close the cdev")
		t.Must(fd.Close(), "close the iommufd")
	}
	if !t.Facts.Meets(contract.Group) {
		return
	}
	d := t.Devices[0]
	group := t.OpenGroup(d)
	status := uapi.GroupStatus{Argsz: uint32(unsafe.Sizeof(uapi.GroupStatus{}))}
	_, err := call32(c, group.File, uapi.VFIO_GROUP_GET_STATUS, &status)
	t.OK(err, "32-bit VFIO_GROUP_GET_STATUS")
	lab.Equal(t, status.Flags, uapi.VFIO_GROUP_FLAGS_VIABLE, "flags of the group")
	if t.Facts.Meets(contract.NativeContainer) {
		c.throughContainer(group, d)
	}
}

// throughContainer has a 32-bit program open the device through its group in
// VFIO's own container.
func (c *compat) throughContainer(group *lab.Group, d *lab.Device) {
	t, container := c.t, c.t.OpenContainer()
	number := int32(container.Fd())
	_, err := call32(c, group.File, uapi.VFIO_GROUP_SET_CONTAINER, &number)
	t.OK(err, "32-bit VFIO_GROUP_SET_CONTAINER")
	offers, err := c.value(container.File, uapi.VFIO_CHECK_EXTENSION, uapi.VFIO_NOIOMMU_IOMMU)
	t.OK(err, "32-bit VFIO_CHECK_EXTENSION(NOIOMMU)")
	lab.Equal(t, offers, 1, "32-bit VFIO_CHECK_EXTENSION(NOIOMMU)")
	_, err = c.value(container.File, uapi.VFIO_SET_IOMMU, uapi.VFIO_NOIOMMU_IOMMU)
	t.OK(err, "32-bit VFIO_SET_IOMMU(NOIOMMU)")
	var name [16]byte
	copy(name[:len(name)-1], d.BDF)
	fd, err := call32(c, group.File, uapi.VFIO_GROUP_GET_DEVICE_FD, &name)
	t.Must(err, "32-bit VFIO_GROUP_GET_DEVICE_FD")
	dev := uapi.Adopt(t.Tally, fd)
	info := uapi.DeviceInfo{Argsz: uint32(unsafe.Sizeof(uapi.DeviceInfo{}))}
	_, err = call32(c, dev, uapi.VFIO_DEVICE_GET_INFO, &info)
	t.OK(err, "32-bit VFIO_DEVICE_GET_INFO of the group's device")
	lab.Equal(t, info.NumRegions, uapi.VFIO_PCI_NUM_REGIONS, "regions of the group's device")
	t.Must(dev.Close(), "close the group's device")
}
