// SPDX-License-Identifier: Apache-2.0

// Package cdev proves what a VFIO device's own node promises: nothing before
// it is bound to an iommufd, and one binding at a time.
package cdev

import (
	"unsafe"

	"golang.org/x/sys/unix"

	"noiommu-farm/suites/lab"
	"noiommu-farm/suites/uapi"
)

// Tests are the suite's tests.
var Tests = []lab.Test{
	{ID: "CD-01", Run: nothingBeforeBind},
	{ID: "CD-02", Run: badBind},
	{ID: "CD-03", Run: failedBind},
	{ID: "CD-04", Run: deviceID},
	{ID: "CD-05", Run: boundOnce},
	{ID: "CD-06", Run: wholeDevice},
	{ID: "CD-07", Run: noHardware},
	{ID: "CD-08", Run: noVIOMMU},
	{ID: "CD-09", Run: heldObject},
	{ID: "CD-10", Run: reset},
	{ID: "CD-11", Run: hotReset},
	{ID: "CD-12", Run: hotResetTogether},
	{ID: "CD-13", Run: iommufdClosedFirst},
	{ID: "CD-14", Run: noIsolatedMSI},
	{ID: "CD-15", Run: passedOn},
	{ID: "CD-16", Run: failedBindLosesNothing},
}

// CD-01: before the bind everything is EINVAL; after it the same calls work.
func nothingBeforeBind(t *lab.T) {
	for _, d := range t.Devices {
		dev := t.Open(d)
		fd := t.IOMMUFD()
		ioas := fd.IOAS()

		_, err := dev.Info()
		t.Fails(err, unix.EINVAL, "%s: VFIO_DEVICE_GET_INFO before bind", d.Model)
		_, err = dev.Region(uapi.VFIO_PCI_CONFIG_REGION_INDEX)
		t.Fails(err, unix.EINVAL, "%s: VFIO_DEVICE_GET_REGION_INFO before bind", d.Model)
		_, err = dev.IRQ(uapi.VFIO_PCI_MSI_IRQ_INDEX)
		t.Fails(err, unix.EINVAL, "%s: VFIO_DEVICE_GET_IRQ_INFO before bind", d.Model)
		_, err = dev.IoctlValue(uapi.VFIO_DEVICE_RESET, 0)
		t.Fails(err, unix.EINVAL, "%s: VFIO_DEVICE_RESET before bind", d.Model)
		_, err = askHotReset(dev, hotResetRoom)
		t.Fails(err, unix.EINVAL, "%s: VFIO_DEVICE_GET_PCI_HOT_RESET_INFO before bind", d.Model)
		t.Fails(doHotReset(dev, goodHotReset), unix.EINVAL, "%s: VFIO_DEVICE_PCI_HOT_RESET before bind", d.Model)
		t.Fails(dev.Arm(uapi.VFIO_PCI_REQ_IRQ_INDEX, t.Event()), unix.EINVAL, "%s: VFIO_DEVICE_SET_IRQS before bind", d.Model)
		var feature [8]byte
		_, err = dev.Ioctl(uapi.VFIO_DEVICE_FEATURE, unsafe.Pointer(&feature))
		t.Fails(err, unix.EINVAL, "%s: VFIO_DEVICE_FEATURE before bind", d.Model)
		_, err = dev.IoctlValue(uapi.Ioctl{Name: "unknown", Number: 0x3bff}, 0)
		t.Fails(err, unix.EINVAL, "%s: unknown ioctl before bind", d.Model)
		_, err = dev.TryAttach(ioas.ID)
		t.Fails(err, unix.EINVAL, "%s: VFIO_DEVICE_ATTACH_IOMMUFD_PT before bind", d.Model)
		t.Fails(dev.Detach(), unix.EINVAL, "%s: VFIO_DEVICE_DETACH_IOMMUFD_PT before bind", d.Model)

		// The offsets of the regions are the same for every vfio-pci device:
		// the index in the upper bits.
		const config = uapi.VFIO_PCI_CONFIG_REGION_INDEX << 40
		var id [4]byte
		_, err = dev.Pread(id[:], config)
		t.Fails(err, unix.EINVAL, "%s: pread before bind", d.Model)
		_, err = dev.Pwrite(id[:], config)
		t.Fails(err, unix.EINVAL, "%s: pwrite before bind", d.Model)
		_, err = dev.Mmap(0, lab.PageSize)
		t.Fails(err, unix.EINVAL, "%s: mmap before bind", d.Model)

		// The same calls with the same arguments work once it is bound, so the
		// errors above were about the bind.
		dev.Bind(fd)
		info, err := dev.Info()
		t.OK(err, "%s: VFIO_DEVICE_GET_INFO after bind", d.Model)
		lab.Equal(t, info.Flags&uapi.VFIO_DEVICE_FLAGS_PCI, uapi.VFIO_DEVICE_FLAGS_PCI, "%s: flag PCI", d.Model)
		region, err := dev.Region(uapi.VFIO_PCI_CONFIG_REGION_INDEX)
		t.OK(err, "%s: VFIO_DEVICE_GET_REGION_INFO after bind", d.Model)
		lab.Equal(t, region.Offset, config, "%s: offset of the config region", d.Model)
		_, err = dev.IRQ(uapi.VFIO_PCI_MSI_IRQ_INDEX)
		t.OK(err, "%s: VFIO_DEVICE_GET_IRQ_INFO after bind", d.Model)
		_, err = dev.Pread(id[:], config)
		t.OK(err, "%s: pread after bind", d.Model)
		lab.Equal(t, uint64(id[0])|uint64(id[1])<<8, d.Vendor(t), "%s: vendor id through the cdev", d.Model)
		bar, err := dev.Mmap(0, lab.PageSize)
		if t.OK(err, "%s: mmap after bind", d.Model) {
			t.OK(unix.Munmap(bar), "%s: munmap", d.Model)
		}
		t.OK(dev.Arm(uapi.VFIO_PCI_REQ_IRQ_INDEX, t.Event()), "%s: VFIO_DEVICE_SET_IRQS after bind", d.Model)
		_, err = dev.TryAttach(ioas.ID)
		t.OK(err, "%s: VFIO_DEVICE_ATTACH_IOMMUFD_PT after bind", d.Model)
		t.OK(dev.Detach(), "%s: VFIO_DEVICE_DETACH_IOMMUFD_PT after bind", d.Model)
		// The next function may be in the same IOMMU group, which belongs to one
		// iommufd at a time.
		t.Must(dev.Close(), "close the cdev")
	}
}

// CD-02: each bad argument has its errno, and none has an effect.
func badBind(t *lab.T) {
	d := t.Devices[0]
	dev := t.Open(d)
	fd := t.IOMMUFD()
	good := dev.BindArg(fd)

	other := t.Pipe()
	pipe := t.Pipe() // closed last, so that nothing gets its number
	closed := pipe.Fd()
	t.Must(pipe.Close(), "close pipe")

	type argument = uapi.DeviceBindIOMMUFD
	for _, c := range []struct {
		name  string
		spoil func(*argument)
		want  unix.Errno
	}{
		{"iommufd -1", func(a *argument) { a.IOMMUFD = -1 }, unix.EINVAL},
		{"iommufd INT_MIN", func(a *argument) { a.IOMMUFD = -1 << 31 }, unix.EINVAL},
		{"closed descriptor", func(a *argument) { a.IOMMUFD = int32(closed) }, unix.EBADF},
		{"descriptor nobody ever had", func(a *argument) { a.IOMMUFD = 1<<31 - 1 }, unix.EBADF},
		{"a pipe", func(a *argument) { a.IOMMUFD = int32(other.Fd()) }, unix.EBADFD},
		{"the cdev itself", func(a *argument) { a.IOMMUFD = int32(dev.Fd()) }, unix.EBADFD},
		{"flag 2", func(a *argument) { a.Flags = 2 }, unix.EINVAL},
		{"flag 1<<31", func(a *argument) { a.Flags = 1 << 31 }, unix.EINVAL},
		{"argsz 0", func(a *argument) { a.Argsz = 0 }, unix.EINVAL},
		{"argsz one short of out_devid", func(a *argument) { a.Argsz = 15 }, unix.EINVAL},
	} {
		bad := good
		c.spoil(&bad)
		t.Fails(dev.TryBind(&bad), c.want, "bind(%s)", c.name)
		lab.Equal(t, bad.OutDevID, 0, "bind(%s): out_devid after the failure", c.name)
		_, err := dev.Info()
		t.Fails(err, unix.EINVAL, "VFIO_DEVICE_GET_INFO after bind(%s)", c.name)
	}

	// A longer argument is one of a newer kernel: refused when it says more
	// than this one knows.
	var long struct {
		argument
		tail [4]uint64
	}
	for i := range long.tail {
		long.argument = good
		long.Argsz = uint32(unsafe.Sizeof(long))
		long.tail = [4]uint64{}
		long.tail[i] = 1 << 56
		_, err := dev.Ioctl(uapi.VFIO_DEVICE_BIND_IOMMUFD, unsafe.Pointer(&long))
		t.Fails(err, unix.E2BIG, "bind(tail with word %d set)", i)
	}
	_, err := dev.IoctlValue(uapi.VFIO_DEVICE_BIND_IOMMUFD, 0)
	t.Fails(err, unix.EFAULT, "bind(NULL)")
	if d.Model == "edu" { // no virtual functions, and so no token for them
		bad := good
		bad.Flags, bad.TokenUUIDPtr = uapi.VFIO_DEVICE_BIND_FLAG_TOKEN, 0
		t.Fails(dev.TryBind(&bad), unix.EFAULT, "bind(a token at NULL)")
		bad.TokenUUIDPtr = lab.Address(t, new([16]byte))
		t.Fails(dev.TryBind(&bad), unix.EINVAL, "bind(a token that nobody asked for)")
	}

	// The last thing that can fail is to say the id: by then everything is
	// done, and must be undone.
	for range 2 {
		readOnly := t.Pages(1)
		arg := (*argument)(unsafe.Pointer(&readOnly.Bytes[0]))
		*arg = good
		t.Must(unix.Mprotect(readOnly.Bytes, unix.PROT_READ), "mprotect")
		t.Fails(dev.TryBind(arg), unix.EFAULT, "bind(argument that cannot be written)")
		_, err = dev.Info()
		t.Fails(err, unix.EINVAL, "VFIO_DEVICE_GET_INFO after bind(argument that cannot be written)")
	}

	// Nothing of it stuck: the first good bind is the first object of the
	// iommufd. A zero tail says nothing new and is fine.
	long.argument = good
	long.Argsz = uint32(unsafe.Sizeof(long))
	long.tail = [4]uint64{}
	_, err = dev.Ioctl(uapi.VFIO_DEVICE_BIND_IOMMUFD, unsafe.Pointer(&long))
	t.OK(err, "bind(zero tail)")
	lab.Equal(t, long.OutDevID, 1, "bind(zero tail): out_devid")
	_, err = dev.Info()
	t.OK(err, "VFIO_DEVICE_GET_INFO after bind")
	t.Must(dev.Close(), "close the cdev")

	// The argument of the first kernels ended with out_devid.
	dev = t.Open(d)
	short := dev.BindArg(t.IOMMUFD())
	short.Argsz = 16
	t.OK(dev.TryBind(&short), "bind(argsz 16)")
	lab.Equal(t, short.OutDevID, 1, "bind(argsz 16): out_devid")
}

// CD-04: the id is that of a real object of this iommufd.
func deviceID(t *lab.T) {
	for _, d := range t.Devices {
		dev := t.Open(d)
		fd := t.IOMMUFD()
		devid := dev.Bind(fd)
		lab.Equal(t, devid, 1, "%s: id in a fresh iommufd", d.Model)
		lab.Equal(t, fd.IOAS().ID, 2, "%s: id of the next object", d.Model)
		t.Fails(fd.Destroy(devid), unix.EBUSY, "%s: IOMMU_DESTROY(device) while bound", d.Model)
		t.Must(dev.Close(), "close the cdev")
		t.Fails(fd.Destroy(devid), unix.ENOENT, "%s: IOMMU_DESTROY(device) after close", d.Model)

		// In an iommufd with an object the id is the next one.
		dev = t.Open(d)
		fd = t.IOMMUFD()
		lab.Equal(t, fd.IOAS().ID, 1, "%s: id of the first object", d.Model)
		lab.Equal(t, dev.Bind(fd), 2, "%s: id after an IOAS", d.Model)
		t.Must(dev.Close(), "close the cdev")
	}
}

// CD-05: one bind, by one descriptor.
func boundOnce(t *lab.T) {
	for _, d := range t.Devices {
		first, second := t.Open(d), t.Open(d)
		fd, other := t.IOMMUFD(), t.IOMMUFD()
		lab.Equal(t, first.Bind(fd), 1, "%s: first bind: out_devid", d.Model)

		for _, c := range []struct {
			name string
			dev  *lab.Cdev
			fd   *lab.IOMMUFD
		}{
			{"the same descriptor, the same iommufd", first, fd},
			{"the same descriptor, another iommufd", first, other},
			{"a second descriptor, the same iommufd", second, fd},
			{"a second descriptor, another iommufd", second, other},
		} {
			arg := c.dev.BindArg(c.fd)
			t.Fails(c.dev.TryBind(&arg), unix.EINVAL, "%s: bind of %s", d.Model, c.name)
			lab.Equal(t, arg.OutDevID, 0, "%s: bind of %s: out_devid after the failure", d.Model, c.name)
		}
		_, err := first.Info()
		t.OK(err, "%s: VFIO_DEVICE_GET_INFO on the bound descriptor", d.Model)
		_, err = second.Info()
		t.Fails(err, unix.EINVAL, "%s: VFIO_DEVICE_GET_INFO on the other descriptor", d.Model)
		lab.Equal(t, fd.IOAS().ID, 2, "%s: id of the next object: the failed binds left none", d.Model)

		// The failed binds took nothing away from the second descriptor.
		t.Must(first.Close(), "close the bound cdev")
		lab.Equal(t, second.Bind(other), 1, "%s: bind of the second descriptor after the first closed", d.Model)
		t.Must(second.Close(), "close the second cdev")
	}
}
