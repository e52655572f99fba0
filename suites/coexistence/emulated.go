// SPDX-License-Identifier: Apache-2.0

package coexistence

import (
	"golang.org/x/sys/unix"

	"noiommu-farm/suites/lab"
	"noiommu-farm/suites/mtty"
)

// CX-10: an emulated device in the same iommufd takes nothing and gives
// nothing.
func besideEmulated(t *lab.T) {
	t.NoWarning()
	d, m := t.Devices[0], t.Hugepages(1)
	pa := m.PA(0)
	fd := t.IOMMUFD()
	emulated, unsafe := t.Open(mtty.New(t)), t.Open(d)
	access, devid := emulated.Bind(fd), unsafe.Bind(fd)
	lab.Differ(t, access, devid, "ids of the two")
	_, err := fd.HWInfo(access)
	t.Fails(err, unix.ENOENT, "IOMMU_GET_HW_INFO of the mdev")
	_, err = fd.HWInfo(devid)
	t.Fails(err, unix.EOPNOTSUPP, "IOMMU_GET_HW_INFO of the device without an IOMMU")

	ioas := fd.IOAS()
	ioas.Map(m, iova)
	address := func() { ioas.ExpectPA(iova, lab.MaxLength, pa, lab.HugeSize) }
	none := func() { ioas.ExpectNoPA(iova, lab.MaxLength, unix.EOPNOTSUPP) }
	both := func(when string) {
		mtty.Answers(t, emulated, "mdev, %s", when)
		_, err := unsafe.Info()
		t.OK(err, "%s: VFIO_DEVICE_GET_INFO, %s", d.Model, when)
	}

	// The mdev is attached to the address space itself, and makes no table.
	lab.Equal(t, emulated.Attach(ioas), ioas.ID, "pt_id of the mdev")
	none()
	both("the mdev attached")
	hwpt := unsafe.Attach(ioas)
	lab.Differ(t, hwpt, ioas.ID, "pt_id of the device without an IOMMU")
	address()
	both("both attached")

	t.OK(emulated.Detach(), "detach the mdev")
	address()
	lab.Equal(t, emulated.Attach(ioas), ioas.ID, "pt_id of the mdev, attached again")
	t.OK(unsafe.Detach(), "detach the device without an IOMMU")
	none()
	t.Fails(fd.Destroy(hwpt), unix.ENOENT, "IOMMU_DESTROY of its hwpt afterwards")
	t.Fails(fd.Destroy(ioas.ID), unix.EBUSY, "IOMMU_DESTROY(ioas) with the mdev attached")
	both("the mdev attached alone")

	unsafe.Attach(ioas)
	t.Must(emulated.Close(), "close the mdev")
	address()
	mtty.Remove(t, emulated.Device)
	address()
	_, err = unsafe.Info()
	t.OK(err, "%s: VFIO_DEVICE_GET_INFO after the mdev was removed", d.Model)
	t.Must(unsafe.Close(), "close the cdev")
	none()
	t.OK(fd.Destroy(ioas.ID), "IOMMU_DESTROY(ioas)")
}
