// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"debug/elf"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// tryAgain runs "farm repro" on what is recorded in runs.
func tryAgain(t *testing.T, runs string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	return farmVerb(t, append([]string{"repro", "--out", runs}, args...)...)
}

func farmVerb(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	var out, errs bytes.Buffer
	cmd := command(ctx, args...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("farm %s: %v", args, err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

// A failure comes back, from its run and from a capsule, with an empty cache.
func TestRepro(t *testing.T) {
	runs := t.TempDir()
	o := farmIn(t, runs, "--topology", "none", "--test", "ND-04", "--program", liar(t)+" early")
	if o.code != 1 {
		t.Fatalf("exit code %d, want 1: %s%s", o.code, o.said(), o.stderr)
	}
	code, out, stderr := tryAgain(t, runs, "-n", "2", "latest")
	if code != 1 || !strings.Contains(out, "the same way in 2 of 2") {
		t.Errorf("repro: exit code %d\n%s%s", code, out, stderr)
	}
	code, out, stderr = tryAgain(t, runs, "--json", o.dir+"/debian-7.3_noiommu_none/ND-04")
	var tries []struct {
		Tries []struct {
			Likeness string
			Seen     struct{ Verdict string }
			Dir      string
		}
	}
	if err := json.Unmarshal([]byte(out), &tries); err != nil || code != 0 || len(tries) != 1 || tries[0].Tries[0].Seen.Verdict != "pass" {
		t.Errorf("a test that passed: exit code %d, %v\n%s%s", code, err, out, stderr)
	}

	code, out, stderr = tryAgain(t, runs, "--strace", "latest/debian-7.3_noiommu_none/ND-04")
	trace, _ := filepath.Glob(filepath.Join(o.dir, "repro", "latest", "cells", "*", "strace.txt"))
	if code != 0 || len(trace) != 1 {
		t.Fatalf("--strace: exit code %d, %v\n%s%s", code, trace, out, stderr)
	}
	if text, err := os.ReadFile(trace[0]); err != nil || !bytes.Contains(text, []byte("execve(\"/suites/suites\", [\"/suites/suites\", \"-test\", \"ND-04\"")) {
		t.Errorf("strace.txt: %v\n%.1000s", err, text)
	}

	code, _, stderr = tryAgain(t, runs, "--trace", "vfio_*", "latest/debian-7.3_noiommu_none/ND-04")
	if code != 2 || !strings.Contains(stderr, "the kernel has no function tracer: run the test with --config noiommu,trace first") {
		t.Errorf("--trace without a tracer: exit code %d\n%s", code, stderr)
	}

	code, out, stderr = tryAgain(t, runs, "--dump", "latest/debian-7.3_noiommu_none/ND-04")
	if code != 0 {
		t.Fatalf("--dump: exit code %d\n%s%s", code, out, stderr)
	}
	checkMemory(t, o.dir)

	capsule := filepath.Join(t.TempDir(), "c.tar.zst")
	if code, out, stderr := farmVerb(t, "capsule", "--out", runs, "-o", capsule, "latest"); code != 0 {
		t.Fatalf("capsule: exit code %d\n%s%s", code, out, stderr)
	}
	elsewhere := t.TempDir()
	code, out, stderr = farmVerb(t, "repro", "--out", elsewhere, "--cache", filepath.Join(elsewhere, "no-cache"), capsule)
	if code != 1 || !strings.Contains(out, "the same way in 1 of 1") {
		t.Errorf("replay: exit code %d\n%s%s", code, out, stderr)
	}
}

// The kernel's functions and events are recorded while a test runs, and a name
// that the kernel does not have is the user's mistake.
func TestTrace(t *testing.T) {
	if !*slow {
		t.Skip("builds a kernel with the function tracer: run with -noiommu.slow (make verify-trace)")
	}
	runs := t.TempDir()
	o := farmIn(t, runs, "--config", "noiommu,trace", "--topology", "none", "--test", "PA-02")
	if o.code != 0 {
		t.Fatalf("exit code %d: %s%s", o.code, o.said(), o.stderr)
	}
	const test = "latest/debian-7.3_noiommu,trace_none/PA-02"
	code, out, stderr := tryAgain(t, runs, "--trace", "iommufd_*,vfio_*,sched:sched_process_exec", test)
	found, _ := filepath.Glob(filepath.Join(o.dir, "repro", "latest", "cells", "*", "trace.txt"))
	if code != 0 || len(found) != 1 || !strings.Contains(stderr, "recorded in ") {
		t.Fatalf("exit code %d, %q\n%s%s", code, found, out, stderr)
	}
	trace, err := os.ReadFile(found[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`(?m)^# tracer: function$`,
		`(?m)^ +suites-\d+ .*: iommufd_fops_ioctl <-`, // by the test's program
		`(?m): vfio_\w+ <-`,
		`(?m): sched_process_exec: filename=/suites/suites `,
	} {
		if !regexp.MustCompile(want).Match(trace) {
			t.Errorf("the trace has no %s\n%.2000s", want, trace)
		}
	}
	if regexp.MustCompile(`(?m): (?:kmalloc|schedule)\b.* <-`).Match(trace) {
		t.Error("the trace has functions that were not asked for")
	}
	for words, want := range map[string]string{
		"no_such_function_*": "the kernel has no function no_such_function_*",
		"vfio_*,no:event":    "the kernel has no event no:event",
	} {
		if code, _, stderr := tryAgain(t, runs, "--trace", words, test); code != 2 || !strings.Contains(stderr, want) {
			t.Errorf("--trace %s: exit code %d\n%s", words, code, stderr)
		}
	}
}

// checkMemory looks into the memory of a guest as a debugger does: what the
// kernel says of itself is where its symbols say.
func checkMemory(t *testing.T, run string) {
	t.Helper()
	cell := filepath.Join(run, "repro", "latest", "cells", "debian-7.3_noiommu_none")
	memory, err := elf.Open(filepath.Join(cell, "memory.elf"))
	if err != nil {
		t.Fatal(err)
	}
	defer memory.Close()
	script, err := os.ReadFile(filepath.Join(cell, "qemu.sh"))
	if err != nil {
		t.Fatal(err)
	}
	kernel := regexp.MustCompile(`/[^ ']*/vmlinux`).FindString(string(script))
	vmlinux, err := elf.Open(kernel)
	if err != nil {
		t.Fatal(err)
	}
	defer vmlinux.Close()
	symbols, err := vmlinux.Symbols()
	if err != nil {
		t.Fatal(err)
	}
	at := slices.IndexFunc(symbols, func(s elf.Symbol) bool { return s.Name == "linux_banner" })
	if at < 0 {
		t.Fatal("the kernel has no linux_banner")
	}
	banner, found := symbols[at].Value, false
	for _, p := range memory.Progs {
		if p.Type == elf.PT_NOTE {
			notes := make([]byte, p.Filesz)
			if _, err := p.ReadAt(notes, 0); err != nil || !bytes.Contains(notes, []byte("VMCOREINFO\x00")) || !bytes.Contains(notes, []byte("SYMBOL(swapper_pg_dir)=ffffffff")) {
				t.Errorf("notes: %v %q", err, notes)
			}
		}
		if p.Type != elf.PT_LOAD || banner < p.Vaddr || banner-p.Vaddr >= p.Filesz {
			continue
		}
		text := make([]byte, len("Linux version 7.3"))
		if _, err := p.ReadAt(text, int64(banner-p.Vaddr)); err != nil || string(text) != "Linux version 7.3" {
			t.Errorf("linux_banner is %q, %v", text, err)
		}
		found = true
	}
	if !found {
		t.Error("the memory does not have the kernel")
	}
}

// gdb stops in the kernel, where the statement says.
func TestDebugger(t *testing.T) {
	if _, err := exec.LookPath("gdb"); err != nil {
		t.Fatal("gdb is missing: .ci/setup installs it")
	}
	runs := t.TempDir()
	if o := farmIn(t, runs, "--topology", "none", "--test", "PA-02"); o.code != 0 {
		t.Fatalf("exit code %d: %s%s", o.code, o.said(), o.stderr)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := command(ctx, "repro", "--out", runs, "--gdb", "latest/debian-7.3_noiommu_none/PA-02")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line := make([]byte, 4096)
	n, err := stdout.Read(line)
	if err != nil {
		cmd.Wait()
		t.Fatalf("no line for gdb: %v\n%s", err, stderr.String())
	}
	gdb := exec.CommandContext(ctx, "/bin/sh", "-c", strings.TrimSpace(string(line[:n]))+
		" -batch -ex continue -ex 'info registers rip' -ex delete -ex detach")
	said, err := gdb.CombinedOutput()
	if err != nil || !strings.Contains(string(said), "Breakpoint 1, ") || !strings.Contains(string(said), "iopt_get_phys") {
		t.Errorf("gdb: %v\n%s", err, said)
	}
	// Let go, the test goes on to its end.
	rest, _ := io.ReadAll(stdout)
	if err := cmd.Wait(); err != nil || !strings.Contains(string(rest), "PASS: the same way in 1 of 1") {
		t.Errorf("after gdb: %v\n%s%s", err, rest, stderr.String())
	}
}

// terminal is a real one: the master of a pty, and all that came from it.
type terminal struct {
	t      *testing.T
	master *os.File

	mu    sync.Mutex
	said  bytes.Buffer
	more  chan struct{}
	taken int // of said, by await
}

// openTerminal makes a pty of a size. The slave is for the program.
func openTerminal(t *testing.T, rows, columns uint16) (*terminal, *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { master.Close() })
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { slave.Close() })
	term := &terminal{t: t, master: master, more: make(chan struct{}, 1)}
	term.resize(rows, columns)
	go func() {
		buf := make([]byte, 4096)
		for {
			n, err := master.Read(buf)
			term.mu.Lock()
			term.said.Write(buf[:n])
			term.mu.Unlock()
			select {
			case term.more <- struct{}{}:
			default:
			}
			if err != nil {
				return
			}
		}
	}()
	return term, slave
}

func (x *terminal) resize(rows, columns uint16) {
	x.t.Helper()
	if err := unix.IoctlSetWinsize(int(x.master.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: columns}); err != nil {
		x.t.Fatal(err)
	}
}

func (x *terminal) press(keys string) {
	x.t.Helper()
	if _, err := io.WriteString(x.master, keys); err != nil {
		x.t.Fatal(err)
	}
}

// await waits until the terminal shows the text, after all that was awaited
// before.
func (x *terminal) await(ctx context.Context, text string) {
	x.t.Helper()
	for {
		x.mu.Lock()
		rest := x.said.Bytes()[x.taken:]
		i := bytes.Index(rest, []byte(text))
		if i >= 0 {
			x.taken += i + len(text)
		}
		shown := string(rest)
		x.mu.Unlock()
		if i >= 0 {
			return
		}
		select {
		case <-x.more:
		case <-ctx.Done():
			x.t.Fatalf("%q does not appear; the terminal shows\n%q", text, shown)
		}
	}
}

// A person at a terminal: a shell with history and line editing, Ctrl-C for
// what runs and not for the shell, windows of any size, the devices and the
// suites; and the terminal as it was afterwards.
func TestShell(t *testing.T) {
	runs := t.TempDir()
	if o := farmIn(t, runs, "--topology", "none", "--test", "ND-04"); o.code != 0 {
		t.Fatalf("exit code %d: %s%s", o.code, o.said(), o.stderr)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute) // u-root's commands may have to be built
	defer cancel()
	term, slave := openTerminal(t, 33, 90)
	before, err := unix.IoctlGetTermios(int(slave.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	cmd := command(ctx, "repro", "--out", runs, "--shell", "latest/debian-7.3_noiommu_none/ND-04")
	cmd.Env = append(os.Environ(), "TERM=xterm")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	const prompt = "guest# "
	term.await(ctx, "edu is 0000:00:")
	term.await(ctx, prompt)

	term.press("suites -test ND-04\r")
	term.await(ctx, "ok 1 nodes.ND-04")
	term.await(ctx, prompt)

	// Editing: go to the start of the line, and rub out.
	term.press("cho abX\x7fc\x01e\r")
	term.await(ctx, "\nabc\r\n")
	term.await(ctx, prompt)
	// History: the line before the last.
	term.press("echo one-$((6*7))\r")
	term.await(ctx, "\none-42\r\n")
	term.await(ctx, prompt)
	term.press("\x1b[A\x1b[A\r")
	term.await(ctx, "\nabc\r\n")
	term.await(ctx, prompt)

	// Ctrl-C ends a program and a loop of the shell itself, and gives up a line.
	for _, busy := range []string{"echo begun; sleep 10000", "echo begun; while true; do true; done"} {
		term.press(busy + "\r")
		term.await(ctx, "\nbegun\r\n")
		term.press("\x03")
		term.await(ctx, prompt)
	}
	term.press("not a command\x03")
	term.await(ctx, prompt)
	term.press("echo still here\r")
	term.await(ctx, "\nstill here\r\n")
	term.await(ctx, prompt)

	// The window, as it is and as it becomes.
	term.press("/repro/inside window\r")
	term.await(ctx, "\n33 90\r\n")
	term.resize(50, 132)
	term.press("/repro/inside window 50 132\r")
	term.await(ctx, "\n50 132\r\n")
	term.await(ctx, prompt)

	term.press("\x04")
	if err := cmd.Wait(); err != nil {
		t.Errorf("farm repro --shell: %v\n%s", err, term.said.String())
	}
	after, err := unix.IoctlGetTermios(int(slave.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	if *after != *before {
		t.Errorf("the terminal was left as %+v, it was %+v", *after, *before)
	}
}
