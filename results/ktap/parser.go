// SPDX-License-Identifier: Apache-2.0

package ktap

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// Limits of what a report keeps, whatever a program prints.
const (
	MaxTests       = 1 << 16 // results, subtests included
	MaxDepth       = 16      // levels of nested tests
	MaxDiagnostics = 200     // lines before one result
	MaxProblems    = 64
	MaxBytes       = 16 << 20 // names, reasons and diagnostics together
)

// Parser reads KTAP line by line. The zero value is ready. It is not for
// concurrent use.
type Parser struct {
	levels   []level  // the open levels, outermost first
	pending  []string // diagnostics that wait for their result line
	dropped  int      // older ones of them, not kept
	bytes    int      // text kept so far
	tests    int      // results kept so far
	report   Report   // all but Plan, Tests and the diagnostics
	full     bool     // a limit was reached and told
	problems int      // problems that were not kept
}

// level is the tests of one parent, or the report's own.
type level struct {
	indent  int // spaces before its lines
	plan    int // -1 until there is one
	tests   []Test
	sub     []Test // closed subtests that wait for their parent's result
	hasSub  bool   // sub holds a closed group, maybe an empty one
	version bool   // it had a version line
	expects bool   // "# Subtest:" was read: the next deeper result opens a level

	numbered, unnumbered bool // what results it had
}

// Line reads the next line, without its line feed. It returns the test if this
// was the result line of an outermost test, with its subtests, and nil
// otherwise. A result line is believed wherever it stands; whether it should
// have been there is [Report.Complete]'s to say.
func (p *Parser) Line(line string) *Test {
	if p.levels == nil {
		p.levels = []level{{plan: -1}}
	}
	line = clean(line)
	text := strings.TrimLeft(line, " ")
	indent := len(line) - len(text)

	switch {
	case isVersion(text):
		if l := p.enter(indent, true); l != nil {
			if l.version || len(l.tests) > 0 {
				p.problem("a second version line")
			}
			l.version = true
			return nil
		}
	case strings.HasPrefix(text, "# Subtest:"):
		// KUnit prints it inside the subtests' level, TAP 14 before it.
		p.top().expects = true
	case strings.HasPrefix(text, "1.."):
		if n, reason, skipped, ok := parsePlan(text); ok {
			if l := p.enter(indent, true); l != nil {
				p.plan(l, n, reason, skipped)
				return nil
			}
		}
	case strings.HasPrefix(text, "Bail out!"):
		if p.report.BailOut == "" {
			p.report.BailOut = p.keep(strings.TrimSpace(strings.TrimPrefix(text, "Bail out!")))
			if p.report.BailOut == "" {
				p.report.BailOut = "no reason given"
			}
		}
		return nil
	case indent == 0 && strings.HasPrefix(text, "# Totals:"):
		if t, ok := parseTotals(text); ok {
			if p.report.Totals != nil && *p.report.Totals != t {
				p.problem("two lines of totals that differ")
			}
			p.report.Totals = &t
			return nil
		}
	default:
		if t, numbered, ok := parseResult(text); ok {
			if l := p.enter(indent, p.top().expects); l != nil {
				return p.result(l, t, numbered)
			}
		}
	}
	if strings.TrimSpace(line) != "" {
		p.diagnostic(line)
	}
	return nil
}

// Report is what was read so far, as if the output ended here.
func (p *Parser) Report() Report {
	r := p.report
	r.Plan = -1
	r.Diagnostics, r.Dropped = slices.Clone(p.pending), p.dropped
	r.Problems = slices.Clone(r.Problems)
	problem := func(format string, args ...any) {
		r.Problems = append(r.Problems, fmt.Sprintf(format, args...))
	}
	if p.problems > 0 {
		problem("%d more problems", p.problems)
	}
	if len(p.levels) == 0 {
		return r
	}
	r.Plan, r.Tests = p.levels[0].plan, p.levels[0].tests
	if len(p.levels) > 1 || p.levels[0].hasSub {
		problem("subtests without the result of their parent at the end")
	}
	if n := Count(r.Tests); r.Totals != nil && n != *r.Totals {
		problem("the totals say %v, the results are %v", *r.Totals, n)
	}
	return r
}

// top is the innermost open level.
func (p *Parser) top() *level { return &p.levels[len(p.levels)-1] }

// enter makes the level with that indentation the innermost one. It returns
// nil if there is no such level and none may be opened: an indented line that
// looks like a result is then only text.
func (p *Parser) enter(indent int, open bool) *level {
	if indent > p.top().indent {
		if !open {
			return nil
		}
		if len(p.levels) == MaxDepth {
			p.limit("tests nested more than %d deep", MaxDepth)
			return nil
		}
		if p.top().hasSub {
			p.problem("two groups of subtests for one result")
		}
		p.levels = append(p.levels, level{indent: indent, plan: -1})
		return p.top()
	}
	at := len(p.levels) - 1
	for p.levels[at].indent > indent {
		at--
	}
	if p.levels[at].indent != indent {
		return nil // between two levels: no test is printed there
	}
	for len(p.levels)-1 > at {
		p.close()
	}
	return p.top()
}

// close ends the innermost level and leaves its tests to the parent's next
// result.
func (p *Parser) close() {
	l := p.levels[len(p.levels)-1]
	p.levels = p.levels[:len(p.levels)-1]
	parent := p.top()
	if l.hasSub {
		p.problem("subtests without the result of their parent")
	}
	if l.plan < 0 {
		// KTAP only recommends a plan; without one the numbers must run on.
		l.plan = len(l.tests)
	}
	if err := answered(l.plan, l.tests); err != nil {
		p.problem("subtests: %v", err)
	}
	parent.sub, parent.hasSub = append(parent.sub, l.tests...), true
}

func (p *Parser) plan(l *level, n int, reason string, skipped bool) {
	if l.plan >= 0 {
		p.problem("a second plan: 1..%d after 1..%d", n, l.plan)
		return
	}
	l.plan = n
	if len(p.levels) == 1 && n == 0 && skipped {
		p.report.Skipped = p.keep(reason)
		if p.report.Skipped == "" {
			p.report.Skipped = "no reason given"
		}
	}
}

func (p *Parser) result(l *level, t Test, numbered bool) *Test {
	if p.tests == MaxTests {
		p.limit("more than %d results", MaxTests)
		return nil
	}
	p.tests++
	if numbered {
		l.numbered = true
	} else {
		l.unnumbered = true
		t.Number = 1
		if len(l.tests) > 0 {
			t.Number = l.tests[len(l.tests)-1].Number + 1
		}
	}
	if l.numbered && l.unnumbered {
		// Free text that begins with "ok" must not stand in for a result.
		p.problem("a result without a number among numbered ones: test %d", t.Number)
		l.numbered, l.unnumbered = numbered, !numbered
	}
	t.Name, t.Reason = p.keep(t.Name), p.keep(t.Reason)
	t.Diagnostics, t.Dropped = p.pending, p.dropped
	t.Sub = l.sub
	p.pending, p.dropped = nil, 0
	l.sub, l.hasSub, l.expects = nil, false, false
	if t.Outcome == OK {
		for _, s := range t.Sub {
			if s.Outcome.Failed() {
				p.problem("test %d is ok although its subtest %d is not", t.Number, s.Number)
				break
			}
		}
	}
	l.tests = append(l.tests, t)
	if len(p.levels) > 1 {
		return nil
	}
	return &t
}

func (p *Parser) diagnostic(line string) {
	line = p.keep(line)
	if line == "" {
		p.dropped++
		return
	}
	if len(p.pending) == MaxDiagnostics {
		// The last lines before a result say most about it.
		p.bytes -= cost(p.pending[0])
		copy(p.pending, p.pending[1:])
		p.pending = p.pending[:MaxDiagnostics-1]
		p.dropped++
	}
	p.pending = append(p.pending, line)
}

// keep accounts for text and returns it, or nothing when too much was kept
// already.
func (p *Parser) keep(s string) string {
	if s == "" {
		return ""
	}
	if p.bytes+cost(s) > MaxBytes {
		p.limit("more than %d bytes of text", MaxBytes)
		return ""
	}
	p.bytes += cost(s)
	return s
}

// cost is the memory that a text takes with its string header.
func cost(s string) int { return len(s) + 16 }

func (p *Parser) limit(format string, args ...any) {
	if !p.full {
		p.full = true
		p.report.Problems = append(p.report.Problems, fmt.Sprintf(format, args...))
	}
}

func (p *Parser) problem(format string, args ...any) {
	if len(p.report.Problems) >= MaxProblems {
		p.problems++
		return
	}
	p.report.Problems = append(p.report.Problems, fmt.Sprintf(format, args...))
}

// clean makes a line printable: one line of valid UTF-8 without control
// characters but tabs. What it replaces becomes U+FFFD.
func clean(line string) string {
	line = strings.TrimRight(line, "\r\n")
	return strings.Map(func(r rune) rune {
		if r != '\t' && unicode.IsControl(r) {
			return unicode.ReplacementChar
		}
		return r
	}, line)
}

func isVersion(text string) bool {
	for _, prefix := range []string{"KTAP version ", "TAP version "} {
		if rest, ok := strings.CutPrefix(text, prefix); ok {
			_, err := strconv.ParseUint(strings.TrimSpace(rest), 10, 16)
			return err == nil
		}
	}
	return false
}

// parsePlan reads "1..N", "1..0 # SKIP reason" and "1..N # text".
func parsePlan(text string) (n int, reason string, skipped, ok bool) {
	number, rest, _ := strings.Cut(strings.TrimPrefix(text, "1.."), "#")
	u, err := strconv.ParseUint(strings.TrimSpace(number), 10, 31)
	if err != nil {
		return 0, "", false, false
	}
	word, reason := directive(rest)
	if word == "skip" {
		return int(u), reason, true, true
	}
	return int(u), "", false, true
}

// parseTotals reads "# Totals: pass:5 fail:0 xfail:0 xpass:0 skip:0 error:0".
func parseTotals(text string) (Totals, bool) {
	var t Totals
	counts := map[string]*int{
		"pass": &t.Pass, "fail": &t.Fail, "xfail": &t.XFail,
		"xpass": &t.XPass, "skip": &t.Skip, "error": &t.Error,
	}
	for _, field := range strings.Fields(strings.TrimPrefix(text, "# Totals:")) {
		key, value, _ := strings.Cut(field, ":")
		count := counts[key]
		u, err := strconv.ParseUint(value, 10, 31)
		if count == nil || err != nil {
			return Totals{}, false
		}
		*count = int(u)
		delete(counts, key)
	}
	return t, len(counts) < 6
}

// parseResult reads "ok 3 - name # DIRECTIVE reason", of which all but the
// first word may be missing.
func parseResult(text string) (t Test, numbered, ok bool) {
	rest, notOK := strings.CutPrefix(text, "not ")
	rest, ok = strings.CutPrefix(rest, "ok")
	if !ok || rest != "" && rest[0] != ' ' && rest[0] != '\t' {
		return Test{}, false, false
	}
	rest = strings.TrimSpace(rest)
	if digits := len(rest) - len(strings.TrimLeft(rest, "0123456789")); digits > 0 {
		after := rest[digits:]
		if after == "" || strings.IndexByte(" \t#", after[0]) >= 0 {
			u, err := strconv.ParseUint(rest[:digits], 10, 31)
			if err != nil {
				u = 0 // no plan has it: answered reports it
			}
			t.Number, numbered = int(u), true
			rest = strings.TrimSpace(after)
		}
	}
	if rest == "-" || strings.HasPrefix(rest, "- ") {
		rest = strings.TrimSpace(rest[1:])
	}
	name, comment := splitComment(rest)
	t.Name = name
	word, reason := directive(comment)
	t.Outcome, t.Reason = OK, strings.TrimSpace(comment)
	if notOK {
		t.Outcome = NotOK
	}
	switch {
	case word == "skip":
		t.Outcome, t.Reason = Skip, reason
	case word == "xfail", word == "todo" && notOK:
		t.Outcome, t.Reason = XFail, reason
	case word == "xpass", word == "todo":
		t.Outcome, t.Reason = XPass, reason
	case word == "timeout" && notOK:
		t.Outcome, t.Reason = Timeout, reason
	case word == "error" && notOK:
		t.Outcome, t.Reason = Error, reason
	}
	return t, numbered, true
}

// splitComment parts a result's name from what follows its "#". A hash is part
// of the name if it is escaped (TAP 14) or stands inside a word and no
// directive follows.
func splitComment(s string) (name, comment string) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\\' && i+1 < len(s) && (s[i+1] == '#' || s[i+1] == '\\'):
			i++
		case s[i] == '#':
			word, _ := directive(s[i+1:])
			if i == 0 || s[i-1] == ' ' || s[i-1] == '\t' || word != "" {
				return strings.TrimSpace(b.String()), s[i+1:]
			}
		}
		b.WriteByte(s[i])
	}
	return strings.TrimSpace(b.String()), ""
}

// directive reads the keyword that a comment begins with, in lower case, and
// the text after it. The keyword is empty if it is none. TAP allows "Skipped:"
// for SKIP.
func directive(comment string) (word, rest string) {
	comment = strings.TrimSpace(comment)
	end := strings.IndexAny(comment, " \t")
	if end < 0 {
		end = len(comment)
	}
	word = strings.ToLower(strings.TrimSuffix(comment[:end], ":"))
	rest = strings.TrimSpace(comment[end:])
	switch word {
	case "skip", "skipped":
		return "skip", rest
	case "todo", "xfail", "xpass", "timeout", "error":
		return word, rest
	}
	return "", ""
}
