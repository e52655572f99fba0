// SPDX-License-Identifier: Apache-2.0

package stress

import (
	"encoding/binary"
	"math/rand/v2"
	"unsafe"

	"golang.org/x/sys/unix"

	"noiommu-farm/suites/lab"
	"noiommu-farm/suites/uapi"
)

// randomAt is where the memory of the random calls is: the same in every run.
const randomAt = 1 << 45

// randomCall is one ioctl of an iommufd, and an argument that is well formed.
type randomCall struct {
	uapi.Ioctl
	good [64]byte // with the size first
	size uint32
}

func newRandomCall[V any](op uapi.Ioctl, arg V) randomCall {
	c := randomCall{Ioctl: op, size: uint32(unsafe.Sizeof(arg))}
	copy(c.good[:], unsafe.Slice((*byte)(unsafe.Pointer(&arg)), c.size))
	binary.NativeEndian.PutUint32(c.good[:], c.size)
	return c
}

// randomCallsOf are the ioctls, with the ids that the objects have in a fresh
// iommufd: device 1, IOAS 2 with memory at iova, HWPT 3, and 4 for what a call
// makes.
func randomCallsOf() []randomCall {
	const device, ioas, hwpt, made = 1, 2, 3, 4
	const readWriteFixed = uapi.IOMMU_IOAS_MAP_FIXED_IOVA | uapi.IOMMU_IOAS_MAP_READABLE | uapi.IOMMU_IOAS_MAP_WRITEABLE
	return []randomCall{
		newRandomCall(uapi.IOMMU_DESTROY, uapi.Destroy{ID: made}),
		newRandomCall(uapi.IOMMU_IOAS_ALLOC, uapi.IOASAlloc{}),
		newRandomCall(uapi.IOMMU_IOAS_ALLOW_IOVAS, uapi.IOASAllowIOVAs{IOASID: made}),
		newRandomCall(uapi.IOMMU_IOAS_COPY, uapi.IOASCopy{Flags: readWriteFixed, DstIOASID: ioas, SrcIOASID: ioas, Length: lab.PageSize, DstIOVA: 2 * iova, SrcIOVA: iova}),
		newRandomCall(uapi.IOMMU_IOAS_IOVA_RANGES, uapi.IOASIOVARanges{IOASID: ioas, NumIOVAs: 8, AllowedIOVAs: randomAt}),
		newRandomCall(uapi.IOMMU_IOAS_MAP, uapi.IOASMap{Flags: readWriteFixed, IOASID: ioas, UserVA: randomAt, Length: lab.HugeSize, IOVA: iova}),
		newRandomCall(uapi.IOMMU_IOAS_UNMAP, uapi.IOASUnmap{IOASID: ioas, IOVA: iova, Length: lab.HugeSize}),
		newRandomCall(uapi.IOMMU_OPTION, uapi.Option{OptionID: uapi.IOMMU_OPTION_HUGE_PAGES, Op: uapi.IOMMU_OPTION_OP_SET, ObjectID: ioas}),
		newRandomCall(uapi.IOMMU_VFIO_IOAS, uapi.VFIOIOAS{IOASID: ioas}),
		newRandomCall(uapi.IOMMU_HWPT_ALLOC, uapi.HWPTAlloc{DevID: device, PTID: ioas}),
		newRandomCall(uapi.IOMMU_GET_HW_INFO, uapi.HWInfo{DevID: device, DataLen: 64, DataUptr: randomAt}),
		newRandomCall(uapi.IOMMU_HWPT_SET_DIRTY_TRACKING, uapi.HWPTSetDirtyTracking{HWPTID: hwpt}),
		newRandomCall(uapi.IOMMU_HWPT_GET_DIRTY_BITMAP, uapi.HWPTGetDirtyBitmap{HWPTID: hwpt, IOVA: iova, Length: lab.HugeSize, PageSize: lab.PageSize, Data: randomAt}),
		newRandomCall(uapi.IOMMU_IOAS_MAP_FILE, uapi.IOASMapFile{Flags: readWriteFixed, IOASID: ioas, Fd: 3, Length: lab.PageSize, IOVA: 4 * iova}),
		newRandomCall(uapi.IOMMU_VIOMMU_ALLOC, uapi.VIOMMUAlloc{Type: 1, DevID: device, HWPTID: hwpt}),
		newRandomCall(uapi.IOMMU_VDEVICE_ALLOC, uapi.VDeviceAlloc{VIOMMUID: made, DevID: device}),
		newRandomCall(uapi.IOMMU_IOAS_NOIOMMU_GET_PA, uapi.IOASNoiommuGetPA{IOASID: ioas, IOVA: iova, Length: lab.MaxLength}),
	}
}

// Words that are ids, flags, addresses and lengths of something, now and then.
var randomWords = []uint64{
	0, 1, 2, 3, 4, 5, 7, lab.PageSize, lab.HugeSize, iova, iova + 1, randomAt, 1 << 63, ^uint64(0), ^uint64(0) - lab.PageSize + 1,
}

// argument is what the call is made with: in one of four cases random words
// and any size, else what is well formed but for up to three words.
func (c randomCall) argument(random *rand.Rand) [64]byte {
	arg := c.good
	word := func() uint64 { return randomWords[random.IntN(len(randomWords))] }
	put := func(at int) (next int) {
		if at%8 == 0 && random.IntN(2) == 0 {
			binary.NativeEndian.PutUint64(arg[at:], word())
			return at + 8
		}
		binary.NativeEndian.PutUint32(arg[at:], uint32(word()))
		return at + 4
	}
	if random.IntN(4) == 0 {
		for at := 4; at < len(arg); {
			at = put(at)
		}
		sizes := []uint32{8, 12, 16, 24, 32, 40, 48, 64, c.size}
		binary.NativeEndian.PutUint32(arg[:], sizes[random.IntN(len(sizes))])
		return arg
	}
	for range random.IntN(4) {
		put(4 + 4*random.IntN(int(c.size)/4-1))
	}
	return arg
}

// ST-09: no argument, however wrong, makes the kernel warn. The calls are the
// same in every run.
func randomCalls(t *lab.T) {
	t.NoWarning()
	random := rand.New(rand.NewPCG(7, 3))
	d := t.Devices[0]
	m := t.HugepagesAt(randomAt, 1)
	calls := randomCallsOf()
	for range 20 {
		dev := t.Open(d)
		fd := t.IOMMUFD()
		dev.Bind(fd)
		ioas := fd.IOAS()
		ioas.Map(m, iova)
		dev.Attach(ioas)
		for range 500 {
			call := calls[random.IntN(len(calls))]
			arg := call.argument(random)
			// Any answer will do. What has another errno than these two has been
			// understood at least.
			if _, err := fd.Ioctl(call.Ioctl, unsafe.Pointer(&arg)); err != unix.EINVAL && err != unix.E2BIG {
				t.Tally.Add("random.reached", 1)
			}
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
