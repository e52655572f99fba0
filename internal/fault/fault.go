// SPDX-License-Identifier: Apache-2.0

// Package fault names the two kinds of error that are not the farm's own
// doing, so that a command can end with the right exit code.
//
// A [Usage] error is the user's: a flag, a file or a value that cannot be
// used. A [Kernel] error is a verdict on the kernel under test that was found
// before a guest could give one: it does not compile, or it has no such
// option. Every other error is the farm's own (INFRA).
//
// It is the one package that every room may import. It imports none.
package fault

import (
	"errors"
	"fmt"
	"strings"
)

// Exit codes of every verb.
const (
	ExitOK     = 0 // everything was as expected
	ExitKernel = 1 // the kernel under test failed
	ExitUsage  = 2 // the user's input is bad
	ExitInfra  = 3 // the farm is bad
)

// Usage says which input cannot be used, and what could be.
type Usage struct {
	Key     string   // the flag, option or file, as the user wrote it
	Value   string   // what the user gave
	Allowed []string // the values that would do; empty when they cannot be listed
	Err     error    // why, when the allowed values do not say it
}

func (u *Usage) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %q", u.Key, u.Value)
	if u.Err != nil {
		fmt.Fprintf(&b, ": %v", u.Err)
	} else {
		b.WriteString(" is not valid")
	}
	if len(u.Allowed) > 0 {
		fmt.Fprintf(&b, " (allowed: %s)", strings.Join(u.Allowed, ", "))
	}
	return b.String()
}

func (u *Usage) Unwrap() error { return u.Err }

// Kernel says that the kernel under test is bad, without a guest having run.
type Kernel struct {
	Stage string // what was being done: "compile", "kselftest build"
	Err   error
	Log   string // where the whole output is, if anywhere
}

func (k *Kernel) Error() string {
	if k.Log != "" {
		return fmt.Sprintf("%s: %v (whole log: %s)", k.Stage, k.Err, k.Log)
	}
	return fmt.Sprintf("%s: %v", k.Stage, k.Err)
}

func (k *Kernel) Unwrap() error { return k.Err }

// ExitCode is the exit code that an error stands for.
func ExitCode(err error) int {
	var usage *Usage
	var kernel *Kernel
	switch {
	case err == nil:
		return ExitOK
	case errors.As(err, &usage):
		return ExitUsage
	case errors.As(err, &kernel):
		return ExitKernel
	default:
		return ExitInfra
	}
}
