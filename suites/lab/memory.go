// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"encoding/binary"
	"math/rand/v2"
	"unsafe"

	"golang.org/x/sys/unix"
)

// HugeSize is the size of a hugepage, in bytes.
const HugeSize = 2 << 20

// Memory is a mapping of this process, outside Go's heap and never moved.
type Memory struct {
	Bytes []byte
	t     *T
}

// Hugepages maps n hugepages of 2 MiB, each present and full of random bytes.
func (t *T) Hugepages(n int) *Memory {
	return t.memory(n*HugeSize, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_HUGETLB|unix.MAP_POPULATE)
}

// Pages maps n pages of 4 KiB that are not part of a larger page.
func (t *T) Pages(n int) *Memory {
	m, err := unix.Mmap(-1, 0, n*PageSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	t.Must(err, "mmap %d pages", n)
	t.Cleanup(func() { t.OK(unix.Munmap(m), "cleanup: munmap") })
	t.Must(unix.Madvise(m, unix.MADV_NOHUGEPAGE), "madvise NOHUGEPAGE")
	fill(m)
	return &Memory{m, t}
}

// SharedPages maps n pages of shared memory.
func (t *T) SharedPages(n int) *Memory {
	return t.memory(n*PageSize, unix.MAP_SHARED|unix.MAP_ANONYMOUS)
}

func (t *T) memory(length, flags int) *Memory {
	m, err := unix.Mmap(-1, 0, length, unix.PROT_READ|unix.PROT_WRITE, flags)
	t.Must(err, "mmap %#x bytes, flags %#x", length, flags)
	t.Cleanup(func() { t.OK(unix.Munmap(m), "cleanup: munmap") })
	fill(m)
	return &Memory{m, t}
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
	return &Memory{m.Bytes[offset : offset+length : offset+length], m.t}
}

// PA is the physical address of the byte at offset, as /proc/self/pagemap
// shows it: the judge of what GET_PA returns. The test ends when the page is
// not present or pagemap hides the frame.
func (m *Memory) PA(offset int) uint64 {
	return m.pagemap(offset)[0] + uint64(offset%PageSize)
}

// pagemap lists the physical address of every page from the one that holds
// offset to the end.
func (m *Memory) pagemap(offset int) []uint64 {
	t := m.t
	fd, err := unix.Open("/proc/self/pagemap", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	t.Must(err, "open pagemap")
	defer unix.Close(fd)
	first := offset / PageSize
	entries := make([]byte, 8*(len(m.Bytes)/PageSize-first))
	n, err := unix.Pread(fd, entries, int64(8*(m.VA()/PageSize+uintptr(first))))
	t.Tally.Did("pagemap.reads", err)
	t.Must(err, "read pagemap")
	if n != len(entries) {
		t.Fatalf("pagemap: read %d bytes, want %d", n, len(entries))
	}
	const present, frameBits = 1 << 63, 1<<55 - 1
	pas := make([]uint64, len(entries)/8)
	for i := range pas {
		entry := binary.NativeEndian.Uint64(entries[8*i:])
		if entry&present == 0 || entry&frameBits == 0 {
			t.Fatalf("pagemap of page %d: %#x is not a present page with its frame", first+i, entry)
		}
		pas[i] = entry & frameBits * PageSize
	}
	return pas
}

// Run is the length in bytes of the physically contiguous run from the byte
// at offset to the end of m at most, as /proc/self/pagemap shows it.
func (m *Memory) Run(offset int) uint64 {
	pas := m.pagemap(offset)
	length := uint64(PageSize - offset%PageSize)
	for i := 1; i < len(pas) && pas[i] == pas[i-1]+PageSize; i++ {
		length += PageSize
	}
	return length
}
