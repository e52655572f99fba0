// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"cmp"
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// HugeSize is the size of a hugepage, in bytes.
const HugeSize = 2 << 20

// Memory is a mapping of this process, outside Go's heap and never moved.
type Memory struct {
	Bytes []byte
	t     *T
	gone  bool
}

// Hugepages maps n hugepages of 2 MiB, each present and full of random bytes.
func (t *T) Hugepages(n int) *Memory {
	return t.memory(n*HugeSize, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_HUGETLB|unix.MAP_POPULATE)
}

// HugepagesAt is [T.Hugepages] at an address of the caller's, where nothing is
// yet.
func (t *T) HugepagesAt(va uintptr, n int) *Memory {
	m := t.mmap(va, -1, n*HugeSize, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_HUGETLB|unix.MAP_POPULATE|unix.MAP_FIXED_NOREPLACE)
	fill(m.Bytes)
	return m
}

// Pages maps n pages of 4 KiB that are not part of a larger page.
func (t *T) Pages(n int) *Memory {
	m := t.reserve(n*PageSize, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	t.Must(unix.Madvise(m.Bytes, unix.MADV_NOHUGEPAGE), "madvise NOHUGEPAGE")
	fill(m.Bytes)
	return m
}

// SharedPages maps n pages of shared memory.
func (t *T) SharedPages(n int) *Memory {
	return t.memory(n*PageSize, unix.MAP_SHARED|unix.MAP_ANONYMOUS)
}

// Memfd is the descriptor of a file in memory of n pages, and the file mapped.
func (t *T) Memfd(n int) (fd int, m *Memory) {
	fd, err := unix.MemfdCreate("suites", unix.MFD_CLOEXEC)
	t.Must(err, "memfd_create")
	t.Cleanup(func() { t.OK(unix.Close(fd), "cleanup: close the memfd") })
	t.Must(unix.Ftruncate(fd, int64(n*PageSize)), "ftruncate the memfd")
	m = t.mmap(0, fd, n*PageSize, unix.MAP_SHARED)
	fill(m.Bytes)
	return fd, m
}

// HugeMemfd is [T.Memfd] of n hugepages.
func (t *T) HugeMemfd(n int) (fd int, m *Memory) {
	fd, err := unix.MemfdCreate("suites", unix.MFD_CLOEXEC|unix.MFD_HUGETLB|unix.MFD_HUGE_2MB)
	t.Must(err, "memfd_create of hugepages")
	t.Cleanup(func() { t.OK(unix.Close(fd), "cleanup: close the memfd of hugepages") })
	t.Must(unix.Ftruncate(fd, int64(n*HugeSize)), "ftruncate the memfd of hugepages")
	return fd, t.mmap(0, fd, n*HugeSize, unix.MAP_SHARED|unix.MAP_POPULATE)
}

// HugeRow maps n hugepages in the order of their physical addresses: those that
// are neighbours in memory are side by side.
func (t *T) HugeRow(n int) *Memory {
	fd, all := t.HugeMemfd(n)
	pas := all.Pagemap()
	order := make([]int, n)
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(i, j int) int { return cmp.Compare(pas.PA(i*HugeSize), pas.PA(j*HugeSize)) })
	room := t.reserve((n+1)*HugeSize, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	m := room.Part(int(-room.VA()%HugeSize), n*HugeSize)
	for slot, page := range order {
		_, err := unix.MmapPtr(fd, int64(page*HugeSize), unsafe.Pointer(&m.Bytes[slot*HugeSize]), HugeSize,
			unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE|unix.MAP_FIXED)
		t.Must(err, "mmap hugepage %d over slot %d", page, slot)
	}
	return m
}

// Scattered maps n pages of 4 KiB, of which those side by side are mostly no
// neighbours in physical memory.
func (t *T) Scattered(n int) *Memory {
	m := t.reserve(n*PageSize, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	t.Must(unix.Madvise(m.Bytes, unix.MADV_NOHUGEPAGE), "madvise NOHUGEPAGE")
	for _, from := range []int{0, 1} { // the kernel gives neighbours to those that come one after the other
		for i := from; i < n; i += 2 {
			m.Bytes[i*PageSize] = 1
		}
	}
	return m
}

// Mixture maps 8 MiB, aligned to 2 MiB: a hugepage, small pages, pages that
// the kernel may join to a transparent hugepage, and a hugepage again.
func (t *T) Mixture() *Memory {
	const length = 4 * HugeSize
	room := t.reserve(length+HugeSize, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	start := int(-room.VA() % HugeSize)
	m := room.Part(start, length)
	for _, slot := range []int{0, 3} {
		_, err := unix.MmapPtr(-1, 0, unsafe.Pointer(&m.Bytes[slot*HugeSize]), HugeSize, unix.PROT_READ|unix.PROT_WRITE,
			unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_HUGETLB|unix.MAP_POPULATE|unix.MAP_FIXED)
		t.Must(err, "mmap a hugepage over slot %d", slot)
	}
	t.Must(unix.Madvise(m.Bytes[HugeSize:2*HugeSize], unix.MADV_NOHUGEPAGE), "madvise NOHUGEPAGE")
	t.Must(unix.Madvise(m.Bytes[2*HugeSize:3*HugeSize], unix.MADV_HUGEPAGE), "madvise HUGEPAGE")
	fill(m.Bytes)
	return m
}

func (t *T) memory(length, flags int) *Memory {
	m := t.reserve(length, flags)
	fill(m.Bytes)
	return m
}

// reserve maps length bytes without touching them.
func (t *T) reserve(length, flags int) *Memory { return t.mmap(0, -1, length, flags) }

// mmap maps length bytes of a file, or with -1 of none, at va or with 0
// wherever there is room; the test ends when it cannot.
func (t *T) mmap(va uintptr, fd, length, flags int) *Memory {
	at, err := unix.MmapPtr(fd, 0, unsafe.Add(nil, va), uintptr(length), unix.PROT_READ|unix.PROT_WRITE, flags)
	t.Must(err, "mmap %#x bytes at %#x, flags %#x", length, va, flags)
	m := &Memory{Bytes: unsafe.Slice((*byte)(at), length), t: t}
	t.Cleanup(m.Unmap)
	return m
}

// Unmap ends the mapping of the process before the test does. The bytes must
// not be used afterwards.
func (m *Memory) Unmap() {
	if !m.gone {
		m.gone = true
		m.t.OK(unix.MunmapPtr(unsafe.Pointer(unsafe.SliceData(m.Bytes)), uintptr(len(m.Bytes))), "munmap")
	}
}

// fill writes random bytes, so that no two pages are alike and none is the
// shared zero page.
func fill(m []byte) {
	for i := 0; i+8 <= len(m); i += 8 {
		binary.NativeEndian.PutUint64(m[i:], rand.Uint64())
	}
}

// VA is the address of the first byte.
func (m *Memory) VA() uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(m.Bytes))) }

// Part is the part of m from offset, length bytes long. It is freed with m.
func (m *Memory) Part(offset, length int) *Memory {
	return &Memory{Bytes: m.Bytes[offset : offset+length : offset+length], t: m.t, gone: true}
}

// Pagemap are the physical addresses of the pages of a [Memory], in order.
type Pagemap []uint64

// Pagemap is what /proc/self/pagemap shows for m, which must begin at a page:
// the judge of what GET_PA returns. The test ends when a page is not present
// or pagemap hides its frame.
func (m *Memory) Pagemap() Pagemap {
	t := m.t
	fd, err := unix.Open("/proc/self/pagemap", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	t.Must(err, "open pagemap")
	defer unix.Close(fd)
	entries := make([]byte, 8*(len(m.Bytes)/PageSize))
	n, err := unix.Pread(fd, entries, int64(8*(m.VA()/PageSize)))
	t.Tally.Did("pagemap.reads", err)
	t.Must(err, "read pagemap")
	if n != len(entries) {
		t.Fatalf("pagemap: read %d bytes, want %d", n, len(entries))
	}
	const present, frameBits = 1 << 63, 1<<55 - 1
	pas := make(Pagemap, len(entries)/8)
	for i := range pas {
		entry := binary.NativeEndian.Uint64(entries[8*i:])
		if entry&present == 0 || entry&frameBits == 0 {
			t.Fatalf("pagemap of page %d: %#x is not a present page with its frame", i, entry)
		}
		pas[i] = entry & frameBits * PageSize
	}
	return pas
}

// PA is the physical address of the byte at offset.
func (p Pagemap) PA(offset int) uint64 { return p[offset/PageSize] + uint64(offset%PageSize) }

// Run is the length in bytes of the physically contiguous run from the byte
// at offset to the last page at most.
func (p Pagemap) Run(offset int) uint64 {
	length := uint64(PageSize - offset%PageSize)
	for i := offset/PageSize + 1; i < len(p) && p[i] == p[i-1]+PageSize; i++ {
		length += PageSize
	}
	return length
}

// PA is the physical address of the byte at offset, now.
func (m *Memory) PA(offset int) uint64 { return m.Pagemap().PA(offset) }

// Run is the length of the physically contiguous run from offset, now.
func (m *Memory) Run(offset int) uint64 { return m.Pagemap().Run(offset) }

// Pinned is how much memory of this process is pinned, in kB as /proc says it.
func (t *T) Pinned() uint64 { return t.pinned("self") }

// PinnedBy is how much memory of another process is pinned, in kB.
func (t *T) PinnedBy(pid int) uint64 { return t.pinned(strconv.Itoa(pid)) }

func (t *T) pinned(process string) uint64 {
	for _, line := range t.Lines("/proc/" + process + "/status") {
		words := strings.Fields(line)
		if len(words) > 1 && words[0] == "VmPin:" {
			n, err := strconv.ParseUint(words[1], 10, 64)
			t.Must(err, "parse %q", line)
			return n
		}
	}
	t.Fatalf("no VmPin in /proc/%s/status", process)
	return 0
}

// TablePages is how many pages the I/O page tables of the machine take.
func (t *T) TablePages() uint64 { return t.pagesOf("nr_iommu_pages") }

// SharedMemory is how many pages files in memory take, of all processes.
func (t *T) SharedMemory() uint64 { return t.pagesOf("nr_shmem") }

// pagesOf is a counter of /proc/vmstat, which the kernel has brought up to date.
func (t *T) pagesOf(name string) uint64 {
	t.Must(writeFile("/proc/sys/vm/stat_refresh", "1"), "write stat_refresh")
	for _, line := range t.Lines("/proc/vmstat") {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			n, err := strconv.ParseUint(value, 10, 64)
			t.Must(err, "parse %q", line)
			return n
		}
	}
	t.Fatalf("no %s in /proc/vmstat", name)
	return 0
}
