// SPDX-License-Identifier: Apache-2.0

// Package lab is the kit that the suites' tests are written with: a [T] to
// assert with, devices to bind and open, iommufds, groups, memory whose
// physical addresses are known, and capabilities to do without.
//
// In comes a statement and the devices under test; out goes a KTAP result with
// its evidence. What a test opens, maps, binds or switches is undone when the
// test ends, last first. The package does not know what any statement promises.
package lab

import (
	"cmp"
	"fmt"
	"io"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"noiommu-farm/suites/contract"
	"noiommu-farm/suites/uapi"
)

// T is one running test.
type T struct {
	Statement contract.Statement
	Facts     contract.Facts
	Devices   []*Device // the functions under test that the statement is about, in BDF order; see [contract.Sees]
	Tally     *uapi.Tally

	out      io.Writer
	asserts  int
	failures int
	cleanups []func()

	all   []*Device // under test, on both sides
	moved bool      // a binding may have changed, so all are put back at the end
}

// IOMMUDevices are those of t.Devices that are behind an IOMMU.
func (t *T) IOMMUDevices() []*Device { return t.side(true) }

// NoIOMMUDevices are those of t.Devices that are not behind an IOMMU.
func (t *T) NoIOMMUDevices() []*Device { return t.side(false) }

func (t *T) side(behind bool) []*Device {
	return slices.DeleteFunc(slices.Clone(t.Devices), func(d *Device) bool { return d.BehindIOMMU != behind })
}

// stop is what a test that cannot go on panics with.
type stop struct{}

// Cleanup has f called when the test ends, whatever its end. The last one
// given is the first one called.
func (t *T) Cleanup(f func()) { t.cleanups = append(t.cleanups, f) }

// Equal asserts that got, which what names, is want. It returns whether it is.
func Equal[V comparable](t *T, got, want V, what string, args ...any) bool {
	t.asserts++
	if got == want {
		return true
	}
	t.failed("%s = %s, want %s", fmt.Sprintf(what, args...), show(got), show(want))
	return false
}

// Above asserts that got is greater than limit.
func Above[V cmp.Ordered](t *T, got, limit V, what string, args ...any) bool {
	t.asserts++
	if got > limit {
		return true
	}
	t.failed("%s = %s, want more than %s", fmt.Sprintf(what, args...), show(got), show(limit))
	return false
}

// Differ asserts that got is not other.
func Differ[V comparable](t *T, got, other V, what string, args ...any) bool {
	t.asserts++
	if got != other {
		return true
	}
	t.failed("%s = %s, want any other value", fmt.Sprintf(what, args...), show(got))
	return false
}

// Fails asserts that err is exactly want; 0 asserts that there is no error.
func (t *T) Fails(err error, want unix.Errno, what string, args ...any) bool {
	t.asserts++
	wanted := "0"
	if want != 0 {
		wanted = uapi.ErrnoName(want)
	}
	if got := uapi.ErrnoName(err); got != wanted {
		t.failed("%s: errno = %s, want %s", fmt.Sprintf(what, args...), got, wanted)
		return false
	}
	return true
}

// OK asserts that there is no error.
func (t *T) OK(err error, what string, args ...any) bool { return t.Fails(err, 0, what, args...) }

// Must asserts that there is no error, and ends the test when there is one.
func (t *T) Must(err error, what string, args ...any) {
	if !t.OK(err, what, args...) {
		panic(stop{})
	}
}

// Fatalf ends the test as failed.
func (t *T) Fatalf(format string, args ...any) {
	t.failed(format, args...)
	panic(stop{})
}

// failed prints the failure with the line of the test it happened at.
func (t *T) failed(format string, args ...any) {
	t.failures++
	fmt.Fprintf(t.out, "# %s: %s: %s\n", caller(), t.Statement.ID, oneLine(fmt.Sprintf(format, args...)))
}

// caller is the innermost file:line outside this package.
func caller() string {
	pcs := make([]uintptr, 32)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs)])
	for {
		frame, more := frames.Next()
		inKit := strings.HasPrefix(frame.Function, "noiommu-farm/suites/lab.") && !strings.HasSuffix(frame.File, "_test.go")
		if !inKit && !strings.HasPrefix(frame.Function, "runtime.") {
			return fmt.Sprintf("%s:%d", filepath.Base(frame.File), frame.Line)
		}
		if !more {
			return "?"
		}
	}
}

// show prints numbers as a kernel developer reads them: lengths and addresses
// (uint64) in hexadecimal, modes in octal, the rest plain.
func show(v any) string {
	switch v := v.(type) {
	case uint64:
		return fmt.Sprintf("%#x", v)
	case Mode:
		return fmt.Sprintf("%#o", uint32(v))
	case string:
		return fmt.Sprintf("%q", v)
	}
	return fmt.Sprint(v)
}

// oneLine keeps a message from being taken for another line of KTAP.
func oneLine(s string) string { return strings.ReplaceAll(strings.TrimSpace(s), "\n", "\\n") }
