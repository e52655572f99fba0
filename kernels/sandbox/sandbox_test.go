// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// sh runs a script in the sandbox and returns what it printed.
func sh(t *testing.T, script string, mounts ...Mount) (string, error) {
	t.Helper()
	var out bytes.Buffer
	err := Run(t.Context(), Command{Args: []string{"bash", "-c", script}, Mounts: mounts, Stderr: &out, Env: []string{"GREETING=hello"}})
	return strings.TrimSpace(out.String()), err
}

func TestNoNetwork(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	connect := "exec 3<>/dev/tcp/127.0.0.1/" + port
	if out, err := exec.Command("bash", "-c", connect).CombinedOutput(); err != nil {
		t.Fatalf("outside the sandbox the script does not connect, so it proves nothing: %v: %s", err, out)
	}
	out, err := sh(t, connect)
	var exit *ExitError
	if !errors.As(err, &exit) || !strings.Contains(out, "Connection refused") {
		t.Errorf("connect: %v, %s", err, out)
	}
	out, err = sh(t, "tail -n +3 /proc/net/dev | cut -d: -f1")
	if err != nil || out != "lo" {
		t.Errorf("interfaces: %v, %q", err, out)
	}
}

func TestSeesOnlyItsMounts(t *testing.T) {
	home := t.TempDir()
	secret := filepath.Join(home, "secret")
	if err := os.WriteFile(secret, []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TOKEN", "secret")
	t.Setenv("HOME", home)
	for script, want := range map[string]string{
		"test ! -e " + secret + " && echo hidden":         "hidden",
		"test ! -e /root && test ! -e /home && echo none": "none",
		"echo $HOME":                    "/tmp",
		"echo ${TOKEN-unset} $GREETING": "unset hello",
		"ls -A /tmp":                    "",
		"ls /":                          "bin\ndev\netc\nlib\nlib64\nproc\nsbin\ntmp\nusr",
		"hostname 2>/dev/null || cat /proc/sys/kernel/hostname": "farm",
		"grep CapEff /proc/self/status":                         "CapEff:\t0000000000000000",
		"ulimit -c":                                             "0",
		"touch /usr/x 2>/dev/null || echo read-only":            "read-only",
	} {
		out, err := sh(t, script)
		if script == "ls /" {
			out = strings.ReplaceAll(strings.ReplaceAll(out, "lib32\n", ""), "libx32\n", "")
		}
		if err != nil || out != want {
			t.Errorf("%s: %v, %q, want %q", script, err, out, want)
		}
	}
}

func TestMounts(t *testing.T) {
	source, objects, cover := t.TempDir(), t.TempDir(), filepath.Join(t.TempDir(), "cover")
	for _, path := range []string{filepath.Join(source, "file"), cover} {
		if err := os.WriteFile(path, []byte(filepath.Base(path)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	mounts := []Mount{{Outside: source, Inside: "/src"}, {Outside: cover, Inside: "/src/file"}, {Outside: objects, Inside: "/build", Writable: true}}
	out, err := sh(t, `
		cat /src/file; echo
		for f in /src/new /src/file; do echo x 2>/dev/null >$f || echo cannot write $f; done
		mount -o remount,rw,bind /src 2>/dev/null || echo cannot remount
		echo object >/build/object`, mounts...)
	if err != nil || !strings.HasPrefix(out, "cover\n") || strings.Count(out, "cannot write") != 2 || !strings.HasSuffix(out, "cannot remount") {
		t.Errorf("%v, %q", err, out)
	}
	if got, err := os.ReadFile(filepath.Join(objects, "object")); err != nil || string(got) != "object\n" {
		t.Errorf("object: %v, %q", err, got)
	}
	if got, _ := os.ReadFile(filepath.Join(source, "file")); string(got) != "file" {
		t.Errorf("the covered file was changed to %q", got)
	}
}

func TestExitCode(t *testing.T) {
	_, err := sh(t, "exit 7")
	var exit *ExitError
	if !errors.As(err, &exit) || exit.Code != 7 {
		t.Errorf("exit 7: %v", err)
	}
	if _, err := sh(t, "true"); err != nil {
		t.Errorf("true: %v", err)
	}
}

// A sandbox that cannot be set up is not a program that failed.
func TestBrokenSandbox(t *testing.T) {
	_, err := sh(t, "true", Mount{Outside: filepath.Join(t.TempDir(), "missing"), Inside: "/src"})
	var exit *ExitError
	if err == nil || errors.As(err, &exit) || !strings.Contains(err.Error(), "missing") {
		t.Errorf("missing mount: %v", err)
	}
}

func TestStreams(t *testing.T) {
	var stdout, stderr bytes.Buffer
	err := Run(t.Context(), Command{Args: []string{"bash", "-c", "cat; echo oops >&2"}, Stdin: strings.NewReader("in"), Stdout: &stdout, Stderr: &stderr})
	if err != nil || stdout.String() != "in" || stderr.String() != "oops\n" {
		t.Errorf("%v, %q, %q", err, stdout.String(), stderr.String())
	}
}

// The end of the context ends everything in the sandbox, also what left its
// session and does not mind signals.
func TestCancel(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out := &notify{first: make(chan struct{})}
	go func() {
		<-out.first
		cancel()
	}()
	argument := fmt.Sprintf("%d.%d", 100_000+os.Getpid(), time.Now().UnixNano())
	script := "trap '' TERM INT HUP; setsid sleep " + argument + " & echo started; wait"
	err := Run(ctx, Command{Args: []string{"bash", "-c", script}, Stderr: out})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil || len(lines) == 0 {
		t.Fatalf("cannot see processes: %v", err)
	}
	for _, l := range lines {
		if line, _ := os.ReadFile(l); bytes.Contains(line, []byte(argument)) {
			t.Errorf("left: %q", line)
		}
	}
}

// notify tells of the first byte.
type notify struct {
	first chan struct{}
	told  bool
}

func (n *notify) Write(p []byte) (int, error) {
	if !n.told {
		n.told = true
		close(n.first)
	}
	return len(p), nil
}

func TestLook(t *testing.T) {
	if err := Look("bash", "bash"); err != nil {
		t.Error(err)
	}
	if err := Look("no-such-program", "some-package"); err == nil || !strings.Contains(err.Error(), "Debian package: some-package") {
		t.Errorf("got %v", err)
	}
}
