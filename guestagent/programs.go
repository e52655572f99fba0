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
	quiet   func()        // see guest.quiet
	stuck   time.Duration // see stuckAfter
	waiting *waiting      // a program that was started before it is needed, or nil
}

// check refuses a request that no program can be started from.
func check(r *wire.Run) error {
	switch {
	case r.Name == "" || len(r.Name) > maxName || !utf8.ValidString(r.Name) || strings.ContainsFunc(r.Name, unicode.IsControl):
		return fmt.Errorf("name %.*q: not one line of 1 to %d bytes", maxName, r.Name, maxName)
	case r.TimeoutMS <= 0 || r.TimeoutMS > int64(1<<63-1)/int64(time.Millisecond):
		return fmt.Errorf("timeout of %d ms", r.TimeoutMS)
	}
	return checkArgv(r.Argv)
}

func checkArgv(argv []string) error {
	if len(argv) == 0 || !filepath.IsAbs(argv[0]) {
		return fmt.Errorf("argv %.200q: argv[0] is not an absolute path", argv)
	}
	return nil
}

// child is a program that was started.
type child struct {
	pid            int
	ended          <-chan unix.WaitStatus
	dir            string // its own, to be removed
	stdout, stderr *stream
	line           int // the socket of one that waited; 0 when it did not
}

// forget gives back what a child had that has ended.
func (c *child) forget() {
	if c.line != 0 {
		unix.Close(c.line)
	}
	os.RemoveAll(c.dir)
}

// belongs says of which run the child is.
func (c *child) belongs(run uint32) {
	c.stdout.belongs(run)
	c.stderr.belongs(run)
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
	p.log.start(r.ID, r.Name)
	defer p.log.end(r.ID)
	began := time.Now()
	c, err := p.begin(r, socket)
	if err != nil {
		return nil, err
	}
	defer c.forget()
	c.belongs(r.ID)
	x := &wire.Exited{ID: r.ID, Code: -1}
	sent := started()

	status, isOver := p.await(c.pid, c.ended, time.Duration(r.TimeoutMS)*time.Millisecond, kill, x)
	x.WallMS = time.Since(began).Milliseconds()
	if isOver {
		x.Core = status.CoreDump()
		if status.Signaled() {
			x.Signal = int(status.Signal())
		} else {
			x.Code = status.ExitStatus()
		}
	}
	x.Leftovers, x.Stuck, err = sweep(c.pid, p.stuck)
	if err != nil {
		return nil, err
	}
	if x.Stuck > 0 {
		// What cannot die may hold the pipes for ever.
		c.stdout.hurry()
		c.stderr.hurry()
	}
	err = errors.Join(sent, c.stdout.wait(), c.stderr.wait())
	x.Stdout, x.Stderr = c.stdout.sent, c.stderr.sent
	if err == nil && x.Core {
		x.CoreBytes, err = p.sendCore(r.ID, c.pid, coreLimit)
	}
	p.removeCores()
	if x.Stuck == 0 {
		// What is stuck in the kernel may keep a grace period from ending.
		p.quiet()
	}
	x.Taint = p.taint()
	return x, err
}

// begin starts the program, or lets the one go on that waits.
func (p *programs) begin(r *wire.Run, socket *os.File) (*child, error) {
	if r.Warm {
		return p.goOn(r.Argv)
	}
	if err := p.dismiss(); err != nil {
		return nil, err
	}
	return p.start(r.Argv, r.Env, r.Privileges, map[string]*os.File{wire.HostEnv: socket})
}

// start starts a program in a session of its own, in a directory of its own.
// What it inherits, environment variables tell it of.
func (p *programs) start(argv, env []string, privileges string, inherits map[string]*os.File) (_ *child, err error) {
	if err := checkArgv(argv); err != nil {
		return nil, err
	}
	c := new(child)
	if c.dir, err = os.MkdirTemp(p.tmp, "run-"); err != nil {
		return nil, err
	}
	ends := []*os.File{nil, nil, nil} // the program's
	ours := []*os.File{nil, nil}
	defer func() {
		for _, f := range ends {
			f.Close()
		}
		if err != nil {
			for _, f := range ours {
				f.Close()
			}
			os.RemoveAll(c.dir)
		}
	}()
	if ends[0], err = os.Open(os.DevNull); err != nil {
		return nil, err
	}
	for i := range ours {
		if ours[i], ends[1+i], err = os.Pipe(); err != nil {
			return nil, err
		}
	}
	attr := &syscall.ProcAttr{
		Dir:   c.dir,
		Env:   environment(env, c.dir),
		Files: []uintptr{ends[0].Fd(), ends[1].Fd(), ends[2].Fd()},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	}
	for name, file := range inherits {
		if file != nil {
			attr.Env = append(attr.Env, fmt.Sprintf("%s=%d", name, len(attr.Files)))
			attr.Files = append(attr.Files, file.Fd())
		}
	}
	restricted, err := restrict(privileges, argv, attr)
	if err != nil {
		return nil, err
	}
	if c.pid, c.ended, err = p.nursery.start(restricted, attr); err != nil {
		return nil, fmt.Errorf("exec %s: %w", argv[0], err)
	}
	c.stdout, c.stderr = newStream(p.output, wire.Stdout, ours[0]), newStream(p.output, wire.Stderr, ours[1])
	go c.stdout.copy()
	go c.stderr.copy()
	return c, nil
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
