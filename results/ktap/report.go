// SPDX-License-Identifier: Apache-2.0

// Package ktap reads and writes the Kernel Test Anything Protocol.
//
// In goes what a test program printed, a line at a time and as it comes: KTAP
// (Documentation/dev-tools/ktap.rst), TAP 13 and 14, and the dialect of
// tools/testing/selftests/kselftest.h and kselftest_harness.h. Out comes a
// [Report]: every result with the diagnostics printed before it, and whether
// the report is [Report.Complete]. [Write] turns a report into KTAP again.
//
// It never judges: a report can be complete and full of failures. It never
// trusts either: lines, tests, nesting and diagnostics are all bounded, and
// what cannot be read is kept as a diagnostic or told as a problem.
package ktap

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Outcome is what one result line says.
type Outcome string

const (
	OK      Outcome = "ok"
	NotOK   Outcome = "not ok"
	Skip    Outcome = "skip"    // directive SKIP
	XFail   Outcome = "xfail"   // directive XFAIL, or "not ok" with TODO: failed, as expected
	XPass   Outcome = "xpass"   // directive XPASS, or "ok" with TODO: passed, unexpectedly
	Timeout Outcome = "timeout" // "not ok" with directive TIMEOUT
	Error   Outcome = "error"   // "not ok" with directive ERROR
)

// Failed says whether a parent test with such a subtest must not be ok.
func (o Outcome) Failed() bool { return o == NotOK || o == Timeout || o == Error }

// Test is one result line and what belongs to it.
type Test struct {
	Number  int     `json:"number"`         // as printed, or one more than the result before it
	Name    string  `json:"name,omitempty"` // empty for kselftest's "ok 3 # SKIP text"
	Outcome Outcome `json:"outcome"`
	Reason  string  `json:"reason,omitempty"` // what follows the directive, or the "#" if there is none

	// Diagnostics are the lines before the result line, as printed: those
	// with a "#" and those that are no KTAP at all. Only the last
	// [MaxDiagnostics] are kept.
	Diagnostics []string `json:"diagnostics,omitempty"`
	Dropped     int      `json:"dropped,omitempty"` // diagnostics that were not kept

	Sub []Test `json:"sub,omitempty"`
}

// Totals is the line that kselftest programs end with.
type Totals struct {
	Pass  int `json:"pass"`
	Fail  int `json:"fail"`
	XFail int `json:"xfail"`
	XPass int `json:"xpass"`
	Skip  int `json:"skip"`
	Error int `json:"error"`
}

func (t Totals) String() string {
	return fmt.Sprintf("pass:%d fail:%d xfail:%d xpass:%d skip:%d error:%d",
		t.Pass, t.Fail, t.XFail, t.XPass, t.Skip, t.Error)
}

// Count counts outcomes the way kselftest.h does. It has no count for a
// timeout, which is a failure there.
func Count(tests []Test) Totals {
	var n Totals
	for _, t := range tests {
		switch t.Outcome {
		case OK:
			n.Pass++
		case NotOK, Timeout:
			n.Fail++
		case XFail:
			n.XFail++
		case XPass:
			n.XPass++
		case Skip:
			n.Skip++
		case Error:
			n.Error++
		}
	}
	return n
}

// Report is everything that one test program printed.
type Report struct {
	Plan    int     `json:"plan"` // number of planned tests, -1 without a plan
	Tests   []Test  `json:"tests"`
	Skipped string  `json:"skipped,omitempty"`  // reason of "1..0 # SKIP reason"
	BailOut string  `json:"bail_out,omitempty"` // reason of "Bail out! reason"
	Totals  *Totals `json:"totals,omitempty"`

	Diagnostics []string `json:"diagnostics,omitempty"` // after the last result
	Dropped     int      `json:"dropped,omitempty"`     // of them, not kept

	// Problems are breaches of the protocol: a number twice, a second plan,
	// totals that do not agree with the results, a parent that is ok
	// although its subtest is not.
	Problems []string `json:"problems,omitempty"`
}

// Complete is nil only if there is a plan, every planned test has answered
// exactly once and in range, nothing bailed out, and the report has no
// problem. A report that was skipped as a whole ("1..0 # SKIP reason") is
// complete: nothing was promised, and it says why.
func (r Report) Complete() error {
	var errs []error
	if r.BailOut != "" {
		errs = append(errs, fmt.Errorf("bailed out: %s", r.BailOut))
	}
	switch {
	case r.Plan < 0 && len(r.Tests) == 0:
		errs = append(errs, errors.New("no plan and no result"))
	case r.Plan < 0:
		errs = append(errs, fmt.Errorf("no plan, %d results", len(r.Tests)))
	case r.Plan == 0 && r.Skipped == "":
		errs = append(errs, errors.New("the plan is empty and gives no reason"))
	default:
		if err := answered(r.Plan, r.Tests); err != nil {
			errs = append(errs, err)
		}
	}
	for _, p := range r.Problems {
		errs = append(errs, errors.New(p))
	}
	return errors.Join(errs...)
}

// answered says which of the tests 1..plan have no result or more than one,
// and which results are not in the plan.
func answered(plan int, tests []Test) error {
	numbers := make([]int, len(tests))
	for i, t := range tests {
		numbers[i] = t.Number
	}
	slices.Sort(numbers)
	var missing, twice, beyond []string
	next := 1 // the number that should come now
	gap := func(upTo int) {
		switch {
		case next == upTo:
			missing = append(missing, fmt.Sprint(next))
		case next < upTo:
			missing = append(missing, fmt.Sprintf("%d-%d", next, upTo))
		}
	}
	for i, n := range numbers {
		switch {
		case n < 1 || n > plan:
			beyond = append(beyond, fmt.Sprint(n))
		case i > 0 && numbers[i-1] == n:
			if len(twice) == 0 || twice[len(twice)-1] != fmt.Sprint(n) {
				twice = append(twice, fmt.Sprint(n))
			}
		default:
			gap(n - 1)
			next = n + 1
		}
	}
	gap(plan)
	var faults []string
	for _, f := range []struct {
		what    string
		numbers []string
	}{{"no result", missing}, {"more than one result", twice}, {"not in the plan", beyond}} {
		if len(f.numbers) == 0 {
			continue
		}
		list := strings.Join(f.numbers[:min(len(f.numbers), 8)], ",")
		if len(f.numbers) > 8 {
			list += ",..."
		}
		faults = append(faults, fmt.Sprintf("%s: %s", f.what, list))
	}
	if faults == nil {
		return nil
	}
	return fmt.Errorf("planned %d tests; %s", plan, strings.Join(faults, "; "))
}
