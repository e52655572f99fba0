// SPDX-License-Identifier: Apache-2.0

package cdev

import (
	"fmt"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"noiommu-farm/suites/lab"
	"noiommu-farm/suites/uapi"
)

const iova = 0x40000000 // where the tests map

// belowPort says whether the device is behind a port, and not on the root bus.
func belowPort(d *lab.Device) bool { return !strings.HasPrefix(d.BDF, "0000:00:") }

// CD-10: a device that can reset itself, or whose bus can be reset for it
// alone, is reset, and the mappings stay.
func reset(t *lab.T) {
	for _, d := range t.Devices {
		dev, ioas := t.ToAttached(d)
		m := t.Hugepages(1)
		ioas.Map(m, iova)
		pa := m.PA(0)
		info, err := dev.Info()
		t.Must(err, "%s: VFIO_DEVICE_GET_INFO", d.Model)
		resets := d.Has.FLR || belowPort(d) && d.Has.Functions == 1
		lab.Equal(t, info.Flags&uapi.VFIO_DEVICE_FLAGS_RESET == uapi.VFIO_DEVICE_FLAGS_RESET, resets, "%s: flag RESET", d.Model)
		want := unix.EINVAL
		if resets {
			want = 0
		}
		for range 2 {
			dev.EnableDMA()
			lab.Equal(t, d.BusMaster(t), true, "%s: bus master after it was set", d.Model)
			_, err = dev.IoctlValue(uapi.VFIO_DEVICE_RESET, 0)
			t.Fails(err, want, "%s: VFIO_DEVICE_RESET", d.Model)
			ioas.ExpectPA(iova, lab.MaxLength, pa, lab.HugeSize)
			ioas.ExpectPA(iova+0xabc, lab.MaxLength, pa+0xabc, lab.HugeSize-0xabc)
		}
		_, err = dev.Info()
		t.OK(err, "%s: VFIO_DEVICE_GET_INFO after the reset", d.Model)
		second := t.Pages(1)
		ioas.Map(second, 2*iova)
		ioas.ExpectPA(2*iova, lab.MaxLength, second.PA(0), lab.PageSize)
		t.OK(dev.Detach(), "%s: detach after the reset", d.Model)
		ioas.ExpectNoPA(iova, lab.MaxLength, unix.EOPNOTSUPP)
		t.Must(dev.Close(), "close the cdev")
	}
}

// hotResetInfo is what VFIO_DEVICE_GET_PCI_HOT_RESET_INFO answers.
type hotResetInfo struct {
	uapi.PCIHotResetInfo
	devices [8]uapi.PCIDependentDevice
}

const hotResetHeader = uint32(unsafe.Sizeof(uapi.PCIHotResetInfo{}))

// askHotReset is VFIO_DEVICE_GET_PCI_HOT_RESET_INFO with room for so many
// devices.
func askHotReset(dev *lab.Cdev, argsz uint32) (hotResetInfo, error) {
	var info hotResetInfo
	info.Argsz = argsz
	_, err := dev.Ioctl(uapi.VFIO_DEVICE_GET_PCI_HOT_RESET_INFO, unsafe.Pointer(&info))
	return info, err
}

// hotResetRoom is the argsz that has room for all devices.
const hotResetRoom = uint32(unsafe.Sizeof(hotResetInfo{}))

// goodHotReset is VFIO_DEVICE_PCI_HOT_RESET for a cdev, which names no groups.
var goodHotReset = uapi.PCIHotReset{Argsz: uint32(unsafe.Sizeof(uapi.PCIHotReset{}))}

func doHotReset(dev *lab.Cdev, arg uapi.PCIHotReset) error {
	_, err := dev.Ioctl(uapi.VFIO_DEVICE_PCI_HOT_RESET, unsafe.Pointer(&arg))
	return err
}

// bdf is the function that the answer is about.
func bdf(d uapi.PCIDependentDevice) string {
	return fmt.Sprintf("%04x:%02x:%02x.%d", d.Segment, d.Bus, d.Devfn>>3, d.Devfn&7)
}

// CD-11: a hot reset resets the bus below a port, and what is on it belongs
// to one user.
func hotReset(t *lab.T) {
	for _, d := range t.Devices {
		dev := t.Open(d)
		fd := t.IOMMUFD()
		devid := dev.Bind(fd)
		ioas := fd.IOAS()
		dev.Attach(ioas)
		m := t.Hugepages(1)
		ioas.Map(m, iova)

		_, err := askHotReset(dev, hotResetHeader-1)
		t.Fails(err, unix.EINVAL, "%s: VFIO_DEVICE_GET_PCI_HOT_RESET_INFO with a short argsz", d.Model)
		if !belowPort(d) { // nothing can reset the root bus
			_, err := askHotReset(dev, hotResetRoom)
			t.Fails(err, unix.ENODEV, "%s: VFIO_DEVICE_GET_PCI_HOT_RESET_INFO", d.Model)
			t.Fails(doHotReset(dev, goodHotReset), unix.ENODEV, "%s: VFIO_DEVICE_PCI_HOT_RESET", d.Model)
			t.Must(dev.Close(), "close the cdev")
			continue
		}
		if d.Has.Functions > 1 { // is not alone; see CD-12
			info, err := askHotReset(dev, hotResetHeader)
			t.Fails(err, unix.ENOSPC, "%s: VFIO_DEVICE_GET_PCI_HOT_RESET_INFO without room", d.Model)
			lab.Equal(t, info.Count, uint32(d.Has.Functions), "%s: count without room", d.Model)
			t.Fails(doHotReset(dev, goodHotReset), unix.EINVAL, "%s: VFIO_DEVICE_PCI_HOT_RESET of one function", d.Model)
			t.Must(dev.Close(), "close the cdev")
			continue
		}
		for _, room := range []uint32{0, 7} { // bytes, for 8
			info, err := askHotReset(dev, hotResetHeader+room)
			t.Fails(err, unix.ENOSPC, "%s: VFIO_DEVICE_GET_PCI_HOT_RESET_INFO without room", d.Model)
			lab.Equal(t, info.Count, 1, "%s: count without room", d.Model)
			lab.Equal(t, info.devices[0], uapi.PCIDependentDevice{}, "%s: device without room", d.Model)
		}
		for _, argsz := range []uint32{hotResetHeader + 8, hotResetRoom} {
			info, err := askHotReset(dev, argsz)
			t.Must(err, "%s: VFIO_DEVICE_GET_PCI_HOT_RESET_INFO", d.Model)
			lab.Equal(t, info.Flags, uapi.VFIO_PCI_HOT_RESET_FLAG_DEV_ID|uapi.VFIO_PCI_HOT_RESET_FLAG_DEV_ID_OWNED, "%s: flags", d.Model)
			lab.Equal(t, info.Count, 1, "%s: count", d.Model)
			lab.Equal(t, info.devices[0].DevID, devid, "%s: devid", d.Model)
			lab.Equal(t, bdf(info.devices[0]), d.BDF, "%s: function", d.Model)
		}

		for _, c := range []struct {
			name  string
			spoil func(*uapi.PCIHotReset)
		}{
			{"a short argsz", func(a *uapi.PCIHotReset) { a.Argsz-- }},
			{"a flag", func(a *uapi.PCIHotReset) { a.Flags = 1 }},
			{"a group, which a cdev does not use", func(a *uapi.PCIHotReset) { a.Count = 1 }},
		} {
			bad := goodHotReset
			c.spoil(&bad)
			t.Fails(doHotReset(dev, bad), unix.EINVAL, "%s: VFIO_DEVICE_PCI_HOT_RESET with %s", d.Model, c.name)
		}
		for range 2 {
			t.OK(doHotReset(dev, goodHotReset), "%s: VFIO_DEVICE_PCI_HOT_RESET", d.Model)
			ioas.ExpectPA(iova, lab.MaxLength, m.PA(0), lab.HugeSize)
		}
		t.Must(dev.Close(), "close the cdev")
		if t.Facts.Config.Group {
			hotResetByGroup(t, d)
			groupGoes(t, d)
		}
	}
}

// hotResetByGroup asserts that of a cdev which was closed nothing is left for
// those who use the device through its group: they are told of groups, and
// name them.
func hotResetByGroup(t *lab.T, d *lab.Device) {
	group, container := t.OpenGroup(d), t.AnyContainer()
	t.Must(group.SetContainer(container.Fd()), "%s: VFIO_GROUP_SET_CONTAINER", d.Model)
	t.Must(container.SetIOMMU(uapi.VFIO_NOIOMMU_IOMMU), "%s: VFIO_SET_IOMMU(NOIOMMU)", d.Model)
	dev, err := group.DeviceFd(d)
	t.Must(err, "%s: VFIO_GROUP_GET_DEVICE_FD", d.Model)
	info, err := askHotReset(dev, hotResetRoom)
	t.Must(err, "%s: VFIO_DEVICE_GET_PCI_HOT_RESET_INFO by its group", d.Model)
	lab.Equal(t, info.Flags, 0, "%s: flags by its group", d.Model)
	lab.Equal(t, info.Count, 1, "%s: count by its group", d.Model)
	lab.Equal(t, fmt.Sprint(info.devices[0].DevID), t.GroupID(d), "%s: id of the group", d.Model)
	lab.Equal(t, bdf(info.devices[0]), d.BDF, "%s: function by its group", d.Model)

	var arg struct {
		uapi.PCIHotReset
		group int32
	}
	arg.Argsz, arg.Count, arg.group = uint32(unsafe.Sizeof(arg)), 1, int32(group.Fd())
	_, err = dev.Ioctl(uapi.VFIO_DEVICE_PCI_HOT_RESET, unsafe.Pointer(&arg))
	t.Must(err, "%s: VFIO_DEVICE_PCI_HOT_RESET by its group", d.Model)
	t.Fails(doHotReset(dev, goodHotReset), unix.EINVAL, "%s: VFIO_DEVICE_PCI_HOT_RESET by its group, as a cdev does it", d.Model)
	t.Must(dev.Close(), "close the device")
	t.Must(group.Close(), "close the group")
}

// groupGoes asserts that the device's group goes with its driver, whoever was
// told of it, and so comes again as the same.
func groupGoes(t *lab.T, d *lab.Device) {
	id := t.GroupID(d)
	t.Must(t.Unbind(d), "unbind %s", d.BDF)
	t.Absent("/sys/kernel/iommu_groups/" + id)
	t.Must(t.Bind(d), "bind %s", d.BDF)
	lab.Equal(t, t.GroupID(d), id, "%s: id of the group after the bind", d.BDF)
}

// CD-12: a reset of a slot is a reset of all its functions, so all of them
// must be of one user.
func hotResetTogether(t *lab.T) {
	const devID, owned = uapi.VFIO_PCI_HOT_RESET_FLAG_DEV_ID, uapi.VFIO_PCI_HOT_RESET_FLAG_DEV_ID_OWNED
	const notOwned = uapi.VFIO_PCI_DEVID_NOT_OWNED
	a, b := sameSlot(t)

	// expect asserts what dev is told of both, and whether it may reset them.
	expect := func(when string, dev *lab.Cdev, ofA, ofB uint32) {
		_, err := askHotReset(dev, hotResetHeader+8)
		t.Fails(err, unix.ENOSPC, "room for one of two, %s", when)
		info, err := askHotReset(dev, hotResetRoom)
		t.Must(err, "VFIO_DEVICE_GET_PCI_HOT_RESET_INFO %s", when)
		flags, want := uint32(devID|owned), unix.Errno(0)
		if ofA == notOwned || ofB == notOwned {
			flags, want = devID, unix.EINVAL
		}
		lab.Equal(t, info.Count, 2, "functions of the slot %s", when)
		lab.Equal(t, info.Flags, flags, "flags %s", when)
		got := map[string]uint32{bdf(info.devices[0]): info.devices[0].DevID, bdf(info.devices[1]): info.devices[1].DevID}
		lab.Equal(t, got[a.BDF], ofA, "devid of function %s %s", a.BDF, when)
		lab.Equal(t, got[b.BDF], ofB, "devid of function %s %s", b.BDF, when)
		t.Fails(doHotReset(dev, goodHotReset), want, "VFIO_DEVICE_PCI_HOT_RESET %s", when)
	}

	first, fd, other := t.Open(a), t.IOMMUFD(), t.IOMMUFD()
	id := first.Bind(fd)
	expect("with the other function unused", first, id, notOwned)
	second := t.Open(b)
	expect("with the other function opened, not bound", first, id, notOwned)
	foreign := second.Bind(other)
	expect("with the other function in another iommufd", first, id, notOwned)
	expect("of the function in the other iommufd", second, notOwned, foreign)
	t.Must(second.Close(), "close the second cdev")

	second = t.Open(b)
	own := second.Bind(fd)
	lab.Differ(t, own, id, "id of the second function")
	ioas := fd.IOAS()
	first.Attach(ioas)
	second.Attach(ioas)
	m := t.Pages(1)
	ioas.Map(m, iova)
	expect("with both in one iommufd", first, id, own)
	expect("of the second function, with both in one iommufd", second, id, own)
	ioas.ExpectPA(iova, lab.MaxLength, m.PA(0), lab.PageSize)
	t.Must(second.Close(), "close the second cdev")
	expect("with the second function closed again", first, id, notOwned)
	if t.Facts.Config.Group {
		groupGoes(t, b)
	}

	// A function that vfio-pci does not have belongs to nobody that it knows.
	t.Must(t.Unbind(b), "unbind the second function")
	expect("with the second function unbound", first, id, notOwned)
	t.Must(first.Close(), "close the first cdev")
}

// sameSlot are two functions of one slot; the test ends when there are none.
func sameSlot(t *lab.T) (a, b *lab.Device) {
	for i, d := range t.Devices[:len(t.Devices)-1] {
		next := t.Devices[i+1]
		if d.BDF[:len(d.BDF)-1] == next.BDF[:len(next.BDF)-1] {
			return d, next
		}
	}
	t.Fatalf("no two functions of one slot are under test")
	return nil, nil
}
