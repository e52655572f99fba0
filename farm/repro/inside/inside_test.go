// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mvdan.cc/sh/v3/interp"
	"mvdan.cc/sh/v3/syntax"
)

func TestGiveUpLine(t *testing.T) {
	for typed, want := range map[string]string{
		"ls\r":      "ls\r",
		"ab\x03":    "ab\x15\r",
		"\x03\x03x": "\x15\r\x15\rx",
		"":          "",
	} {
		p := make([]byte, 2*len(typed)+2)
		n := giveUpLine(p, copy(p, typed))
		if string(p[:n]) != want {
			t.Errorf("%q becomes %q, want %q", typed, p[:n], want)
		}
	}
	// A buffer without room loses nothing.
	p := []byte{controlC}
	if n := giveUpLine(p, 1); n != 1 || p[0] != controlC {
		t.Errorf("got %q", p[:n])
	}
}

func TestComplete(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("PATH", filepath.Join(dir, "bin"))
	for _, name := range []string{"bin/suites", "bin/sum", "etc/passwd"} {
		path := filepath.Join(dir, name)
		os.MkdirAll(filepath.Dir(path), 0o755)
		if err := os.WriteFile(path, nil, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(dir)
	for line, want := range map[string]string{
		"s":                 "su",
		"sui":               "suites ",
		"cat e":             "cat etc/",
		"cat etc/p":         "cat etc/passwd ",
		"cat " + dir + "/b": "cat " + dir + "/bin/",
		"nothing":           "nothing",
		"bin/sum | cat etc": "bin/sum | cat etc/",
		"bin/s":             "bin/su",
	} {
		got, at, ok := complete(line, len(line), '\t')
		if !ok || got != want || at != len(want) {
			t.Errorf("%q: got %q at %d (%v), want %q", line, got, at, ok, want)
		}
	}
	if _, _, ok := complete("s", 1, 'x'); ok {
		t.Error("every key completes")
	}
}

func TestTrace(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"set_event", "set_ftrace_filter", "current_tracer", "tracing_on", "buffer_size_kb"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := switchOn(dir, []string{"iommufd_*", "irq:irq_handler_entry", "vfio_*"}); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"set_ftrace_filter": "iommufd_*\nvfio_*\n", "set_event": "irq:irq_handler_entry\n", "current_tracer": "function", "tracing_on": "1",
	} {
		if text, _ := os.ReadFile(filepath.Join(dir, name)); string(text) != want {
			t.Errorf("%s: %q, want %q", name, text, want)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "trace"), []byte("# tracer: function\n  f <-g\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := stopTrace(dir, &out); err != nil || out.String() != "# # tracer: function\n#   f <-g\n" {
		t.Errorf("%q, %v", out.String(), err)
	}
	if err := switchOn(dir+"/none", []string{"x"}); err == nil {
		t.Error("no tracer, no error")
	}
}

func TestFindPort(t *testing.T) {
	class := t.TempDir()
	for dir, name := range map[string]string{"vport0p1": "one", "vport0p4": windowPort} {
		os.Mkdir(filepath.Join(class, dir), 0o755)
		os.WriteFile(filepath.Join(class, dir, "name"), []byte(name+"\n"), 0o644)
	}
	if path, err := findPort(class, windowPort); err != nil || path != "/dev/vport0p4" {
		t.Errorf("%q, %v", path, err)
	}
	if _, err := findPort(class, "other"); err == nil || !strings.Contains(err.Error(), "other") {
		t.Errorf("got %v", err)
	}
}

// A Ctrl-C that ended a program is not left for the command after it, however late
// the shell gets the signal.
func TestInterruptIsUsedUp(t *testing.T) {
	runner, err := interp.New()
	if err != nil {
		t.Fatal(err)
	}
	parse := func(line string) *syntax.Stmt {
		file, err := syntax.NewParser().Parse(strings.NewReader(line), "")
		if err != nil {
			t.Fatal(err)
		}
		return file.Stmts[0]
	}
	interrupts := make(chan os.Signal, 1)
	time.AfterFunc(200*time.Millisecond, func() { interrupts <- os.Interrupt })
	if carryOut(runner, parse("sh -c 'kill -INT $$'"), interrupts) {
		t.Error("the rest of the line goes on")
	}
	if len(interrupts) > 0 {
		t.Error("the signal is left for the next command")
	}
	if !carryOut(runner, parse("true"), interrupts) {
		t.Error("the next command was interrupted")
	}
}
