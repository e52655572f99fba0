// SPDX-License-Identifier: Apache-2.0

package coexistence

import (
	"fmt"

	"golang.org/x/sys/unix"

	"noiommu-farm/suites/lab"
	"noiommu-farm/suites/uapi"
)

// iova is where tests map memory: free behind any IOMMU.
const iova = 0x40000000

// pair is a device behind an IOMMU and one beside it, bound to one iommufd.
type pair struct {
	fd             *lab.IOMMUFD
	behind, beside *lab.Cdev
	behindID       uint32
	besideID       uint32
}

// bindPair binds the first device of each side to a new iommufd.
func bindPair(t *lab.T) pair {
	p := pair{fd: t.IOMMUFD(), behind: t.Open(t.IOMMUDevices()[0]), beside: t.Open(t.NoIOMMUDevices()[0])}
	p.behindID, p.besideID = p.behind.Bind(p.fd), p.beside.Bind(p.fd)
	return p
}

// limits are what an address space can be mapped within, and in which steps.
type limits int

const (
	unlimited limits = iota // nothing is attached: any byte
	pages                   // a no-IOMMU device is: any page
	hardware                // a device behind VT-d is, alone or not
)

// expectLimits asserts what of an address space can be mapped.
func expectLimits(t *lab.T, s *lab.IOAS, want limits, when string, args ...any) {
	when = fmt.Sprintf(when, args...)
	ranges, alignment := s.IOVARanges()
	step := uint64(lab.PageSize)
	if want == unlimited {
		step = 1
	}
	lab.Equal(t, alignment, step, "%s: alignment", when)
	if want != hardware {
		lab.Equal(t, fmt.Sprintf("%x", ranges), fmt.Sprintf("%x", []uapi.IOVARange{{Start: 0, Last: lab.MaxLength}}), "%s: ranges", when)
		return
	}
	for _, r := range ranges {
		lab.Equal(t, r.Last < lab.MSIStart || r.Start > lab.MSILast, true, "%s: range %#x to %#x is clear of the interrupts", when, r.Start, r.Last)
	}
	if lab.Above(t, len(ranges), 1, "%s: number of ranges", when) {
		lab.Differ(t, ranges[len(ranges)-1].Last, lab.MaxLength, "%s: the last IOVA", when)
	}
}

// CX-05: in one iommufd each has an address space of its own kind.
func twoIOASes(t *lab.T) {
	p := bindPair(t)
	lab.Differ(t, p.behindID, p.besideID, "ids of the two devices")
	info, err := p.fd.HWInfo(p.behindID)
	t.OK(err, "IOMMU_GET_HW_INFO of the device behind the IOMMU")
	lab.Equal(t, info.OutDataType, uapi.IOMMU_HW_INFO_TYPE_INTEL_VTD, "IOMMU_GET_HW_INFO: out_data_type")
	_, err = p.fd.HWInfo(p.besideID)
	t.Fails(err, unix.EOPNOTSUPP, "IOMMU_GET_HW_INFO of the device beside the IOMMU")

	ordinary, unsafe := p.fd.IOAS(), p.fd.IOAS()
	a, b := t.Hugepages(1), t.Hugepages(1)
	ordinary.Map(a, iova)
	unsafe.Map(b, iova)
	lab.Differ(t, p.behind.Attach(ordinary), p.beside.Attach(unsafe), "pt_ids of the two")
	expect := func(when string, want limits) {
		expectLimits(t, ordinary, want, "address space of the device behind the IOMMU, %s", when)
		expectLimits(t, unsafe, pages, "address space of the device beside the IOMMU, %s", when)
		ordinary.ExpectNoPA(iova, lab.MaxLength, unix.EOPNOTSUPP)
		unsafe.ExpectPA(iova, lab.MaxLength, b.PA(0), lab.HugeSize)
		for _, dev := range []*lab.Cdev{p.behind, p.beside} {
			_, err := dev.Info()
			t.OK(err, "%s: VFIO_DEVICE_GET_INFO %s", dev.Device.BDF, when)
		}
	}
	expect("both attached", hardware)
	m := t.Pages(1)
	t.Fails(ordinary.TryMap(m.VA(), lab.PageSize, lab.MSIStart), unix.EINVAL, "map at %#x behind the IOMMU", lab.MSIStart)
	t.OK(unsafe.TryMap(m.VA(), lab.PageSize, lab.MSIStart), "map at %#x beside the IOMMU", lab.MSIStart)
	t.OK(p.behind.Detach(), "detach the device behind the IOMMU")
	expect("the other detached", unlimited)
	p.behind.Attach(ordinary)
	expect("the other attached again", hardware)
	t.OK(p.beside.Detach(), "detach the device beside the IOMMU")
	unsafe.ExpectNoPA(iova, lab.MaxLength, unix.EOPNOTSUPP)
	expectLimits(t, ordinary, hardware, "address space of the device behind the IOMMU, after the other was detached")
	p.beside.Attach(unsafe)
	expect("both attached again", hardware)
}

// CX-06: with the no-IOMMU device first, one address space serves both.
func besideFirst(t *lab.T) {
	p := bindPair(t)
	ioas := p.fd.IOAS()
	m, later, small := t.Hugepages(1), t.Hugepages(1), t.Pages(1)
	ioas.Map(m, iova)
	address := func() { ioas.ExpectPA(iova, lab.MaxLength, m.PA(0), lab.HugeSize) }

	unsafe := p.beside.Attach(ioas)
	expectLimits(t, ioas, pages, "with the device beside the IOMMU")
	address()
	ordinary := p.behind.Attach(ioas)
	lab.Differ(t, ordinary, unsafe, "pt_id of the device behind the IOMMU")
	expectLimits(t, ioas, hardware, "with both devices")
	address()
	const above = iova + 2*lab.HugeSize
	ioas.Map(later, above)
	ioas.ExpectPA(above+0xabc, lab.MaxLength, later.PA(0xabc), lab.HugeSize-0xabc)
	t.Fails(ioas.TryMap(small.VA(), lab.PageSize, lab.MSIStart), unix.EINVAL, "map at %#x with both devices", lab.MSIStart)
	for _, hwpt := range []uint32{unsafe, ordinary} {
		t.Fails(p.fd.Destroy(hwpt), unix.EBUSY, "IOMMU_DESTROY(hwpt %d) with both attached", hwpt)
	}

	// When the device behind the IOMMU leaves, so do its limits.
	t.OK(p.behind.Detach(), "detach the device behind the IOMMU")
	t.Fails(p.fd.Destroy(ordinary), unix.ENOENT, "IOMMU_DESTROY of its hwpt afterwards")
	expectLimits(t, ioas, pages, "after the device behind the IOMMU left")
	address()
	t.OK(ioas.TryMap(small.VA(), lab.PageSize, lab.MSIStart), "map at %#x", lab.MSIStart)

	// With memory where its limits forbid it, it cannot come back.
	_, err := p.behind.TryAttach(ioas.ID)
	t.Fails(err, unix.EADDRINUSE, "attach the device behind the IOMMU with memory at %#x", lab.MSIStart)
	expectLimits(t, ioas, pages, "after the device behind the IOMMU was refused")
	address()
	_, err = ioas.Unmap(lab.MSIStart, lab.PageSize)
	t.Must(err, "unmap at %#x", lab.MSIStart)
	lab.Differ(t, p.behind.Attach(ioas), unsafe, "pt_id of the device behind the IOMMU, back again")
	expectLimits(t, ioas, hardware, "with both devices again")
	address()

	// The address is that of the no-IOMMU device's table, and goes with it.
	t.OK(p.beside.Detach(), "detach the device beside the IOMMU")
	ioas.ExpectNoPA(iova, lab.MaxLength, unix.EOPNOTSUPP)
	ioas.ExpectNoPA(above, lab.MaxLength, unix.EOPNOTSUPP)
}

// CX-07: and so it should in any other order.
func anyOrder(t *lab.T) {
	p := bindPair(t)
	elsewhere := p.fd.IOAS()
	before, after := t.Hugepages(1), t.Hugepages(1)
	for _, c := range []struct {
		when          string
		first, second *lab.Cdev
		moved         bool // the second comes from another address space
	}{
		{"the one behind the IOMMU first", p.behind, p.beside, false},
		{"the one behind the IOMMU first, the other moved here", p.behind, p.beside, true},
		{"the one beside the IOMMU first, the other moved here", p.beside, p.behind, true},
	} {
		const above = iova + 2*lab.HugeSize
		ioas := p.fd.IOAS()
		ioas.Map(before, iova)
		hwpt := c.first.Attach(ioas)
		if c.moved {
			c.second.Attach(elsewhere)
		}
		other, err := c.second.TryAttach(ioas.ID)
		t.OK(err, "%s: attach the second", c.when)
		lab.Differ(t, other, hwpt, "%s: pt_id of the second", c.when)
		ioas.Map(after, above)
		ioas.ExpectPA(iova, lab.MaxLength, before.PA(0), lab.HugeSize)
		ioas.ExpectPA(above, lab.MaxLength, after.PA(0), lab.HugeSize)
		expectLimits(t, ioas, hardware, "%s", c.when)
		t.OK(c.first.Detach(), "%s: detach the first", c.when)
		t.OK(c.second.Detach(), "%s: detach the second", c.when)
	}

	// Nor is an HWPT of hardware one for a no-IOMMU device by its id.
	hwpt := p.behind.Attach(elsewhere)
	_, err := p.beside.TryAttach(hwpt)
	t.Fails(err, unix.EINVAL, "attach the device beside the IOMMU to the hwpt of the other")
	t.OK(p.beside.Detach(), "detach the device beside the IOMMU")
	p.beside.Attach(p.fd.IOAS())
	_, err = p.beside.TryAttach(hwpt)
	t.Fails(err, unix.EINVAL, "move the device beside the IOMMU to the hwpt of the other")
}

// CX-08: a table without hardware is none for a device behind an IOMMU.
func foreignHWPT(t *lab.T) {
	t.NoWarning()
	p := bindPair(t)
	unsafe, ordinary := p.fd.IOAS(), p.fd.IOAS()
	m := t.Hugepages(1)
	unsafe.Map(m, iova)
	ordinary.Map(m, iova)
	automatic := p.beside.Attach(unsafe)
	made, err := p.fd.AllocHWPT(p.besideID, unsafe, 0, uapi.IOMMU_HWPT_DATA_NONE, nil)
	t.Must(err, "IOMMU_HWPT_ALLOC of the device beside the IOMMU")
	lab.Differ(t, made, automatic, "id of the hwpt made by hand")
	refused := func(when string, want unix.Errno) {
		for _, hwpt := range []uint32{automatic, made} {
			_, err := p.behind.TryAttach(hwpt)
			t.Fails(err, want, "attach the device behind the IOMMU %s to hwpt %d", when, hwpt)
		}
		expectLimits(t, unsafe, pages, "address space of the device beside the IOMMU after the refusals")
		unsafe.ExpectPA(iova, lab.MaxLength, m.PA(0), lab.HugeSize)
	}
	refused("while it is attached to nothing", unix.EINVAL)

	own := p.behind.Attach(ordinary)
	refused("while it is attached to another", unix.ENODEV)
	expectLimits(t, ordinary, hardware, "its own address space after the refusals")
	t.Fails(p.fd.Destroy(own), unix.EBUSY, "IOMMU_DESTROY of its own hwpt after the refusals")
	lab.Equal(t, p.behind.Attach(ordinary), own, "pt_id when it is attached to its own again")

	t.OK(p.behind.Detach(), "detach the device behind the IOMMU")
	refused("after it was detached", unix.EINVAL)
	expectLimits(t, ordinary, unlimited, "its own address space after it was detached")
	t.OK(p.beside.Detach(), "detach the device beside the IOMMU")
	t.OK(p.fd.Destroy(made), "IOMMU_DESTROY of the hwpt made by hand")
	t.Fails(p.fd.Destroy(automatic), unix.ENOENT, "IOMMU_DESTROY of the automatic hwpt")
}

// CX-12: a move that fails takes nothing from where the device stays.
func failedMove(t *lab.T) {
	p := bindPair(t)
	ioas := p.fd.IOAS()
	unsafe, own := p.beside.Attach(ioas), p.behind.Attach(ioas)
	expectLimits(t, ioas, hardware, "with both devices")
	_, err := p.behind.TryAttach(unsafe)
	t.Fails(err, unix.ENODEV, "move the device behind the IOMMU to the hwpt of the other")
	t.Fails(p.fd.Destroy(own), unix.EBUSY, "IOMMU_DESTROY of the hwpt where it stays")
	expectLimits(t, ioas, hardware, "after the move failed")
	m := t.Pages(1)
	for _, at := range []uint64{lab.MSIStart, lab.MSILast + 1 - lab.PageSize} {
		t.Fails(ioas.TryMap(m.VA(), lab.PageSize, at), unix.EINVAL, "map at %#x after the move failed", at)
	}
}

// CX-09: a container is for groups of one kind.
func oneContainer(t *lab.T) {
	behind, beside := t.IOMMUDevices()[0], t.NoIOMMUDevices()[0]
	try := func(name string, open func() *lab.Container, want unix.Errno) {
		for _, order := range [][2]*lab.Device{{behind, beside}, {beside, behind}} {
			first, second, container := t.OpenGroup(order[0]), t.OpenGroup(order[1]), open()
			kind := iommuOf(order[0])
			refused := func(when string) {
				t.Fails(second.SetContainer(container.Fd()), want, "%s with %s: VFIO_GROUP_SET_CONTAINER of %s, %s", name, order[0].BDF, order[1].BDF, when)
				flags, err := second.Status()
				t.OK(err, "%s: VFIO_GROUP_GET_STATUS of the refused group", name)
				lab.Equal(t, flags, uapi.VFIO_GROUP_FLAGS_VIABLE, "%s: flags of the refused group", name)
			}
			t.Must(first.SetContainer(container.Fd()), "%s: VFIO_GROUP_SET_CONTAINER of %s", name, order[0].BDF)
			refused("before VFIO_SET_IOMMU")
			t.Must(container.SetIOMMU(kind), "%s with %s: VFIO_SET_IOMMU(%d)", name, order[0].BDF, kind)
			refused("after VFIO_SET_IOMMU")

			// The one that was there first is not disturbed, the other can go
			// elsewhere.
			dev, err := first.DeviceFd(order[0])
			t.Must(err, "%s: VFIO_GROUP_GET_DEVICE_FD of %s", name, order[0].BDF)
			_, err = dev.Info()
			t.OK(err, "%s: VFIO_DEVICE_GET_INFO of %s", name, order[0].BDF)
			elsewhere := open()
			t.OK(second.SetContainer(elsewhere.Fd()), "%s: VFIO_GROUP_SET_CONTAINER of %s, elsewhere", name, order[1].BDF)
			t.Must(dev.Close(), "close the device")
			t.Must(first.Close(), "close the first group")
			t.Must(second.Close(), "close the second group")
			t.Must(container.Close(), "close the container")
			t.Must(elsewhere.Close(), "close the other container")
		}
	}
	config := t.Facts.Config
	if config.Container {
		try("native container", t.OpenContainer, unix.EPERM)
		takesEither(t, beside, behind)
		takesEither(t, behind, beside)
	}
	if config.IOMMUFD {
		try("iommufd", func() *lab.Container { return t.IOMMUFD().Container() }, unix.EINVAL)
	}
	if config.CompatContainer {
		try("iommufd at /dev/vfio/vfio", t.OpenContainer, unix.EINVAL)
	}
}

// iommuOf is the IOMMU that a container with the device's group takes.
func iommuOf(d *lab.Device) uintptr {
	if d.BehindIOMMU {
		return uapi.VFIO_TYPE1v2_IOMMU
	}
	return uapi.VFIO_NOIOMMU_IOMMU
}

// takesEither asserts that a native container which one group has left takes
// one of the other kind as if it were new.
func takesEither(t *lab.T, before, after *lab.Device) {
	container := t.OpenContainer()
	group := t.OpenGroup(before)
	t.Must(group.SetContainer(container.Fd()), "VFIO_GROUP_SET_CONTAINER of %s", before.BDF)
	t.Must(container.SetIOMMU(iommuOf(before)), "VFIO_SET_IOMMU with %s", before.BDF)
	t.Must(group.Close(), "close the group")

	group = t.OpenGroup(after)
	t.Must(group.SetContainer(container.Fd()), "VFIO_GROUP_SET_CONTAINER of %s after %s", after.BDF, before.BDF)
	for want, d := range []*lab.Device{0: before, 1: after} {
		got, err := container.Extension(iommuOf(d))
		t.OK(err, "VFIO_CHECK_EXTENSION(%d) with %s after %s", iommuOf(d), after.BDF, before.BDF)
		lab.Equal(t, got, want, "VFIO_CHECK_EXTENSION(%d) with %s after %s", iommuOf(d), after.BDF, before.BDF)
	}
	t.Fails(container.SetIOMMU(iommuOf(before)), unix.ENODEV, "VFIO_SET_IOMMU(%d) with %s after %s", iommuOf(before), after.BDF, before.BDF)
	t.Must(container.SetIOMMU(iommuOf(after)), "VFIO_SET_IOMMU(%d) with %s after %s", iommuOf(after), after.BDF, before.BDF)
	dev, err := group.DeviceFd(after)
	t.Must(err, "VFIO_GROUP_GET_DEVICE_FD of %s after %s", after.BDF, before.BDF)
	_, err = dev.Info()
	t.OK(err, "VFIO_DEVICE_GET_INFO of %s after %s", after.BDF, before.BDF)
	t.Must(dev.Close(), "close the device")
	t.Must(group.Close(), "close the group")
	t.Must(container.Close(), "close the container")
}
