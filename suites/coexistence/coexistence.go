// SPDX-License-Identifier: Apache-2.0

// Package coexistence proves what the two interfaces of one device, and two
// devices of the same or of different kinds, promise each other.
package coexistence

import (
	"golang.org/x/sys/unix"

	"noiommu-farm/suites/lab"
)

// Tests are the suite's tests.
var Tests = []lab.Test{
	{ID: "CX-01", Run: groupOrCdev},
	{ID: "CX-02", Run: perDevice},
	{ID: "CX-03", Run: sharedHWPT},
	{ID: "CX-04", Run: twoIOMMUFDs},
	{ID: "CX-05", Run: twoIOASes},
	{ID: "CX-06", Run: besideFirst},
	{ID: "CX-07", Run: anyOrder},
	{ID: "CX-08", Run: foreignHWPT},
	{ID: "CX-09", Run: oneContainer},
	{ID: "CX-10", Run: besideEmulated},
	{ID: "CX-11", Run: toldToKVM},
	{ID: "CX-12", Run: failedMove},
}

// CX-01: a device is used through its group or through its cdev.
func groupOrCdev(t *lab.T) {
	for _, d := range t.Devices {
		group := t.OpenGroup(d)
		dev := t.Open(d) // without a bind it is only a file
		fd := t.IOMMUFD()
		arg := dev.BindArg(fd)
		t.Fails(dev.TryBind(&arg), unix.EBUSY, "%s: bind while the group is open", d.Model)
		t.Must(group.Close(), "close the group")

		dev.Bind(fd)
		_, err := t.TryOpenGroup(d)
		t.Fails(err, unix.EBUSY, "%s: open the group while the cdev is bound", d.Model)
		t.Must(dev.Close(), "close the cdev")

		// Neither refusal held anything.
		t.Must(t.OpenGroup(d).Close(), "close the group")
		dev = t.Open(d)
		dev.Bind(fd)
		t.Must(dev.Close(), "close the cdev")
	}
}

// CX-03: devices without an IOMMU share one table, as long as one is there.
func sharedHWPT(t *lab.T) {
	const iova = 0x40000000
	first, second := t.Open(t.Devices[0]), t.Open(t.Devices[1])
	fd := t.IOMMUFD()
	first.Bind(fd)
	second.Bind(fd)
	ioas := fd.IOAS()
	m := t.Hugepages(1)
	ioas.Map(m, iova)
	pa := m.PA(0)

	hwpt := first.Attach(ioas)
	lab.Equal(t, second.Attach(ioas), hwpt, "pt_id of the second device")
	ioas.ExpectPA(iova, lab.MaxLength, pa, lab.HugeSize)
	t.OK(first.Detach(), "detach the first")
	ioas.ExpectPA(iova, lab.MaxLength, pa, lab.HugeSize)
	t.Fails(fd.Destroy(hwpt), unix.EBUSY, "IOMMU_DESTROY(hwpt) with the second attached")
	lab.Equal(t, first.Attach(ioas), hwpt, "pt_id of the first device, back again")
	t.Must(second.Close(), "close the second cdev")
	ioas.ExpectPA(iova, lab.MaxLength, pa, lab.HugeSize)
	t.OK(first.Detach(), "detach the last")
	ioas.ExpectNoPA(iova, lab.MaxLength, unix.EOPNOTSUPP)
	t.Fails(fd.Destroy(hwpt), unix.ENOENT, "IOMMU_DESTROY(hwpt) after the last left")
	t.OK(fd.Destroy(ioas.ID), "IOMMU_DESTROY(ioas)")
}

// CX-02: what one device is used through is nothing to the other.
func perDevice(t *lab.T) {
	a, b := t.Devices[0], t.Devices[1]
	for _, first := range t.Ways() {
		for _, second := range t.Ways() {
			one, closeOne := first.Open(a)
			two, closeTwo := second.Open(b)
			who := first.Name + " and " + second.Name
			for _, dev := range []*lab.Cdev{one, two} {
				_, err := dev.Info()
				t.OK(err, "%s: VFIO_DEVICE_GET_INFO of %s", who, dev.Device.BDF)
			}
			// Each is excluded from its own other side only.
			excluded(t, a, first)
			excluded(t, b, second)
			closeOne()
			_, err := two.Info()
			t.OK(err, "%s: VFIO_DEVICE_GET_INFO after the other was closed", who)
			closeTwo()
		}
	}
}

// excluded asserts that a device in use cannot be used through its other side.
func excluded(t *lab.T, d *lab.Device, used lab.Way) {
	if used.Name == "cdev" {
		_, err := t.TryOpenGroup(d)
		t.Fails(err, unix.EBUSY, "%s: open the group while the cdev is bound", d.BDF)
		return
	}
	other := t.Open(d)
	arg := other.BindArg(t.IOMMUFD())
	t.Fails(other.TryBind(&arg), unix.EBUSY, "%s: bind the cdev while the group is open", d.BDF)
	t.Must(other.Close(), "close the cdev")
}

// CX-04: an address is that of the memory, whoever asks.
func twoIOMMUFDs(t *lab.T) {
	const at, other = 0x40000000, 0x123456000
	_, first := t.ToAttached(t.Devices[0])
	second, ioas := t.ToAttached(t.Devices[1])
	m := t.Hugepages(1)
	pa := m.PA(0)
	first.Map(m, at)
	ioas.Map(m, other)
	for _, offset := range []uint64{0, 0xabc, lab.HugeSize - 1} {
		first.ExpectPA(at+offset, lab.MaxLength, pa+offset, lab.HugeSize-offset)
		ioas.ExpectPA(other+offset, lab.MaxLength, pa+offset, lab.HugeSize-offset)
	}
	first.ExpectNoPA(other, 1, unix.ENOENT)
	ioas.ExpectNoPA(at, 1, unix.ENOENT)
	t.Must(second.Close(), "close the second cdev")
	ioas.ExpectNoPA(other, 1, unix.EOPNOTSUPP)
	first.ExpectPA(at, lab.MaxLength, pa, lab.HugeSize)
}
