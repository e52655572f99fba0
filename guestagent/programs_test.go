// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"noiommu-farm/guestagent/wire"
)

// newPrograms runs programs in a directory of the test, with output to w and
// the kernel log to log.
func newPrograms(t *testing.T, w io.Writer, log io.Writer) *programs {
	dir := t.TempDir()
	for _, name := range []string{"tmp", "cores"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	taint := int64(0)
	return &programs{
		nursery: reaper,
		output:  &outputPort{w: w},
		log:     &kernelLog{log},
		tmp:     filepath.Join(dir, "tmp"),
		cores:   filepath.Join(dir, "cores"),
		taint:   func() int64 { return taint },
		quiet: func() {
			taint = 64 // the kernel complains late
			io.WriteString(log, "quiet\n")
		},
		stuck: stuckAfter,
	}
}

func shell(script string) []string { return []string{"/bin/sh", "-c", script} }

// streams puts chunks together again.
func streams(t *testing.T, output io.Reader, run uint32) map[wire.Stream]string {
	t.Helper()
	all := make(map[wire.Stream]string)
	for {
		c, err := wire.ReadChunk(output)
		if err == io.EOF {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		if c.Run != run {
			t.Fatalf("chunk of run %d, want %d", c.Run, run)
		}
		all[c.Stream] += string(c.Data)
	}
}

func TestRun(t *testing.T) {
	tests := []struct {
		name           string
		script         string
		timeout        time.Duration // a minute if 0
		want           wire.Exited   // but for ID, the byte counts, WallMS and Taint
		stdout, stderr string
	}{
		{name: "nothing", script: "true"},
		{name: "exit code", script: "echo out; echo err >&2; exit 3", want: wire.Exited{Code: 3}, stdout: "out\n", stderr: "err\n"},
		{name: "no newline", script: "printf 'not ok'", stdout: "not ok"},
		{name: "zero bytes", script: `printf 'a\0b\377'`, stdout: "a\x00b\xff"},
		{name: "killed by a signal", script: "echo before; kill -SEGV $$", want: wire.Exited{Code: -1, Signal: 11}, stdout: "before\n"},
		{name: "killed by SIGKILL", script: "kill -KILL $$", want: wire.Exited{Code: -1, Signal: 9}},
		{name: "exit code of a killed child", script: "sh -c 'kill -SEGV $$'", want: wire.Exited{Code: 128 + 11}, stderr: "Segmentation fault\n"},
		{name: "closes stdout and lives on", script: "echo a; exec >&-; echo b >&2; sleep 0.1; exit 4", want: wire.Exited{Code: 4}, stdout: "a\n", stderr: "b\n"},
		{name: "closes all and lives on", script: "exec >&- 2>&-; sleep 0.1; exit 5", want: wire.Exited{Code: 5}},
		{name: "leaves a child", script: "echo a; sleep 1000 & exit 0", want: wire.Exited{Leftovers: 1}, stdout: "a\n"},
		{name: "leaves a daemon that holds the pipe", script: "setsid sleep 1000 & echo a; exit 6", want: wire.Exited{Code: 6, Leftovers: 1}, stdout: "a\n"},
		{name: "leaves a family", script: "setsid sh -c 'sleep 1000 & sleep 1000 & wait' & sleep 0.2; exit 0", want: wire.Exited{Leftovers: 3}},
		{name: "leaves a stopped child", script: "sleep 1000 & kill -STOP $!", want: wire.Exited{Leftovers: 1}},
		{name: "timeout", script: "echo a; exec sleep 1000", timeout: 200 * time.Millisecond, want: wire.Exited{Code: -1, Signal: 9, TimedOut: true}, stdout: "a\n"},
		{name: "timeout in a loop that ignores signals", script: "trap '' TERM INT HUP; while :; do :; done", timeout: 200 * time.Millisecond, want: wire.Exited{Code: -1, Signal: 9, TimedOut: true}},
		{name: "timeout while stopped", script: "kill -STOP $$", timeout: 200 * time.Millisecond, want: wire.Exited{Code: -1, Signal: 9, TimedOut: true}},
		{name: "stdin is empty", script: "cat; readlink /proc/self/fd/0", stdout: "/dev/null\n"},
		{name: "a session of its own", script: `set -- $(cat /proc/$$/stat); test "$1 $1" = "$5 $6"`},
	}
	for i, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var output, log bytes.Buffer
			p := newPrograms(t, &output, &log)
			id := uint32(i + 1)
			timeout := test.timeout
			if timeout == 0 {
				timeout = time.Minute
			}
			started := 0
			got, err := p.run(&wire.Run{ID: id, Name: test.name, Argv: shell(test.script), TimeoutMS: timeout.Milliseconds()}, nil, 0, nil,
				func() error { started++; return nil })
			if err != nil {
				t.Fatal(err)
			}
			text := streams(t, &output, id)
			if text[wire.Stdout] != test.stdout || text[wire.Stderr] != test.stderr {
				t.Errorf("stdout %q, stderr %q, want %q and %q", text[wire.Stdout], text[wire.Stderr], test.stdout, test.stderr)
			}
			want := test.want
			want.ID, want.Taint = id, 64
			want.Stdout, want.Stderr = int64(len(test.stdout)), int64(len(test.stderr))
			want.WallMS, want.Core = got.WallMS, got.Core // Core is this system's setting
			if *got != want {
				t.Errorf("%+v, want %+v", *got, want)
			}
			if started != 1 {
				t.Errorf("started %d times", started)
			}
			n := strconv.Itoa(int(id))
			if want := "<5>noiommu-farm: start " + n + " " + test.name + "\nquiet\n<5>noiommu-farm: end " + n + "\n"; log.String() != want {
				t.Errorf("kernel log %q, want %q", &log, want)
			}
			if left, err := descendants(); err != nil || len(left) != 0 {
				t.Errorf("still running: %v (%v)", left, err)
			}
			if left, err := os.ReadDir(p.tmp); err != nil || len(left) != 0 {
				t.Errorf("left behind: %v (%v)", left, err)
			}
		})
	}
}

func TestSurroundings(t *testing.T) {
	var output bytes.Buffer
	p := newPrograms(t, &output, io.Discard)
	script := `touch made-here; mkfifo fifo; ln -s / link; pwd; printf '%s\n' "$HOME" "$TMPDIR" "$PATH" "$GIVEN"; ls`
	_, err := p.run(&wire.Run{ID: 1, Name: "x", Argv: shell(script), TimeoutMS: 60000, Env: []string{"GIVEN=a b", "TMPDIR=/elsewhere"}}, nil, 0, nil,
		func() error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	dir := regexp.QuoteMeta(p.tmp) + `/run-\d+`
	want := regexp.MustCompile("^(" + dir + ")\n" + dir + "\n/elsewhere\n" + programPath + "\na b\nfifo\nlink\nmade-here\n$")
	if got := streams(t, &output, 1)[wire.Stdout]; !want.MatchString(got) {
		t.Errorf("%q, want %v", got, want)
	}
}

func TestRunRefused(t *testing.T) {
	plain := filepath.Join(t.TempDir(), "plain")
	if err := os.WriteFile(plain, []byte("text\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	rubbish := filepath.Join(t.TempDir(), "rubbish")
	if err := os.WriteFile(rubbish, []byte("no program\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		run  wire.Run
		says string
	}{
		{"does not exist", wire.Run{Name: "x", Argv: []string{"/no/such/test"}, TimeoutMS: 1}, "ENOENT"},
		{"not executable", wire.Run{Name: "x", Argv: []string{plain}, TimeoutMS: 1}, "EACCES"},
		{"not a program", wire.Run{Name: "x", Argv: []string{rubbish}, TimeoutMS: 1}, "ENOEXEC"},
		{"a directory", wire.Run{Name: "x", Argv: []string{"/tmp"}, TimeoutMS: 1}, "EACCES"},
		{"a zero byte", wire.Run{Name: "x", Argv: []string{"/bin/true", "a\x00b"}, TimeoutMS: 1}, "EINVAL"},
		{"no argv", wire.Run{Name: "x", TimeoutMS: 1}, "absolute"},
		{"relative", wire.Run{Name: "x", Argv: []string{"sh"}, TimeoutMS: 1}, "absolute"},
		{"no timeout", wire.Run{Name: "x", Argv: []string{"/bin/true"}}, "timeout"},
		{"timeout below zero", wire.Run{Name: "x", Argv: []string{"/bin/true"}, TimeoutMS: -1}, "timeout"},
		{"endless timeout", wire.Run{Name: "x", Argv: []string{"/bin/true"}, TimeoutMS: 1 << 60}, "timeout"},
		{"no name", wire.Run{Argv: []string{"/bin/true"}, TimeoutMS: 1}, "name"},
		{"two lines", wire.Run{Name: "a\nend 7", Argv: []string{"/bin/true"}, TimeoutMS: 1}, "name"},
		{"long name", wire.Run{Name: strings.Repeat("x", maxName+1), Argv: []string{"/bin/true"}, TimeoutMS: 1}, "name"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var output bytes.Buffer
			p := newPrograms(t, &output, io.Discard)
			x, err := p.run(&test.run, nil, 0, nil, func() error { t.Error("started"); return nil })
			if err == nil || x != nil || !strings.Contains(errnoText(err), test.says) {
				t.Errorf("%+v, %v; want an error that says %q", x, err, test.says)
			}
			if output.Len() != 0 {
				t.Errorf("%d bytes of output", output.Len())
			}
			if left, _ := os.ReadDir(p.tmp); len(left) != 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

// An output port that fails ends the run with an error; the program is not
// left waiting in a write.
func TestOutputFails(t *testing.T) {
	read, write := io.Pipe()
	read.CloseWithError(errors.New("port is gone"))
	p := newPrograms(t, write, io.Discard)
	x, err := p.run(&wire.Run{ID: 1, Name: "x", Argv: shell("head -c 1000000 /dev/zero"), TimeoutMS: 60000}, nil, 0, nil, func() error { return nil })
	if err == nil || !strings.Contains(err.Error(), "port is gone") {
		t.Errorf("%+v, %v", x, err)
	}
}

// A stream whose pipe is held by something that cannot die ends with what is
// in the pipe.
func TestHurry(t *testing.T) {
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer write.Close()
	var output bytes.Buffer
	s := newStream(&outputPort{w: &output}, wire.Stdout, read)
	s.belongs(1)
	if _, err := write.WriteString("last words"); err != nil {
		t.Fatal(err)
	}
	go s.copy()
	s.hurry()
	if err := s.wait(); err != nil || s.sent != 10 {
		t.Errorf("%d bytes, %v", s.sent, err)
	}
	if got := streams(t, &output, 1)[wire.Stdout]; got != "last words" {
		t.Errorf("%q", got)
	}
}

func TestSendCore(t *testing.T) {
	const limit = 100_000
	tests := []struct {
		name string
		make func(name string) error
		want int64
	}{
		{"none", func(string) error { return nil }, 0},
		{"small", func(name string) error { return os.WriteFile(name, []byte("\x7fELF"), 0o600) }, 4},
		{"of several chunks", func(name string) error { return os.WriteFile(name, make([]byte, limit), 0o600) }, limit},
		{"over the limit", func(name string) error { return os.WriteFile(name, make([]byte, limit+1), 0o600) }, limit},
		{"a link", func(name string) error { return os.Symlink("/proc/self/exe", name) }, 0},
		{"a fifo", func(name string) error { return unix.Mkfifo(name, 0o600) }, 0},
		{"a directory", func(name string) error { return os.Mkdir(name, 0o700) }, 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var output bytes.Buffer
			p := newPrograms(t, &output, io.Discard)
			if err := test.make(coreFile(p.cores, "7")); err != nil {
				t.Fatal(err)
			}
			got, err := p.sendCore(1, 7, limit)
			if err != nil || got != test.want || int64(len(streams(t, &output, 1)[wire.Core])) != test.want {
				t.Errorf("%d bytes, %v; want %d", got, err, test.want)
			}
			p.removeCores()
			if left, _ := os.ReadDir(p.cores); len(left) != 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

// A command name may look like the rest of the line.
func TestReadProcess(t *testing.T) {
	odd := filepath.Join(t.TempDir(), "a) Z 1 (b")
	if err := os.Symlink("/bin/sleep", odd); err != nil {
		t.Fatal(err)
	}
	pid, ended, err := reaper.start([]string{odd, "1000"}, &syscall.ProcAttr{Files: []uintptr{0, 1, 2}})
	if err != nil {
		t.Fatal(err)
	}
	p, alive, err := readProcess(pid)
	if err != nil || !alive || p.pid != pid || p.parent != os.Getpid() {
		t.Errorf("%+v, alive %v, %v; want a child of %d", p, alive, err, os.Getpid())
	}
	if killed, stuck, err := sweep(0, stuckAfter); killed != 1 || stuck != 0 || err != nil {
		t.Errorf("killed %d, stuck %d, %v", killed, stuck, err)
	}
	if status := <-ended; status.Signal() != unix.SIGKILL {
		t.Errorf("ended by %v", status.Signal())
	}
}
