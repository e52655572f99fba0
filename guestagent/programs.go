// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
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
	// pieceSize is the most that is read from a program's pipe at once: what
	// a pipe holds by default.
	pieceSize = wire.MaxChunk
	maxName   = 200 // of a run, in bytes; a line of the kernel log is bounded
)

// programs runs test programs, one at a time.
type programs struct {
	nursery *nursery
	output  *output
	log     *kernelLog
	tmp     string // where each program's own directory is made
	cores   string // where the kernel leaves core files
	taint   func() int64
	stuck   time.Duration // see stuckAfter
}

// output is the output port, shared by the streams of a program.
type output struct {
	mu sync.Mutex
	w  io.Writer
}

func (o *output) write(c wire.Chunk) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return wire.WriteChunk(o.w, c)
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
// once it runs; kill ends it early. The error is the farm's: the program could
// not be started, or the output port failed.
func (p *programs) run(r *wire.Run, coreLimit int64, kill <-chan struct{}, started func() error) (*wire.Exited, error) {
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
	pid, ended, err := p.start(r, dir, stdout, stderr)
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
	x.Leftovers, x.Stuck, err = clear(pid, p.stuck)
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
func (p *programs) start(r *wire.Run, dir string, stdout, stderr *stream) (int, <-chan unix.WaitStatus, error) {
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
	pid, ended, err := p.nursery.start(r.Argv, attr)
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
	// The child may be killed but not reaped at this moment, so the group is
	// still its own.
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

// sendCore sends the core file that the kernel left for pid. There is none
// when core files are not kept.
func (p *programs) sendCore(id uint32, pid int, limit int64) (int64, error) {
	// The program was root: what is there may be anything.
	name := coreFile(p.cores, fmt.Sprint(pid))
	f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return 0, nil
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return 0, nil
	}
	s := newStream(p.output, id, wire.Core)
	s.send(io.LimitReader(f, limit))
	return s.sent, s.err
}

func (p *programs) removeCores() {
	files, _ := os.ReadDir(p.cores)
	for _, f := range files {
		_ = os.RemoveAll(filepath.Join(p.cores, f.Name()))
	}
}

// stream carries one stream of a program to the output port.
type stream struct {
	to   *output
	run  uint32
	kind wire.Stream

	pipe    *os.File
	hurried atomic.Bool
	done    chan struct{}
	sent    int64 // bytes; to be read after wait
	err     error // of the output port
}

func newStream(to *output, run uint32, kind wire.Stream) *stream {
	return &stream{to: to, run: run, kind: kind, done: make(chan struct{})}
}

func (s *stream) close() {
	if s.pipe != nil {
		s.pipe.Close()
	}
}

// copy carries the pipe until its last writer is gone.
func (s *stream) copy() {
	defer close(s.done)
	defer s.pipe.Close()
	s.send(s)
}

// Read reads from the pipe. Once hurried, an empty pipe counts as ended.
func (s *stream) Read(b []byte) (int, error) {
	for {
		hurried := s.hurried.Load()
		if hurried {
			_ = s.pipe.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		}
		n, err := s.pipe.Read(b)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			if !hurried {
				continue
			}
			err = io.EOF
		}
		return n, err
	}
}

// hurry makes the stream end with what is in the pipe now.
func (s *stream) hurry() {
	s.hurried.Store(true)
	_ = s.pipe.SetReadDeadline(time.Now())
}

func (s *stream) wait() error {
	<-s.done
	return s.err
}

// send sends everything from r as it comes. When the port fails it goes on
// reading, or the program would wait for ever in a write.
func (s *stream) send(r io.Reader) {
	piece := make([]byte, pieceSize)
	for {
		n, err := r.Read(piece)
		if n > 0 && s.err == nil {
			s.err = s.to.write(wire.Chunk{Run: s.run, Stream: s.kind, Data: piece[:n]})
			if s.err == nil {
				s.sent += int64(n)
			}
		}
		if err != nil {
			return
		}
	}
}
