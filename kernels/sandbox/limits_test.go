// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// What a program may do without end is ended, and the report says what it was.
func TestLimits(t *testing.T) {
	for name, c := range map[string]struct {
		script string
		limits Limits
		want   string
	}{
		"processes": {
			// Slow enough to be counted before the machine feels it.
			`while :; do sleep 600 & done`,
			Limits{Processes: 60}, "it ran more than 60 processes at once",
		},
		"processes that left their session": {
			`while :; do setsid sleep 600 & done`,
			Limits{Processes: 60}, "it ran more than 60 processes at once",
		},
		"memory": {
			`x=$(head -c 40M /dev/zero | tr '\0' x); y=$x$x; z=$y$y; sleep 600`,
			Limits{Memory: 64 << 20}, "it used more than 64 MiB of memory",
		},
		"disk": {
			`i=0; while :; do i=$((i+1)); head -c 1M /dev/zero >/build/$i; done`,
			Limits{Disk: 16 << 20}, "it wrote more than 16 MiB",
		},
		"files": {
			`mkdir /build/d; i=0; while :; do i=$((i+1)); : >/build/d/$i; done`,
			Limits{Files: 500}, "it made more than 500 files",
		},
		"output": {
			`yes`,
			Limits{Output: 1 << 20}, "it printed more than 1 MiB",
		},
		"time": {
			`trap '' TERM INT HUP; while :; do :; done`,
			Limits{Time: 300 * time.Millisecond}, "it ran for more than 300ms",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			var out bytes.Buffer
			err := Run(t.Context(), Command{
				Args:   []string{"bash", "-c", c.script},
				Mounts: []Mount{{Outside: dir, Inside: "/build", Writable: true}},
				Limits: c.limits,
				Stderr: &out,
			})
			var limit *LimitError
			if !errors.As(err, &limit) || limit.What != c.want || limit.Program != "bash" {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if name == "output" && out.Len() > 1<<20 {
				t.Errorf("%d bytes were let through", out.Len())
			}
		})
	}
}

// Data is no message: it is as long as it is.
func TestDataIsNotLimited(t *testing.T) {
	var out bytes.Buffer
	err := Run(t.Context(), Command{Args: []string{"head", "-c", "3M", "/dev/zero"}, Limits: Limits{Output: 1 << 20}, Stdout: &out})
	if err != nil || out.Len() != 3<<20 {
		t.Errorf("%d bytes, %v", out.Len(), err)
	}
}

// What the kernel itself refuses is an error of the program that asked.
func TestRefused(t *testing.T) {
	var out bytes.Buffer
	dir := t.TempDir()
	run := func(limits Limits, script string) (string, error) {
		out.Reset()
		err := Run(t.Context(), Command{
			Args:   []string{"bash", "-c", script},
			Mounts: []Mount{{Outside: dir, Inside: "/build", Writable: true}},
			Limits: limits,
			Stderr: &out,
		})
		return strings.TrimSpace(out.String()), err
	}
	var exit *ExitError
	if said, err := run(Limits{File: 1 << 20}, "exec head -c 2M /dev/zero >/build/big"); !errors.As(err, &exit) {
		t.Errorf("a large file: %v: %s", err, said)
	}
	if fi, err := os.Stat(filepath.Join(dir, "big")); err != nil || fi.Size() != 1<<20 {
		t.Errorf("a large file: %v, %v", fi, err)
	}
	for _, place := range []string{"/tmp", "/dev/shm"} {
		said, err := run(Limits{Scratch: 1 << 20}, "head -c 2M /dev/zero >"+place+"/big")
		if !errors.As(err, &exit) || !strings.Contains(said, "No space left") {
			t.Errorf("%s: %v: %s", place, err, said)
		}
	}
	for _, script := range []string{
		"touch /new", "touch /dev/new", "mkdir /etc/new", "unshare --user true", "mount -t tmpfs none /tmp", "mknod /tmp/kmsg c 1 11",
		"cat /dev/kmsg", "ls /sys", "kill -0 " + "$(($$ + 1000000))", "cat /proc/sys/kernel/panic_on_warn >/proc/sys/kernel/panic_on_warn", "test -w /proc/sysrq-trigger",
	} {
		if said, err := run(Limits{}, script); !errors.As(err, &exit) {
			t.Errorf("%s: %v: %s", script, err, said)
		}
	}
	if said, err := run(Limits{}, "cat /proc/self/oom_score_adj"); err != nil || said != "500" {
		t.Errorf("oom_score_adj: %v: %s", err, said)
	}
}

// Names with parentheses and spaces do not hide a process.
func TestProcessesAreCounted(t *testing.T) {
	out := &notify{first: make(chan struct{})}
	done := make(chan error, 1)
	dir := t.TempDir()
	go func() {
		done <- Run(t.Context(), Command{
			Args:   []string{"bash", "-c", `cp /usr/bin/sleep "/build/a) b (c"; for i in 1 2 3 4 5 6; do "/build/a) b (c" 600 & done; echo started; wait`},
			Mounts: []Mount{{Outside: dir, Inside: "/build", Writable: true}},
			Limits: Limits{Processes: 5},
			Stderr: out,
		})
	}()
	<-out.first
	var limit *LimitError
	if err := <-done; !errors.As(err, &limit) {
		t.Errorf("got %v", err)
	}
}
