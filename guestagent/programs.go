// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"noiommu-farm/guestagent/wire"
)

const (
	// programPath is PATH for programs; u-root's commands are in /bin.
	programPath = "/bin:/sbin:/usr/bin:/usr/sbin"
	// stuckAfter is how long a process may take to die of SIGKILL before it
	// counts as stuck. Freeing gigabytes of pinned memory under an emulated
	// CPU with a debug kernel takes many seconds.
	stuckAfter = 30 * time.Second
	maxName    = 200 // of a run, in bytes; a line of the kernel log is bounded
)

// programs runs test programs, one at a time.
type programs struct {
	nursery *nursery
	output  *outputPort
	log     *kernelLog
	tmp     string // where each program's own directory is made
	cores   string // where the kernel leaves core files
	taint   func() int64
	stuck   time.Duration // see stuckAfter
}

// check refuses a request that no program can be started from.
func check(r *wire.Run) error {
	switch {
	case r.Name == "" || len(r.Name) > maxName || !utf8.ValidString(r.Name) || strings.ContainsFunc(r.Name, unicode.IsControl):
		return fmt.Errorf("name %.*q: not one line of 1 to %d bytes", maxName, r.Name, maxName)
	case len(r.Argv) == 0 || !filepath.IsAbs(r.Argv[0]):
		return fmt.Errorf("argv %.200q: argv[0] is not an absolute path", r.Argv)
	case r.TimeoutMS <= 0 || r.TimeoutMS > int64(1<<63-1)/int64(time.Millisecond):
		return fmt.Errorf("timeout of %d ms", r.TimeoutMS)
	}
	return nil
}

// run runs one program to its end and says how it ended. started is called
// once it runs; kill ends it early. It inherits the socket to the host, if
// there is one, which run closes. The error is the farm's: the program could
// not be started, or the output port failed.
func (p *programs) run(r *wire.Run, socket *os.File, coreLimit int64, kill <-chan struct{}, started func() error) (*wire.Exited, error) {
	if socket != nil {
		defer socket.Close()
	}
	if err := check(r); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(p.tmp, fmt.Sprintf("run-%d-", r.ID))
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)

	p.log.start(r.ID, r.Name)
	defer p.log.end(r.ID)
	began := time.Now()
	stdout, stderr := newStream(p.output, r.ID, wire.Stdout), newStream(p.output, r.ID, wire.Stderr)
	pid, ended, err := p.start(r, dir, stdout, stderr, socket)
	if err != nil {
		return nil, err
	}
	x := &wire.Exited{ID: r.ID, Code: -1}
	sent := started()

	status, isOver := p.await(pid, ended, time.Duration(r.TimeoutMS)*time.Millisecond, kill, x)
	x.WallMS = time.Since(began).Milliseconds()
	if isOver {
		x.Core = status.CoreDump()
		if status.Signaled() {
			x.Signal = int(status.Signal())
		} else {
			x.Code = status.ExitStatus()
		}
	}
	x.Leftovers, x.Stuck, err = sweep(pid, p.stuck)
	if err != nil {
		return nil, err
	}
	if x.Stuck > 0 {
		// What cannot die may hold the pipes for ever.
		stdout.hurry()
		stderr.hurry()
	}
	err = errors.Join(sent, stdout.wait(), stderr.wait())
	x.Stdout, x.Stderr = stdout.sent, stderr.sent
	if err == nil && x.Core {
		x.CoreBytes, err = p.sendCore(r.ID, pid, coreLimit)
	}
	p.removeCores()
	x.Taint = p.taint()
	return x, err
}

// start starts the program in a session of its own and its streams with it.
func (p *programs) start(r *wire.Run, dir string, stdout, stderr *stream, socket *os.File) (int, <-chan unix.WaitStatus, error) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		return 0, nil, err
	}
	defer null.Close()
	var ends []*os.File // the program's
	defer func() {
		for _, f := range ends {
			f.Close()
		}
	}()
	for _, s := range []*stream{stdout, stderr} {
		read, write, err := os.Pipe()
		if err != nil {
			stdout.close()
			return 0, nil, err
		}
		s.pipe, ends = read, append(ends, write)
	}
	attr := &syscall.ProcAttr{
		Dir:   dir,
		Env:   environment(r.Env, dir),
		Files: []uintptr{null.Fd(), ends[0].Fd(), ends[1].Fd()},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	}
	if socket != nil {
		attr.Env = append(attr.Env, fmt.Sprintf("%s=%d", wire.HostEnv, len(attr.Files)))
		attr.Files = append(attr.Files, socket.Fd())
	}
	argv, err := restrict(r.Privileges, r.Argv, attr)
	if err != nil {
		stdout.close()
		stderr.close()
		return 0, nil, err
	}
	pid, ended, err := p.nursery.start(argv, attr)
	if err != nil {
		stdout.close()
		stderr.close()
		return 0, nil, fmt.Errorf("exec %s: %w", r.Argv[0], err)
	}
	go stdout.copy()
	go stderr.copy()
	return pid, ended, nil
}

// environment is what the host gave, and what every program expects.
func environment(given []string, dir string) []string {
	env := slices.Clone(given)
	for _, d := range []string{"PATH=" + programPath, "HOME=" + dir, "TMPDIR=" + dir} {
		name, _, _ := strings.Cut(d, "=")
		if !slices.ContainsFunc(given, func(g string) bool { return strings.HasPrefix(g, name+"=") }) {
			env = append(env, d)
		}
	}
	return env
}

// await waits for the end of the program and brings it about at the timeout or
// when asked to. It reports false for a program that SIGKILL does not end.
func (p *programs) await(pid int, ended <-chan unix.WaitStatus, timeout time.Duration, kill <-chan struct{}, x *wire.Exited) (unix.WaitStatus, bool) {
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	timedOut := false
	select {
	case status := <-ended:
		return status, true
	case <-timer.C:
		timedOut = true
	case <-kill:
	}
	// Should it have been reaped just now, then the number is nobody's: the
	// kernel gives numbers out in order, and this one comes again last.
	_ = unix.Kill(-pid, unix.SIGKILL)
	select {
	case status := <-ended:
		x.TimedOut = timedOut && status.Signaled()
		return status, true
	case <-time.After(p.stuck):
		x.TimedOut = timedOut
		return 0, false
	}
}
