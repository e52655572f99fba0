// SPDX-License-Identifier: Apache-2.0

// Package failure says whether two failures are the same.
//
// In come judged tests of two guests; out goes what about each of them does
// not depend on the boot: the verdict, the complaint without addresses and
// times, and the kernel's complaints with their innermost functions. It never
// decides whether something is a failure: that is for verdict.
package failure

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"noiommu-farm/results/console"
	"noiommu-farm/results/verdict"
)

// Failure is how a test ended, as far as another guest can repeat it.
type Failure struct {
	Verdict verdict.Verdict `json:"verdict"`
	Text    string          `json:"text,omitempty"`    // see [Steady]
	More    []string        `json:"more,omitempty"`    // assertions that failed besides, as they are known; each once, sorted
	Crashes []Crash         `json:"crashes,omitempty"` // each once, sorted
}

// Crash is one complaint of the kernel.
type Crash struct {
	Title string   `json:"title"`
	Stack []string `json:"stack,omitempty"` // see [console.Finding.Stack]
}

// Of is the failure of a test.
func Of(t verdict.Test) Failure {
	f := of(t.Verdict, t.Reason, t.Findings)
	first := assertion(f.Text)
	for _, line := range t.Diagnostics {
		text := strings.TrimSpace(strings.TrimPrefix(line, "#"))
		if !complained.MatchString(text) {
			continue
		}
		if text = assertion(Steady(text)); text != first && !strings.HasPrefix(first, text+"; ") {
			f.More = append(f.More, text)
		}
	}
	slices.Sort(f.More)
	f.More = slices.Compact(f.More)
	return f
}

// complained is how a test of ours, kselftest's harness and the compiler begin a
// line that says what is wrong.
var complained = regexp.MustCompile(`^[\w./-]+\.(?:go|[chS]):[0-9]+:`)

// OfProgram is the failure of a test program as a whole.
func OfProgram(p verdict.Program) Failure {
	findings := slices.Clone(p.Findings)
	for _, t := range p.Tests {
		findings = append(findings, t.Findings...)
	}
	return of(p.Verdict, p.Reason, findings)
}

// OfCell is the failure of a cell outside its programs: it did not come up, or
// the kernel complained before the first of them.
func OfCell(c *verdict.Cell) Failure { return of(c.Verdict, c.Reason, c.Findings) }

func of(v verdict.Verdict, reason string, findings []console.Finding) Failure {
	f := Failure{Verdict: v, Text: Steady(reason)}
	for _, one := range findings {
		f.Crashes = append(f.Crashes, Crash{Title: Steady(one.Title), Stack: one.Stack()})
	}
	slices.SortFunc(f.Crashes, Crash.compare)
	f.Crashes = slices.CompactFunc(f.Crashes, Crash.equal)
	return f
}

// compare tells complaints apart that came another way: one with the title of
// another is not excused by it.
func (c Crash) compare(d Crash) int {
	return cmp.Or(cmp.Compare(c.Title, d.Title), slices.Compare(c.Stack, d.Stack))
}

func (c Crash) equal(d Crash) bool { return c.compare(d) == 0 }

var (
	address  = regexp.MustCompile(`\b(?:0x)?[0-9a-f]*[0-9][0-9a-f]*\b`)
	duration = regexp.MustCompile(`\b(?:[0-9]+(?:\.[0-9]+)?(?:h|ms|µs|m|s))+\b`)
)

// Steady is text without what differs from boot to boot: numbers of five and
// more digits and durations become "#".
func Steady(text string) string {
	text = duration.ReplaceAllString(text, "#")
	return address.ReplaceAllStringFunc(text, func(n string) string {
		if digits := strings.TrimPrefix(n, "0x"); len(digits) < 5 {
			return n
		}
		return "#"
	})
}

// Difference says how f differs from the failure that is expected; it is empty
// when they are the same.
func (f Failure) Difference(expected Failure) string {
	if f.Verdict != expected.Verdict {
		return fmt.Sprintf("%s instead of %s", f.Verdict, expected.Verdict)
	}
	if f.Text != expected.Text {
		return fmt.Sprintf("%q instead of %q", f.Text, expected.Text)
	}
	missing, more := without(expected.Crashes, f.Crashes), without(f.Crashes, expected.Crashes)
	switch {
	case len(missing) > 0:
		want := missing[0]
		for _, got := range more {
			if got.Title == want.Title {
				return fmt.Sprintf("%q came by %s instead of %s", want.Title, stack(got.Stack), stack(want.Stack))
			}
		}
		return fmt.Sprintf("without %q, by %s", want.Title, stack(want.Stack))
	case len(more) > 0:
		return fmt.Sprintf("with %q besides, by %s", more[0].Title, stack(more[0].Stack))
	}
	return ""
}

// without are the complaints that are not among others.
func without(all, others []Crash) []Crash {
	return slices.DeleteFunc(slices.Clone(all), func(c Crash) bool { return slices.ContainsFunc(others, c.equal) })
}

func stack(functions []string) string {
	if len(functions) == 0 {
		return "no known function"
	}
	return strings.Join(functions, " < ")
}
