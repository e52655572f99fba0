// SPDX-License-Identifier: Apache-2.0

// Package coexistence proves what the two interfaces of one device, and two
// devices in one address space, promise each other.
package coexistence

import (
	"golang.org/x/sys/unix"

	"noiommu-farm/suites/lab"
)

// Tests are the suite's tests.
var Tests = []lab.Test{
	{ID: "CX-01", Run: groupOrCdev},
	{ID: "CX-03", Run: sharedHWPT},
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
