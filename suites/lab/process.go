// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"

	"noiommu-farm/suites/uapi"
)

// Child is a forked process that does nothing but exist: it has the memory,
// copy on write, and the open files of the test at the time of the fork.
type Child struct {
	pid   int
	t     *T
	ended bool
}

// Fork forks; the test ends when it cannot. The child is killed when the test
// ends.
func (t *T) Fork() *Child {
	c := &Child{pid: t.ForkWith(fork), t: t}
	t.Cleanup(c.Kill)
	return c
}

// ForkWith calls fork, which returns in the parent only, with what a child of a
// Go program needs, and returns the child's number; the test ends when there is
// none.
func (t *T) ForkWith(fork func() (pid int, errno unix.Errno)) int {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	// No signal must reach the child: Go's handler would look for threads that
	// are not there.
	all, was := unix.Sigset_t{}, unix.Sigset_t{}
	for i := range all.Val {
		all.Val[i] = ^uint64(0)
	}
	t.Must(unix.PthreadSigmask(unix.SIG_SETMASK, &all, &was), "block all signals")
	pid, errno := fork()
	t.Must(unix.PthreadSigmask(unix.SIG_SETMASK, &was, nil), "unblock the signals")
	if errno != 0 {
		t.Fatalf("fork: %v", errno)
	}
	return pid
}

// fork returns in the parent only. The child has one thread and no runtime
// behind it, so it makes system calls and nothing else.
//
//go:norace
//go:noinline
func fork() (int, unix.Errno) {
	pid, _, errno := unix.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
	if errno == 0 && pid == 0 {
		for {
			unix.RawSyscall(unix.SYS_PAUSE, 0, 0, 0)
		}
	}
	return int(pid), errno
}

// Kill kills the child and waits until it is gone, with all that it had open.
// Killing it twice is allowed.
func (c *Child) Kill() {
	if c.ended {
		return
	}
	c.ended = true
	c.t.KillProcess(c.pid, "the child")
}

// KillProcess kills a child process, which what names, and waits until it is
// gone.
func (t *T) KillProcess(pid int, what string) {
	t.OK(unix.Kill(pid, unix.SIGKILL), "kill %s", what)
	for {
		_, err := unix.Wait4(pid, nil, 0, nil)
		if err != unix.EINTR {
			t.OK(err, "wait for %s", what)
			return
		}
	}
}

// Pass sends the device's descriptor through a socket, as to another process
// (SCM_RIGHTS), and returns the one that was received.
func (t *T) Pass(c *Cdev) *Cdev {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	t.Must(err, "socketpair")
	defer unix.Close(pair[0])
	defer unix.Close(pair[1])
	t.Must(unix.Sendmsg(pair[0], []byte{0}, unix.UnixRights(c.Fd()), nil, 0), "send the descriptor")
	data, control := make([]byte, 1), make([]byte, unix.CmsgSpace(int(unsafe.Sizeof(int32(0)))))
	_, n, _, _, err := unix.Recvmsg(pair[1], data, control, unix.MSG_CMSG_CLOEXEC)
	t.Must(err, "receive the descriptor")
	messages, err := unix.ParseSocketControlMessage(control[:n])
	t.Must(err, "parse the control message")
	fds, err := unix.ParseUnixRights(&messages[0])
	t.Must(err, "parse the descriptor")
	return t.newCdev(uapi.Adopt(t.Tally, fds[0]), c.Device)
}
