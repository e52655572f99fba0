// SPDX-License-Identifier: Apache-2.0

package stress

import (
	"unsafe"

	"golang.org/x/sys/unix"

	"noiommu-farm/suites/contract"
	"noiommu-farm/suites/edu"
	"noiommu-farm/suites/lab"
	"noiommu-farm/suites/leak"
	"noiommu-farm/suites/uapi"
)

// ST-08: nothing is lost by binding and closing. An object of the smallest
// size, lost in each round, would show.
func manyBinds(t *lab.T) {
	t.NoWarning()
	const warm = 500
	rounds := 100_000
	if t.Facts.Meets(contract.KASAN) {
		// A round takes some twenty times as long, and kmemleak tells of a single
		// object.
		rounds = 5_000
	}
	d := edu.Find(t)
	path := t.CdevPath(d)
	bind := func() {
		dev, err := uapi.Open(t.Tally, path, unix.O_RDWR)
		if err != nil {
			t.Must(err, "open the cdev")
		}
		fd, err := uapi.Open(t.Tally, "/dev/iommu", unix.O_RDWR)
		if err != nil {
			t.Must(err, "open /dev/iommu")
		}
		arg := uapi.DeviceBindIOMMUFD{Argsz: uint32(unsafe.Sizeof(uapi.DeviceBindIOMMUFD{})), IOMMUFD: int32(fd.Fd())}
		if _, err := dev.Ioctl(uapi.VFIO_DEVICE_BIND_IOMMUFD, unsafe.Pointer(&arg)); err != nil {
			t.Must(err, "VFIO_DEVICE_BIND_IOMMUFD")
		}
		if arg.OutDevID != 1 {
			lab.Equal(t, arg.OutDevID, 1, "id of the device in a fresh iommufd")
		}
		if err := dev.Close(); err != nil {
			t.Must(err, "close the cdev")
		}
		if err := fd.Close(); err != nil {
			t.Must(err, "close the iommufd")
		}
	}
	for range warm {
		bind()
	}
	leak.Forget(t)
	slab, available, tables := leak.CountSlab(t), leak.Available(t), t.TablePages()
	for range rounds {
		bind()
	}
	lab.Equal(t, t.Tally.Count(uapi.VFIO_DEVICE_BIND_IOMMUFD.Name), uint64(warm+rounds), "binds that worked")
	lab.Equal(t, t.TablePages(), tables, "pages of I/O page tables")
	slab.Flat(rounds/100, "after the rounds")
	// What none of the caches above has, pages and objects of other caches, shows
	// from 84 bytes a round on; less is lost in what else the memory is used for.
	// KASAN keeps up to a part of it.
	if !t.Facts.Meets(contract.KASAN) {
		lab.Above(t, leak.Available(t), available-8<<10, "memory available, kB, after the rounds")
	}
	leak.None(t, "after the rounds")
}
