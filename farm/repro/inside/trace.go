// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// tracefs is where the kernel's tracer is (Documentation/trace/ftrace.rst).
const tracefs = "/sys/kernel/tracing"

// traceBuffer is the ring buffer of each processor, in KiB.
const traceBuffer = "8192"

// startTrace records what the words name: "SYSTEM:EVENT" is an event, anything
// else a pattern of functions.
func startTrace(dir string, words []string) error {
	if err := unix.Mount("tracefs", dir, "tracefs", 0, ""); err != nil && !errors.Is(err, unix.EBUSY) {
		return fmt.Errorf("mount tracefs: %w", err)
	}
	return switchOn(dir, words)
}

func switchOn(dir string, words []string) error {
	write := func(name, text string) error {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return fmt.Errorf("write %q: %w", text, err)
		}
		return nil
	}
	if err := write("buffer_size_kb", traceBuffer); err != nil {
		return err
	}
	functions := false
	for _, w := range words {
		if strings.Contains(w, ":") {
			if err := appendTo(filepath.Join(dir, "set_event"), w); err != nil {
				return unknown("event "+w, err)
			}
			continue
		}
		if err := appendTo(filepath.Join(dir, "set_ftrace_filter"), w); err != nil {
			return unknown("function "+w, err)
		}
		functions = true
	}
	if functions {
		if err := write("current_tracer", "function"); err != nil {
			return err
		}
	}
	return write("tracing_on", "1")
}

// unknown says what the kernel means by EINVAL: that nothing matches.
func unknown(what string, err error) error {
	if errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("the kernel has no %s: %w", what, err)
	}
	return fmt.Errorf("%s: %w", what, err)
}

func appendTo(path, line string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(line + "\n")
	return errors.Join(err, f.Close())
}

// stopTrace writes what was recorded, each line as a KTAP diagnostic.
func stopTrace(dir string, to io.Writer) error {
	if err := os.WriteFile(filepath.Join(dir, "tracing_on"), []byte("0"), 0o644); err != nil {
		return err
	}
	f, err := os.Open(filepath.Join(dir, "trace"))
	if err != nil {
		return err
	}
	defer f.Close()
	w := bufio.NewWriter(to)
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		fmt.Fprintf(w, "# %s\n", lines.Text())
	}
	return errors.Join(lines.Err(), w.Flush())
}
