// SPDX-License-Identifier: Apache-2.0

package cdev

import (
	"bytes"
	"unsafe"

	"golang.org/x/sys/unix"

	"noiommu-farm/suites/edu"
	"noiommu-farm/suites/lab"
	"noiommu-farm/suites/leak"
	"noiommu-farm/suites/uapi"
)

// CD-03: a bind that failed left the group, the device and the driver alone.
func failedBind(t *lab.T) {
	t.NoWarning()
	for _, d := range t.Devices {
		dev := t.Open(d)
		fd := t.IOMMUFD()
		bad := dev.BindArg(fd)
		bad.IOMMUFD = int32(dev.Fd())
		for range 3 {
			t.Fails(dev.TryBind(&bad), unix.EBADFD, "%s: bind to a file that is no iommufd", d.Model)
			failsLate(t, dev)
		}
		groupOpens(t, d, 0, "after the failed binds")
		lab.Equal(t, dev.Bind(fd), 1, "%s: good bind: out_devid", d.Model)
		groupOpens(t, d, unix.EBUSY, "while the cdev is bound")
		t.Must(dev.Close(), "close the cdev")

		// The group would not be freed with a count that is not zero, and the
		// kernel would say so.
		groupOpens(t, d, 0, "after the cdev was closed")
		t.Must(t.Unbind(d), "%s: unbind", d.Model)
		t.Must(t.Bind(d), "%s: bind again", d.Model)
	}
}

// CD-16: nor has it taken anything. It is done with edu, which on the root bus is
// not reset each time.
func failedBindLosesNothing(t *lab.T) {
	const rounds = 32
	dev, fd := t.Open(edu.Find(t)), t.IOMMUFD()
	bad := dev.BindArg(fd)
	bad.IOMMUFD = int32(dev.Fd())
	leak.Forget(t)
	slab := leak.CountSlab(t)
	for range slab.Rounds(rounds) {
		t.Fails(dev.TryBind(&bad), unix.EBADFD, "bind to a file that is no iommufd")
		failsLate(t, dev)
	}
	slab.Flat(rounds*3/4, "after the failed binds")
	leak.None(t, "after the failed binds")
}

// failsLate has a bind fail at the end, when it cannot say the id. The iommufd
// is a new one, which goes with it.
func failsLate(t *lab.T, dev *lab.Cdev) {
	readOnly, fd := t.Pages(1), t.IOMMUFD()
	arg := (*uapi.DeviceBindIOMMUFD)(unsafe.Pointer(&readOnly.Bytes[0]))
	*arg = dev.BindArg(fd)
	t.Must(unix.Mprotect(readOnly.Bytes, unix.PROT_READ), "mprotect")
	t.Fails(dev.TryBind(arg), unix.EFAULT, "%s: bind that cannot say the id", dev.Device.Model)
	t.Must(fd.Close(), "close the iommufd")
	readOnly.Unmap()
}

// groupOpens asserts how an open of the device's group ends, in a kernel with
// groups.
func groupOpens(t *lab.T, d *lab.Device, want unix.Errno, when string) {
	if !t.Facts.Config.Group {
		return
	}
	group, err := t.TryOpenGroup(d)
	t.Fails(err, want, "%s: open the group %s", d.Model, when)
	if err == nil {
		t.Must(group.Close(), "close the group")
	}
}

// CD-13: a bound device keeps its iommufd.
func iommufdClosedFirst(t *lab.T) {
	for _, d := range t.Devices {
		dev, ioas := t.ToAttached(d)
		m := t.Pages(4)
		ioas.Map(m, 0x40000000)
		const pinned = 4 * lab.PageSize / 1024
		lab.Equal(t, t.Pinned(), pinned, "%s: memory pinned while attached, kB", d.Model)
		t.Must(ioas.FD().Close(), "close the iommufd")
		lab.Equal(t, t.Pinned(), pinned, "%s: memory pinned after the iommufd was closed, kB", d.Model)
		_, err := dev.Info()
		t.OK(err, "%s: VFIO_DEVICE_GET_INFO after the iommufd was closed", d.Model)
		_, err = dev.TryAttach(ioas.ID)
		t.OK(err, "%s: attach again after the iommufd was closed", d.Model)
		t.OK(dev.Detach(), "%s: detach after the iommufd was closed", d.Model)
		lab.Equal(t, t.Pinned(), 0, "%s: memory pinned after detach, kB", d.Model)
		_, err = dev.TryAttach(ioas.ID)
		t.OK(err, "%s: attach after the detach", d.Model)
		lab.Equal(t, t.Pinned(), pinned, "%s: memory pinned while attached again, kB", d.Model)
		t.Must(dev.Close(), "close the cdev")
		lab.Equal(t, t.Pinned(), 0, "%s: memory pinned after close, kB", d.Model)

		// Closing everything freed everything: the device can be bound anew.
		dev, _ = t.ToAttached(d)
		t.Must(dev.Close(), "close the cdev")
	}
}

// CD-07: there is no IOMMU to tell about.
func noHardware(t *lab.T) {
	for _, d := range t.Devices {
		dev := t.Open(d)
		fd := t.IOMMUFD()
		devid := dev.Bind(fd)
		for range 2 {
			_, err := fd.HWInfo(devid)
			t.Fails(err, unix.EOPNOTSUPP, "%s: IOMMU_GET_HW_INFO", d.Model)
		}
		ioas := fd.IOAS()
		hwpt := dev.Attach(ioas)
		_, err := fd.HWInfo(devid)
		t.Fails(err, unix.EOPNOTSUPP, "%s: IOMMU_GET_HW_INFO while attached", d.Model)
		for _, id := range []uint32{0, ioas.ID, hwpt, hwpt + 1} {
			_, err := fd.HWInfo(id)
			t.Fails(err, unix.ENOENT, "%s: IOMMU_GET_HW_INFO of id %d, which is no device", d.Model, id)
		}

		// The refusal holds nothing and has answered nothing.
		room := make([]byte, 64)
		arg := uapi.HWInfo{
			Size: uint32(unsafe.Sizeof(uapi.HWInfo{})), DevID: devid, DataLen: uint32(len(room)),
			DataUptr: lab.Address(t, &room[0]), OutMaxPASIDLog2: 77, OutCapabilities: 0x1122334455667788,
		}
		was := arg
		for i := range room {
			room[i] = 0x5a
		}
		_, err = fd.Ioctl(uapi.IOMMU_GET_HW_INFO, unsafe.Pointer(&arg))
		t.Fails(err, unix.EOPNOTSUPP, "%s: IOMMU_GET_HW_INFO with room for data", d.Model)
		lab.Equal(t, arg, was, "%s: argument after the failure", d.Model)
		lab.Equal(t, bytes.Count(room, []byte{0x5a}), len(room), "%s: bytes untouched after the failure", d.Model)
		t.OK(dev.Detach(), "%s: detach after the refusals", d.Model)
		t.Must(dev.Close(), "close the cdev")
	}
}
