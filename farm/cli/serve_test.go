// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bufio"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"noiommu-farm/internal/fault"
	"noiommu-farm/results"
)

// The server says where it is, answers, and ends by Ctrl-C with nothing left.
func TestServe(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	dir, err := results.CreateRun(t.TempDir(), &results.Run{Cells: []string{"a"}})
	if err != nil {
		t.Fatal(err)
	}
	out, in := io.Pipe()
	var stderr strings.Builder
	code := make(chan int, 1)
	go func() {
		code <- Run([]string{"serve", dir, "--listen", "127.0.0.1:0"}, in, &stderr)
		in.Close()
	}()
	address, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("%v: %s", err, stderr.String())
	}
	if !strings.HasPrefix(address, "http://127.0.0.1:") || !strings.HasSuffix(address, "/"+filepath.Base(dir)+"/index.html\n") {
		t.Errorf("it is at %q", address)
	}
	answer, err := http.Get(strings.TrimSpace(address))
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(answer.Body)
	answer.Body.Close()
	if err != nil || !strings.Contains(string(text), "1 waiting") {
		t.Errorf("%v: %.300s", err, text)
	}
	if err := syscall.Kill(os.Getpid(), syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if got := <-code; got != fault.ExitOK || stderr.Len() > 0 {
		t.Errorf("exit code %d: %s", got, stderr.String())
	}
	if left, err := os.ReadDir(os.Getenv("TMPDIR")); err != nil || len(left) > 0 {
		t.Errorf("%v is left: %v", left, err)
	}
}

func TestServeRefuses(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{dir, "--listen", "0.0.0.0:0"}, {dir, "--listen", ":0"}, {dir, "--listen", "[::]:0"}, {dir, "--listen", "192.168.1.1:0"},
		{dir, "--listen", "example.org:0"}, {dir, "--listen", "127.0.0.1"}, {dir, "--listen", "127.0.0.1:x"}, {dir, "--listen", "localhost.example.org:0"},
		{dir, "--listen", ""}, {filepath.Join(dir, "nothing")}, {file},
	} {
		var stderr strings.Builder
		if code := Run(append([]string{"serve"}, args...), io.Discard, &stderr); code != fault.ExitUsage {
			t.Errorf("%q: exit code %d: %s", args[1:], code, stderr.String())
		}
	}
	var usage *fault.Usage
	if err := (&serveCmd{Dir: dir, Listen: "0.0.0.0:0"}).Run(&surroundings{}); !errors.As(err, &usage) || usage.Key != "--listen" {
		t.Errorf("%v", err)
	}
	for _, address := range []string{"127.0.0.1:80", "127.1.2.3:80", "[::1]:80", "localhost:80"} {
		if err := onLoopback(address); err != nil {
			t.Errorf("%s: %v", address, err)
		}
	}
}
