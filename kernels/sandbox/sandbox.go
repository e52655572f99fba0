// SPDX-License-Identifier: Apache-2.0

// Package sandbox runs build tools on code that nobody has read.
//
// In comes a program, the directories it may see and the places they appear
// at; out goes its exit code. The program has no network, no home, no
// capabilities, its own process numbers and its own /tmp. Of the machine it
// sees /usr (read-only) and what was mounted for it. It dies with the farm,
// and when it wants more of the machine than its limits. The package never runs
// anything outside bubblewrap.
package sandbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// A Mount shows a file or directory of the machine at a place in the sandbox.
type Mount struct {
	Outside, Inside string
	Writable        bool
}

// A Command is a program and the world it sees.
type Command struct {
	Args   []string
	Dir    string   // working directory in the sandbox; "" is /
	Env    []string // NAME=value; nothing else is inherited but [path] and a C locale
	Mounts []Mount  // in order: a later one may cover part of an earlier one
	Limits Limits
	Stdin  io.Reader
	Stdout io.Writer // nil: standard output goes where standard error goes, in order; else whoever reads it bounds it
	Stderr io.Writer
}

// An ExitError is a program that ran in the sandbox and failed.
type ExitError struct {
	Program string
	Code    int
}

func (e *ExitError) Error() string { return fmt.Sprintf("%s: exit code %d", e.Program, e.Code) }

// path leaves out /usr/local: what a build finds must be what the
// distribution's packages put there.
const path = "/usr/sbin:/usr/bin:/sbin:/bin"

// Run runs c to its end. A program that fails is an *ExitError, one that wants
// more than its limits a *LimitError; anything else is a sandbox that did not
// work. When ctx ends or a limit is reached, every process of the sandbox is
// killed before Run returns.
func Run(ctx context.Context, c Command) error {
	bwrap, err := exec.LookPath("bwrap")
	if err != nil {
		return errors.New("sandbox: bwrap is not installed (Debian package: bubblewrap)")
	}
	args, err := arguments(c)
	if err != nil {
		return fmt.Errorf("sandbox: %w", err)
	}

	// The arguments go through a file: a series that touches many files
	// needs more mounts than a command line holds.
	list, err := argumentFile(args)
	if err != nil {
		return fmt.Errorf("sandbox: %w", err)
	}
	defer list.Close()
	statusRead, statusWrite, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("sandbox: %w", err)
	}
	defer statusRead.Close()
	defer statusWrite.Close()

	limits := c.Limits.orDefaults()
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	ctx, cancel := context.WithTimeoutCause(ctx, limits.Time, &LimitError{c.Args[0], fmt.Sprintf("it ran for more than %v", limits.Time)})
	defer cancel()
	output := &meter{left: limits.Output, stop: func() {
		stop(&LimitError{c.Args[0], fmt.Sprintf("it printed more than %s", size(limits.Output))})
	}}

	var complaint tail
	// choom: it is what the machine kills first when memory runs out.
	cmd := exec.CommandContext(ctx, "choom", append([]string{"-n", "500", "--", bwrap, "--args", "3", "--json-status-fd", "4", "--"}, inner(c.Args, limits)...)...)
	cmd.ExtraFiles = []*os.File{list, statusWrite}
	cmd.Stdin = c.Stdin
	var stderr io.Writer = &complaint
	if c.Stderr != nil {
		stderr = io.MultiWriter(c.Stderr, &complaint)
	}
	stderr = output.through(stderr)
	cmd.Stdout, cmd.Stderr = stderr, stderr
	if c.Stdout != nil {
		cmd.Stdout = c.Stdout
	}
	// Without a limit a descendant that left with the pipe could hold Wait
	// for ever; with the process namespace gone none can live this long.
	cmd.WaitDelay = 10 * time.Second

	// bwrap dies with the thread that started it, so that thread must not
	// end before it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("sandbox: %w", err)
	}
	statusWrite.Close()
	watching := make(chan struct{})
	go func() {
		defer close(watching)
		watch(ctx, cmd.Process.Pid, c, stop)
	}()
	status := make(chan []byte)
	go func() {
		b, _ := io.ReadAll(io.LimitReader(statusRead, 1<<16))
		status <- b
	}()
	err = cmd.Wait()
	report := <-status
	cause := context.Cause(ctx) // before the watch is told to end
	stop(nil)
	<-watching
	var limit *LimitError
	switch {
	case errors.As(cause, &limit):
		return limit
	case cause != nil:
		return fmt.Errorf("sandbox: %s: %w", c.Args[0], cause)
	}
	var exit *exec.ExitError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &exit) && exit.Exited() && bytes.Contains(report, []byte(`"exit-code"`)):
		return &ExitError{Program: c.Args[0], Code: exit.ExitCode()}
	default:
		return fmt.Errorf("sandbox: bwrap: %w: %s", err, strings.TrimSpace(complaint.String()))
	}
}

// inner puts limits on the program that the kernel enforces.
func inner(args []string, limits Limits) []string {
	return append([]string{"prlimit", "--core=0", fmt.Sprintf("--fsize=%d", limits.File), fmt.Sprintf("--nproc=%d", limits.Processes), "--"}, args...)
}

func arguments(c Command) ([]string, error) {
	var args []string
	if userNamespaces() {
		// In one of its own a program could mount memory without a limit.
		args = append(args, "--unshare-user", "--disable-userns")
	}
	args = append(args,
		"--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL",
		"--hostname", "farm", "--clearenv",
		"--setenv", "PATH", path, "--setenv", "HOME", "/tmp", "--setenv", "LC_ALL", "C", "--setenv", "TZ", "UTC",
		"--ro-bind", "/usr", "/usr",
		"--ro-bind-try", "/etc/alternatives", "/etc/alternatives", // awk and cc are links into it
		"--ro-bind-try", "/etc/ld.so.cache", "/etc/ld.so.cache",
	)
	for _, dir := range []string{"/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"} {
		fi, err := os.Lstat(dir)
		if err != nil {
			continue
		}
		if fi.Mode()&os.ModeSymlink == 0 {
			args = append(args, "--ro-bind", dir, dir)
			continue
		}
		target, err := os.Readlink(dir)
		if err != nil {
			return nil, err
		}
		args = append(args, "--symlink", target, dir)
	}
	scratch := fmt.Sprint(c.Limits.orDefaults().Scratch)
	args = append(args, "--proc", "/proc",
		"--dev", "/dev", "--size", scratch, "--tmpfs", "/dev/shm", "--remount-ro", "/dev",
		"--size", scratch, "--tmpfs", "/tmp")
	for _, m := range c.Mounts {
		outside, err := filepath.Abs(m.Outside)
		if err != nil {
			return nil, err
		}
		how := "--ro-bind"
		if m.Writable {
			how = "--bind"
		}
		args = append(args, how, outside, m.Inside)
	}
	for _, e := range c.Env {
		name, value, ok := strings.Cut(e, "=")
		if !ok {
			return nil, fmt.Errorf("environment %q has no =", e)
		}
		args = append(args, "--setenv", name, value)
	}
	// Only now: the mounts made their own places in /. What root owns below
	// /proc/sys is the machine's, and root in a sandbox is root to it.
	args = append(args, "--remount-ro", "/proc", "--remount-ro", "/")
	if c.Dir != "" {
		args = append(args, "--chdir", c.Dir)
	}
	for _, a := range args {
		if strings.ContainsRune(a, 0) {
			return nil, fmt.Errorf("argument %q has a NUL", a)
		}
	}
	return args, nil
}

// argumentFile is an open, nameless file with the arguments, each ended by
// NUL.
func argumentFile(args []string) (*os.File, error) {
	f, err := os.CreateTemp("", "noiommu-farm-sandbox-")
	if err != nil {
		return nil, err
	}
	os.Remove(f.Name())
	if _, err := f.WriteString(strings.Join(args, "\x00") + "\x00"); err == nil {
		_, err = f.Seek(0, io.SeekStart)
		if err == nil {
			return f, nil
		}
	}
	f.Close()
	return nil, fmt.Errorf("write the list of arguments: %w", err)
}

// tail keeps the last bytes written to it.
type tail struct{ b []byte }

func (t *tail) Write(p []byte) (int, error) {
	const keep = 4096
	t.b = append(t.b, p...)
	if len(t.b) > keep {
		t.b = t.b[len(t.b)-keep:]
	}
	return len(p), nil
}

func (t *tail) String() string { return string(t.b) }

// Look says whether the sandbox has program, and which Debian package has it
// when not.
func Look(program, pkg string) error {
	for dir := range strings.SplitSeq(path, ":") {
		if fi, err := os.Stat(filepath.Join(dir, program)); err == nil && fi.Mode()&0o111 != 0 {
			return nil
		}
	}
	return fmt.Errorf("%s is not installed (Debian package: %s)", program, pkg)
}
