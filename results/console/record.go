// SPDX-License-Identifier: Apache-2.0

package console

import (
	"regexp"
	"strings"
	"unicode"

	"noiommu-farm/guestagent/wire"
)

// record is one console line without what was put before the kernel's text.
type record struct {
	context string // who printed it: "T123", "C0", or "" when not told
	text    string
	seconds int  // of the time stamp, 0 without one
	stamped bool // it had a printk time stamp or a syslog level: the kernel's own
}

var (
	// CSI, OSC and two-byte escape sequences (ECMA-48), as boot loaders,
	// firmware and systemd print them.
	ansi = regexp.MustCompile("\x1b(?:\\[[0-?]*[ -/]*[@-~]|\\][^\x07\x1b]*(?:\x07|\x1b\\\\)?|[@-Z\\\\-_a-z=>])")

	// "<4>", in front of the time stamp on old kernels and in /dev/kmsg.
	level = regexp.MustCompile(`^<\d{1,3}>`)

	// "[   12.345678]", kernel/printk/printk.c print_time(); Android's
	// "[   12.345678,0]" names the CPU.
	stamp = regexp.MustCompile(`^\[ {0,12}\d{1,10}\.\d{3,9}(?:,\d{1,3})?\]`)

	stampInside = regexp.MustCompile(`\[ {0,12}\d{1,10}\.\d{6}\]`)

	// dmesg's times for people: -T, --time-format iso, -e, -d. The record is the
	// kernel's own, its seconds are not told.
	human = regexp.MustCompile(`^(?:\[[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \d{4}\]` +
		`|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[,.]\d{1,9}(?:[+-]\d\d:?\d\d|Z)?` +
		`|\[[A-Z][a-z]{2} {0,2}\d{1,2} \d\d:\d\d\]` +
		`|\[ {0,6}[+<] {0,8}\d{1,10}\.\d{6}>?\])(?: |$)`)

	// "kern  :warn  : ", dmesg -x.
	facility = regexp.MustCompile(`^[a-z0-9]{2,8} *:[a-z]{3,6} *: `)

	// "[ T1234]", "[    C0]" after the time stamp, print_caller().
	caller = regexp.MustCompile(`^\[ {0,12}([TC]\d{1,10})\]`)

	// "Nov 22 16:52:26 host kernel: ", "2026-11-22T16:52:26.123+00:00 host kernel: "
	syslog = regexp.MustCompile(`^(?:[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d|\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d\S*) (?:\S+ )?kernel: ?`)
)

// strip takes off what stands before the kernel's text.
func strip(line string) record {
	if strings.IndexByte(line, '\x1b') >= 0 {
		line = ansi.ReplaceAllString(line, "")
	}
	line = printable(line)
	var r record
	line = line[len(syslog.FindString(line)):]
	line = line[len(facility.FindString(line)):]
	if h := human.FindString(line); h != "" {
		line, r.stamped = line[len(h):], true
	}
	if l := level.FindString(line); l != "" {
		line, r.stamped = line[len(l):], true
	}
	t := stamp.FindString(line)
	if t == "" {
		// A prompt or other output without a line feed came before it.
		if at := stampInside.FindStringIndex(line); at != nil && at[0] <= 80 && line[0] != '#' {
			line = line[at[0]:]
			t = stamp.FindString(line)
		}
	}
	if t != "" {
		line, r.stamped = line[len(t):], true
		r.seconds = number(strings.TrimLeft(t[1:strings.IndexByte(t, '.')], " "))
		if c := caller.FindStringSubmatch(line); c != nil {
			r.context = c[1]
			line = line[len(c[0]):]
		}
		line = strings.TrimPrefix(line, " ")
	}
	r.text = line
	return r
}

// printable makes a line valid UTF-8 without control characters but tabs.
func printable(line string) string {
	line = strings.TrimRight(line, "\r\n")
	clean := func(r rune) rune {
		switch {
		case r == '\r' || r == 0:
			return -1
		case r != '\t' && unicode.IsControl(r):
			return unicode.ReplacementChar
		}
		return r
	}
	return strings.Map(clean, line)
}

// foreign says whether a line is a test program's or the farm's own.
func foreign(rec record) bool {
	if strings.HasPrefix(rec.text, wire.Marker) {
		return true
	}
	if rec.stamped {
		return false
	}
	for _, prefix := range []string{"#", "ok ", "not ok ", "1..", "KTAP ", "TAP "} {
		if strings.HasPrefix(rec.text, prefix) {
			return true
		}
	}
	return false
}
