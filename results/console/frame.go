// SPDX-License-Identifier: Apache-2.0

package console

import (
	"regexp"
	"strings"
)

// frame is one function that a report names by address.
type frame struct {
	function string
	start    bool // at its very beginning, offset 0
	pc       bool // where the CPU was, not a return address
	stack    int  // which stack of the report it is from, 0 before the first
}

var (
	// func+0x1f/0x320, the form of %pS and %pB (lib/vsprintf.c), alone or
	// with what an architecture puts around it.
	symbol = regexp.MustCompile(`([A-Za-z_.$][\w.$]*)\+(?:0x)?[0-9a-f]+/(?:0x)?[0-9a-f]+`)

	// A line of a symbolized log: "func+0x1f/0x320 net/core/dev.c:123" and
	// "func net/core/dev.c:123 [inline]".
	inline = regexp.MustCompile(`^\s*([A-Za-z_][\w.]*) [\w./-]+\.[chS]:\d+ \[inline\]`)

	zeroOffset = regexp.MustCompile(`\+(?:0x)?0/`)

	// Where the CPU was, as each architecture's show_regs() names it. The
	// names are matched at the start of the line.
	programCounter = regexp.MustCompile(`^\s*(?:RIP:|RIP |EIP:|EIP is at |IP: |IP is at |PC is at |PC: |PC:|pc is at |pc : |pc: |pc  : |epc : |epc   :|EPC:|NIP \[|NIP:|Krnl PSW|IAOQ|ERA:|era |TPC: |<?TPC)`)

	// Where a stack begins.
	stackStart = regexp.MustCompile(`(?i)^\s*(?:\S+ )?(?:call trace|call backtrace|backtrace|stack traceback|stack backtrace|stack trace|trace)\s*:|^\.\.\. which became .*irq-safe at:|state was registered at:|^task:|^\S.* running task |^NMI backtrace for`)
)

// frames reads the functions that a line names by address, innermost first.
// uncertain frames ("? func+0x1/0x2") are not reported.
func frames(text string) []frame {
	if m := inline.FindStringSubmatch(text); m != nil {
		return []frame{{function: clip(m[1])}}
	}
	at := symbol.FindAllStringSubmatchIndex(text, 4)
	if at == nil {
		return nil
	}
	before := text[:at[0][0]]
	if strings.HasSuffix(before, "? ") || strings.HasSuffix(before, "?") {
		return nil
	}
	pc := programCounter.MatchString(text)
	var found []frame
	for _, m := range at {
		found = append(found, frame{function: clip(text[m[2]:m[3]]), pc: pc, start: zeroOffset.MatchString(text[m[0]:m[1]])})
	}
	return found
}

// clip takes off what compilers append to a function's name: ".isra.0",
// ".constprop.1", ".part.2", ".cold", ".llvm.123", and the dot before a
// function of the old powerpc64 ABI.
func clip(function string) string {
	function = strings.TrimPrefix(function, ".")
	if dot := strings.IndexByte(function, '.'); dot > 0 {
		function = function[:dot]
	}
	return function
}
