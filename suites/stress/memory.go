// SPDX-License-Identifier: Apache-2.0

package stress

import (
	"os"
	"path/filepath"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"

	"noiommu-farm/suites/edu"
	"noiommu-farm/suites/lab"
	"noiommu-farm/suites/puppet"
	"noiommu-farm/suites/uapi"
)

// ST-05: what a mapping takes in the kernel is charged to its user.
func memoryLimit(t *lab.T) {
	t.NoWarning()
	const (
		limit  = 1 << 20 // bytes for the kernel beside what the process has already
		most   = 5000    // mappings
		stride = 1 << 30 // of IOVAs: each mapping takes leaves of the table of its own
	)
	d := edu.Find(t)
	tables := t.TablePages()
	group := newCgroup(t)
	p := puppet.New(t)

	dev, fd := p.OpenBound(t.CdevPath(d))
	ioas := p.IOAS(fd)
	p.Attach(dev, ioas)
	// The page that is mapped again and again is the test's as much as the
	// puppet's, and charged to neither's limit.
	page := puppet.Place[[2 * lab.PageSize]byte](p)
	va := (uintptr(unsafe.Pointer(page)) + lab.PageSize - 1) &^ (lab.PageSize - 1)
	page[va-uintptr(unsafe.Pointer(page))] = 1

	mapping := puppet.Place[uapi.IOASMap](p)
	try := func(n uint64) error {
		*mapping = uapi.IOASMap{
			Size: uint32(unsafe.Sizeof(*mapping)), IOASID: ioas, UserVA: uint64(va), Length: lab.PageSize, IOVA: n * stride,
			Flags: uapi.IOMMU_IOAS_MAP_FIXED_IOVA | uapi.IOMMU_IOAS_MAP_READABLE | uapi.IOMMU_IOAS_MAP_WRITEABLE,
		}
		_, err := p.Do(puppet.Ioctl(fd, uapi.IOMMU_IOAS_MAP, mapping))
		return err
	}
	get := puppet.Place[uapi.IOASNoiommuGetPA](p)
	address := func(n uint64) (uint64, error) {
		*get = uapi.IOASNoiommuGetPA{Size: uint32(unsafe.Sizeof(*get)), IOASID: ioas, IOVA: n * stride, Length: lab.MaxLength}
		_, err := p.Do(puppet.Ioctl(fd, uapi.IOMMU_IOAS_NOIOMMU_GET_PA, get))
		return get.OutPhys, err
	}
	t.Must(try(0), "IOMMU_IOAS_MAP without a limit")
	pa, err := address(0)
	t.Must(err, "get_pa")

	group.add(p.PID())
	group.limit(group.usage() + limit)
	mapped := uint64(1)
	for err = nil; mapped < most; mapped++ {
		if err = try(mapped); err != nil {
			break
		}
	}
	t.Fails(err, unix.ENOMEM, "IOMMU_IOAS_MAP %d with %d bytes for the kernel", mapped, limit)
	lab.Above(t, mapped, 1, "mappings within the limit")
	_, err = address(mapped)
	t.Fails(err, unix.ENOENT, "get_pa where the map failed")
	for n := range mapped {
		got, err := address(n)
		if err != nil || got != pa {
			t.OK(err, "get_pa of mapping %d after the failure", n)
			lab.Equal(t, got, pa, "get_pa of mapping %d after the failure: out_phys", n)
		}
	}

	group.limit(-1)
	t.OK(try(mapped), "IOMMU_IOAS_MAP with the limit lifted")
	unmap := puppet.Place[uapi.IOASUnmap](p)
	*unmap = uapi.IOASUnmap{Size: uint32(unsafe.Sizeof(*unmap)), IOASID: ioas, Length: ^uint64(0)}
	_, err = p.Do(puppet.Ioctl(fd, uapi.IOMMU_IOAS_UNMAP, unmap))
	t.OK(err, "IOMMU_IOAS_UNMAP of everything")
	lab.Equal(t, unmap.Length, (mapped+1)*lab.PageSize, "bytes unmapped")
	t.OK(p.Close(dev), "close the cdev")
	t.OK(p.Close(fd), "close the iommufd")
	lab.Equal(t, t.TablePages(), tables, "pages of I/O page tables after the close")
	p.Kill()
	again, _ := t.ToAttached(d)
	t.Must(again.Close(), "close the cdev")
}

// cgroup is a group of processes with a limit of memory. It is one of version
// 1, whose memory.oom_control can keep the kernel from looking for a process to
// kill: then the allocation fails, as in a program that cannot be killed.
type cgroup struct {
	t   *lab.T
	dir string
}

func newCgroup(t *lab.T) *cgroup {
	root, err := os.MkdirTemp("", "memory")
	t.Must(err, "make a directory")
	t.Cleanup(func() { t.OK(os.Remove(root), "cleanup: remove %s", root) })
	t.Must(unix.Mount("cgroup", root, "cgroup", 0, "memory"), "mount the memory controller")
	t.Cleanup(func() { t.OK(unix.Unmount(root, 0), "cleanup: unmount the memory controller") })
	g := &cgroup{t, filepath.Join(root, "limited")}
	t.Must(os.Mkdir(g.dir, 0o755), "make a group")
	t.Cleanup(func() { t.OK(os.Remove(g.dir), "cleanup: remove the group") })
	g.write("memory.oom_control", 1)
	return g
}

func (g *cgroup) add(pid int)   { g.write("cgroup.procs", int64(pid)) }
func (g *cgroup) limit(n int64) { g.write("memory.limit_in_bytes", n) }
func (g *cgroup) usage() (n int64) {
	text := g.t.ReadFile(filepath.Join(g.dir, "memory.usage_in_bytes"))
	n, err := strconv.ParseInt(text, 10, 64)
	g.t.Must(err, "parse %q", text)
	return n
}

func (g *cgroup) write(file string, n int64) {
	g.t.Must(g.t.WriteFile(filepath.Join(g.dir, file), strconv.FormatInt(n, 10)), "write %d to %s", n, file)
}
