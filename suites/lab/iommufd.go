// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"unsafe"

	"golang.org/x/sys/unix"

	"noiommu-farm/suites/uapi"
)

// MaxLength is a length of IOMMU_IOAS_NOIOMMU_GET_PA that caps nothing.
const MaxLength = ^uint64(0)

// PageSize is the size of a page of this architecture, in bytes.
const PageSize = 4096

// The range that x86 reserves for the messages of interrupts.
const (
	MSIStart = 0xfee00000
	MSILast  = 0xfeefffff
)

// IOMMUFD is an open /dev/iommu.
type IOMMUFD struct {
	*uapi.File
	t *T
}

// IOMMUFD opens a new iommufd.
func (t *T) IOMMUFD() *IOMMUFD {
	f, err := uapi.Open(t.Tally, "/dev/iommu", unix.O_RDWR)
	t.Must(err, "open /dev/iommu")
	t.Cleanup(func() { t.OK(f.Close(), "cleanup: close iommufd") })
	return &IOMMUFD{f, t}
}

// Destroy is IOMMU_DESTROY.
func (f *IOMMUFD) Destroy(id uint32) error {
	arg := uapi.Destroy{Size: size[uapi.Destroy](), ID: id}
	_, err := f.Ioctl(uapi.IOMMU_DESTROY, unsafe.Pointer(&arg))
	return err
}

// HWInfo is IOMMU_GET_HW_INFO.
func (f *IOMMUFD) HWInfo(devid uint32) (uapi.HWInfo, error) {
	arg := uapi.HWInfo{Size: size[uapi.HWInfo](), DevID: devid}
	_, err := f.Ioctl(uapi.IOMMU_GET_HW_INFO, unsafe.Pointer(&arg))
	return arg, err
}

// Container is the iommufd in the place of a /dev/vfio/vfio: the compat
// container.
func (f *IOMMUFD) Container() *Container { return &Container{f.File, f.t} }

// VFIOIOAS is IOMMU_VFIO_IOAS: op on the compat IOAS, with the id for SET.
func (f *IOMMUFD) VFIOIOAS(op uint16, id uint32) (uint32, error) {
	arg := uapi.VFIOIOAS{Size: size[uapi.VFIOIOAS](), IOASID: id, Op: op}
	_, err := f.Ioctl(uapi.IOMMU_VFIO_IOAS, unsafe.Pointer(&arg))
	return arg.IOASID, err
}

// IOAS is an I/O address space of an iommufd.
type IOAS struct {
	ID uint32
	fd *IOMMUFD
}

// IOAS allocates an address space.
func (f *IOMMUFD) IOAS() *IOAS {
	arg := uapi.IOASAlloc{Size: size[uapi.IOASAlloc]()}
	_, err := f.Ioctl(uapi.IOMMU_IOAS_ALLOC, unsafe.Pointer(&arg))
	f.t.Must(err, "IOMMU_IOAS_ALLOC")
	return &IOAS{arg.OutIOASID, f}
}

// IOVARanges is IOMMU_IOAS_IOVA_RANGES: the ranges that can be mapped and the
// alignment of a mapping, in bytes.
func (s *IOAS) IOVARanges() (ranges []uapi.IOVARange, alignment uint64) {
	room := make([]uapi.IOVARange, 32)
	arg := uapi.IOASIOVARanges{
		Size:         size[uapi.IOASIOVARanges](),
		IOASID:       s.ID,
		NumIOVAs:     uint32(len(room)),
		AllowedIOVAs: Address(s.fd.t, unsafe.SliceData(room)),
	}
	_, err := s.fd.Ioctl(uapi.IOMMU_IOAS_IOVA_RANGES, unsafe.Pointer(&arg))
	s.fd.t.Must(err, "IOMMU_IOAS_IOVA_RANGES")
	return room[:arg.NumIOVAs], arg.OutIOVAAlignment
}

// TryMap is IOMMU_IOAS_MAP at a fixed IOVA, readable and writable, of length
// bytes at address va.
func (s *IOAS) TryMap(va uintptr, length, iova uint64) error {
	arg := s.MapArg(va, length, iova)
	return s.fd.Map(&arg)
}

// MapArg is a well-formed argument for [IOMMUFD.Map].
func (s *IOAS) MapArg(va uintptr, length, iova uint64) uapi.IOASMap {
	return uapi.IOASMap{
		Size:   size[uapi.IOASMap](),
		Flags:  uapi.IOMMU_IOAS_MAP_FIXED_IOVA | uapi.IOMMU_IOAS_MAP_READABLE | uapi.IOMMU_IOAS_MAP_WRITEABLE,
		IOASID: s.ID,
		UserVA: uint64(va),
		Length: length,
		IOVA:   iova,
	}
}

// Map is IOMMU_IOAS_MAP with any argument.
func (f *IOMMUFD) Map(arg *uapi.IOASMap) error {
	_, err := f.Ioctl(uapi.IOMMU_IOAS_MAP, unsafe.Pointer(arg))
	return err
}

// AllocHWPT is IOMMU_HWPT_ALLOC for a device and an IOAS, with flags and
// driver data of some type.
func (f *IOMMUFD) AllocHWPT(devid uint32, s *IOAS, flags, dataType uint32, data []byte) (uint32, error) {
	arg := uapi.HWPTAlloc{
		Size: size[uapi.HWPTAlloc](), Flags: flags, DevID: devid, PTID: s.ID,
		DataType: dataType, DataLen: uint32(len(data)), DataUptr: Address(f.t, unsafe.SliceData(data)),
	}
	_, err := f.Ioctl(uapi.IOMMU_HWPT_ALLOC, unsafe.Pointer(&arg))
	return arg.OutHWPTID, err
}

// AllocVIOMMU is IOMMU_VIOMMU_ALLOC of some type.
func (f *IOMMUFD) AllocVIOMMU(devid, hwpt, kind uint32) error {
	arg := uapi.VIOMMUAlloc{Size: size[uapi.VIOMMUAlloc](), Type: kind, DevID: devid, HWPTID: hwpt}
	_, err := f.Ioctl(uapi.IOMMU_VIOMMU_ALLOC, unsafe.Pointer(&arg))
	return err
}

// AllocVDevice is IOMMU_VDEVICE_ALLOC.
func (f *IOMMUFD) AllocVDevice(devid, viommu uint32) error {
	arg := uapi.VDeviceAlloc{Size: size[uapi.VDeviceAlloc](), VIOMMUID: viommu, DevID: devid}
	_, err := f.Ioctl(uapi.IOMMU_VDEVICE_ALLOC, unsafe.Pointer(&arg))
	return err
}

// SetDirtyTracking is IOMMU_HWPT_SET_DIRTY_TRACKING.
func (f *IOMMUFD) SetDirtyTracking(hwpt, flags uint32) error {
	arg := uapi.HWPTSetDirtyTracking{Size: size[uapi.HWPTSetDirtyTracking](), Flags: flags, HWPTID: hwpt}
	_, err := f.Ioctl(uapi.IOMMU_HWPT_SET_DIRTY_TRACKING, unsafe.Pointer(&arg))
	return err
}

// GetDirtyBitmap is IOMMU_HWPT_GET_DIRTY_BITMAP with one bit a page.
func (f *IOMMUFD) GetDirtyBitmap(hwpt, flags uint32, iova, length uint64, bitmap []uint64) error {
	arg := uapi.HWPTGetDirtyBitmap{
		Size: size[uapi.HWPTGetDirtyBitmap](), HWPTID: hwpt, Flags: flags, IOVA: iova, Length: length, PageSize: PageSize,
		Data: Address(f.t, unsafe.SliceData(bitmap)),
	}
	_, err := f.Ioctl(uapi.IOMMU_HWPT_GET_DIRTY_BITMAP, unsafe.Pointer(&arg))
	return err
}

// Map maps the whole of m at iova; the test ends when it cannot.
func (s *IOAS) Map(m *Memory, iova uint64) {
	s.fd.t.Must(s.TryMap(m.VA(), uint64(len(m.Bytes)), iova), "IOMMU_IOAS_MAP(iova=%#x, length=%#x)", iova, len(m.Bytes))
}

// AllowIOVAs is IOMMU_IOAS_ALLOW_IOVAS.
func (s *IOAS) AllowIOVAs(ranges ...uapi.IOVARange) error {
	arg := uapi.IOASAllowIOVAs{
		Size: size[uapi.IOASAllowIOVAs](), IOASID: s.ID, NumIOVAs: uint32(len(ranges)),
		AllowedIOVAs: Address(s.fd.t, unsafe.SliceData(ranges)),
	}
	_, err := s.fd.Ioctl(uapi.IOMMU_IOAS_ALLOW_IOVAS, unsafe.Pointer(&arg))
	return err
}

// Copy is IOMMU_IOAS_COPY of an area at iova to dst, at a fixed IOVA there.
func (s *IOAS) Copy(iova, length uint64, dst *IOAS, dstIOVA uint64) error {
	arg := uapi.IOASCopy{
		Size:      size[uapi.IOASCopy](),
		Flags:     uapi.IOMMU_IOAS_MAP_FIXED_IOVA | uapi.IOMMU_IOAS_MAP_READABLE | uapi.IOMMU_IOAS_MAP_WRITEABLE,
		DstIOASID: dst.ID, SrcIOASID: s.ID, Length: length, DstIOVA: dstIOVA, SrcIOVA: iova,
	}
	_, err := s.fd.Ioctl(uapi.IOMMU_IOAS_COPY, unsafe.Pointer(&arg))
	return err
}

// MapFile is IOMMU_IOAS_MAP_FILE at a fixed IOVA, readable and writable, of
// length bytes from start of the file fd.
func (s *IOAS) MapFile(fd int, start, length, iova uint64) error {
	arg := uapi.IOASMapFile{
		Size:   size[uapi.IOASMapFile](),
		Flags:  uapi.IOMMU_IOAS_MAP_FIXED_IOVA | uapi.IOMMU_IOAS_MAP_READABLE | uapi.IOMMU_IOAS_MAP_WRITEABLE,
		IOASID: s.ID, Fd: int32(fd), Start: start, Length: length, IOVA: iova,
	}
	_, err := s.fd.Ioctl(uapi.IOMMU_IOAS_MAP_FILE, unsafe.Pointer(&arg))
	return err
}

// NoHugePages switches the option HUGE_PAGES off: the table holds small pages
// only. The test ends when it cannot.
func (s *IOAS) NoHugePages() {
	arg := uapi.Option{
		Size: size[uapi.Option](), OptionID: uapi.IOMMU_OPTION_HUGE_PAGES, Op: uapi.IOMMU_OPTION_OP_SET, ObjectID: s.ID,
	}
	_, err := s.fd.Ioctl(uapi.IOMMU_OPTION, unsafe.Pointer(&arg))
	s.fd.t.Must(err, "IOMMU_OPTION(HUGE_PAGES=0)")
	arg.Op, arg.Val64 = uapi.IOMMU_OPTION_OP_GET, 1
	_, err = s.fd.Ioctl(uapi.IOMMU_OPTION, unsafe.Pointer(&arg))
	s.fd.t.Must(err, "IOMMU_OPTION(get HUGE_PAGES)")
	Equal(s.fd.t, arg.Val64, 0, "IOMMU_OPTION(get HUGE_PAGES)")
}

// Unmap is IOMMU_IOAS_UNMAP; it returns how many bytes were unmapped.
func (s *IOAS) Unmap(iova, length uint64) (uint64, error) {
	arg := uapi.IOASUnmap{Size: size[uapi.IOASUnmap](), IOASID: s.ID, IOVA: iova, Length: length}
	_, err := s.fd.Ioctl(uapi.IOMMU_IOAS_UNMAP, unsafe.Pointer(&arg))
	return arg.Length, err
}

// GetPA is IOMMU_IOAS_NOIOMMU_GET_PA: the physical address behind iova and the
// length of the physically contiguous run from there, at most max bytes.
func (s *IOAS) GetPA(iova, max uint64) (pa, length uint64, err error) {
	arg := s.GetPAArg(iova, max)
	err = s.fd.GetPA(&arg)
	return arg.OutPhys, arg.Length, err
}

// GetPAArg is a well-formed argument for [IOMMUFD.GetPA].
func (s *IOAS) GetPAArg(iova, max uint64) uapi.IOASNoiommuGetPA {
	return uapi.IOASNoiommuGetPA{Size: size[uapi.IOASNoiommuGetPA](), IOASID: s.ID, IOVA: iova, Length: max}
}

// GetPA is IOMMU_IOAS_NOIOMMU_GET_PA with any argument.
func (f *IOMMUFD) GetPA(arg *uapi.IOASNoiommuGetPA) error {
	_, err := f.Ioctl(uapi.IOMMU_IOAS_NOIOMMU_GET_PA, unsafe.Pointer(arg))
	return err
}

// ExpectPA asserts the whole answer of GET_PA at iova, asked for at most max
// bytes.
func (s *IOAS) ExpectPA(iova, max, wantPA, wantLength uint64) {
	t := s.fd.t
	pa, length, err := s.GetPA(iova, max)
	if t.OK(err, "get_pa(iova=%#x, length=%#x)", iova, max) {
		Equal(t, pa, wantPA, "get_pa(iova=%#x, length=%#x): out_phys", iova, max)
		Equal(t, length, wantLength, "get_pa(iova=%#x, length=%#x): length", iova, max)
	}
}

// ExpectNoPA asserts that GET_PA at iova fails with want and leaves length and
// out_phys in user memory as they were.
func (s *IOAS) ExpectNoPA(iova, max uint64, want unix.Errno) {
	arg := s.GetPAArg(iova, max)
	s.fd.ExpectNoPA(arg, want, "get_pa(iova=%#x, length=%#x)", iova, max)
}

// ExpectNoPA asserts that GET_PA with arg fails with want and leaves length
// and out_phys in user memory as they were.
func (f *IOMMUFD) ExpectNoPA(arg uapi.IOASNoiommuGetPA, want unix.Errno, what string, args ...any) {
	const untouched = 0xdeadbeefcafef00d
	arg.OutPhys = untouched
	length := arg.Length
	err := f.GetPA(&arg)
	f.t.Fails(err, want, what, args...)
	Equal(f.t, arg.OutPhys, untouched, what+": out_phys after the failure", args...)
	Equal(f.t, arg.Length, length, what+": length after the failure", args...)
}

// size is the size of a struct of the kernel interface, in bytes.
func size[S any]() uint32 {
	var s S
	return uint32(unsafe.Sizeof(s))
}
