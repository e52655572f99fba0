// SPDX-License-Identifier: Apache-2.0

package site

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"noiommu-farm/results/failure"
	"noiommu-farm/results/verdict"
)

// Kind is how a result relates to the same one of the run before.
type Kind int

// In the order in which they are told.
const (
	Broken  Kind = iota // bad now, and was not
	Failing             // bad in both, or there is no run before
	Lost                // passed before, and is skipped or expected to fail now; or it is not there any more
	Fixed               // was bad, and is as expected now
)

var kinds = map[Kind]string{
	Broken: "newly failing", Failing: "failing", Lost: "no longer tested", Fixed: "no longer failing",
}

func (k Kind) String() string { return kinds[k] }

// gone is the verdict of what was in the run before and is not in this one.
const gone verdict.Verdict = "gone"

// place is a result: indices into Cells, Programs and Tests, -1 for a program
// or a cell as a whole. Of what is gone there are only names.
type place struct {
	cell, program, test             int
	cellName, programName, testName string
}

// Change is one problem, or the end of one, in however many places: results of
// one program that went from the same verdict to the same verdict for the same
// reason, whatever differs from boot to boot left aside. What the farm failed
// at is one problem in whatever programs.
type Change struct {
	Kind     Kind
	Program  string // empty for a cell as a whole, and for several programs
	Was, Now verdict.Verdict
	Reason   string // of the first place
	Places   []place
}

// Programs counts the programs that a change is in.
func (c Change) Programs() int {
	seen := make(map[string]bool)
	for _, p := range c.Places {
		seen[p.programName] = p.programName != ""
	}
	n := 0
	for _, named := range seen {
		if named {
			n++
		}
	}
	return n
}

// Cells counts the cells that a change is in.
func (c Change) Cells() int {
	n := 0
	for i, p := range c.Places {
		if i == 0 || p.cellName != c.Places[i-1].cellName {
			n++
		}
	}
	return n
}

type key struct {
	cell, program, test string
	nth                 int // of the same name
}

type found struct {
	key
	place
	verdict verdict.Verdict
	reason  string
}

// all lists every result of a run: of tests, of programs that have a reason of
// their own, and of cells that do.
func (r *Run) all() []found {
	var out []found
	seen := make(map[key]int)
	add := func(k key, p place, v verdict.Verdict, reason string) {
		seen[k]++
		p.cellName, p.programName, p.testName = k.cell, k.program, k.test
		k.nth = seen[k]
		out = append(out, found{k, p, v, reason})
	}
	for i, c := range r.Cells {
		bad := false
		for j, p := range c.Programs {
			for l, t := range p.Tests {
				bad = bad || !t.Verdict.Good()
				reason := t.Reason
				if p.Reason != "" && t.Verdict == p.Verdict && (strings.HasPrefix(reason, "no result") || strings.HasPrefix(reason, "not run: ") || strings.HasPrefix(reason, "did not finish: ")) {
					reason = p.Reason // which it follows from
				}
				add(key{c.Name, p.Name, t.Name, 0}, place{cell: i, program: j, test: l}, t.Verdict, reason)
			}
			if !p.Verdict.Good() && !open(p.Verdict) && (p.Reason != "" || p.Counts()[p.Verdict] == 0) {
				bad = true
				reason := p.Reason
				if reason == "" && len(p.Findings) > 0 {
					reason = p.Findings[0].Title
				}
				add(key{c.Name, p.Name, "", 0}, place{cell: i, program: j, test: -1}, p.Verdict, reason)
			}
		}
		if !c.Verdict.Good() && !open(c.Verdict) && (c.Reason != "" || !bad) {
			reason := c.Reason
			if reason == "" && len(c.Findings) > 0 {
				reason = c.Findings[0].Title
			}
			add(key{c.Name, "", "", 0}, place{cell: i, program: -1, test: -1}, c.Verdict, reason)
		}
	}
	return out
}

// Changes lists what is bad, and what is not as it was in the run before.
func (r *Run) Changes() []Change {
	before := make(map[key]found)
	if r.Previous != nil {
		for _, f := range r.Previous.all() {
			before[f.key] = f
		}
	}
	type same struct {
		kind     Kind
		program  string
		was, now verdict.Verdict
		text     string
	}
	at := make(map[same]int)
	var out []Change
	add := func(kind Kind, was verdict.Verdict, f found) {
		k := same{kind, f.key.program, was, f.verdict, failure.Steady(f.reason)}
		if f.verdict == verdict.Infra && k.text != "" {
			k.program = ""
		}
		i, ok := at[k]
		if !ok {
			i = len(out)
			at[k] = i
			out = append(out, Change{Kind: kind, Program: f.key.program, Was: was, Now: f.verdict, Reason: f.reason})
		}
		if out[i].Program != f.key.program {
			out[i].Program = ""
		}
		out[i].Places = append(out[i].Places, f.place)
	}
	for _, f := range r.all() {
		was, known := before[f.key]
		delete(before, f.key)
		switch {
		case !f.verdict.Good() && r.Previous == nil:
			add(Failing, "", f)
		case !f.verdict.Good() && (!known || was.verdict.Good() || was.verdict == verdict.Infra && f.verdict != verdict.Infra):
			add(Broken, was.verdict, f)
		case !f.verdict.Good():
			add(Failing, was.verdict, f)
		case known && !was.verdict.Good():
			add(Fixed, was.verdict, f)
		case known && was.verdict == verdict.Pass && f.verdict != verdict.Pass:
			add(Lost, was.verdict, f)
		}
	}
	if r.Previous != nil {
		for _, f := range r.Previous.all() {
			// What is gone of a program or a cell as a whole is its complaint.
			if _, left := before[f.key]; !left || f.verdict == verdict.Skip || f.verdict == verdict.XFail || open(r.wholly(f.place.cell, "")) || open(r.wholly(f.place.cell, f.key.program)) {
				continue
			}
			was := f.verdict
			f.place.program, f.place.test = -1, -1
			if f.key.test == "" {
				if v := r.wholly(f.place.cell, f.key.program); v.Good() && v != "" {
					f.verdict, f.reason = v, ""
					add(Fixed, was, f)
				}
				continue
			}
			f.verdict, f.reason = gone, fmt.Sprintf("in run %s, not in this one", r.Previous.ID)
			add(Lost, was, f)
		}
	}
	slices.SortStableFunc(out, func(a, b Change) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(severity[b.Now], severity[a.Now]))
	})
	return out
}

// wholly is the verdict of a program of a cell, or of the cell; empty when it
// was not run.
func (r *Run) wholly(cell int, program string) verdict.Verdict {
	c := r.Cells[cell] // both runs have the same cells
	if program == "" {
		return c.Verdict
	}
	for _, p := range c.Programs {
		if p.Name == program {
			return p.Verdict
		}
	}
	return ""
}

// severity orders what is bad: what the kernel did before what the farm did.
var severity = map[verdict.Verdict]int{verdict.Infra: 1, verdict.Timeout: 2, verdict.Fail: 3, verdict.Crash: 4}
