// SPDX-License-Identifier: Apache-2.0

package report

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"

	"noiommu-farm/results/failure"
	"noiommu-farm/results/verdict"
)

// Relation is how a result of one run relates to that of another.
type Relation string

// In the order in which they are told.
const (
	Worse   Relation = "worse"   // bad now, and was not, or in another way
	Better  Relation = "better"  // was bad, and is not
	Other   Relation = "other"   // neither, but not the same: a skip that was a pass
	Gone    Relation = "gone"    // not in the second run
	New     Relation = "new"     // not in the first
	Still   Relation = "still"   // bad in both, in the same way
	Unsaid  Relation = "unsaid"  // the farm failed in one of them: it says nothing of the kernel
	Nothing Relation = "nothing" // the same, and as expected
)

var relations = []Relation{Worse, Better, Other, Gone, New, Still, Unsaid}

// Difference is one result that is told of.
type Difference struct {
	Relation Relation        `json:"relation"`
	Cell     string          `json:"cell"`
	Test     string          `json:"test"`          // see [failure.Name]
	Was      verdict.Verdict `json:"was,omitempty"` // empty: it was not there
	Now      verdict.Verdict `json:"now,omitempty"`
	Reason   string          `json:"reason,omitempty"` // of what is bad now, or was
}

// compared is a result as far as it is compared.
type compared struct {
	verdict.Verdict
	reason, print string
}

type resultKey struct {
	cell, test string
	nth        int // of the same name
}

// Compare says where two runs differ, and what is bad in both. Cells are the
// same where their names are.
func Compare(a, b Run) []Difference {
	was, now := resultsOf(a), resultsOf(b)
	var all []Difference
	var keys []resultKey
	for k := range now {
		keys = append(keys, k)
	}
	for k := range was {
		if _, ok := now[k]; !ok {
			keys = append(keys, k)
		}
	}
	for _, k := range keys {
		before, had := was[k]
		after, has := now[k]
		d := Difference{Relation: relate(before, had, after, has), Cell: k.cell, Test: k.test, Was: before.Verdict, Now: after.Verdict, Reason: after.reason}
		if d.Relation == Nothing {
			continue
		}
		if !has || after.Good() && !before.Good() {
			d.Reason = before.reason
		}
		all = append(all, d)
	}
	order := func(d Difference) int { return slices.Index(relations, d.Relation) }
	slices.SortFunc(all, func(x, y Difference) int {
		return cmp.Or(cmp.Compare(order(x), order(y)), strings.Compare(x.Test, y.Test), strings.Compare(x.Cell, y.Cell), strings.Compare(x.Reason, y.Reason))
	})
	return all
}

func relate(was compared, had bool, now compared, has bool) Relation {
	switch {
	case !has && was.Verdict == verdict.Infra, !had && now.Verdict == verdict.Infra:
		return Unsaid
	case !has:
		return Gone
	case !had && now.Good():
		return New
	case !had:
		return Worse
	case was.Verdict == verdict.Infra && now.Verdict == verdict.Infra, now.Verdict == verdict.Infra, was.Verdict == verdict.Infra && now.Good():
		return Unsaid
	case !now.Good() && was.Verdict == now.Verdict && was.print == now.print:
		return Still
	case !now.Good():
		return Worse
	case !was.Good():
		return Better
	case was.Verdict != now.Verdict:
		return Other
	}
	return Nothing
}

// resultsOf lists the results of a run by their names: of tests, and what is
// wrong with programs and cells as a whole.
func resultsOf(r Run) map[resultKey]compared {
	all := make(map[resultKey]compared)
	add := func(cell, test string, one compared) {
		k := resultKey{cell: cell, test: test}
		for _, ok := all[k]; ok; _, ok = all[k] {
			k.nth++
		}
		all[k] = one
	}
	for _, c := range r.Cells {
		type at struct{ program, test int }
		problems := make(map[at]failure.Problem)
		for _, p := range failure.Problems(c) {
			problems[at{p.Program, p.Test}] = p
			if p.Test < 0 {
				add(c.Name, p.Name, compared{Verdict: p.Verdict, reason: p.Reason, print: p.Fingerprint})
			}
		}
		for i, p := range c.Programs {
			for j, t := range p.Tests {
				add(c.Name, failure.Name(p.Name, t.Name), compared{Verdict: t.Verdict, reason: t.Reason, print: problems[at{i, j}].Fingerprint})
			}
		}
	}
	return all
}

// Regression says whether the second run is worse than the first where the
// kernel is to blame.
func Regression(all []Difference) bool {
	return slices.ContainsFunc(all, func(d Difference) bool { return d.Relation == Worse })
}

var headings = map[Relation]string{
	Worse: "worse", Better: "better", Other: "changed, and as expected", Gone: "in the first run only", New: "in the second run only",
	Still: "bad in both, in the same way", Unsaid: "the farm failed in one of them",
}

// Differences writes what [Compare] found for a person.
func Differences(w io.Writer, all []Difference) error {
	var b strings.Builder
	for _, relation := range relations {
		n := 0
		for _, d := range all {
			if d.Relation != relation {
				continue
			}
			if n++; n == 1 {
				fmt.Fprintf(&b, "%s:\n", headings[relation])
			}
			fmt.Fprintf(&b, "  %s in %s: %s -> %s\n", Clean(d.Test), Clean(d.Cell), cmp.Or(string(d.Was), "absent"), cmp.Or(string(d.Now), "absent"))
			if d.Reason != "" && relation != Other && relation != New {
				fmt.Fprintf(&b, "      %s\n", Clean(d.Reason))
			}
		}
	}
	if len(all) == 0 {
		b.WriteString("no difference, and nothing is bad in either\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}
