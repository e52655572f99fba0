// SPDX-License-Identifier: Apache-2.0

// Inside runs in a guest that somebody looks at: the shell at the other end of
// a terminal, and what switches the kernel's function tracer on and off.
//
// In: its arguments, a terminal device, tracefs. Out: what a person sees, or a
// trace as KTAP diagnostics. It is started by the agent as a test program is,
// and judges nothing.
package main

import (
	"fmt"
	"os"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "inside:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("usage: inside shell|window|trace-start|trace-stop")
	}
	switch args[0] {
	case "shell":
		if err := shell(args[1:]); err != nil {
			return err
		}
	case "window":
		return window(args[1:])
	case "trace-start":
		if err := startTrace(tracefs, args[1:]); err != nil {
			return err
		}
	case "trace-stop":
		if err := stopTrace(tracefs, os.Stdout); err != nil {
			return err
		}
	default:
		return fmt.Errorf("unknown command %q", args[0])
	}
	// The agent's host expects KTAP of every program.
	fmt.Printf("TAP version 13\n1..1\nok 1 %s\n", args[0])
	return nil
}
