// SPDX-License-Identifier: Apache-2.0

// Package faults makes memory run out inside one system call: its n-th
// allocation from the slab allocator fails (Documentation/fault-injection,
// /proc/PID/fail-nth, CONFIG_FAILSLAB).
//
// In comes a system call; out goes its answer, and whether there was an n-th
// allocation to fail. It does not know which answers are right.
package faults

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"noiommu-farm/suites/lab"
)

// most bounds a sweep: no system call here allocates as often.
const most = 2000

// Injector makes allocations of this thread fail.
type Injector struct {
	t    *lab.T
	fd   int // fail-nth of the thread
	zero []byte
	left []byte
}

// New prepares the kernel and ties the test to its thread until it ends. Code
// of spared does not count: its allocations work.
func New(t *lab.T, spared Code) *Injector {
	const dir = "/sys/kernel/debug/failslab/"
	from, to := spared.find(t)
	for _, option := range []struct{ file, value string }{
		{"ignore-gfp-wait", "N"}, // allocations that may sleep fail too
		{"cache-filter", "N"},
		{"verbose", "0"}, // or each failure is a stack in the log
		{"stacktrace-depth", "32"},
		{"reject-start", fmt.Sprintf("%#x", from)},
		{"reject-end", fmt.Sprintf("%#x", to)},
	} {
		was := t.ReadFile(dir + option.file)
		t.Must(t.WriteFile(dir+option.file, option.value), "write %s to failslab's %s", option.value, option.file)
		t.Cleanup(func() { t.OK(t.WriteFile(dir+option.file, was), "cleanup: failslab's %s", option.file) })
	}
	runtime.LockOSThread()
	t.Cleanup(runtime.UnlockOSThread)
	// A collection could ask for memory on this thread just then.
	percent := debug.SetGCPercent(-1)
	t.Cleanup(func() { debug.SetGCPercent(percent) })
	fd, err := unix.Open("/proc/thread-self/fail-nth", unix.O_RDWR|unix.O_CLOEXEC, 0)
	t.Must(err, "open fail-nth")
	t.Cleanup(func() { t.OK(unix.Close(fd), "cleanup: close fail-nth") })
	return &Injector{t: t, fd: fd, zero: []byte("0"), left: make([]byte, 16)}
}

// Call makes a system call of which the n-th allocation fails, n from 1.
// injected says that there was one. The error is an unwrapped [unix.Errno].
//
// What the arguments point to does not move: it is on the heap.
//
//go:uintptrescapes
func (in *Injector) Call(n int, nr uintptr, args ...uintptr) (result uintptr, injected bool, err error) {
	var a [6]uintptr
	copy(a[:], args)
	text := strconv.AppendInt(nil, int64(n), 10)
	result, errno, armed, length := in.armed(text, nr, &a)
	if armed != 0 {
		in.t.Must(armed, "write fail-nth")
	}
	left, parseErr := strconv.Atoi(strings.TrimSpace(string(in.left[:length])))
	in.t.Must(parseErr, "parse fail-nth %q", in.left[:length])
	if errno != 0 {
		err = errno
	}
	return result, left == 0, err
}

// armed writes fail-nth, makes the call, reads what is left of it and writes 0.
// There is nothing in between in which the runtime could make a call of its own.
//
//go:noinline
func (in *Injector) armed(text []byte, nr uintptr, a *[6]uintptr) (result uintptr, errno, armed unix.Errno, length uintptr) {
	fd := uintptr(in.fd)
	_, _, armed = unix.RawSyscall6(unix.SYS_PWRITE64, fd, uintptr(unsafe.Pointer(&text[0])), uintptr(len(text)), 0, 0, 0)
	if armed != 0 {
		return
	}
	result, _, errno = unix.RawSyscall6(nr, a[0], a[1], a[2], a[3], a[4], a[5])
	length, _, armed = unix.RawSyscall6(unix.SYS_PREAD64, fd, uintptr(unsafe.Pointer(&in.left[0])), uintptr(len(in.left)), 0, 0, 0)
	unix.RawSyscall6(unix.SYS_PWRITE64, fd, uintptr(unsafe.Pointer(&in.zero[0])), 1, 0, 0, 0)
	return
}

// Sweep calls attempt with n = 1, 2, … until one in which no allocation was
// left to fail, and asserts that each ended with ENOMEM or worked, and the last
// one worked. It returns how many failed.
func (in *Injector) Sweep(what string, attempt func(n int) (injected bool, err error)) (failures int) {
	t := in.t
	for n := 1; n <= most; n++ {
		injected, err := attempt(n)
		if !injected {
			t.OK(err, "%s, with no allocation left to fail (%d)", what, n)
			return failures
		}
		t.Tally.Add("faults", 1)
		if err != nil {
			failures++
			t.Fails(err, unix.ENOMEM, "%s, allocation %d fails", what, n)
		}
	}
	t.Fatalf("%s: more than %d allocations", what, most)
	return failures
}
