// SPDX-License-Identifier: Apache-2.0

package lifecycle

import (
	"golang.org/x/sys/unix"

	"noiommu-farm/suites/lab"
	"noiommu-farm/suites/uapi"
)

// LC-03: who has an unplugged device is asked to let go, and may take its time.
func unplugInUse(t *lab.T) {
	t.NoWarning()
	d := pluggable(t)
	path := t.CdevPath(d)
	m := t.Hugepages(1)
	dev, ioas := t.ToAttached(d)
	ioas.Map(m, iova)
	ioas.ExpectPA(iova, lab.MaxLength, m.PA(0), lab.HugeSize)
	event := t.Event()
	t.Must(dev.Arm(uapi.VFIO_PCI_REQ_IRQ_INDEX, event), "arm REQ")

	unplugging := t.Host().StartUnplug(d)
	event.ExpectAny("request of the device")
	t.Absent(path)
	_, err := dev.Info()
	t.OK(err, "VFIO_DEVICE_GET_INFO of the unplugged device")
	ioas.ExpectPA(iova, lab.MaxLength, m.PA(0), lab.HugeSize)
	_, err = t.Stat(d.Sysfs("config"))
	t.OK(err, "stat the function while it is open")

	t.Must(dev.Close(), "close the cdev")
	unplugging.Wait()
	t.Absent(d.Sysfs("config"))
	ioas.ExpectNoPA(iova, lab.MaxLength, unix.EOPNOTSUPP)
	t.OK(ioas.FD().Destroy(ioas.ID), "IOMMU_DESTROY of the IOAS")
	ioas.ExpectNoPA(iova, lab.MaxLength, unix.ENOENT)
}

// LC-04: a device that comes back is as it was.
func plugAgain(t *lab.T) {
	t.NoWarning()
	d := pluggable(t)
	cdev, group, taint := t.CdevName(d), groupOf(t, d), t.Taint()
	t.Host().Unplug(d)
	t.Absent("/dev/vfio/devices/" + cdev)
	if group != "" {
		t.Absent("/dev/vfio/" + group)
	}
	t.Absent(d.Sysfs("config"))
	lab.Equal(t, t.Taint(), taint, "taint without the device")

	t.Host().Plug(d)
	lab.Equal(t, d.Driver(), "", "driver of the new device")
	t.Absent(d.Sysfs("vfio-dev"))
	t.Must(t.Bind(d), "bind %s", d.BDF)
	lab.Equal(t, t.CdevName(d), cdev, "cdev of the device that came back")
	lab.Equal(t, groupOf(t, d), group, "group of the device that came back")
	lab.Equal(t, t.Taint(), taint, "taint with the device")
	m := t.Hugepages(1)
	dev, ioas := t.ToAttached(d)
	ioas.Map(m, iova)
	ioas.ExpectPA(iova, lab.MaxLength, m.PA(0), lab.HugeSize)
	t.Must(dev.Close(), "close the cdev")
}

// pluggable is the first device in a slot that the host can unplug.
func pluggable(t *lab.T) *lab.Device {
	for _, d := range t.Devices {
		if d.Has.Port {
			return d
		}
	}
	t.Fatalf("no device under test is in a slot of a root port")
	return nil
}
