// SPDX-License-Identifier: Apache-2.0

package repro

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"

	"golang.org/x/term"
)

// Escape ends a session at once, whatever the guest does: Ctrl-].
const Escape = 0x1d

// errEscaped is the cause of a session that the user ended with [Escape].
var errEscaped = errors.New("ended with Ctrl-]")

// A terminal joins the user's to one in the guest.
type terminal struct {
	in, out          *os.File
	console, windows net.Listener
}

// newTerminal makes the two sockets that QEMU connects to, in dir.
func newTerminal(dir string, in, out *os.File) (*terminal, error) {
	t := &terminal{in: in, out: out}
	var err error
	if t.console, err = net.Listen("unix", filepath.Join(dir, "terminal")); err != nil {
		return nil, err
	}
	if t.windows, err = net.Listen("unix", filepath.Join(dir, "window")); err != nil {
		t.console.Close()
		return nil, err
	}
	return t, nil
}

// arguments are QEMU's: a virtio console, which is a terminal to the guest, and
// a port that tells it the size of the user's window.
func (t *terminal) arguments() []string {
	return []string{
		"-chardev", "socket,id=terminal,path=" + t.console.Addr().String(),
		"-device", "virtconsole,bus=serial.0,nr=3,chardev=terminal",
		"-chardev", "socket,id=window,path=" + t.windows.Addr().String(),
		"-device", "virtserialport,bus=serial.0,nr=4,chardev=window,name=org.noiommu-farm.window",
	}
}

func (t *terminal) close() {
	t.console.Close()
	t.windows.Close()
}

// join carries bytes both ways until the guest's end is gone or ctx is done. A
// user's terminal is raw from the guest's first word on: until then Ctrl-C is
// the farm's. escaped is called when the user asked for the end.
func (t *terminal) join(ctx context.Context, escaped func(error)) error {
	guest, err := t.console.Accept()
	if err != nil {
		return fmt.Errorf("connect the terminal: %w", err)
	}
	defer guest.Close()
	window, err := t.windows.Accept()
	if err != nil {
		return fmt.Errorf("connect the terminal: %w", err)
	}
	defer window.Close()
	var wait sync.WaitGroup
	defer wait.Wait()
	over, stop := context.WithCancel(ctx)
	defer stop()
	wait.Go(func() {
		<-over.Done()
		guest.Close()
		window.Close()
	})

	first := make([]byte, 4096)
	n, err := guest.Read(first)
	if err != nil {
		return nil // the guest ended before it said a word; the record says why
	}
	if term.IsTerminal(int(t.in.Fd())) {
		state, err := term.MakeRaw(int(t.in.Fd()))
		if err != nil {
			return err
		}
		defer term.Restore(int(t.in.Fd()), state)
	}
	changed := make(chan os.Signal, 1)
	signal.Notify(changed, syscall.SIGWINCH)
	defer signal.Stop(changed)
	wait.Go(func() { t.tellWindow(over, window, changed) })
	// Nothing interrupts a read of a terminal, so nobody waits for this one:
	// it ends with the process, or takes one more key.
	go t.keys(guest, escaped)
	if _, err := t.out.Write(first[:n]); err != nil {
		return err
	}
	_, err = io.Copy(t.out, guest)
	if errors.Is(err, net.ErrClosed) || errors.Is(err, syscall.ECONNRESET) {
		err = nil
	}
	return err
}

// keys sends what the user types, up to the escape.
func (t *terminal) keys(guest io.Writer, escaped func(error)) {
	buf := make([]byte, 1024)
	for {
		n, err := t.in.Read(buf)
		for i, b := range buf[:n] {
			if b == Escape {
				guest.Write(buf[:i])
				escaped(errEscaped)
				return
			}
		}
		if _, failed := guest.Write(buf[:n]); failed != nil || err != nil {
			return
		}
	}
}

// tellWindow tells the guest how large the user's window is, now and after each
// change.
func (t *terminal) tellWindow(ctx context.Context, to io.Writer, changed <-chan os.Signal) {
	for {
		if columns, rows, err := term.GetSize(int(t.out.Fd())); err == nil {
			if _, err := fmt.Fprintf(to, "%d %d\n", rows, columns); err != nil {
				return
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}
