// SPDX-License-Identifier: Apache-2.0

package puppet

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"

	"noiommu-farm/suites/uapi"
)

// OpenBound has the puppet open the cdev at path and an iommufd, and bind the
// one to the other; the test ends when it cannot.
func (p *Puppet) OpenBound(path string) (dev, fd int) {
	dev, err := p.Open(path)
	p.t.Must(err, "open the cdev")
	fd, err = p.Open("/dev/iommu")
	p.t.Must(err, "open /dev/iommu")
	p.Bind(dev, fd)
	return dev, fd
}

// Bind has the puppet bind a cdev to an iommufd, both its own; the test ends
// when it cannot.
func (p *Puppet) Bind(dev, fd int) {
	arg := Place[uapi.DeviceBindIOMMUFD](p)
	*arg = uapi.DeviceBindIOMMUFD{Argsz: uint32(unsafe.Sizeof(*arg)), IOMMUFD: int32(fd)}
	p.must(Ioctl(dev, uapi.VFIO_DEVICE_BIND_IOMMUFD, arg))
}

// IOAS has the puppet allocate an address space in its iommufd and returns the
// id; the test ends when it cannot.
func (p *Puppet) IOAS(fd int) uint32 {
	arg := Place[uapi.IOASAlloc](p)
	arg.Size = uint32(unsafe.Sizeof(*arg))
	p.must(Ioctl(fd, uapi.IOMMU_IOAS_ALLOC, arg))
	return arg.OutIOASID
}

// Attach has the puppet attach its bound cdev to an address space; the test
// ends when it cannot.
func (p *Puppet) Attach(dev int, ioas uint32) {
	arg := Place[uapi.DeviceAttachIOMMUFDPT](p)
	*arg = uapi.DeviceAttachIOMMUFDPT{Argsz: uint32(unsafe.Sizeof(*arg)), PTID: ioas}
	p.must(Ioctl(dev, uapi.VFIO_DEVICE_ATTACH_IOMMUFD_PT, arg))
}

func (p *Puppet) must(c Call) {
	_, err := p.Do(c)
	p.t.Must(err, "the puppet's %s", c.Name)
}

// Take gives the process an open file of the test's, and returns the descriptor
// there. The process must still be privileged (pidfd_getfd(2)).
func (p *Puppet) Take(f *uapi.File) int {
	of, err := p.Do(Call{Nr: unix.SYS_PIDFD_OPEN, Args: [6]uintptr{uintptr(os.Getpid())}})
	p.t.Must(err, "pidfd_open")
	fd, err := p.Do(Call{Nr: unix.SYS_PIDFD_GETFD, Args: [6]uintptr{of, uintptr(f.Fd())}})
	p.t.Must(err, "pidfd_getfd")
	p.t.Must(p.Close(int(of)), "close the pidfd")
	return int(fd)
}
