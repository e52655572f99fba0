// SPDX-License-Identifier: Apache-2.0

package puppet

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// script is what the puppet is told, in shared memory.
type script struct {
	orders, answers uintptr // the puppet's ends of the pipes
	n               uintptr // calls
	repeat          uintptr // 1: until one fails
	rounds          uintptr
	calls           [16]call
}

type call struct {
	nr            uintptr
	args          [6]uintptr
	result, errno uintptr
}

// prctlDeathSignal is PR_SET_PDEATHSIG of include/uapi/linux/prctl.h.
const prctlDeathSignal = 1

// load reads a word that another process writes.
//
//go:noinline
func load(word *uintptr) uintptr { return *word }

// fork returns in the parent only. The child has one thread and no runtime
// behind it, so it makes system calls and nothing else.
//
//go:norace
//go:noinline
func fork(s *script) (int, unix.Errno) {
	pid, _, errno := unix.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
	if errno != 0 || pid != 0 {
		return int(pid), errno
	}
	unix.RawSyscall(unix.SYS_PRCTL, prctlDeathSignal, uintptr(unix.SIGKILL), 0)
	// Keep the standard streams and the pipes; what else the test has open
	// must not stay open through the child.
	low, high := s.orders, s.answers
	if low > high {
		low, high = high, low
	}
	if low > 3 {
		unix.RawSyscall(unix.SYS_CLOSE_RANGE, 3, low-1, 0)
	}
	if high > low+1 {
		unix.RawSyscall(unix.SYS_CLOSE_RANGE, low+1, high-1, 0)
	}
	unix.RawSyscall(unix.SYS_CLOSE_RANGE, high+1, uintptr(^uint32(0)), 0)
	var order byte
	for {
		n, _, _ := unix.RawSyscall(unix.SYS_READ, s.orders, uintptr(unsafe.Pointer(&order)), 1)
		if n != 1 {
			unix.RawSyscall(unix.SYS_EXIT_GROUP, 0, 0, 0)
		}
		for again := true; again; {
			for i := uintptr(0); i < s.n; i++ {
				c := &s.calls[i]
				c.result, _, errno = unix.RawSyscall6(c.nr, c.args[0], c.args[1], c.args[2], c.args[3], c.args[4], c.args[5])
				c.errno = uintptr(errno)
				if errno != 0 {
					again = false
					break
				}
			}
			if again {
				s.rounds++
				again = s.repeat != 0
			}
		}
		unix.RawSyscall(unix.SYS_WRITE, s.answers, uintptr(unsafe.Pointer(&order)), 1)
	}
}
