// SPDX-License-Identifier: Apache-2.0

// Package kconfig holds a kernel's configuration to what was asked of it.
//
// In come Kconfig fragments, a kernel's Kconfig files and the .config that
// they led to; out goes the merged request, and for every option that came
// out otherwise the dependency that forbids it. The package reads text: it
// never runs conf, and never decides what an option's value is.
package kconfig

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"regexp"
	"sort"
	"strconv"
	"strings"

	"noiommu-farm/internal/fault"
)

// An Option is one requested value.
type Option struct {
	Name  string // without CONFIG_
	Value string // y, m, n, a number, or a string with its quotes; "is not set" is n
	File  string // where it was asked for
	Line  int
	User  bool // a user wrote the fragment, not the farm
}

// A Fragment is a file of options that belong together.
type Fragment struct {
	Name    string
	Holds   string // the versions it holds for: ">= 6.18"; "" is all
	Options []Option
}

var (
	set     = regexp.MustCompile(`^CONFIG_([A-Za-z0-9_]+)=(y|m|n|-?[0-9]+|0[xX][0-9a-fA-F]+|"(?:[^"\\]|\\.)*")$`)
	notSet  = regexp.MustCompile(`^# CONFIG_([A-Za-z0-9_]+) is not set$`)
	holds   = regexp.MustCompile(`^# Kernel: (.*)$`)
	bounds  = regexp.MustCompile(`^(>=|<) ([0-9]+\.[0-9]+)$`)
	release = regexp.MustCompile(`^([0-9]+)\.([0-9]+)`)
)

// maxLine bounds a line of a fragment, in bytes.
const maxLine = 4096

// Parse reads a fragment. A line that is neither an option nor a comment, or
// an option that is given two values, is a *fault.Usage with file and line.
//
// The comment "# Kernel: >= X.Y" or "# Kernel: < X.Y" makes the whole fragment
// hold for those versions only: options come and go, and a request for one
// that does not exist is an error.
func Parse(name string, r io.Reader) (Fragment, error) {
	f := Fragment{Name: name}
	seen := map[string]Option{}
	scan := bufio.NewScanner(r)
	scan.Buffer(make([]byte, maxLine), maxLine)
	n := 0
	for scan.Scan() {
		n++
		line := strings.TrimSpace(scan.Text())
		bad := func(err error, allowed ...string) (Fragment, error) {
			return Fragment{}, &fault.Usage{Key: fmt.Sprintf("%s:%d", name, n), Value: line, Allowed: allowed, Err: err}
		}
		o := Option{File: name, Line: n}
		if m := set.FindStringSubmatch(line); m != nil {
			o.Name, o.Value = m[1], m[2]
		} else if m := notSet.FindStringSubmatch(line); m != nil {
			o.Name, o.Value = m[1], "n"
		} else if m := holds.FindStringSubmatch(line); m != nil {
			if !bounds.MatchString(m[1]) {
				return bad(nil, "# Kernel: >= X.Y", "# Kernel: < X.Y")
			}
			f.Holds = m[1]
			continue
		} else if line == "" || line[0] == '#' {
			continue
		} else {
			return bad(errors.New("not a line of a Kconfig fragment"), "CONFIG_NAME=y", "CONFIG_NAME=m", "CONFIG_NAME=n", "CONFIG_NAME=NUMBER", `CONFIG_NAME="TEXT"`, "# CONFIG_NAME is not set", "# comment")
		}
		if was, ok := seen[o.Name]; ok && was.Value != o.Value {
			return bad(fmt.Errorf("line %d gives it the value %s", was.Line, was.Value))
		}
		if _, ok := seen[o.Name]; !ok {
			f.Options = append(f.Options, o)
		}
		seen[o.Name] = o
	}
	if err := scan.Err(); err != nil {
		return Fragment{}, &fault.Usage{Key: fmt.Sprintf("%s:%d", name, n+1), Err: err}
	}
	return f, nil
}

// holdsFor says whether the fragment is for a kernel of that version.
func (f Fragment) holdsFor(version string) bool {
	m := bounds.FindStringSubmatch(f.Holds)
	if m == nil {
		return true
	}
	less := before(version, m[2])
	if m[1] == "<" {
		return less
	}
	return !less
}

// before compares major and minor numbers.
func before(a, b string) bool {
	x, y := release.FindStringSubmatch(a), release.FindStringSubmatch(b)
	if x == nil || y == nil {
		return false
	}
	for i := 1; i <= 2; i++ {
		m, _ := strconv.Atoi(x[i])
		n, _ := strconv.Atoi(y[i])
		if m != n {
			return m < n
		}
	}
	return false
}

// Merge is what the fragments that hold for a version ask of it, sorted by
// name. A later fragment wins over an earlier one.
func Merge(fragments []Fragment, version string) []Option {
	last := map[string]Option{}
	for _, f := range fragments {
		if !f.holdsFor(version) {
			continue
		}
		for _, o := range f.Options {
			last[o.Name] = o
		}
	}
	merged := make([]Option, 0, len(last))
	for _, o := range last {
		merged = append(merged, o)
	}
	sort.Slice(merged, func(i, j int) bool { return merged[i].Name < merged[j].Name })
	return merged
}

// Text is the options as conf reads them.
func Text(options []Option) string {
	var b strings.Builder
	for _, o := range options {
		fmt.Fprintf(&b, "CONFIG_%s=%s\n", o.Name, o.Value)
	}
	return b.String()
}

// ReadConfig reads a .config: name without CONFIG_ → value. What is not set
// is not there.
func ReadConfig(r io.Reader) (map[string]string, error) {
	config := map[string]string{}
	scan := bufio.NewScanner(r)
	scan.Buffer(nil, 1<<20)
	for scan.Scan() {
		if rest, ok := strings.CutPrefix(scan.Text(), "CONFIG_"); ok {
			if name, value, ok := strings.Cut(rest, "="); ok {
				config[name] = value
			}
		}
	}
	return config, scan.Err()
}
