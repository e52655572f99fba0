// SPDX-License-Identifier: Apache-2.0

package present

import (
	"path/filepath"

	"golang.org/x/sys/unix"

	"noiommu-farm/suites/lab"
	"noiommu-farm/suites/uapi"
)

// The parameters that allow devices whose interrupts nobody remaps.
const (
	iommufdUnsafe = "/sys/module/iommufd/parameters/allow_unsafe_interrupts"
	type1Unsafe   = "/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts"
)

// IP-06: a device that could forge interrupts is given away only when that is
// allowed; the unsafe mode does not allow it.
func insecureInterrupts(t *lab.T) {
	modes := []bool{false}
	if t.Facts.Config.Noiommu {
		modes = []bool{false, true}
	}
	for _, d := range t.Devices {
		for _, on := range modes {
			if t.Facts.Config.Noiommu {
				t.SetUnsafeMode(on)
			}
			setParameter(t, iommufdUnsafe, "N")
			expectBind(t, d, unix.EPERM)
			setParameter(t, iommufdUnsafe, "Y")
			log := t.KernelLog()
			expectBind(t, d, 0)
			lab.Above(t, lab.Count(log.Messages(), d.BDF, "MSI interrupts are not secure"), 0, "%s: messages of what was allowed", d.Model)
			if t.Facts.Config.Group && t.Facts.Config.Container {
				setParameter(t, type1Unsafe, "N")
				expectSetIOMMU(t, d, unix.EPERM)
				setParameter(t, type1Unsafe, "Y")
				expectSetIOMMU(t, d, 0)
			}
		}
	}
}

// setParameter writes Y or N to a module parameter. It is put back when the
// test ends.
func setParameter(t *lab.T, path, value string) {
	was := t.ReadFile(path)
	t.Cleanup(func() { t.OK(t.WriteFile(path, was), "cleanup: %s", path) })
	t.Must(t.WriteFile(path, value), "write %s to %s", value, path)
	lab.Equal(t, t.ReadFile(path), value, "%s", path)
}

// expectBind asserts how the device's bind to an iommufd ends: through its
// cdev, and through its group with the iommufd as the container.
func expectBind(t *lab.T, d *lab.Device, want unix.Errno) {
	dev := t.Open(d)
	arg := dev.BindArg(t.IOMMUFD())
	t.Fails(dev.TryBind(&arg), want, "%s: VFIO_DEVICE_BIND_IOMMUFD", d.Model)
	t.Must(dev.Close(), "close the cdev")
	if !t.Facts.Config.Group {
		return
	}
	group, container := t.OpenGroup(d), t.IOMMUFD().Container()
	t.Must(group.SetContainer(container.Fd()), "VFIO_GROUP_SET_CONTAINER")
	t.Must(container.SetIOMMU(uapi.VFIO_TYPE1v2_IOMMU), "VFIO_SET_IOMMU(TYPE1v2)")
	dev, err := group.DeviceFd(d)
	if t.Fails(err, want, "%s: VFIO_GROUP_GET_DEVICE_FD", d.Model) && err == nil {
		t.Must(dev.Close(), "close the device")
	}
	t.Must(group.Close(), "close the group")
}

// expectSetIOMMU asserts how VFIO_SET_IOMMU of VFIO's own container ends.
func expectSetIOMMU(t *lab.T, d *lab.Device, want unix.Errno) {
	group, container := t.OpenGroup(d), t.OpenContainer()
	t.Must(group.SetContainer(container.Fd()), "VFIO_GROUP_SET_CONTAINER")
	t.Fails(container.SetIOMMU(uapi.VFIO_TYPE1v2_IOMMU), want, "%s: VFIO_SET_IOMMU(TYPE1v2)", d.Model)
	t.Must(group.Close(), "close the group")
	t.Must(container.Close(), "close the container")
}

// IP-10: it does not matter which IOMMU it is.
func otherIOMMUs(t *lab.T) {
	for _, on := range []bool{true, false} {
		t.SetUnsafeMode(on)
		rebindOrdinary(t)
		for _, d := range t.Devices {
			t.Contains(t.List("/sys/class/iommu"), filepath.Base(t.ReadLink(d.Sysfs("iommu"))), true, "%s: its IOMMU: /sys/class/iommu", d.Model)
			dev, ioas := t.ToAttached(d)
			ranges, _ := ioas.IOVARanges()
			for _, r := range ranges {
				lab.Equal(t, r.Last < lab.MSIStart || r.Start > lab.MSILast, true, "%s: range %#x to %#x is clear of the interrupts", d.Model, r.Start, r.Last)
			}
			m := t.Pages(1)
			ioas.Map(m, 1<<30)
			ioas.ExpectNoPA(1<<30, lab.MaxLength, unix.EOPNOTSUPP)
			t.Must(dev.Close(), "close the cdev")
		}
	}
}
