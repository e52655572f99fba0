// SPDX-License-Identifier: Apache-2.0

package console

import (
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

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
	if rule != nil && !s.believable(rule, rec, current) {
		rule = nil
	}
	s.running = s.running || rec.seconds > 0 || strings.HasPrefix(rec.text, "Linux version ")
	if rule != nil && current != nil && current.includes(rule, rec.text) {
		current.join(rule, rec.text)
		rule = nil
	}
	if rule != nil {
		return s.limit(s.begin(rule, groups, rec, current))
	}
	if current != nil && !foreign(rec) {
		current.read(s.number, rec.text)
	}
	if ruler.MatchString(rec.text) {
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

// ruler is what may stand before the line that says what a report is.
var ruler = regexp.MustCompile(`^(?:-{12}\[ cut here |8<--- cut here|={7})`)

// believable says whether a line that looks like the first of a report is one.
func (s *Scanner) believable(rule *rule, rec record, current *report) bool {
	switch {
	case foreign(rec):
		return false
	case rule.traits&again != 0:
		return s.running
	case strings.Contains(rec.text, "Fatal exception") && !current.dying():
		// It ends an oops; another report may have come in between.
		return s.died == 0 || s.number-s.died >= windowOfDeath
	}
	return true
}

// begin starts a report with the line and ends the one it comes after.
func (s *Scanner) begin(rule *rule, groups []string, rec record, current *report) []Finding {
	var done []Finding
	switch {
	case current == nil:
	case current.rule.traits&announces != 0 && rule.class == current.rule.class:
		s.open = slices.DeleteFunc(s.open, func(o *report) bool { return o == current })
	default:
		done = s.end(current)
	}
	if len(s.open) == maxOpen {
		done = append(done, s.end(s.open[0])...)
	}
	next := &report{rule: rule, groups: groups, context: rec.context,
		finding: Finding{CPU: -1, PID: -1, First: s.number}}
	if at, ok := s.rulers[rec.context]; ok && s.number-at < maxPreamble {
		next.finding.First = at
	}
	s.open = append(s.open, next)
	next.add(s.number, rec.text)
	if rule.traits&oneLine != 0 {
		done = append(done, s.end(next)...)
	}
	return done
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
