// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"context"
	"fmt"
	"io"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// MaxPhysicalRead bounds one [Guest.ReadPhysical], in bytes: a hugepage of
// 2 MiB with as much around it.
const MaxPhysicalRead = 4 << 20

// maxPhysicalAddress is the first address that x86 cannot have
// (MAXPHYADDR of 52 bits).
const maxPhysicalAddress = 1 << 52

// memoryDescriptor is the memory file in QEMU.
const memoryDescriptor = 7

// memoryFile is where QEMU puts what it read of the guest's memory. It has no
// name in any file system.
type memoryFile struct {
	mu   sync.Mutex // between QEMU's writing and our reading
	file *os.File
}

func newMemoryFile() (*memoryFile, error) {
	fd, err := unix.MemfdCreate("guest-memory", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make a file for guest memory: %w", err)
	}
	return &memoryFile{file: os.NewFile(uintptr(fd), "guest-memory")}, nil
}

func (m *memoryFile) Close() error { return m.file.Close() }

// ReadPhysical reads size bytes of the guest's physical memory, from outside:
// the guest goes on, and neither its page tables nor its IOMMU have a say.
// Where there is no memory, it reads what a processor would read there, which
// may be a device's registers.
func (g *Guest) ReadPhysical(ctx context.Context, addr uint64, size int) ([]byte, error) {
	if size < 1 || size > MaxPhysicalRead {
		return nil, fmt.Errorf("read guest memory: %d bytes are not between 1 and %d", size, MaxPhysicalRead)
	}
	if addr > maxPhysicalAddress-uint64(size) {
		return nil, fmt.Errorf("read guest memory: %d bytes at %#x are not all below %#x", size, addr, uint64(maxPhysicalAddress))
	}
	g.memory.mu.Lock()
	defer g.memory.mu.Unlock()
	// QEMU empties the file first. It opens it anew, which a descriptor from
	// -add-fd would not allow here. Commands are executed in their order, so
	// one that a caller did not wait for is over when this one is.
	err := g.Monitor.Execute(ctx, "pmemsave", map[string]any{
		"val": addr, "size": size, "filename": fmt.Sprintf("/proc/self/fd/%d", memoryDescriptor),
	}, nil)
	if err != nil {
		return nil, fmt.Errorf("read guest memory: %w", err)
	}
	read := make([]byte, size)
	if _, err := io.ReadFull(io.NewSectionReader(g.memory.file, 0, int64(size)), read); err != nil {
		return nil, fmt.Errorf("read guest memory: QEMU saved less than %d bytes at %#x: %w", size, addr, err)
	}
	return read, nil
}
