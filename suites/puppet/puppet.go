// SPDX-License-Identifier: Apache-2.0

// Package puppet is a second process that makes the system calls it is told
// to: a user of a device that a test can kill, limit or watch from outside.
//
// In come system calls, one at a time or a few to be repeated for ever; out go
// their answers, counted as evidence like those of the test's own. The process
// has no open file of the test, and it ends with the test, by a signal or, once
// it is another user's, when the pipe of its orders does. It knows nothing of what
// the calls are for, but how a device comes to an address space.
package puppet

import (
	"runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"noiommu-farm/suites/lab"
	"noiommu-farm/suites/uapi"
)

// patience bounds the waiting for one call, and for the rounds of those that
// are repeated; see [lab.Patience].
const patience = 20 * time.Second

// sharedSize is how much memory a puppet shares with the test, in bytes. It is
// below 4 GiB, where a 32-bit system call can reach it too.
const sharedSize = 64 << 10

// Call is one system call. An argument is a number, or the address of
// something made with [Place].
type Call struct {
	Name string // under which it is counted, "" for not at all
	Nr   uintptr
	Args [6]uintptr
}

// Puppet is the process.
type Puppet struct {
	t          *lab.T
	pid        int
	tell, hear int // the test's ends of two pipes
	script     *script
	free       []byte // shared memory that nobody has yet
	repeated   []Call
	ended      bool
}

// New makes a puppet; the test ends when it cannot. It is killed when the test
// ends at the latest.
func New(t *lab.T) *Puppet {
	shared, err := unix.Mmap(-1, 0, sharedSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_ANONYMOUS|unix.MAP_32BIT)
	t.Must(err, "mmap the puppet's memory")
	t.Cleanup(func() { t.OK(unix.Munmap(shared), "cleanup: munmap the puppet's memory") })
	p := &Puppet{t: t, script: (*script)(unsafe.Pointer(&shared[0])), free: shared[unsafe.Sizeof(script{}):]}
	var orders, answers [2]int
	t.Must(unix.Pipe2(orders[:], unix.O_CLOEXEC), "pipe")
	t.Must(unix.Pipe2(answers[:], unix.O_CLOEXEC), "pipe")
	p.tell, p.hear = orders[1], answers[0]
	t.Cleanup(func() {
		t.OK(unix.Close(p.tell), "cleanup: close the puppet's orders")
		t.OK(unix.Close(p.hear), "cleanup: close the puppet's answers")
	})
	p.script.orders, p.script.answers = uintptr(orders[0]), uintptr(answers[1])

	// The puppet dies with the thread that forked it (PR_SET_PDEATHSIG), which
	// must therefore outlive it: Go may end one that nobody has.
	runtime.LockOSThread()
	t.Cleanup(runtime.UnlockOSThread)
	p.pid = t.ForkWith(func() (int, unix.Errno) { return fork(p.script) })
	t.Cleanup(p.Kill)
	t.Must(unix.Close(orders[0]), "close the puppet's end of a pipe")
	t.Must(unix.Close(answers[1]), "close the puppet's end of a pipe")
	return p
}

// PID is the number of the process.
func (p *Puppet) PID() int { return p.pid }

// Place makes room for a value that the test and the puppet's system calls
// both see, at the same address. It is zero.
func Place[V any](p *Puppet) *V {
	var v V
	return (*V)(p.room(unsafe.Sizeof(v)))
}

// room takes size bytes of the shared memory, aligned to 16.
func (p *Puppet) room(size uintptr) unsafe.Pointer {
	size = (size + 15) &^ 15
	if size > uintptr(len(p.free)) {
		p.t.Fatalf("puppet: no room for %d bytes more", size)
	}
	at := unsafe.Pointer(&p.free[0])
	p.free = p.free[size:]
	return at
}

// Text is the address of a text with a zero after it.
func (p *Puppet) Text(s string) uintptr {
	at := p.room(uintptr(len(s) + 1))
	copy(unsafe.Slice((*byte)(at), len(s)), s)
	return uintptr(at)
}

// Do has the puppet make one call, and returns its answer. The error is an
// unwrapped [unix.Errno].
func (p *Puppet) Do(c Call) (uintptr, error) {
	p.order(0, c)
	p.await()
	done := p.script.calls[0]
	var err error
	if done.errno != 0 {
		err = unix.Errno(done.errno)
	}
	if c.Name != "" {
		p.t.Tally.Did(c.Name, err)
	}
	return done.result, err
}

// Open has the puppet open path, and counts it as "open".
func (p *Puppet) Open(path string) (fd int, err error) {
	at := unix.AT_FDCWD
	result, err := p.Do(Call{"open", unix.SYS_OPENAT, [6]uintptr{uintptr(at), p.Text(path), unix.O_RDWR | unix.O_CLOEXEC}})
	return int(result), err
}

// Close has the puppet close a descriptor.
func (p *Puppet) Close(fd int) error {
	_, err := p.Do(Call{"", unix.SYS_CLOSE, [6]uintptr{uintptr(fd)}})
	return err
}

// Ioctl is an ioctl with a pointer to something made with [Place].
func Ioctl[V any](fd int, op uapi.Ioctl, arg *V) Call {
	return Call{op.Name, unix.SYS_IOCTL, [6]uintptr{uintptr(fd), op.Number, uintptr(unsafe.Pointer(arg))}}
}

// Repeat has the puppet make these calls one after the other, again and again,
// until one fails or the puppet is killed. It does not wait.
func (p *Puppet) Repeat(calls ...Call) {
	p.repeated = calls
	p.order(1, calls...)
}

// Rounds is how often all the repeated calls have been made and worked.
func (p *Puppet) Rounds() uint64 { return uint64(load(&p.script.rounds)) }

// AwaitRounds waits until the repeated calls have been made n times; the test
// ends when one of them fails.
func (p *Puppet) AwaitRounds(n uint64) {
	limit := lab.Patience(patience)
	for deadline := time.Now().Add(limit); p.Rounds() < n; {
		wait := min(time.Millisecond, time.Until(deadline))
		if wait <= 0 {
			p.t.Fatalf("puppet: %d rounds after %v, want %d", p.Rounds(), limit, n)
		}
		if readable(p.hear, wait) {
			for i, c := range p.repeated {
				if errno := unix.Errno(p.script.calls[i].errno); errno != 0 {
					p.t.Fatalf("puppet: round %d: %s: %s", p.Rounds(), c.Name, uapi.ErrnoName(errno))
				}
			}
			p.t.Fatalf("puppet: ended in round %d", p.Rounds())
		}
	}
}

// Kill kills the process and waits until it is gone, with all that it had. The
// repeated calls count as made in every round. Killing it twice is allowed.
func (p *Puppet) Kill() {
	if p.ended {
		return
	}
	p.ended = true
	p.t.KillProcess(p.pid, "the puppet")
	for _, c := range p.repeated {
		if rounds := p.Rounds(); c.Name != "" && rounds > 0 {
			p.t.Tally.Add(c.Name, rounds)
		}
	}
}

// order hands calls over.
func (p *Puppet) order(repeat uintptr, calls ...Call) {
	if len(calls) > len(p.script.calls) {
		p.t.Fatalf("puppet: %d calls are too many", len(calls))
	}
	for i, c := range calls {
		p.script.calls[i] = call{nr: c.Nr, args: c.Args}
	}
	p.script.n, p.script.repeat, p.script.rounds = uintptr(len(calls)), repeat, 0
	_, err := unix.Write(p.tell, []byte{1})
	p.t.Must(err, "tell the puppet")
}

// await waits until the calls have been made.
func (p *Puppet) await() {
	if limit := lab.Patience(patience); !readable(p.hear, limit) {
		p.t.Fatalf("puppet: no answer after %v", limit)
	}
	n, err := unix.Read(p.hear, make([]byte, 1))
	p.t.Must(err, "hear the puppet")
	if n == 0 {
		p.t.Fatalf("puppet: it is dead")
	}
}

// readable waits until fd can be read, and says whether it can.
func readable(fd int, limit time.Duration) bool {
	deadline := time.Now().Add(limit)
	for {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		left := max(0, time.Until(deadline))
		n, err := unix.Poll(fds, int((left+time.Millisecond-1)/time.Millisecond))
		if err != unix.EINTR {
			return n == 1
		}
	}
}
