// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// Caps is a set of capabilities, one bit each as in <linux/capability.h>.
type Caps uint64

// AllCaps is every capability there can be; the kernel cuts it down to those
// the thread is permitted.
const AllCaps = ^Caps(0)

const (
	// RawIO is CAP_SYS_RAWIO.
	RawIO Caps = 1 << unix.CAP_SYS_RAWIO
	// IPCLock is CAP_IPC_LOCK: to lock and pin memory without limit.
	IPCLock Caps = 1 << unix.CAP_IPC_LOCK
)

// WithCaps calls f on a thread of its own that has only those capabilities of
// the test that are in keep, permitted, effective and inheritable. The user
// stays root, and files and memory are the same. The thread ends with f.
func (t *T) WithCaps(keep Caps, f func()) {
	done := make(chan any)
	go func() {
		// Never unlocked: the thread must not serve anybody else.
		runtime.LockOSThread()
		defer func() { done <- recover() }()
		t.keepCaps(keep)
		f()
	}()
	if reason := <-done; reason != nil {
		panic(reason)
	}
}

func (t *T) keepCaps(keep Caps) {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	t.Must(unix.Capget(&header, &data[0]), "capget")
	for i := range data {
		kept := uint32(keep >> (32 * i))
		data[i].Permitted &= kept
		data[i].Effective &= kept
		data[i].Inheritable &= kept
	}
	err := unix.Capset(&header, &data[0])
	t.Tally.Did("capset", err)
	t.Must(err, "capset")
	Equal(t, Caps(data[0].Effective)&RawIO, keep&RawIO, "effective CAP_SYS_RAWIO of the thread")
	Equal(t, unix.Geteuid(), 0, "effective user of the thread")
}

// LimitLockedMemory sets RLIMIT_MEMLOCK, in bytes, until the test ends.
func (t *T) LimitLockedMemory(bytes uint64) {
	var was unix.Rlimit
	t.Must(unix.Prlimit(0, unix.RLIMIT_MEMLOCK, &unix.Rlimit{Cur: bytes, Max: bytes}, &was), "set RLIMIT_MEMLOCK")
	t.Cleanup(func() { t.OK(unix.Prlimit(0, unix.RLIMIT_MEMLOCK, &was, nil), "cleanup: RLIMIT_MEMLOCK") })
}
