// SPDX-License-Identifier: Apache-2.0

package known

import (
	"fmt"
	"slices"
	"time"

	"noiommu-farm/results/console"
	"noiommu-farm/results/failure"
	"noiommu-farm/results/verdict"
)

// State is what became of an entry in one run.
type State string

const (
	Matched State = "matched" // a failure has it, and is excused
	Kept    State = "kept"    // a failure has it, and cannot be excused: see Applied.Because
	Expired State = "expired" // a failure has it, and the entry excuses nothing more
	Stale   State = "stale"   // its test ran, and nothing failed so: the entry no longer matches
	Unseen  State = "unseen"  // its test was not run
)

// Applied is an entry with what became of it.
type Applied struct {
	Issue
	State   State    `json:"state"`
	Because string   `json:"because,omitempty"` // why it was kept
	Cells   []string `json:"cells,omitempty"`   // where a failure has it
}

// Apply makes the failures that a list names expected ones, in cells that began
// at a time, and says what became of each entry. The cells are changed: such a
// result becomes an xfail, and the verdicts of its program and its cell follow.
//
// Only a result that a fingerprint is of is excused: a test's, or that of a
// program or a cell as a whole where the kernel's log is all that is wrong with
// it. What only follows from it (not run, no result) is not, nor is what the
// farm failed at: then the entry is kept.
func Apply(list List, cells []*verdict.Cell, began time.Time) []Applied {
	all := make([]Applied, len(list.Issues))
	byPrint := make(map[string]*Applied)
	for i, issue := range list.Issues {
		all[i] = Applied{Issue: issue, State: Unseen}
		byPrint[issue.Fingerprint] = &all[i]
	}
	for _, c := range cells {
		whole := make(map[int]bool) // excused as a whole: programs by index, the cell as -1
		touched := false
		own := owns(c)
		for _, p := range failure.Problems(c) {
			a := byPrint[p.Fingerprint]
			if a == nil {
				continue
			}
			if !slices.Contains(a.Cells, c.Name) {
				a.Cells = append(a.Cells, c.Name)
			}
			switch {
			case a.Issue.Expired(began):
				a.State = Expired
				tell(c, p, fmt.Sprintf("known issue %s has expired on %s: ", a.Fingerprint, a.Expires)+p.Reason)
			case p.Follows:
				a.keep("what follows from it was not tested")
			case p.Verdict == verdict.Infra:
				a.keep("it is the farm's failure")
			case p.Test < 0 && !onlyLog(c, p):
				a.keep("it is not of a test")
			default:
				if a.State != Kept {
					a.State = Matched
				}
				excuse(c, p, fmt.Sprintf("known issue %s, until %s: %s: %s", a.Fingerprint, a.Expires, a.Reason, p.Reason))
				whole[p.Program] = whole[p.Program] || p.Test < 0
				touched = true
			}
		}
		if touched {
			conclude(c, own, whole)
		}
	}
	for i := range all {
		if a := &all[i]; a.State == Unseen && ran(cells, a.Test) {
			a.State = Stale
		}
	}
	return all
}

func (a *Applied) keep(because string) { a.State, a.Because = Kept, because }

// ran says whether a named result was looked for in any cell, and gave one.
func ran(cells []*verdict.Cell, name string) bool {
	for _, c := range cells {
		if name == failure.Name("", "") && c.Verdict != verdict.Infra {
			return true
		}
		for _, p := range c.Programs {
			if name == failure.Name(p.Name, "") && p.Verdict != verdict.Infra {
				return true
			}
			for _, t := range p.Tests {
				if name == failure.Name(p.Name, t.Name) && (t.Verdict == verdict.Pass || t.Verdict == verdict.Fail || t.Verdict == verdict.XFail) {
					return true
				}
			}
		}
	}
	return false
}

// onlyLog says whether what the kernel said of itself is all that is wrong with
// a program or a cell as a whole, so that a fingerprint of it stands for all.
func onlyLog(c *verdict.Cell, p failure.Problem) bool {
	is := func(reason string, findings []console.Finding) bool {
		return len(findings) > 0 && reason == findings[0].Title
	}
	if p.Program < 0 {
		return len(c.Tail) == 0 && is(c.Reason, c.Findings)
	}
	one := c.Programs[p.Program]
	return is(one.Reason, one.Findings)
}

// tell gives a result another reason.
func tell(c *verdict.Cell, p failure.Problem, reason string) {
	switch {
	case p.Program < 0:
		c.Reason = reason
	case p.Test < 0:
		c.Programs[p.Program].Reason = reason
	default:
		c.Programs[p.Program].Tests[p.Test].Reason = reason
	}
}

func excuse(c *verdict.Cell, p failure.Problem, reason string) {
	tell(c, p, reason)
	if p.Test >= 0 {
		c.Programs[p.Program].Tests[p.Test].Verdict = verdict.XFail
	}
}

// owns are the verdicts on programs, by index, and on the cell, as -1, whatever
// is in them. One that does not say what is wrong with it as a whole, and is bad
// for more than what is in it, is wrong as it is.
func owns(c *verdict.Cell) map[int]verdict.Verdict {
	own := make(map[int]verdict.Verdict)
	add := func(which int, said, v, within verdict.Verdict, reason string) {
		if own[which] = said; said == "" && (reason != "" || v != within) {
			own[which] = v
		}
	}
	var all verdict.Verdict
	for i, p := range c.Programs {
		all = verdict.Worst(all, p.Verdict)
		add(i, p.Own, p.Verdict, worst(p.Tests), p.Reason)
	}
	add(-1, c.Own, c.Verdict, all, c.Reason)
	return own
}

func worst(tests []verdict.Test) (v verdict.Verdict) {
	for _, t := range tests {
		v = verdict.Worst(v, t.Verdict)
	}
	return v
}

// conclude derives the verdicts of programs and of the cell anew. What is wrong
// with one as a whole stays, unless that is excused.
func conclude(c *verdict.Cell, own map[int]verdict.Verdict, whole map[int]bool) {
	for which := range whole {
		if whole[which] {
			own[which] = verdict.XFail
		}
	}
	var all verdict.Verdict
	for i := range c.Programs {
		p := &c.Programs[i]
		p.Own = own[i]
		p.Verdict = verdict.Worst(p.Own, worst(p.Tests))
		all = verdict.Worst(all, p.Verdict)
	}
	c.Own = own[-1]
	c.Verdict = verdict.Worst(c.Own, all)
}
