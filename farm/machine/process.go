// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
)

// process is a child that dies with this process, however this one dies.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when the child was waited for
}

// startProcess starts cmd in a process group of its own, out of reach of the
// terminal's Ctrl-C.
//
// The kernel sends the parent-death signal when the *thread* that forked ends
// (prctl(2), PR_SET_PDEATHSIG), so the goroutine keeps its thread until the
// child has ended.
func startProcess(cmd *exec.Cmd) (*process, error) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	p := &process{cmd: cmd, done: make(chan struct{})}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			cmd.Wait() // its error is in cmd.ProcessState
			close(p.done)
		}
	}()
	return p, <-started
}

// kill ends the child at once and waits for it.
func (p *process) kill() error {
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-p.done
	return nil
}

// tailSize is how much is kept of what QEMU said on stderr, in bytes.
const tailSize = 64 << 10

// tail keeps the last bytes that were written to it, and passes everything on.
type tail struct {
	mu   sync.Mutex
	last []byte
	to   io.Writer // nil: nowhere
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last = append(t.last, p...)
	if extra := len(t.last) - tailSize; extra > 0 {
		t.last = append(t.last[:0], t.last[extra:]...)
	}
	if t.to != nil {
		t.to.Write(p) // whoever listens cannot make QEMU fail
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(bytes.TrimSpace(t.last))
}
