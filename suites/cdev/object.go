// SPDX-License-Identifier: Apache-2.0

package cdev

import (
	"golang.org/x/sys/unix"

	"noiommu-farm/suites/lab"
	"noiommu-farm/suites/uapi"
)

// CD-08: there is no IOMMU to make a virtual one of.
func noVIOMMU(t *lab.T) {
	before := t.Taint()
	for _, d := range t.Devices {
		dev := t.Open(d)
		fd := t.IOMMUFD()
		devid := dev.Bind(fd)
		ioas := fd.IOAS()
		hwpt := dev.Attach(ioas)
		for _, kind := range []uint32{0, uapi.IOMMU_VIOMMU_TYPE_ARM_SMMUV3, 2, 1000} {
			t.Fails(fd.AllocVIOMMU(devid, hwpt, kind), unix.EOPNOTSUPP, "%s: IOMMU_VIOMMU_ALLOC(type %d)", d.Model, kind)
		}
		t.Fails(fd.AllocVIOMMU(devid+1000, hwpt, uapi.IOMMU_VIOMMU_TYPE_ARM_SMMUV3), unix.ENOENT, "%s: IOMMU_VIOMMU_ALLOC for an unknown device", d.Model)
		for _, id := range []uint32{0, devid, ioas.ID, hwpt, 1000} {
			t.Fails(fd.AllocVDevice(devid, id), unix.ENOENT, "%s: IOMMU_VDEVICE_ALLOC(viommu %d)", d.Model, id)
		}
		lab.Equal(t, fd.IOAS().ID, hwpt+1, "%s: id of the next object: the failures left none", d.Model)
		t.Must(dev.Close(), "close the cdev")
	}
	lab.Equal(t, t.Taint(), before, "taint")
}

// CD-09: the device object belongs to the bound cdev.
func heldObject(t *lab.T) {
	for _, d := range t.Devices {
		dev := t.Open(d)
		fd := t.IOMMUFD()
		devid := dev.Bind(fd)
		for range 3 {
			t.Fails(fd.Destroy(devid), unix.EBUSY, "%s: IOMMU_DESTROY(device) while bound", d.Model)
		}
		ioas := fd.IOAS()
		dev.Attach(ioas)
		t.Fails(fd.Destroy(devid), unix.EBUSY, "%s: IOMMU_DESTROY(device) while attached", d.Model)
		t.OK(dev.Detach(), "%s: detach after the refusals", d.Model)
		t.Must(dev.Close(), "close the cdev")
		for range 2 {
			t.Fails(fd.Destroy(devid), unix.ENOENT, "%s: IOMMU_DESTROY(device) after close", d.Model)
		}
		t.OK(fd.Destroy(ioas.ID), "%s: IOMMU_DESTROY(ioas) after close", d.Model)
	}
}

// CD-15: the binding is that of the open file, whoever has a descriptor of it.
func passedOn(t *lab.T) {
	d := t.Devices[0]
	dev := t.Open(d)
	dev.Bind(t.IOMMUFD())
	// Whether it is bound, another descriptor and the group tell.
	bound := func(want unix.Errno, when string) {
		groupOpens(t, d, map[unix.Errno]unix.Errno{0: 0, unix.EINVAL: unix.EBUSY}[want], when)
		other := t.Open(d)
		arg := other.BindArg(t.IOMMUFD())
		t.Fails(other.TryBind(&arg), want, "bind of another descriptor %s", when)
		t.Must(other.Close(), "close the other descriptor")
	}
	bound(unix.EINVAL, "while the cdev is open")

	passed := t.Pass(dev)
	t.Must(dev.Close(), "close the cdev")
	_, err := passed.Info()
	t.OK(err, "VFIO_DEVICE_GET_INFO of the descriptor that was passed on")
	arg := passed.BindArg(t.IOMMUFD())
	t.Fails(passed.TryBind(&arg), unix.EINVAL, "bind of the descriptor that was passed on: it is bound")
	bound(unix.EINVAL, "while the descriptor that was passed on is open")

	child := t.Fork()
	t.Must(passed.Close(), "close the descriptor that was passed on")
	bound(unix.EINVAL, "while a child has the cdev open")
	child.Kill()
	bound(0, "after the child died")
	dev = t.Open(d)
	lab.Equal(t, dev.Bind(t.IOMMUFD()), 1, "bind anew: out_devid")
}
