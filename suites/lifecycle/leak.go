// SPDX-License-Identifier: Apache-2.0

package lifecycle

import (
	"noiommu-farm/suites/edu"
	"noiommu-farm/suites/lab"
	"noiommu-farm/suites/leak"
)

// LC-05: binding again and again changes nothing. It is done with edu, which
// is not reset each time, unless it is alone behind a port.
func rebind(t *lab.T) {
	t.NoWarning()
	const rounds = 200
	d := edu.Find(t)
	m := t.Pages(16)
	name, group, number, before := t.CdevName(d), groupOf(t, d), groupNumber(t, d), t.TablePages()
	leak.Forget(t)
	slab := leak.CountSlab(t)
	for round := range slab.Rounds(rounds) {
		if round%2 == 1 {
			dev, ioas := t.ToAttached(d)
			ioas.Map(m, iova)
			t.Must(dev.Close(), "round %d: close the cdev", round)
			t.Must(ioas.FD().Close(), "round %d: close the iommufd", round)
		}
		t.Must(t.Unbind(d), "round %d: unbind", round)
		t.Must(t.Bind(d), "round %d: bind", round)
		if t.CdevName(d) != name || groupOf(t, d) != group {
			t.Fatalf("round %d: cdev %s and group %q, want %s and %q", round, t.CdevName(d), groupOf(t, d), name, group)
		}
		if got := groupNumber(t, d); got != number {
			t.Fatalf("round %d: number of the group %s, want %s", round, got, number)
		}
	}
	lab.Equal(t, t.TablePages(), before, "pages of I/O page tables")
	lab.Equal(t, t.Pinned(), 0, "memory pinned, kB")
	slab.Flat(rounds/4, "after the rounds")
	leak.None(t, "after the rounds")
}

// LC-08: everything that a close has to free is freed.
func nothingLeaks(t *lab.T) {
	d := edu.Find(t)
	small, huge := t.Pages(1024), t.Hugepages(1)
	free, before := t.Free2M(), t.TablePages()
	for round := range 50 {
		dev := t.Open(d)
		fd := t.IOMMUFD()
		dev.Bind(fd)
		ioas := fd.IOAS()
		ioas.NoHugePages()
		dev.Attach(ioas)
		ioas.Map(small, iova)
		ioas.Map(huge, 2*iova)
		lab.Above(t, t.TablePages(), before, "round %d: pages of I/O page tables while mapped", round)
		t.Must(dev.Close(), "round %d: close the cdev", round)
		t.Must(fd.Close(), "round %d: close the iommufd", round)
	}
	lab.Equal(t, t.TablePages(), before, "pages of I/O page tables")
	lab.Equal(t, t.Pinned(), 0, "memory pinned, kB")
	lab.Equal(t, t.Free2M(), free, "free hugepages, while one is mapped in the process")
	huge.Unmap()
	lab.Equal(t, t.Free2M(), free+1, "free hugepages after munmap: nobody holds the page")
}

// LC-10: an unmap gives the leaves of the table back at once.
func tablePages(t *lab.T) {
	dev := t.Open(edu.Find(t))
	fd := t.IOMMUFD()
	dev.Bind(fd)
	ioas := fd.IOAS()
	ioas.NoHugePages()
	m := t.Pages(1024) // 4 MiB: two leaf tables of 2 MiB each
	unattached := t.TablePages()
	dev.Attach(ioas)
	for round := range 3 {
		empty := t.TablePages()
		ioas.Map(m, iova)
		full := t.TablePages()
		want := uint64(2)
		if round == 0 {
			want = 3 // and the table above them, which stays
		}
		lab.Equal(t, full-empty, want, "round %d: pages that the map took", round)
		n, err := ioas.Unmap(iova, uint64(len(m.Bytes)))
		t.OK(err, "unmap")
		lab.Equal(t, n, uint64(len(m.Bytes)), "bytes unmapped")
		lab.Equal(t, full-t.TablePages(), 2, "round %d: pages that the unmap gave back", round)
	}
	t.OK(dev.Detach(), "detach")
	lab.Equal(t, t.TablePages(), unattached, "pages of I/O page tables after detach")
}
