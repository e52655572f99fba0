// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"noiommu-farm/internal/fault"
)

// helloCode is a kernel that says its command line a hundred times, without
// waiting for the serial port, and then halts. An NMI ends the machine by a
// triple fault.
var helloCode = []byte{
	// start: no interrupt table, so any exception or NMI ends the machine
	0xfa,                                     // cli
	0x0f, 0x01, 0x1d, 0x3c, 0x00, 0x10, 0x00, // lidtl 0x100000+idtr-start
	// Enable the local APIC and let its second pin be the NMI.
	0xc7, 0x05, 0xf0, 0x00, 0xe0, 0xfe, 0xff, 0x01, 0x00, 0x00, // movl $0x1ff, 0xfee000f0
	0xc7, 0x05, 0x60, 0x03, 0xe0, 0xfe, 0x00, 0x04, 0x00, 0x00, // movl $0x400, 0xfee00360
	0xba, 0xf8, 0x03, 0x00, 0x00, // movl $0x3f8, %edx
	0xb9, 0x64, 0x00, 0x00, 0x00, // movl $100, %ecx
	// line: the address of the command line is in hvm_start_info
	0x8b, 0x73, 0x18, // movl 24(%ebx), %esi
	// char:
	0x8a, 0x06, // movb (%esi), %al
	0x84, 0xc0, // testb %al, %al
	0x74, 0x04, // je end
	0xee,       // outb %al, (%dx)
	0x46,       // incl %esi
	0xeb, 0xf6, // jmp char
	// end:
	0xb0, 0x0a, // movb $10, %al
	0xee,       // outb %al, (%dx)
	0x49,       // decl %ecx
	0x75, 0xed, // jne line
	// stop:
	0xf4,       // hlt
	0xeb, 0xfd, // jmp stop
	// idtr:
	0x00, 0x00, // .word 0
	0x00, 0x00, 0x00, 0x00, // .long 0
}

const helloLines = 100

// helloMachine is a machine with that kernel.
func helloMachine(t *testing.T, args ...string) Machine {
	t.Helper()
	kernel := filepath.Join(t.TempDir(), "vmlinux")
	if err := os.WriteFile(kernel, kernelImage(helloCode), 0o600); err != nil {
		t.Fatal(err)
	}
	return tinyMachine(t, kernel, args...)
}

func tinyMachine(t *testing.T, kernel string, args ...string) Machine {
	t.Helper()
	qemu, _, err := FindQEMU()
	if err != nil {
		t.Fatal(err)
	}
	return Machine{
		Topology: None, CPUs: 1, MemoryMiB: MinMemoryMiB, Accel: TCG,
		QEMU: qemu, Kernel: kernel, Append: args,
		ControlPort: "test.control", OutputPort: "test.output",
	}
}

func boot(t *testing.T, m Machine) *Guest {
	t.Helper()
	g, err := Boot(t.Context(), m, BootOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	})
	return g
}

// gone fails when QEMU still exists in any state, a zombie included.
func gone(t *testing.T, g *Guest) {
	t.Helper()
	if err := unix.Kill(g.PID(), 0); !errors.Is(err, unix.ESRCH) {
		t.Errorf("signal to QEMU: %v, want no such process", err)
	}
}

// wholeConsole checks that nothing is missing from what the guest said.
func wholeConsole(t *testing.T, m Machine, text []byte) {
	t.Helper()
	want := strings.Repeat(strings.Join(m.KernelArgs(), " ")+"\n", helloLines)
	if string(text) != want {
		t.Errorf("console has %d bytes, want %d; it begins %.300q", len(text), len(want), text)
	}
}

// Every topology and every device starts, and the kernel gets its command
// line.
func TestBoot(t *testing.T) {
	for _, topology := range Topologies() {
		t.Run(string(topology), func(t *testing.T) {
			m := helloMachine(t, "last=1")
			m.Topology = topology
			m.Devices = append(Devices(), Edu, IGB)
			m.CPUs = 2
			m.MemoryMiB = 256
			g := boot(t, m)
			line, err := bufio.NewReader(g.Console()).ReadString('\n')
			if want := strings.Join(m.KernelArgs(), " ") + "\n"; err != nil || line != want {
				t.Fatalf("console: %q, %v; want %q", line, err, want)
			}
			if state := g.ExitState(); state != nil {
				t.Errorf("QEMU ended: %v", state)
			}
			if group, err := unix.Getpgid(g.PID()); err != nil || group != g.PID() {
				t.Errorf("QEMU's process group is %d, %v; want its own, %d", group, err, g.PID())
			}
			if err := g.Stop(t.Context()); err != nil {
				t.Error(err)
			}
			if state := g.ExitState(); state == nil || !state.Success() {
				t.Errorf("QEMU ended: %v", state)
			}
			gone(t, g)
			if err := g.Stop(t.Context()); err != nil {
				t.Errorf("stop of a stopped guest: %v", err)
			}
		})
	}
}

// The command line in the run directory is the one that was executed.
func TestCommandLine(t *testing.T) {
	g := boot(t, helloMachine(t, `quoted="a 'b'"`))
	ran, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", g.PID()))
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Split(strings.TrimSuffix(string(ran), "\x00"), "\x00"); !slices.Equal(got, g.Command()) {
		t.Errorf("executed %q, Command is %q", got, g.Command())
	}
	out, err := exec.Command("sh", "-c", `printf '%s\0' `+g.CommandLine()).Output()
	if err != nil || !bytes.Equal(out, ran) {
		t.Errorf("a shell reads the command line as %q, %v; executed %q", out, err, ran)
	}
}

// A guest that ends by itself ends QEMU, and what it said is whole although
// nobody read it before.
func TestConsoleOutlivesQEMU(t *testing.T) {
	m := helloMachine(t)
	g := boot(t, m)
	for unread(t, g.console) < helloLines*len(strings.Join(m.KernelArgs(), " ")+"\n") {
	}
	if err := g.InjectNMI(t.Context()); err != nil {
		t.Fatal(err)
	}
	if state := g.Wait(); !state.Success() {
		t.Errorf("QEMU ended: %v", state)
	}
	gone(t, g)
	text, err := io.ReadAll(g.Console())
	if err != nil {
		t.Error(err)
	}
	wholeConsole(t, m, text)
	for name, port := range map[string]io.Reader{"control": g.Control(), "output": g.Output()} {
		if rest, err := io.ReadAll(port); err != nil || len(rest) > 0 {
			t.Errorf("%s: %q, %v", name, rest, err)
		}
	}
}

// unread is how many bytes wait in a pipe (FIONREAD, which is TIOCINQ).
func unread(t *testing.T, pipe *os.File) int {
	t.Helper()
	raw, err := pipe.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var n int
	var ioctlErr error
	if err := raw.Control(func(fd uintptr) { n, ioctlErr = unix.IoctlGetInt(int(fd), unix.TIOCINQ) }); err != nil {
		t.Fatal(err)
	}
	if ioctlErr != nil {
		t.Fatal(ioctlErr)
	}
	return n
}

func TestQEMUIsKilled(t *testing.T) {
	m := helloMachine(t)
	g := boot(t, m)
	console := bufio.NewReader(g.Console())
	text := make([]byte, helloLines*(len(strings.Join(m.KernelArgs(), " "))+1))
	if _, err := io.ReadFull(console, text); err != nil {
		t.Fatal(err)
	}
	wholeConsole(t, m, text)
	// Nobody in the guest reads this: the other end resets the connection.
	if _, err := g.Control().Write([]byte("unread")); err != nil {
		t.Fatal(err)
	}
	if err := unix.Kill(g.PID(), unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if status := g.Wait().Sys().(syscall.WaitStatus); !status.Signaled() || status.Signal() != syscall.SIGKILL {
		t.Errorf("QEMU ended: %v", g.ExitState())
	}
	<-g.Monitor.Done()
	gone(t, g)
	if err := g.Monitor.Execute(t.Context(), "query-status", nil, nil); err == nil {
		t.Error("QMP answers without QEMU")
	}
	if rest, err := io.ReadAll(g.Control()); err != nil || len(rest) > 0 {
		t.Errorf("control: %q, %v", rest, err)
	}
	if err := g.Stop(t.Context()); err != nil {
		t.Errorf("stop of a dead guest: %v", err)
	}
	if err := g.Kill(); err != nil {
		t.Errorf("kill of a dead guest: %v", err)
	}
}

// The guest halts with interrupts off; only an NMI reaches it.
func TestInjectNMI(t *testing.T) {
	m := helloMachine(t)
	g := boot(t, m)
	if _, err := bufio.NewReader(g.Console()).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	if err := g.InjectNMI(t.Context()); err != nil {
		t.Fatal(err)
	}
	g.Wait()
}

// A QEMU that does not answer is killed.
func TestStopKills(t *testing.T) {
	g := boot(t, helloMachine(t))
	if err := unix.Kill(g.PID(), unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := g.Stop(ctx); err == nil || !errors.Is(err, context.Canceled) {
		t.Errorf("err = %v", err)
	}
	gone(t, g)
}

func TestBootRefuses(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, content []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	image := kernelImage(helloCode)
	noNote := bytes.Replace(image, []byte("Xen\x00"), []byte("Zen\x00"), 1)
	fifo := filepath.Join(dir, "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	good := tinyMachine(t, write("vmlinux", image))
	tests := []struct {
		name, key, want string
		change          func(*Machine)
	}{
		{"topology", "topology", "bogus", func(m *Machine) { m.Topology = "bogus" }},
		{"no kernel", "kernel", "no such file", func(m *Machine) { m.Kernel = filepath.Join(dir, "none") }},
		{"kernel is a folder", "kernel", "not a regular file", func(m *Machine) { m.Kernel = dir }},
		{"kernel is a pipe", "kernel", "not a regular file", func(m *Machine) { m.Kernel = fifo }},
		{"no PVH entry", "kernel", "CONFIG_PVH", func(m *Machine) { m.Kernel = write("no-note", noNote) }},
		{"truncated ELF", "kernel", "EOF", func(m *Machine) { m.Kernel = write("short", image[:40]) }},
		{"no initrd", "initrd", "no such file", func(m *Machine) { m.Initrd = filepath.Join(dir, "none") }},
		{"no QEMU", "qemu", "no such file", func(m *Machine) { m.QEMU = filepath.Join(dir, "none") }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			m := good
			test.change(&m)
			_, err := Boot(t.Context(), m, BootOptions{})
			var usage *fault.Usage
			if !errors.As(err, &usage) || usage.Key != test.key || !strings.Contains(err.Error(), test.want) {
				t.Errorf("err = %v; want a usage error of %q with %q in it", err, test.key, test.want)
			}
		})
	}

	t.Run("QEMU refuses", func(t *testing.T) {
		m := good
		m.Kernel = write("bzImage", []byte("not a kernel"))
		var heard bytes.Buffer
		_, err := Boot(t.Context(), m, BootOptions{Stderr: &heard})
		var ended *EndedError
		if !errors.As(err, &ended) || ended.State.ExitCode() != 1 || ended.Stderr != strings.TrimSpace(heard.String()) {
			t.Fatalf("err = %#v, heard %q", err, &heard)
		}
		if !strings.Contains(err.Error(), "invalid kernel header") {
			t.Errorf("the error does not have QEMU's reason: %v", err)
		}
	})
	t.Run("bad argument", func(t *testing.T) {
		_, err := start(t.Context(), good.QEMU, func(Wiring) []string { return []string{"-bogus"} }, BootOptions{})
		var ended *EndedError
		if !errors.As(err, &ended) || !strings.Contains(err.Error(), "-bogus: invalid option") {
			t.Errorf("err = %v", err)
		}
	})
	t.Run("QEMU is silent", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := start(ctx, "sleep", func(Wiring) []string { return []string{"infinity"} }, BootOptions{})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("err = %v", err)
		}
	})
}

// Neither a guest nor a failed boot leaves a descriptor open.
func TestNoDescriptorIsLost(t *testing.T) {
	m := helloMachine(t)
	count := func() int {
		names, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(names)
	}
	once := func() {
		g, err := Boot(t.Context(), m, BootOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if err := g.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := start(t.Context(), m.QEMU, func(Wiring) []string { return []string{"-bogus"} }, BootOptions{}); err == nil {
			t.Fatal("QEMU accepts -bogus")
		}
	}
	once() // the runtime opens its own descriptors once
	before := count()
	for range 5 {
		once()
	}
	if after := count(); after > before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
}

// farmEnv makes this test binary play the farm: it boots the kernel that the
// variable names, says QEMU's process id and waits for its own end.
const farmEnv = "MACHINE_TEST_FARM_KERNEL"

func TestMain(m *testing.M) {
	if kernel := os.Getenv(farmEnv); kernel != "" {
		playFarm(kernel)
	}
	os.Exit(m.Run())
}

func playFarm(kernel string) {
	qemu, _, err := FindQEMU()
	if err == nil {
		var g *Guest
		g, err = Boot(context.Background(), Machine{
			Topology: None, CPUs: 1, MemoryMiB: MinMemoryMiB, Accel: TCG, QEMU: qemu, Kernel: kernel,
			ControlPort: "test.control", OutputPort: "test.output",
		}, BootOptions{})
		if err == nil {
			fmt.Println(g.PID())
			g.Wait()
		}
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

func TestQEMUDiesWithTheFarm(t *testing.T) {
	kernel := helloMachine(t).Kernel
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	farm := exec.Command(self)
	farm.Env = append(os.Environ(), farmEnv+"="+kernel)
	farm.Stderr = os.Stderr
	stdout, err := farm.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := farm.Start(); err != nil {
		t.Fatal(err)
	}
	defer farm.Wait()
	defer farm.Process.Kill()
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatal(err)
	}
	qemu, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(qemu)
	ended := func(milliseconds int) bool {
		for {
			n, err := unix.Poll([]unix.PollFd{{Fd: int32(qemu), Events: unix.POLLIN}}, milliseconds)
			if !errors.Is(err, unix.EINTR) {
				return n == 1 && err == nil
			}
		}
	}
	if ended(0) {
		t.Fatal("QEMU ended before the farm was killed")
	}
	if err := farm.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if !ended(30_000) {
		t.Error("QEMU runs half a minute after the farm was killed")
		unix.PidfdSendSignal(qemu, unix.SIGKILL, nil, 0)
	}
}
