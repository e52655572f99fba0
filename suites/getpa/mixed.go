// SPDX-License-Identifier: Apache-2.0

package getpa

import (
	"golang.org/x/sys/unix"

	"noiommu-farm/suites/lab"
)

// PA-14: whose table it is decides: that of a real IOMMU tells no address.
func realDomain(t *lab.T) {
	fd := t.IOMMUFD()
	behind, free := t.Open(t.IOMMUDevices()[0]), t.Open(t.NoIOMMUDevices()[0])
	behind.Bind(fd)
	free.Bind(fd)
	real, other := fd.IOAS(), fd.IOAS()
	m := t.Hugepages(1)
	pa := m.PA(0)
	real.Map(m, iova)
	other.Map(m, iova)

	none := func(s *lab.IOAS) {
		for _, offset := range []uint64{0, 0xabc, page, huge - 1} {
			s.ExpectNoPA(iova+offset, most, unix.EOPNOTSUPP)
			s.ExpectNoPA(iova+offset, 1, unix.EOPNOTSUPP)
		}
		s.ExpectNoPA(iova-1, most, unix.ENOENT)
		s.ExpectNoPA(iova+huge, most, unix.ENOENT)
	}
	all := func(s *lab.IOAS) {
		for _, offset := range []uint64{0, 0xabc, page, huge - 1} {
			s.ExpectPA(iova+offset, most, pa+offset, huge-offset)
		}
	}
	behind.Attach(real)
	none(real)
	free.Attach(other)
	all(other)
	none(real)

	// With both in one address space the table of the first has the memory;
	// when its device leaves, that of the other.
	t.OK(behind.Detach(), "detach the device behind the IOMMU")
	none(real)
	behind.Attach(other)
	all(other)
	t.OK(free.Detach(), "detach the device without an IOMMU")
	none(other)
	t.OK(behind.Detach(), "detach the device behind the IOMMU")
	none(other)
	free.Attach(other)
	all(other)
	t.Must(behind.Close(), "close the cdev behind the IOMMU")
	all(other)
}
