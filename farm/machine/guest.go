// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"noiommu-farm/farm/qmp"
)

// Limits on a QEMU that does nothing. A healthy one needs a tenth of a second
// for either.
const (
	greetingTimeout = 60 * time.Second
	quitTimeout     = 5 * time.Second
)

// Guest is a machine whose QEMU was started. The QEMU may have ended since.
type Guest struct {
	// Monitor is QEMU's QMP connection.
	Monitor *qmp.Client

	argv                     []string
	process                  *process
	stderr                   *tail
	console, control, output conn
}

// BootOptions are about the host alone; the guest cannot tell them apart.
type BootOptions struct {
	// Stderr receives what QEMU says on stderr, as it comes. It may be nil.
	Stderr io.Writer
}

// Boot starts the machine and returns as soon as QEMU runs and answers on QMP.
// The kernel has hardly begun then.
//
// ctx bounds the start alone; a guest that was returned runs until it ends, or
// [Guest.Stop], [Guest.Kill] or [Guest.Close] end it, or this process dies. The
// caller must Close it.
//
// A machine that is not valid or a file that is not there is a *fault.Usage.
// When QEMU ends at once, the error has what it said on stderr.
func Boot(ctx context.Context, m Machine, options BootOptions) (*Guest, error) {
	if err := m.Validate(); err != nil {
		return nil, err
	}
	if err := m.checkFiles(); err != nil {
		return nil, err
	}
	pvh, err := hasPVH(m.Kernel)
	if err != nil {
		return nil, err
	}
	return start(ctx, m.QEMU, func(w Wiring) []string {
		w.PVH = pvh
		return m.Args(w)
	}, options)
}

// start starts QEMU with the arguments that args makes of the descriptors.
func start(ctx context.Context, qemu string, args func(Wiring) []string, options BootOptions) (_ *Guest, err error) {
	var ours []net.Conn
	var theirs []*os.File
	defer func() {
		for _, file := range theirs {
			file.Close()
		}
		if err != nil {
			for _, conn := range ours {
				conn.Close()
			}
		}
	}()
	for _, name := range []string{"qmp", "console", "control", "output"} {
		conn, file, err := socketpair(name)
		if err != nil {
			return nil, fmt.Errorf("boot guest: socketpair for %s: %w", name, err)
		}
		ours, theirs = append(ours, conn), append(theirs, file)
	}

	// os/exec numbers ExtraFiles from 3.
	cmd := exec.Command(qemu, args(Wiring{QMP: 3, Console: 4, Control: 5, Output: 6})...)
	cmd.ExtraFiles = theirs
	stderr := &tail{to: options.Stderr}
	cmd.Stderr = stderr
	process, err := startProcess(cmd)
	if err != nil {
		return nil, fmt.Errorf("boot guest: start QEMU: %w", err)
	}
	// QEMU has its own copies. Ours must go now, or we would not see the end
	// of the connections when QEMU ends.
	for _, file := range theirs {
		file.Close()
	}
	theirs = nil

	greetingCtx, cancel := context.WithTimeout(ctx, greetingTimeout)
	defer cancel()
	monitor, err := qmp.Open(greetingCtx, ours[0])
	if err != nil {
		state := "QEMU was still running"
		select {
		case <-process.done:
			state = "QEMU ended: " + cmd.ProcessState.String()
		case <-time.After(quitTimeout): // the monitor was closed by something else
		case <-ctx.Done():
		}
		err = errors.Join(err, process.kill())
		return nil, fmt.Errorf("boot guest: %s: %w%s", state, err, said(stderr))
	}
	return &Guest{
		Monitor: monitor,
		argv:    cmd.Args,
		process: process,
		stderr:  stderr,
		console: conn{ours[1]}, control: conn{ours[2]}, output: conn{ours[3]},
	}, nil
}

// conn is our end of one socketpair.
type conn struct{ net.Conn }

// Read ends with io.EOF also when QEMU ended without having read all that was
// sent to it, which the kernel reports as a reset once everything is drained.
func (c conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if errors.Is(err, unix.ECONNRESET) {
		err = io.EOF
	}
	return n, err
}

// said is the part of an error text that has QEMU's stderr.
func said(stderr *tail) string {
	if text := stderr.String(); text != "" {
		return "; it said:\n" + text
	}
	return "; it said nothing"
}

// socketpair returns our end and the end for QEMU.
func socketpair(name string) (net.Conn, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	mine := os.NewFile(uintptr(fds[0]), name)
	defer mine.Close()
	theirs := os.NewFile(uintptr(fds[1]), name)
	conn, err := net.FileConn(mine)
	if err != nil {
		theirs.Close()
		return nil, nil, err
	}
	return conn, theirs, nil
}

// Console is the serial port: what the kernel says. The guest waits when it is
// not read. After the end of QEMU the rest can still be read, and then it ends
// with io.EOF. So it is with Control and Output.
func (g *Guest) Console() io.Reader { return g.console }

// Control is the virtio-serial port that carries the agent's protocol.
func (g *Guest) Control() io.ReadWriteCloser { return g.control }

// Output is the virtio-serial port that carries what programs print.
func (g *Guest) Output() io.Reader { return g.output }

// Done is closed when QEMU has ended and was waited for.
func (g *Guest) Done() <-chan struct{} { return g.process.done }

// Wait waits for the end of QEMU and says how it ended.
func (g *Guest) Wait() *os.ProcessState {
	<-g.process.done
	return g.process.cmd.ProcessState
}

// ExitState says how QEMU ended. It is nil while QEMU runs.
func (g *Guest) ExitState() *os.ProcessState {
	select {
	case <-g.process.done:
		return g.process.cmd.ProcessState
	default:
		return nil
	}
}

// PID is the process id of QEMU.
func (g *Guest) PID() int { return g.process.cmd.Process.Pid }

// Stderr is the last 64 KiB that QEMU said on stderr.
func (g *Guest) Stderr() string { return g.stderr.String() }

// Command is the exact argument list of QEMU, with its name first. The
// descriptors in it are those of the four connections.
func (g *Guest) Command() []string { return g.argv }

// CommandLine is Command as a line for a POSIX shell.
func (g *Guest) CommandLine() string {
	quoted := make([]string, len(g.argv))
	for i, arg := range g.argv {
		quoted[i] = shellQuote(arg)
	}
	return strings.Join(quoted, " ")
}

func shellQuote(arg string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_=+,./:@%", r)
	}
	if arg != "" && strings.TrimFunc(arg, plain) == "" {
		return arg
	}
	return "'" + strings.ReplaceAll(arg, "'", `'\''`) + "'"
}

// Kill ends QEMU with SIGKILL and waits for it. What it sent before can still
// be read.
func (g *Guest) Kill() error { return g.process.kill() }

// Stop asks QEMU to quit, and kills it when it has not ended after five
// seconds or at the end of ctx. An error says that it had to be killed; QEMU is
// gone either way.
func (g *Guest) Stop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, quitTimeout)
	defer cancel()
	// An error of the command itself says little: QEMU may have ended before.
	quitErr := g.Monitor.Execute(ctx, "quit", nil, nil)
	select {
	case <-g.Done():
		return nil
	default:
	}
	if quitErr == nil || g.Monitor.Err() != nil {
		select {
		case <-g.Done():
			return nil
		case <-ctx.Done():
			quitErr = ctx.Err()
		}
	}
	return fmt.Errorf("stop guest: QEMU did not quit and was killed: %w", errors.Join(quitErr, g.Kill()))
}

// Close kills QEMU if it still runs and closes all connections.
func (g *Guest) Close() error {
	err := g.Kill()
	g.Monitor.Disconnect()
	for _, conn := range []conn{g.console, g.control, g.output} {
		if closeErr := conn.Close(); !errors.Is(closeErr, net.ErrClosed) {
			err = errors.Join(err, closeErr)
		}
	}
	return err
}

// InjectNMI sends a non-maskable interrupt to every CPU of the guest. A kernel
// that hangs with interrupts off then says where.
func (g *Guest) InjectNMI(ctx context.Context) error {
	return g.Monitor.Execute(ctx, "inject-nmi", nil, nil)
}
