// SPDX-License-Identifier: Apache-2.0

package console

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"noiommu-farm/guestagent/wire"
	"noiommu-farm/results/ktap"
)

// Limits of what is kept of a log.
const (
	MaxLines    = 300     // lines of one finding
	MaxLine     = 4 << 10 // bytes of one line
	MaxFindings = 1000    // findings of one log; the rest is not reported

	maxOpen       = 32  // reports that are read at the same time
	maxFrames     = 400 // stack frames of one report
	maxPreamble   = 12  // lines from a ruler or "cut here" to the line that says what it is
	maxIdle       = 60  // lines without anything of a report that end it
	windowOfDeath = 400 // lines after an oops in which a panic is its consequence
)

// Classify reads a whole log. The error is the reader's; the findings up to
// there are valid.
func Classify(log io.Reader) ([]Finding, error) {
	var s Scanner
	var found []Finding
	lines := ktap.Lines{Max: MaxLine}
	line := func(text string, _ int) { found = append(found, s.Line(text)...) }
	buf := make([]byte, 64<<10)
	var err error
	for err == nil {
		var n int
		n, err = log.Read(buf)
		lines.Feed(buf[:n], line)
	}
	lines.Flush(line)
	found = append(found, s.Flush()...)
	slices.SortStableFunc(found, func(a, b Finding) int { return a.First - b.First })
	if err != io.EOF {
		return found, fmt.Errorf("read console log: %w", err)
	}
	return found, nil
}

// Scanner finds complaints line by line. The zero value is ready. It is not
// for concurrent use.
type Scanner struct {
	number  int // of the last line
	open    []*report
	rulers  map[string]int // by context, the line number of the last ruler
	found   int
	running bool // a kernel has booted
	died    int  // the last line of the last oops that was returned
}

// Line reads the next line, without its line feed, and returns the findings
// that it ended. A finding is returned once it is whole, so a while after its
// first line; First says where it began.
func (s *Scanner) Line(line string) []Finding {
	s.number++
	if len(line) > MaxLine {
		line = line[:MaxLine]
	}
	rec := strip(line)
	var done []Finding

	current := s.reading(rec.context)
	rule, groups := match(rec)
	switch {
	case rule == nil:
	case foreign(rec):
		rule = nil
	case rule.traits&again != 0 && !s.running:
		rule = nil
	case strings.Contains(rec.text, "Fatal exception") && s.died > 0 && s.number-s.died < windowOfDeath && !current.dying():
		rule = nil // of an oops that another report came after
	}
	s.running = s.running || rec.seconds > 0 || strings.HasPrefix(rec.text, "Linux version ")
	if rule != nil && current != nil && current.includes(rule, rec.text) {
		if strings.HasPrefix(rec.text, "Kernel panic") {
			current.finding.Panicked, current.ended = true, false
			current.complete = current.hasStack()
		}
		current.deadly = current.deadly || rule.traits&death != 0
		rule = nil
	}
	if rule != nil {
		if current != nil {
			if current.rule.traits&announces != 0 && rule.class == current.rule.class {
				s.open = slices.DeleteFunc(s.open, func(o *report) bool { return o == current })
			} else {
				done = append(done, s.end(current)...)
			}
		}
		if len(s.open) == maxOpen {
			done = append(done, s.end(s.open[0])...)
		}
		current = &report{rule: rule, groups: groups, context: rec.context,
			finding: Finding{CPU: -1, PID: -1, First: s.number}}
		if at, ok := s.rulers[rec.context]; ok && s.number-at < maxPreamble {
			current.finding.First = at
		}
		s.open = append(s.open, current)
		current.add(s.number, rec.text)
		if rule.traits&oneLine != 0 {
			done = append(done, s.end(current)...)
		}
		return s.limit(done)
	}
	if current != nil && !foreign(rec) {
		current.read(s.number, rec)
	}
	if strings.HasPrefix(rec.text, "------------[ cut here ]") || strings.HasPrefix(rec.text, "8<--- cut here") || strings.HasPrefix(rec.text, "=======") {
		if s.rulers == nil || len(s.rulers) == maxOpen {
			s.rulers = map[string]int{}
		}
		s.rulers[rec.context] = s.number
	}
	for _, r := range slices.Clone(s.open) {
		r.idle++
		if r.idle > maxIdle && !r.dying() || r.idle > windowOfDeath {
			done = append(done, s.end(r)...)
		}
	}
	return s.limit(done)
}

// Flush ends every finding that is still being read, at the end of the log.
func (s *Scanner) Flush() []Finding {
	var done []Finding
	for _, r := range slices.Clone(s.open) {
		done = append(done, s.end(r)...)
	}
	return s.limit(done)
}

// reading is the report that a line of the context would go on with.
func (s *Scanner) reading(context string) *report {
	for i := len(s.open) - 1; i >= 0; i-- {
		if s.open[i].context == context {
			return s.open[i]
		}
	}
	return nil
}

func (s *Scanner) end(r *report) []Finding {
	s.open = slices.DeleteFunc(s.open, func(o *report) bool { return o == r })
	if r.rule.traits&needsStack != 0 && !r.hasStack() {
		return nil
	}
	if r.dying() {
		s.died = r.finding.Last
	}
	return []Finding{r.finish()}
}

func (s *Scanner) limit(found []Finding) []Finding {
	if room := MaxFindings - s.found; len(found) > room {
		found = found[:room]
	}
	s.found += len(found)
	return found
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

// hasStack says whether the report shows where the kernel was.
func (r *report) hasStack() bool {
	for _, f := range r.frames {
		if f.stack > 0 || f.pc {
			return true
		}
	}
	return false
}

// dying says whether a panic that comes next is a consequence of the report.
func (r *report) dying() bool { return r != nil && (r.deadly || r.rule.traits&death != 0) }

// includes says whether another first line is part of the report, or a
// consequence of it, instead of a new finding.
func (r *report) includes(next *rule, text string) bool {
	if r.ended && !strings.HasPrefix(text, "Kernel panic") {
		return false
	}
	if next.class == InitDied {
		return r.dying() && (r.finding.PID <= 1 || r.finding.Comm == "init")
	}
	if strings.HasPrefix(text, "Kernel panic") {
		return r.dying() || strings.Contains(text, "panic_on_warn") || strings.Contains(text, "kasan.fault") || r.rule.class == AtomicSleep || r.rule.class == OOM || r.rule.class == SoftLockup || r.rule.class == HungTask || r.rule.class == RCUStall || r.rule.class == HardLockup
	}
	if next.traits&follows != 0 && r.dying() {
		return true
	}
	early := len(r.finding.Lines) < 8
	switch {
	case r.rule.traits&preface != 0:
		return early && (next.class == Bug || next.class == Warning) || next.traits&follows != 0
	case r.rule.class == SlabCorruption:
		return next.class == SlabCorruption && strings.HasPrefix(text, "INFO: ")
	case r.rule.class == OOM:
		return next.class == OOM && strings.HasPrefix(text, "Out of memory")
	case r.rule.class == Warning:
		return early && next.traits&preface != 0
	}
	return false
}

// read takes the next line of the report's context.
func (r *report) read(number int, rec record) {
	if r.ended {
		return
	}
	if part.MatchString(rec.text) || stackStart.MatchString(rec.text) || symbol.MatchString(rec.text) {
		r.idle = 0
		for _, text := range r.pending {
			if len(r.finding.Lines) < MaxLines {
				r.finding.Lines = append(r.finding.Lines, text)
			}
		}
		r.pending = nil
		r.add(number, rec.text)
		if endOf.MatchString(rec.text) {
			r.ended = true
		}
		return
	}
	if len(r.pending) < maxIdle {
		r.pending = append(r.pending, rec.text)
	}
}
