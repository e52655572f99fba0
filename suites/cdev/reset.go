// SPDX-License-Identifier: Apache-2.0

package cdev

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"

	"noiommu-farm/suites/lab"
	"noiommu-farm/suites/uapi"
)

const iova = 0x40000000 // where the tests map

// CD-10: a device that can reset itself does so, and the mappings stay.
func reset(t *lab.T) {
	for _, d := range t.Devices {
		dev, ioas := t.ToAttached(d)
		m := t.Hugepages(1)
		ioas.Map(m, iova)
		pa := m.PA(0)
		info, err := dev.Info()
		t.Must(err, "%s: VFIO_DEVICE_GET_INFO", d.Model)
		// The kernel has a file for the ways to reset a function if it has any.
		_, err = t.Stat(d.Sysfs("reset_method"))
		resets := err == nil
		lab.Equal(t, info.Flags&uapi.VFIO_DEVICE_FLAGS_RESET == uapi.VFIO_DEVICE_FLAGS_RESET, resets, "%s: flag RESET", d.Model)
		switch d.Model {
		case "edu": // alone on the root bus, without FLR
			lab.Equal(t, resets, false, "edu: can be reset")
		case "igb":
			lab.Equal(t, resets, true, "igb: can be reset")
		}
		want := unix.EINVAL
		if resets {
			want = 0
		}
		for range 2 {
			_, err = dev.IoctlValue(uapi.VFIO_DEVICE_RESET, 0)
			t.Fails(err, want, "%s: VFIO_DEVICE_RESET", d.Model)
			ioas.ExpectPA(iova, lab.MaxLength, pa, lab.HugeSize)
		}
		_, err = dev.Info()
		t.OK(err, "%s: VFIO_DEVICE_GET_INFO after the reset", d.Model)
		t.Must(dev.Close(), "close the cdev")
	}
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

		const header = uint32(unsafe.Sizeof(uapi.PCIHotResetInfo{}))
		var info struct {
			uapi.PCIHotResetInfo
			devices [4]uapi.PCIDependentDevice
		}
		ask := func(argsz uint32) error {
			info.PCIHotResetInfo = uapi.PCIHotResetInfo{Argsz: argsz}
			_, err := dev.Ioctl(uapi.VFIO_DEVICE_GET_PCI_HOT_RESET_INFO, unsafe.Pointer(&info))
			return err
		}
		do := func(arg uapi.PCIHotReset) error {
			_, err := dev.Ioctl(uapi.VFIO_DEVICE_PCI_HOT_RESET, unsafe.Pointer(&arg))
			return err
		}
		good := uapi.PCIHotReset{Argsz: uint32(unsafe.Sizeof(uapi.PCIHotReset{}))}

		t.Fails(ask(header-1), unix.EINVAL, "%s: VFIO_DEVICE_GET_PCI_HOT_RESET_INFO with a short argsz", d.Model)
		if d.Model == "edu" { // on the root bus, which nothing can reset
			t.Fails(ask(uint32(unsafe.Sizeof(info))), unix.ENODEV, "edu: VFIO_DEVICE_GET_PCI_HOT_RESET_INFO")
			t.Fails(do(good), unix.ENODEV, "edu: VFIO_DEVICE_PCI_HOT_RESET")
			t.Must(dev.Close(), "close the cdev")
			continue
		}
		t.Fails(ask(header), unix.ENOSPC, "%s: VFIO_DEVICE_GET_PCI_HOT_RESET_INFO without room", d.Model)
		lab.Equal(t, info.Count, 1, "%s: count without room", d.Model)
		t.Must(ask(uint32(unsafe.Sizeof(info))), "%s: VFIO_DEVICE_GET_PCI_HOT_RESET_INFO", d.Model)
		lab.Equal(t, info.Flags, uapi.VFIO_PCI_HOT_RESET_FLAG_DEV_ID|uapi.VFIO_PCI_HOT_RESET_FLAG_DEV_ID_OWNED, "%s: flags", d.Model)
		lab.Equal(t, info.Count, 1, "%s: count", d.Model)
		only := info.devices[0]
		lab.Equal(t, only.DevID, devid, "%s: devid", d.Model)
		bdf := fmt.Sprintf("%04x:%02x:%02x.%d", only.Segment, only.Bus, only.Devfn>>3, only.Devfn&7)
		lab.Equal(t, bdf, d.BDF, "%s: function", d.Model)

		for _, c := range []struct {
			name  string
			spoil func(*uapi.PCIHotReset)
		}{
			{"a short argsz", func(a *uapi.PCIHotReset) { a.Argsz-- }},
			{"a flag", func(a *uapi.PCIHotReset) { a.Flags = 1 }},
			{"a group, which a cdev does not use", func(a *uapi.PCIHotReset) { a.Count = 1 }},
		} {
			bad := good
			c.spoil(&bad)
			t.Fails(do(bad), unix.EINVAL, "%s: VFIO_DEVICE_PCI_HOT_RESET with %s", d.Model, c.name)
		}
		t.OK(do(good), "%s: VFIO_DEVICE_PCI_HOT_RESET", d.Model)
		ioas.ExpectPA(iova, lab.MaxLength, m.PA(0), lab.HugeSize)
		t.Must(dev.Close(), "close the cdev")
	}
}
