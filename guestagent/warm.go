// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"noiommu-farm/guestagent/prefault"
	"noiommu-farm/guestagent/wire"
)

// warmWithin bounds the time that a program may take to be ready.
const warmWithin = 30 * time.Second

// waiting is a program that was started before it is needed.
type waiting struct {
	*child
	line int // a socket to the program; see wire.WaitEnv
}

// warm starts a program and waits until it is ready. An earlier one ends.
func (p *programs) warm(w *wire.Warm, socket *os.File) error {
	if err := p.dismiss(); err != nil {
		return err
	}
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("make a socket: %w", err)
	}
	line, theirs := fds[0], os.NewFile(uintptr(fds[1]), "waiting")
	defer theirs.Close()
	c, err := p.start(w.Argv, w.Env, wire.Root, map[string]*os.File{wire.WaitEnv: theirs, wire.HostEnv: socket})
	if err != nil {
		unix.Close(line)
		return err
	}
	p.waiting = &waiting{c, line}
	theirs.Close() // or its end could not be seen
	if err := p.waiting.ready(); err != nil {
		return errors.Join(fmt.Errorf("warm %s: %w", w.Argv[0], err), p.dismiss())
	}
	prefault.Prefault()
	return nil
}

// ready waits for the program's word.
func (w *waiting) ready() error {
	limit := unix.NsecToTimeval(warmWithin.Nanoseconds())
	if err := unix.SetsockoptTimeval(w.line, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit); err != nil {
		return err
	}
	word := make([]byte, 16)
	n, err := unix.Read(w.line, word)
	for err == unix.EINTR {
		n, err = unix.Read(w.line, word)
	}
	switch {
	case err == unix.EAGAIN:
		return fmt.Errorf("it is not ready after %v", warmWithin)
	case err != nil:
		return err
	case n == 0:
		return fmt.Errorf("it ended: %w", io.EOF)
	case string(word[:n]) != wire.WaitWord:
		return fmt.Errorf("it does not know how to wait and said %q", word[:n])
	}
	return nil
}

// goOn lets the program go on that waits.
func (p *programs) goOn(argv []string) (*child, error) {
	w := p.waiting
	if w == nil {
		return nil, errors.New("no program waits")
	}
	if _, err := unix.Write(w.line, []byte(strings.Join(argv, "\x00"))); err != nil {
		return nil, errors.Join(fmt.Errorf("let %s go on: %w", argv[0], err), p.dismiss())
	}
	p.waiting = nil
	w.child.line = w.line // to be closed when the program has ended
	return w.child, nil
}

// dismiss ends the program that waits, if there is one.
func (p *programs) dismiss() error {
	w := p.waiting
	if w == nil {
		return nil
	}
	p.waiting = nil
	unix.Close(w.line)
	w.stdout.drop()
	w.stderr.drop()
	defer os.RemoveAll(w.dir)
	_ = unix.Kill(-w.pid, unix.SIGKILL)
	_, stuck, err := sweep(w.pid, p.stuck)
	if err == nil && stuck > 0 {
		err = errors.New("the program that waited cannot be killed")
	}
	return err
}

// spareThreads is more than the agent blocks in system calls at once.
const spareThreads = 6

// settle does beforehand what the agent would do first in a restored guest, so
// that each of them need not: it has the threads that it takes to block in several
// calls at once, and what the Go runtime makes when it is used first is made. It
// comes before anything is measured, because threads take memory of the kernel.
func settle() {
	var waiting, all sync.WaitGroup
	release := make(chan struct{})
	waiting.Add(spareThreads)
	for range spareThreads {
		all.Go(func() {
			runtime.LockOSThread() // each needs one of its own, which stays when it is done
			defer runtime.UnlockOSThread()
			waiting.Done()
			<-release
		})
	}
	waiting.Wait() // or one thread would do for all
	close(release)
	all.Wait()
	time.NewTimer(time.Hour).Stop()
}

// packetSocket makes a socket that keeps packets apart: our end and a
// program's.
func packetSocket(name string) (*net.UnixConn, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("make a socket: %w", err)
	}
	mine, theirs := os.NewFile(uintptr(fds[0]), name), os.NewFile(uintptr(fds[1]), name)
	defer mine.Close() // net.FileConn makes a copy
	conn, err := net.FileConn(mine)
	if err != nil {
		theirs.Close()
		return nil, nil, fmt.Errorf("make a socket: %w", err)
	}
	return conn.(*net.UnixConn), theirs, nil
}
