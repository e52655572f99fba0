// SPDX-License-Identifier: Apache-2.0

package lifecycle

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"

	"noiommu-farm/suites/edu"
	"noiommu-farm/suites/lab"
	"noiommu-farm/suites/puppet"
	"noiommu-farm/suites/uapi"
)

// LC-07: who is killed at work leaves nothing.
func killed(t *lab.T) {
	t.NoWarning()
	d := edu.Find(t)
	free, tables := t.Free2M(), t.TablePages()
	for _, rounds := range []uint64{1, 2, 3, 5, 8, 13, 21, 34} {
		u := newUser(t, d)
		u.work()
		u.AwaitRounds(rounds)
		lab.Equal(t, d.BusMaster(t), true, "bus master while the user works")
		lab.Above(t, t.PinnedBy(u.PID()), 0, "memory pinned by the user, kB")
		lab.Above(t, t.TablePages(), tables, "pages of I/O page tables while the user works")
		u.Kill()
		lab.Equal(t, d.BusMaster(t), false, "bus master after the user was killed in round %d", u.Rounds())
		lab.Equal(t, t.Free2M(), free, "free hugepages after the user was killed in round %d", u.Rounds())
		lab.Equal(t, t.TablePages(), tables, "pages of I/O page tables after the user was killed in round %d", u.Rounds())
		t.Absent(fmt.Sprintf("/proc/%d", u.PID()))
	}
	m := t.Hugepages(1)
	dev, ioas := t.ToAttached(d)
	ioas.Map(m, iova)
	ioas.ExpectPA(iova, lab.MaxLength, m.PA(0), lab.HugeSize)
	t.Must(dev.Close(), "close the cdev")
}

// user is another process that has the device, with 4 MiB of small pages
// mapped for as long as it lives.
type user struct {
	*puppet.Puppet
	t        *lab.T
	dev, fd  int
	ioas     uint32
	bar      uintptr // offset of BAR0 in the device's file
	hugepage uintptr
}

const smallPages = 4 << 20 // bytes

func newUser(t *lab.T, d *lab.Device) *user {
	p := puppet.New(t)
	u := &user{Puppet: p, t: t}
	u.dev, u.fd = p.OpenBound(t.CdevPath(d))
	u.ioas = p.IOAS(u.fd)
	option := puppet.Place[uapi.Option](p)
	*option = uapi.Option{Size: uint32(unsafe.Sizeof(*option)), OptionID: uapi.IOMMU_OPTION_HUGE_PAGES, Op: uapi.IOMMU_OPTION_OP_SET, ObjectID: u.ioas}
	u.must(puppet.Ioctl(u.fd, uapi.IOMMU_OPTION, option))
	p.Attach(u.dev, u.ioas)

	u.must(u.mapping(u.mmap(smallPages, 0), smallPages, 4*iova))
	u.hugepage = u.mmap(lab.HugeSize, unix.MAP_HUGETLB)

	region := func(index uint32) uintptr {
		info := puppet.Place[uapi.RegionInfo](p)
		*info = uapi.RegionInfo{Argsz: uint32(unsafe.Sizeof(*info)), Index: index}
		u.must(puppet.Ioctl(u.dev, uapi.VFIO_DEVICE_GET_REGION_INFO, info))
		return uintptr(info.Offset)
	}
	u.bar = region(uapi.VFIO_PCI_BAR0_REGION_INDEX)
	value := puppet.Place[uint16](p)
	*value = lab.CommandMemory | lab.CommandBusMaster
	u.must(pwrite(u, value, region(uapi.VFIO_PCI_CONFIG_REGION_INDEX)+lab.CommandRegister))
	return u
}

// work begins to map a hugepage, ask for its address, start a transfer to it
// and unmap it, again and again.
func (u *user) work() {
	const where = iova
	get := puppet.Place[uapi.IOASNoiommuGetPA](u.Puppet)
	*get = uapi.IOASNoiommuGetPA{Size: uint32(unsafe.Sizeof(*get)), IOASID: u.ioas, IOVA: where, Length: lab.HugeSize}
	unmap := puppet.Place[uapi.IOASUnmap](u.Puppet)
	*unmap = uapi.IOASUnmap{Size: uint32(unsafe.Sizeof(*unmap)), IOASID: u.ioas, IOVA: where, Length: lab.HugeSize}
	word := func(value uint64) *uint64 {
		w := puppet.Place[uint64](u.Puppet)
		*w = value
		return w
	}
	u.Repeat(
		u.mapping(u.hugepage, lab.HugeSize, where),
		puppet.Ioctl(u.fd, uapi.IOMMU_IOAS_NOIOMMU_GET_PA, get),
		pwrite(u, word(edu.BufferAddress), u.bar+edu.SourceRegister),
		pwrite(u, &get.OutPhys, u.bar+edu.TargetRegister),
		pwrite(u, word(edu.BufferSize), u.bar+edu.CountRegister),
		pwrite(u, word(edu.StoreCommand), u.bar+edu.CommandRegister),
		puppet.Ioctl(u.fd, uapi.IOMMU_IOAS_UNMAP, unmap),
	)
}

func (u *user) must(c puppet.Call) uintptr {
	result, err := u.Do(c)
	u.t.Must(err, "%s", c.Name)
	return result
}

func (u *user) mmap(length uintptr, flags uintptr) uintptr {
	flags |= unix.MAP_PRIVATE | unix.MAP_ANONYMOUS | unix.MAP_POPULATE
	return u.must(puppet.Call{Name: "mmap", Nr: unix.SYS_MMAP,
		Args: [6]uintptr{0, length, unix.PROT_READ | unix.PROT_WRITE, flags, ^uintptr(0), 0}})
}

func (u *user) mapping(va uintptr, length, where uint64) puppet.Call {
	arg := puppet.Place[uapi.IOASMap](u.Puppet)
	*arg = uapi.IOASMap{
		Size: uint32(unsafe.Sizeof(*arg)), IOASID: u.ioas, UserVA: uint64(va), Length: length, IOVA: where,
		Flags: uapi.IOMMU_IOAS_MAP_FIXED_IOVA | uapi.IOMMU_IOAS_MAP_READABLE | uapi.IOMMU_IOAS_MAP_WRITEABLE,
	}
	return puppet.Ioctl(u.fd, uapi.IOMMU_IOAS_MAP, arg)
}

// pwrite writes a value of the shared memory to the device's file.
func pwrite[V any](u *user, value *V, at uintptr) puppet.Call {
	return puppet.Call{Name: "pwrite", Nr: unix.SYS_PWRITE64, Args: [6]uintptr{uintptr(u.dev), uintptr(unsafe.Pointer(value)), unsafe.Sizeof(*value), at}}
}
