// SPDX-License-Identifier: Apache-2.0

package site

import (
	"cmp"
	"slices"
	"strings"

	"noiommu-farm/results/verdict"
	"noiommu-farm/suites/contract"
)

// untested collects what was expected to fail, not run, or skipped.
func (w *writer) untested(b *indexBody) {
	type key struct{ name, why string }
	collect := func(list *[]reason, at map[key]int, name, why string, l link) int {
		k := key{name, why}
		i, ok := at[k]
		if !ok {
			i = len(*list)
			at[k] = i
			*list = append(*list, reason{Name: name, Why: why})
		}
		r := &(*list)[i]
		r.N++
		if len(r.Where) < maxCells {
			r.Where = append(r.Where, l)
		} else {
			r.More++
		}
		return i
	}
	b.NotRun = w.plan.left()
	expected, absent, skipped := make(map[key]int), make(map[key]int), make(map[key]int)
	for i, c := range w.Cells {
		for _, a := range c.Absent {
			collect(&b.NotRun, absent, a.Name, a.Reason, link{w.names.whole[i], cellDir(i) + "index.html"})
		}
		if w.records[i] == nil && !open(c.Verdict) {
			collect(&b.NotRun, absent, "the whole cell", c.Reason, link{w.names.whole[i], cellDir(i) + "index.html"})
		}
		for j, p := range c.Programs {
			if why, ok := strings.CutPrefix(p.Reason, "not run: "); ok {
				collect(&b.NotRun, absent, p.Name, why, link{w.names.whole[i], cellDir(i) + programPage(j, 0)})
			}
			for k, t := range p.Tests {
				to := cellDir(i) + testAnchor(j, k)
				switch t.Verdict {
				case verdict.XFail:
					at := collect(&b.Expected, expected, fullName(p.Name, t.Name), t.Reason, link{w.names.whole[i], to})
					if t.Finding != nil {
						b.Expected[at].Finding = *t.Finding
					}
				case verdict.Skip:
					collect(&b.Skipped, skipped, "", t.Reason, link{t.Name + " in " + w.names.whole[i], to})
				}
			}
		}
	}
	slices.SortStableFunc(b.Skipped, func(a, b reason) int { return cmp.Compare(b.N, a.N) })
	if len(b.Skipped) > maxProblems {
		b.Skipped = b.Skipped[:maxProblems] // each test's own page has its reason
	}
}

// statement is one of the contract that no cell of the run has shown to hold.
type statement struct{ ID, Promise, Why string }

// unproven lists the statements of the contract whose test passed in no cell,
// and why not.
func (r *Run) unproven() []statement {
	type seen struct {
		passed bool
		why    []string
	}
	all := make(map[string]*seen)
	for _, c := range r.Cells {
		for _, p := range c.Programs {
			for _, t := range p.Tests {
				s := all[t.Name]
				if s == nil {
					s = new(seen)
					all[t.Name] = s
				}
				why := string(t.Verdict)
				switch t.Verdict {
				case verdict.Pass:
					s.passed = true
				case verdict.Skip:
					why = cmp.Or(t.Reason, why)
				}
				if !slices.Contains(s.why, why) {
					s.why = append(s.why, why)
				}
			}
		}
	}
	var out []statement
	for _, st := range contract.Statements {
		switch s := all[st.Name()]; {
		case s == nil:
			out = append(out, statement{st.Name(), st.Promise, "not in this run"})
		case !s.passed:
			out = append(out, statement{st.Name(), st.Promise, strings.Join(s.why, "; ")})
		}
	}
	return out
}
