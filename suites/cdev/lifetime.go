// SPDX-License-Identifier: Apache-2.0

package cdev

import (
	"golang.org/x/sys/unix"

	"noiommu-farm/suites/lab"
)

// CD-03: a bind that failed left the group, the device and the driver alone.
func failedBind(t *lab.T) {
	for _, d := range t.Devices {
		dev := t.Open(d)
		fd := t.IOMMUFD()
		bad := dev.BindArg(fd)
		bad.IOMMUFD = int32(dev.Fd())
		for range 3 {
			t.Fails(dev.TryBind(&bad), unix.EBADFD, "%s: bind to a file that is no iommufd", d.Model)
		}
		t.Must(t.OpenGroup(d).Close(), "close the group")
		lab.Equal(t, dev.Bind(fd), 1, "%s: good bind: out_devid", d.Model)
		_, err := t.TryOpenGroup(d)
		t.Fails(err, unix.EBUSY, "%s: open the group while the cdev is bound", d.Model)
		t.Must(dev.Close(), "close the cdev")

		// The group would not be freed with a count that is not zero, and the
		// kernel would say so.
		t.Must(t.OpenGroup(d).Close(), "close the group")
		t.Must(t.Unbind(d), "%s: unbind", d.Model)
		t.Must(t.Bind(d), "%s: bind again", d.Model)
		lab.Equal(t, t.Taint()&lab.TaintWarn, 0, "%s: taint after the unbind, bit W", d.Model)
	}
}

// CD-13: a bound device keeps its iommufd.
func iommufdClosedFirst(t *lab.T) {
	for _, d := range t.Devices {
		dev, ioas := t.ToAttached(d)
		m := t.Pages(4)
		ioas.Map(m, 0x40000000)
		t.Must(ioas.FD().Close(), "close the iommufd")
		_, err := dev.Info()
		t.OK(err, "%s: VFIO_DEVICE_GET_INFO after the iommufd was closed", d.Model)
		t.OK(dev.Detach(), "%s: detach after the iommufd was closed", d.Model)
		t.Must(dev.Close(), "close the cdev")

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
		_, err := fd.HWInfo(devid + 1)
		t.Fails(err, unix.ENOENT, "%s: IOMMU_GET_HW_INFO of an unknown id", d.Model)
		t.Must(dev.Close(), "close the cdev")
	}
}
