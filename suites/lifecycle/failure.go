// SPDX-License-Identifier: Apache-2.0

package lifecycle

import (
	"unsafe"

	"golang.org/x/sys/unix"

	"noiommu-farm/suites/contract"
	"noiommu-farm/suites/edu"
	"noiommu-farm/suites/faults"
	"noiommu-farm/suites/lab"
	"noiommu-farm/suites/leak"
)

// LC-09: a bind that fails leaves nothing, and does no harm to the next.
func failedBind(t *lab.T) {
	t.NoWarning()
	const rounds = 100
	d := edu.Find(t)
	cdev, group := t.CdevName(d), groupOf(t, d)
	t.Must(t.Unbind(d), "unbind %s", d.BDF)
	t.SetUnsafeMode(false)
	leak.Forget(t)
	slab := leak.CountSlab(t)
	for range slab.Rounds(rounds) {
		t.Fails(t.Bind(d), unix.EINVAL, "bind with the mode off")
		notRegistered(t, d, cdev, group)
	}
	slab.Flat(rounds/4, "after binds with the mode off")
	t.SetUnsafeMode(true)
	if t.Facts.Meets(contract.Failslab) {
		spared := faults.Nothing
		if t.Facts.Meets(contract.Group) {
			// When it fails it warns and loses its IOMMU group, which is a finding
			// of its own: docs/findings/group-create-failure.md.
			spared = faults.Code{"vfio_create_group"}
		}
		in := faults.New(t, spared)
		failures := in.Sweep("bind", func(n int) (bool, error) { return bindFails(t, in, d, n, cdev, group) })
		lab.Above(t, failures, 0, "binds that failed for want of memory")
	}
	leak.None(t, "after binds that failed")
	t.Must(t.Bind(d), "bind %s", d.BDF)
	lab.Equal(t, t.CdevName(d), cdev, "cdev after the failures")
	lab.Equal(t, groupOf(t, d), group, "group after the failures")
	dev, ioas := t.ToAttached(d)
	m := t.Pages(1)
	ioas.Map(m, iova)
	ioas.ExpectPA(iova, lab.MaxLength, m.PA(0), lab.PageSize)
	t.Must(dev.Close(), "close the cdev")
}

// bindFails binds the device while the n-th allocation fails, and puts it back
// to not bound.
func bindFails(t *lab.T, in *faults.Injector, d *lab.Device, n int, cdev, group string) (injected bool, err error) {
	// Opened before memory runs out: the open is not what is tested.
	fd, err := unix.Open("/sys/bus/pci/drivers/vfio-pci/bind", unix.O_WRONLY|unix.O_CLOEXEC, 0)
	t.Must(err, "open the driver's bind")
	defer unix.Close(fd)
	bdf := []byte(d.BDF)
	_, injected, err = in.Call(n, unix.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(&bdf[0])), uintptr(len(bdf)))
	t.Tally.Did("pci.bind", err)
	if err != nil {
		notRegistered(t, d, cdev, group)
	} else {
		t.Must(t.Unbind(d), "unbind, bound while allocation %d fails", n)
	}
	return injected, err
}

// notRegistered asserts that nothing of a device is there for its users.
func notRegistered(t *lab.T, d *lab.Device, cdev, group string) {
	lab.Equal(t, d.Driver(), "", "driver after the failed bind")
	t.Absent(d.Sysfs("vfio-dev"))
	t.Absent(d.Sysfs("iommu_group"))
	t.Absent("/dev/vfio/devices/" + cdev)
	if group != "" {
		t.Absent("/dev/vfio/" + group)
	}
}

// groupOf is the device's group node, "" in a kernel without groups.
func groupOf(t *lab.T, d *lab.Device) string {
	if !t.Facts.Meets(contract.Group) {
		return ""
	}
	return t.GroupName(d)
}

// groupNumber is the number of that node, which the kernel counts apart from
// its name.
func groupNumber(t *lab.T, d *lab.Device) string {
	group := groupOf(t, d)
	if group == "" {
		return ""
	}
	return t.ReadFile("/sys/class/vfio/" + group + "/dev")
}
