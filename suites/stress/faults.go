// SPDX-License-Identifier: Apache-2.0

package stress

import (
	"unsafe"

	"golang.org/x/sys/unix"

	"noiommu-farm/suites/contract"
	"noiommu-farm/suites/edu"
	"noiommu-farm/suites/faults"
	"noiommu-farm/suites/lab"
	"noiommu-farm/suites/leak"
	"noiommu-farm/suites/uapi"
)

// ST-04: each allocation of each step fails, again and again.
func faultSweep(t *lab.T) {
	t.NoWarning()
	// An object that is lost by one failure is seen by kmemleak, and elsewhere
	// when it is lost as often.
	rounds := 8
	if t.Facts.Meets(contract.KASAN) {
		rounds = 1
	}
	in := faults.New(t, faults.ACPICA)
	s := &swept{t: t, in: in, d: edu.Find(t), m: t.Hugepages(1), small: t.Pages(64)}
	enable := s.d.Sysfs("enable")
	held, enabled := holders(t), t.ReadFile(enable)
	leak.Forget(t)
	s.sweep()
	slab := leak.CountSlab(t)
	for range rounds - 1 {
		s.sweep()
	}
	slab.Flat(rounds*3/4, "after the faults")
	leak.None(t, "after the faults")
	lab.Equal(t, holders(t), held, "how often the driver's module is held after the faults")
	lab.Equal(t, t.ReadFile(enable), enabled, "how often the device is enabled after the faults")
	if t.Facts.Meets(contract.PM) {
		s.d.ExpectRuntimeStatus(t, "suspended", "%s after the faults", s.d.Model)
	}
	_, ioas := t.ToAttached(s.d)
	ioas.Map(s.m, iova)
	ioas.ExpectPA(iova, lab.MaxLength, s.m.PA(0), lab.HugeSize)
}

// holders is how often the driver's module is held; it cannot be told of a
// driver that is built in.
func holders(t *lab.T) string {
	if !t.Facts.Meets(contract.Modules) {
		return ""
	}
	return t.ReadFile("/sys/module/vfio_pci/refcnt")
}

// swept are the steps; each is one attempt at its n-th allocation, from the
// open of a device to the close.
type swept struct {
	t        *lab.T
	in       *faults.Injector
	d        *lab.Device
	m, small *lab.Memory
}

// sweep has each allocation of each step fail once.
func (s *swept) sweep() {
	t := s.t
	tables := t.TablePages()
	for _, step := range []struct {
		what    string
		attempt func(n int) (bool, error)
		fails   bool // it allocates something that it cannot do without
	}{
		{"open /dev/iommu", s.open, true},
		{"VFIO_DEVICE_BIND_IOMMUFD", s.bind, true},
		{"IOMMU_IOAS_ALLOC", s.ioas, true},
		{"VFIO_DEVICE_ATTACH_IOMMUFD_PT", s.attach, true},
		{"IOMMU_HWPT_ALLOC", s.hwpt, true},
		{"IOMMU_IOAS_MAP", s.mapping, true},
		{"IOMMU_IOAS_NOIOMMU_GET_PA", s.getPA, false},
		{"VFIO_DEVICE_ATTACH_IOMMUFD_PT to another IOAS", s.replace, true},
		{"IOMMU_IOAS_UNMAP", s.unmap, false},
		{"close of the cdev", s.closeCdev, false},
		{"close of the iommufd", s.closeIOMMUFD, false},
	} {
		failures := s.in.Sweep(step.what, step.attempt)
		if step.fails {
			lab.Above(t, failures, 0, "%s: times it failed", step.what)
		}
		lab.Equal(t, t.TablePages(), tables, "%s: pages of I/O page tables", step.what)
		lab.Equal(t, t.Pinned(), 0, "%s: memory pinned, kB", step.what)
	}
}

// ioctl is an ioctl of which the n-th allocation fails.
func ioctl[V any](s *swept, n int, f *uapi.File, op uapi.Ioctl, arg *V) (bool, error) {
	_, injected, err := s.in.Call(n, unix.SYS_IOCTL, uintptr(f.Fd()), op.Number, uintptr(unsafe.Pointer(arg)))
	s.t.Tally.Did(op.Name, err)
	return injected, err
}

// attached is a device attached to an IOAS, to be closed by done.
func (s *swept) attached() (dev *lab.Cdev, ioas *lab.IOAS, done func()) {
	dev, ioas = s.t.ToAttached(s.d)
	return dev, ioas, func() { s.close(dev, ioas.FD()) }
}

func (s *swept) close(dev *lab.Cdev, fd *lab.IOMMUFD) {
	s.t.Must(dev.Close(), "close the cdev")
	s.t.Must(fd.Close(), "close the iommufd")
}

func (s *swept) open(n int) (bool, error) {
	name := append([]byte("/dev/iommu"), 0)
	at := unix.AT_FDCWD
	fd, injected, err := s.in.Call(n, unix.SYS_OPENAT, uintptr(at), uintptr(unsafe.Pointer(&name[0])), unix.O_RDWR|unix.O_CLOEXEC)
	s.t.Tally.Did("open", err)
	if err == nil {
		s.t.Must(unix.Close(int(fd)), "close the iommufd")
	}
	return injected, err
}

func (s *swept) bind(n int) (bool, error) {
	dev, fd := s.t.Open(s.d), s.t.IOMMUFD()
	defer s.close(dev, fd)
	arg := dev.BindArg(fd)
	injected, err := ioctl(s, n, dev.File, uapi.VFIO_DEVICE_BIND_IOMMUFD, &arg)
	if err != nil {
		dev.Bind(fd)
	}
	return injected, err
}

func (s *swept) ioas(n int) (bool, error) {
	fd := s.t.IOMMUFD()
	defer func() { s.t.Must(fd.Close(), "close the iommufd") }()
	arg := uapi.IOASAlloc{Size: uint32(unsafe.Sizeof(uapi.IOASAlloc{}))}
	return ioctl(s, n, fd.File, uapi.IOMMU_IOAS_ALLOC, &arg)
}

func (s *swept) attach(n int) (bool, error) {
	dev, fd := s.t.Open(s.d), s.t.IOMMUFD()
	defer s.close(dev, fd)
	dev.Bind(fd)
	ioas := fd.IOAS()
	ioas.Map(s.m, iova)
	ioas.Map(s.small, 4*iova)
	arg := dev.AttachArg(ioas.ID)
	injected, err := ioctl(s, n, dev.File, uapi.VFIO_DEVICE_ATTACH_IOMMUFD_PT, &arg)
	if err != nil {
		ioas.ExpectNoPA(iova, lab.MaxLength, unix.EOPNOTSUPP)
		dev.Attach(ioas)
	}
	ioas.ExpectPA(iova, lab.MaxLength, s.m.PA(0), lab.HugeSize)
	return injected, err
}

func (s *swept) hwpt(n int) (bool, error) {
	dev, fd := s.t.Open(s.d), s.t.IOMMUFD()
	defer s.close(dev, fd)
	devid := dev.Bind(fd)
	ioas := fd.IOAS()
	ioas.Map(s.m, iova)
	arg := uapi.HWPTAlloc{Size: uint32(unsafe.Sizeof(uapi.HWPTAlloc{})), DevID: devid, PTID: ioas.ID}
	injected, err := ioctl(s, n, fd.File, uapi.IOMMU_HWPT_ALLOC, &arg)
	if err != nil {
		ioas.ExpectNoPA(iova, lab.MaxLength, unix.EOPNOTSUPP)
		return injected, err
	}
	ioas.ExpectPA(iova, lab.MaxLength, s.m.PA(0), lab.HugeSize)
	s.t.OK(fd.Destroy(arg.OutHWPTID), "IOMMU_DESTROY of the HWPT")
	return injected, err
}

func (s *swept) mapping(n int) (bool, error) {
	_, ioas, done := s.attached()
	defer done()
	arg := ioas.MapArg(s.small.VA(), uint64(len(s.small.Bytes)), 4*iova)
	injected, err := ioctl(s, n, ioas.FD().File, uapi.IOMMU_IOAS_MAP, &arg)
	if err != nil {
		ioas.ExpectNoPA(4*iova, lab.MaxLength, unix.ENOENT)
		ioas.Map(s.small, 4*iova)
	}
	ioas.ExpectPA(4*iova, lab.PageSize, s.small.PA(0), lab.PageSize)
	return injected, err
}

func (s *swept) getPA(n int) (bool, error) {
	_, ioas, done := s.attached()
	defer done()
	ioas.Map(s.m, iova)
	arg := ioas.GetPAArg(iova, lab.MaxLength)
	injected, err := ioctl(s, n, ioas.FD().File, uapi.IOMMU_IOAS_NOIOMMU_GET_PA, &arg)
	if err == nil {
		lab.Equal(s.t, arg.OutPhys, s.m.PA(0), "get_pa: out_phys")
		lab.Equal(s.t, arg.Length, lab.HugeSize, "get_pa: length")
	}
	return injected, err
}

// replace moves the device; when it cannot, the device stays where it was.
func (s *swept) replace(n int) (bool, error) {
	dev, ioas, done := s.attached()
	defer done()
	ioas.Map(s.m, iova)
	other := ioas.FD().IOAS()
	other.Map(s.m.Part(lab.PageSize, lab.PageSize), iova)
	arg := dev.AttachArg(other.ID)
	injected, err := ioctl(s, n, dev.File, uapi.VFIO_DEVICE_ATTACH_IOMMUFD_PT, &arg)
	if err != nil {
		ioas.ExpectPA(iova, lab.MaxLength, s.m.PA(0), lab.HugeSize)
		other.ExpectNoPA(iova, lab.MaxLength, unix.EOPNOTSUPP)
		return injected, err
	}
	ioas.ExpectNoPA(iova, lab.MaxLength, unix.EOPNOTSUPP)
	other.ExpectPA(iova, lab.MaxLength, s.m.PA(lab.PageSize), lab.PageSize)
	return injected, err
}

func (s *swept) unmap(n int) (bool, error) {
	_, ioas, done := s.attached()
	defer done()
	ioas.Map(s.small, 4*iova)
	arg := uapi.IOASUnmap{Size: uint32(unsafe.Sizeof(uapi.IOASUnmap{})), IOASID: ioas.ID, IOVA: 4 * iova, Length: uint64(len(s.small.Bytes))}
	injected, err := ioctl(s, n, ioas.FD().File, uapi.IOMMU_IOAS_UNMAP, &arg)
	if err == nil {
		ioas.ExpectNoPA(4*iova, lab.MaxLength, unix.ENOENT)
	}
	return injected, err
}

func (s *swept) closeCdev(n int) (bool, error) {
	dev, ioas, done := s.attached()
	defer done()
	ioas.Map(s.small, 4*iova)
	ioas.Map(s.m, iova)
	injected, err := s.closing(n, dev.File)
	ioas.ExpectNoPA(iova, lab.MaxLength, unix.EOPNOTSUPP)
	return injected, err
}

func (s *swept) closeIOMMUFD(n int) (bool, error) {
	fd := s.t.IOMMUFD()
	dev := s.t.Open(s.d)
	dev.Bind(fd)
	ioas := fd.IOAS()
	ioas.Map(s.small, 4*iova)
	ioas.Map(s.m, iova)
	dev.Attach(ioas)
	s.t.Must(dev.Close(), "close the cdev")
	return s.closing(n, fd.File)
}

// closing is a close of which the n-th allocation fails. It works nevertheless.
func (s *swept) closing(n int, f *uapi.File) (bool, error) {
	_, injected, err := s.in.Call(n, unix.SYS_CLOSE, uintptr(f.Release()))
	s.t.OK(err, "close, allocation %d fails", n)
	return injected, err
}
