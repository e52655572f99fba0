// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"noiommu-farm/guestagent/wire"
)

// warmWithin bounds the time that a program may take to be ready.
const warmWithin = 30 * time.Second

// waiting is a program that was started before it is needed.
type waiting struct {
	*child
	line *net.UnixConn // to the program; see wire.WaitEnv
}

// warm starts a program and waits until it is ready. An earlier one ends.
func (p *programs) warm(w *wire.Warm, socket *os.File) error {
	if err := p.dismiss(); err != nil {
		return err
	}
	line, theirs, err := packetSocket("waiting")
	if err != nil {
		return err
	}
	defer theirs.Close()
	c, err := p.start(w.Argv, w.Env, wire.Root, map[string]*os.File{wire.WaitEnv: theirs, wire.HostEnv: socket})
	if err != nil {
		line.Close()
		return err
	}
	p.waiting = &waiting{c, line}
	theirs.Close() // or its end could not be seen
	if err := p.waiting.ready(); err != nil {
		return errors.Join(fmt.Errorf("warm %s: %w", w.Argv[0], err), p.dismiss())
	}
	return nil
}

// ready waits for the program's word.
func (w *waiting) ready() error {
	if err := w.line.SetReadDeadline(time.Now().Add(warmWithin)); err != nil {
		return err
	}
	word := make([]byte, 16)
	n, err := w.line.Read(word)
	if err != nil {
		return err
	}
	if string(word[:n]) != wire.WaitWord {
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
	if _, err := w.line.Write([]byte(strings.Join(argv, "\x00"))); err != nil {
		return nil, errors.Join(fmt.Errorf("let %s go on: %w", argv[0], err), p.dismiss())
	}
	p.waiting = nil
	w.line.Close()
	return w.child, nil
}

// dismiss ends the program that waits, if there is one.
func (p *programs) dismiss() error {
	w := p.waiting
	if w == nil {
		return nil
	}
	p.waiting = nil
	w.line.Close()
	defer w.discard()
	_ = unix.Kill(-w.pid, unix.SIGKILL)
	_, stuck, err := sweep(w.pid, p.stuck)
	if err == nil && stuck > 0 {
		err = errors.New("the program that waited cannot be killed")
	}
	return err
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
