// SPDX-License-Identifier: Apache-2.0

// Package verdict judges a cell from its record alone: the plan with its
// expectations, the agent's words, the KTAP that programs printed, the
// evidence in it, and the console. It is the one place where something becomes
// a pass, and it makes one only of a test that was expected to pass, said so,
// moved its evidence counters, ran in a program that ended well, and during
// which the kernel log stayed clean.
//
// It reads records and never writes; it knows nothing of guests.
package verdict

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"noiommu-farm/results"
	"noiommu-farm/results/console"
	"noiommu-farm/suites/contract"
)

// Verdict is what became of a test, a program, a cell or a run.
type Verdict string

const (
	Pass    Verdict = "pass"
	Skip    Verdict = "skip"    // for a typed reason that the cell's facts call for
	XFail   Verdict = "xfail"   // failed, and a finding or the program itself says that it must
	Infra   Verdict = "infra"   // the farm is bad: says nothing of the kernel
	Fail    Verdict = "fail"    // the kernel under test is bad
	Timeout Verdict = "timeout" // it did not end in time
	Crash   Verdict = "crash"   // the kernel crashed
)

// rank orders verdicts by what must be told first. A failure of the kernel is
// a fact even when the farm failed later, so it outranks infra.
// Where something passed, an expected failure changes nothing.
var rank = map[Verdict]int{Skip: 0, XFail: 1, Pass: 2, Infra: 3, Fail: 4, Timeout: 5, Crash: 6}

// Worst is the verdict that stands for both.
func Worst(a, b Verdict) Verdict {
	if rank[b] > rank[a] {
		return b
	}
	return a
}

// Good says whether a verdict is as expected.
func (v Verdict) Good() bool { return v == Pass || v == Skip || v == XFail }

// Test is one judged test.
type Test struct {
	Name        string            `json:"name"`
	Verdict     Verdict           `json:"verdict"`
	Reason      string            `json:"reason,omitempty"`
	Guest       uint32            `json:"guest,omitempty"`   // of the cell, in which it ran; 0 is the first
	Wall        time.Duration     `json:"wall_ns,omitempty"` // by the guest's clock; 0 where the program does not mark its tests
	Evidence    map[string]int64  `json:"evidence,omitempty"`
	Diagnostics []string          `json:"diagnostics,omitempty"`
	Finding     *contract.Finding `json:"finding,omitempty"`  // why it is expected to fail
	Findings    []console.Finding `json:"findings,omitempty"` // what the kernel said meanwhile
}

// Program is one judged test program.
type Program struct {
	ID       uint32            `json:"id"`
	Name     string            `json:"name"`
	Verdict  Verdict           `json:"verdict"`
	Own      Verdict           `json:"own,omitempty"`    // on the program as a whole, whatever its tests are
	Reason   string            `json:"reason,omitempty"` // for it
	Tests    []Test            `json:"tests"`
	Wall     time.Duration     `json:"wall_ns"`
	Findings []console.Finding `json:"findings,omitempty"` // between its tests
}

// Cell is one judged cell.
type Cell struct {
	Name     string            `json:"name"`
	Kernel   results.Kernel    `json:"kernel"`
	Machine  results.Machine   `json:"machine"`
	Verdict  Verdict           `json:"verdict"`
	Own      Verdict           `json:"own,omitempty"`    // on the cell as a whole, whatever its programs are
	Reason   string            `json:"reason,omitempty"` // for it
	Programs []Program         `json:"programs"`
	Absent   []results.Absent  `json:"absent,omitempty"`
	Findings []console.Finding `json:"findings,omitempty"` // outside every program
	Tail     []string          `json:"tail,omitempty"`     // the console's last lines, of a cell that ended early
	Wall     time.Duration     `json:"wall_ns"`            // plan to end
	Guests   Guests            `json:"guests"`
	Dir      string            `json:"dir"`
}

// tell says what is wrong with the cell as a whole.
func (c *Cell) tell(v Verdict, reason string) {
	c.Own, c.Verdict = Worst(c.Own, v), Worst(c.Verdict, v)
	c.Reason = cmp.Or(c.Reason, reason)
}

// tell says what is wrong with the program as a whole.
func (p *Program) tell(v Verdict, format string, args ...any) {
	p.Own, p.Verdict = Worst(p.Own, v), Worst(p.Verdict, v)
	p.Reason = cmp.Or(p.Reason, fmt.Sprintf(format, args...))
}

// Guests says in how many guests a cell was carried out.
type Guests struct {
	Booted   int    `json:"booted"`
	Restored int    `json:"restored,omitempty"`
	Why      string `json:"why,omitempty"` // why none was restored, although it was wanted
}

// String says it in a few words.
func (g Guests) String() string {
	if g.Restored == 0 {
		return fmt.Sprintf("%d booted", g.Booted)
	}
	return fmt.Sprintf("%d booted, %d restored", g.Booted, g.Restored)
}

// Counts are numbers of tests by verdict.
type Counts map[Verdict]int

// Counts counts the tests of a program.
func (p Program) Counts() Counts {
	c := make(Counts)
	for _, t := range p.Tests {
		c[t.Verdict]++
	}
	return c
}

// Counts counts the tests of a cell.
func (c Cell) Counts() Counts {
	sum := make(Counts)
	for _, p := range c.Programs {
		for v, n := range p.Counts() {
			sum[v] += n
		}
	}
	return sum
}

// Reasoned is the cell's counts, or the reason when it has one.
func (c Cell) Reasoned() string {
	if c.Reason != "" {
		return c.Reason
	}
	return c.Counts().String()
}

// inOrder is the order in which counts are told.
var inOrder = []Verdict{Pass, XFail, Skip, Fail, Timeout, Crash, Infra}

func (c Counts) String() string {
	var words []string
	for _, v := range inOrder {
		if n := c[v]; n > 0 {
			words = append(words, fmt.Sprintf("%d %s", n, v))
		}
	}
	return strings.Join(words, ", ")
}
