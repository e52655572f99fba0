// SPDX-License-Identifier: Apache-2.0

// Package uapi is the part of Linux's VFIO and iommufd interface that the
// suites use, as Go: ioctl numbers, flags and structs from
// include/uapi/linux/{vfio,vfio_pci,iommufd}.h, under the names they have
// there. It is the only place with raw numbers.
//
// A [File] is an open descriptor. What is done to it is counted in its [Tally]
// at the moment the kernel has answered, so that the counts are evidence and
// not intention. The package does not know what an answer should have been.
package uapi

import (
	"errors"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Ioctl is one ioctl by name and number.
type Ioctl struct {
	Name   string
	Number uintptr
}

// File is an open file of the kernel interface under test.
type File struct {
	fd    int
	tally *Tally
}

// Open opens path with flags (O_CLOEXEC is added) and counts it as "open".
// The error is an unwrapped [unix.Errno].
func Open(tally *Tally, path string, flags int) (*File, error) {
	fd, err := unix.Open(path, flags|unix.O_CLOEXEC, 0)
	tally.Did("open", err)
	if err != nil {
		return nil, err
	}
	return &File{fd, tally}, nil
}

// Adopt makes a File of a descriptor that an ioctl returned.
func Adopt(tally *Tally, fd int) *File { return &File{fd, tally} }

// Fd is the descriptor's number, -1 after Close.
func (f *File) Fd() int { return f.fd }

// Close closes the descriptor. Closing it twice is allowed.
func (f *File) Close() error {
	if f.fd < 0 {
		return nil
	}
	fd := f.fd
	f.fd = -1
	return unix.Close(fd)
}

// Release gives the descriptor away: the caller closes it. The file is as after
// Close.
func (f *File) Release() int {
	fd := f.fd
	f.fd = -1
	return fd
}

// Ioctl calls op with a pointer. The error is an unwrapped [unix.Errno].
func (f *File) Ioctl(op Ioctl, arg unsafe.Pointer) (int, error) {
	r, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(f.fd), op.Number, uintptr(arg))
	return f.answered(op, r, errno)
}

// IoctlValue calls op with a number instead of a pointer.
func (f *File) IoctlValue(op Ioctl, arg uintptr) (int, error) {
	r, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(f.fd), op.Number, arg)
	return f.answered(op, r, errno)
}

func (f *File) answered(op Ioctl, r uintptr, errno unix.Errno) (int, error) {
	var err error
	if errno != 0 {
		err = errno
	}
	f.tally.Did(op.Name, err)
	if err != nil {
		return -1, err
	}
	return int(r), nil
}

// Pread reads at off and counts it as "pread".
func (f *File) Pread(p []byte, off int64) (int, error) {
	n, err := unix.Pread(f.fd, p, off)
	f.tally.Did("pread", err)
	return n, err
}

// Pwrite writes at off and counts it as "pwrite".
func (f *File) Pwrite(p []byte, off int64) (int, error) {
	n, err := unix.Pwrite(f.fd, p, off)
	f.tally.Did("pwrite", err)
	return n, err
}

// Mmap maps length bytes at off, shared, readable and writable, and counts it
// as "mmap".
func (f *File) Mmap(off int64, length int) ([]byte, error) {
	m, err := unix.Mmap(f.fd, off, length, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	f.tally.Did("mmap", err)
	return m, err
}

// ErrnoName is the name of the errno in err ("EINVAL"), "0" for nil, and the
// error's own text when there is no errno in it.
func ErrnoName(err error) string {
	if err == nil {
		return "0"
	}
	var errno unix.Errno
	if !errors.As(err, &errno) {
		return err.Error()
	}
	if errno == unix.EOPNOTSUPP { // has a second name, which the kernel does not use
		return "EOPNOTSUPP"
	}
	if name := unix.ErrnoName(errno); name != "" {
		return name
	}
	return errno.Error()
}
