// SPDX-License-Identifier: Apache-2.0

package stress

import (
	"encoding/binary"
	"math/rand/v2"
	"unsafe"

	"noiommu-farm/suites/lab"
	"noiommu-farm/suites/uapi"
)

// ST-09: no argument, however wrong, makes the kernel warn. The calls are the
// same in every run.
func randomCalls(t *lab.T) {
	t.NoWarning()
	random := rand.New(rand.NewPCG(7, 3))
	d := t.Devices[0]
	m := t.Hugepages(1)
	calls := []uapi.Ioctl{
		uapi.IOMMU_DESTROY, uapi.IOMMU_IOAS_ALLOC, uapi.IOMMU_IOAS_ALLOW_IOVAS, uapi.IOMMU_IOAS_COPY, uapi.IOMMU_IOAS_IOVA_RANGES,
		uapi.IOMMU_IOAS_MAP, uapi.IOMMU_IOAS_UNMAP, uapi.IOMMU_OPTION, uapi.IOMMU_VFIO_IOAS, uapi.IOMMU_HWPT_ALLOC,
		uapi.IOMMU_GET_HW_INFO, uapi.IOMMU_HWPT_SET_DIRTY_TRACKING, uapi.IOMMU_HWPT_GET_DIRTY_BITMAP, uapi.IOMMU_IOAS_MAP_FILE,
		uapi.IOMMU_VIOMMU_ALLOC, uapi.IOMMU_VDEVICE_ALLOC, uapi.IOMMU_IOAS_NOIOMMU_GET_PA,
	}
	// Words that are ids, flags, addresses and lengths of something, now and then.
	words := []uint64{0, 1, 2, 3, 4, 5, 7, lab.PageSize, lab.HugeSize, iova, iova + 1, uint64(m.VA()), 1 << 63, ^uint64(0), ^uint64(0) - lab.PageSize + 1}
	sizes := []uint32{8, 12, 16, 24, 32, 40, 48, 64}
	for range 20 {
		dev := t.Open(d)
		fd := t.IOMMUFD()
		dev.Bind(fd)
		ioas := fd.IOAS()
		ioas.Map(m, iova)
		dev.Attach(ioas)
		for range 500 {
			var arg [64]byte
			for at := 4; at < len(arg); at += 4 {
				word := words[random.IntN(len(words))]
				binary.NativeEndian.PutUint32(arg[at:], uint32(word))
				if at%8 == 0 && random.IntN(2) == 0 {
					binary.NativeEndian.PutUint64(arg[at:], word)
					at += 4
				}
			}
			call := calls[random.IntN(len(calls))]
			binary.NativeEndian.PutUint32(arg[:], sizes[random.IntN(len(sizes))])
			fd.Ioctl(call, unsafe.Pointer(&arg)) // any answer will do
			if random.IntN(50) == 0 {
				dev.TryAttach(uint32(random.IntN(8)))
			}
		}
		_, err := dev.Info()
		t.OK(err, "VFIO_DEVICE_GET_INFO after the calls")
		t.OK(dev.Detach(), "detach after the calls")
		t.Must(dev.Close(), "close the cdev")
		t.Must(fd.Close(), "close the iommufd")
		lab.Equal(t, t.Pinned(), 0, "memory pinned after the calls, kB")
	}
	_, ioas := t.ToAttached(d)
	ioas.Map(m, iova)
	ioas.ExpectPA(iova, lab.MaxLength, m.PA(0), lab.HugeSize)
}
