// SPDX-License-Identifier: Apache-2.0

package verdict

import (
	"bytes"
	"io"
	"strconv"
	"strings"
	"time"

	"noiommu-farm/guestagent/wire"
	"noiommu-farm/results"
	"noiommu-farm/results/console"
	"noiommu-farm/results/ktap"
)

// consoleLog is a classified console, cut into windows by the marker lines
// that the agent and the suites write into the kernel log. The markers go
// through the same log as what the kernel says of itself, so the order is the
// kernel's own and needs no clock.
type consoleLog struct {
	outside   []console.Finding // before, between and after programs
	within    []located         // the others
	agentDied *console.Finding  // PID 1 is our agent: its death is the farm's
	tail      []string          // its last lines
	dropped   string            // the kernel's word that it could not print everything
	full      bool              // there were more findings than are kept
	stuck     *console.Finding  // the panic that the host's NMI caused, to see where a guest hangs
	took      map[timed]time.Duration
	ended     map[uint32]bool // the programs whose end is marked, by ID
}

// timed is a test whose beginning and end are marked.
type timed struct {
	program uint32
	test    string
}

// tailLines is how much of a console is told of a cell that ended early.
const tailLines = 15

// located is a finding with the window that it begins in.
type located struct {
	console.Finding
	program uint32
	test    string // empty between the tests of a program
}

// window is what runs from one marker line to the next.
type window struct {
	first   int // line
	program uint32
	test    string
}

// readConsole classifies a console log and finds the window of each finding.
// nmi says that the host sent the guest an NMI, so a panic over one is its
// answer.
func readConsole(log io.Reader, nmi bool) (*consoleLog, error) {
	windows := []window{{first: 1}}
	var number int
	var lines ktap.Lines
	var tail []string
	var dropped string
	took := make(map[timed]time.Duration)
	ended := make(map[uint32]bool)
	var began time.Duration
	emit := func(line string, _ int) {
		number++
		if strings.Contains(line, "printk messages dropped **") {
			dropped = line
		}
		if tail = append(tail, line); len(tail) > tailLines {
			tail = tail[1:]
		}
		was := windows[len(windows)-1]
		if w, ok := was.next(line, number); ok {
			windows = append(windows, w)
			now := stamp(line)
			if was.test != "" && w.test == "" && now > began {
				took[timed{was.program, was.test}] = now - began
			}
			began = now
			if w.program == 0 && was.program != 0 {
				ended[was.program] = true
			}
		}
	}
	findings, err := console.Classify(io.TeeReader(log, writerFunc(func(p []byte) { lines.Feed(p, emit) })))
	if err != nil {
		return nil, err
	}
	lines.Flush(emit)

	out := &consoleLog{tail: tail, dropped: dropped, took: took, ended: ended, full: len(findings) == console.MaxFindings}
	at := 0
	for _, f := range findings {
		for at+1 < len(windows) && windows[at+1].first <= f.First {
			at++
		}
		w := windows[at]
		switch {
		case f.Class == console.InitDied:
			out.agentDied = &f
		case nmi && f.Class == console.Panic && strings.Contains(f.Title, "NMI"):
			out.stuck = &f
		case w.program == 0:
			out.outside = append(out.outside, f)
		default:
			out.within = append(out.within, located{f, w.program, w.test})
		}
	}
	return out, nil
}

// next is the window that a marker line opens after w.
func (w window) next(line string, number int) (window, bool) {
	_, text, ok := strings.Cut(line, wire.Marker+" ")
	if !ok {
		return w, false
	}
	word, rest, _ := strings.Cut(strings.TrimRight(text, "\r\n "), " ")
	switch word {
	case "start":
		id, _, _ := strings.Cut(rest, " ")
		n, err := strconv.ParseUint(id, 10, 32)
		return window{first: number, program: uint32(n)}, err == nil
	case "test":
		return window{first: number, program: w.program, test: rest}, true
	case "done":
		return window{first: number, program: w.program}, true
	case "end":
		return window{first: number}, true
	}
	return w, false
}

// stamp is the time since boot that begins a line of the kernel log (printk
// with CONFIG_PRINTK_TIME): "[    1.100000] ". It is 0 where there is none.
func stamp(line string) time.Duration {
	text, _, _ := strings.Cut(strings.TrimPrefix(line, "["), "]")
	d, err := time.ParseDuration(strings.TrimSpace(text) + "s")
	if err != nil {
		return 0
	}
	return d
}

// isFatal says whether the kernel cannot go on after a finding.
func isFatal(f console.Finding) bool {
	switch f.Class {
	case console.Panic, console.Oops, console.PageFault, console.GPF, console.Bug,
		console.StackOverflow, console.HardLockup, console.Reboot:
		return true
	}
	return f.Panicked
}

// fatal is the first finding after which the kernel cannot go on.
func (c *consoleLog) fatal() *console.Finding {
	for _, l := range c.within {
		if isFatal(l.Finding) {
			return &l.Finding
		}
	}
	for _, f := range c.outside {
		if isFatal(f) {
			return &f
		}
	}
	return nil
}

// of are the findings while a program ran. What was said outside of its tests is
// about the only one, if it has one: nothing else was done meanwhile. A kernel
// complains of some things only a while after the test.
func (c *consoleLog) of(p results.Program) []located {
	var mine []located
	for _, l := range c.within {
		if l.program != p.ID {
			continue
		}
		if l.test == "" && len(p.Tests) == 1 {
			l.test = p.Tests[0].Name
		}
		mine = append(mine, l)
	}
	return mine
}

type writerFunc func([]byte)

func (f writerFunc) Write(p []byte) (int, error) {
	f(bytes.Clone(p))
	return len(p), nil
}
