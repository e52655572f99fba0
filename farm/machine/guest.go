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
	"slices"
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

	machine         Machine
	pvh             bool // see Wiring
	argv            []string
	process         *process
	stderr          *tail
	console         *os.File
	control, output conn
	memory          *memoryFile
	ram, state      *os.File // of a guest that can be saved; see [Guest.Save]
}

// BootOptions are about the host alone; the guest cannot tell them apart.
type BootOptions struct {
	// Stderr receives what QEMU says on stderr, as it comes. It may be nil.
	Stderr io.Writer
	// Savable keeps the guest's memory in a file, so that it can be saved.
	Savable bool
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
	var more []*os.File
	if options.Savable {
		for _, name := range []string{"guest-ram", "guest-state"} {
			file, err := memfd(name)
			if err != nil {
				closeAll(more)
				return nil, fmt.Errorf("boot guest: %w", err)
			}
			more = append(more, file)
		}
	}
	guest, err := start(ctx, m.QEMU, func(w Wiring) []string {
		w.PVH = pvh
		return m.Args(w)
	}, options, more...)
	if err != nil {
		closeAll(more)
		return nil, err
	}
	guest.machine, guest.pvh = m, pvh
	if options.Savable {
		guest.ram, guest.state = more[0], more[1]
	}
	return guest, nil
}

func closeAll(files []*os.File) {
	for _, file := range files {
		file.Close()
	}
}

// start starts QEMU with the arguments that args makes of the descriptors. more
// are the files of memory and device state, or none; they stay the caller's.
func start(ctx context.Context, qemu string, args func(Wiring) []string, options BootOptions, more ...*os.File) (_ *Guest, err error) {
	var ours []io.Closer // closed here only when the guest does not start
	var theirs []*os.File
	defer func() {
		for _, file := range theirs {
			file.Close()
		}
		if err != nil {
			for _, one := range ours {
				one.Close()
			}
		}
	}()
	var sockets [3]conn // QMP, control, output
	for i := range sockets {
		socket, file, err := socketpair()
		if err != nil {
			return nil, fmt.Errorf("boot guest: make a socketpair: %w", err)
		}
		sockets[i] = socket
		ours, theirs = append(ours, socket), append(theirs, file)
	}
	console, file, err := consolePipe()
	if err != nil {
		return nil, fmt.Errorf("boot guest: make the console's pipe: %w", err)
	}
	ours, theirs = append(ours, console), append(theirs, file)
	memory, err := newMemoryFile()
	if err != nil {
		return nil, fmt.Errorf("boot guest: %w", err)
	}
	ours = append(ours, memory)

	// os/exec numbers ExtraFiles from 3.
	wiring := Wiring{QMP: 3, Control: 4, Output: 5, Console: 6}
	if len(more) > 0 {
		wiring.Memory, wiring.State = savedMemoryDescriptor, stateDescriptor
	}
	cmd := exec.Command(qemu, args(wiring)...)
	cmd.ExtraFiles = append(append(slices.Clone(theirs), memory.file), more...) // from memoryDescriptor on
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
	monitor, err := qmp.Open(greetingCtx, sockets[0])
	if err != nil {
		select {
		case <-process.done:
			return nil, fmt.Errorf("boot guest: %w", &EndedError{State: cmd.ProcessState, Stderr: stderr.String()})
		case <-time.After(quitTimeout): // the monitor was closed by something else
		case <-ctx.Done():
		}
		err = errors.Join(err, process.kill())
		return nil, fmt.Errorf("boot guest: QEMU does not answer: %w; stderr: %q", err, stderr)
	}
	return &Guest{
		Monitor: monitor,
		argv:    cmd.Args,
		process: process,
		stderr:  stderr,
		console: console, control: sockets[1], output: sockets[2],
		memory: memory,
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

// EndedError says that QEMU ended before there was a guest.
type EndedError struct {
	State  *os.ProcessState
	Stderr string // the last 64 KiB of it
}

func (e *EndedError) Error() string {
	if e.Stderr == "" {
		return fmt.Sprintf("QEMU ended (%v) and said nothing", e.State)
	}
	return fmt.Sprintf("QEMU ended (%v): %s", e.State, e.Stderr)
}

// socketpair returns our end and the end for QEMU.
func socketpair() (conn, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return conn{}, nil, err
	}
	mine, theirs := os.NewFile(uintptr(fds[0]), "guest"), os.NewFile(uintptr(fds[1]), "qemu")
	defer mine.Close() // net.FileConn makes a copy
	socket, err := net.FileConn(mine)
	if err != nil {
		theirs.Close()
		return conn{}, nil, err
	}
	return conn{socket}, theirs, nil
}

// consoleBuffer is the size of the console's pipe, in bytes: what any user may
// ask for (/proc/sys/fs/pipe-max-size).
const consoleBuffer = 1 << 20

// consolePipe returns our end and the end for QEMU.
//
// It is a pipe because QEMU writes the serial port one byte at a time. A socket
// charges almost a kilobyte for each of them, so it is full after some hundred
// characters; the guest's driver waits 10 ms for the port and then drops
// characters. A pipe puts the bytes side by side.
func consolePipe() (*os.File, *os.File, error) {
	mine, theirs, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	// Not more than a wish: a user with many pipes may be refused, and then
	// 64 KiB must do.
	unix.FcntlInt(theirs.Fd(), unix.F_SETPIPE_SZ, consoleBuffer)
	return mine, theirs, nil
}

// Console is the serial port: what the kernel says. It must be read all the
// time; a megabyte is kept, and after that the guest loses characters. After
// the end of QEMU the rest can still be read, and then it ends with io.EOF. So
// it is with Control and Output, except that there the guest waits.
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
	for _, one := range []io.Closer{g.console, g.control, g.output, g.memory} {
		one.Close() // its error changes nothing: the guest is gone
	}
	if g.ram != nil {
		closeAll([]*os.File{g.ram, g.state})
	}
	return err
}

// InjectNMI sends a non-maskable interrupt to every CPU of the guest. A kernel
// that hangs with interrupts off then says where.
func (g *Guest) InjectNMI(ctx context.Context) error {
	return g.Monitor.Execute(ctx, "inject-nmi", nil, nil)
}
