// SPDX-License-Identifier: Apache-2.0

package failure

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"strings"

	"noiommu-farm/results/verdict"
)

// Name is what a result is called wherever it is alone: "get_pa.PA-02" of a
// statement, "vfio/PROGRAM:TEST" of a test that the kernel's own selftests
// have, the program's name for the program as a whole, and "cell" for a cell.
func Name(program, test string) string {
	suite, _, _ := strings.Cut(program, "@")
	switch {
	case program == "":
		return "cell"
	case test == "":
		return program
	case strings.HasPrefix(test, suite+"."):
		return test
	}
	return program + ":" + test
}

// Problem is a result that is not as expected. Results with the same
// fingerprint are the same problem, in however many cells and runs.
type Problem struct {
	Fingerprint string          `json:"fingerprint"` // 12 hex digits; see [Failure.Fingerprint]
	Name        string          `json:"name"`        // see [Name]
	Verdict     verdict.Verdict `json:"verdict"`
	Reason      string          `json:"reason"`

	// Follows says that this result only follows from another one: the test
	// was not run, or gave no result, because its program or its guest ended.
	// It has the other's fingerprint.
	Follows bool `json:"follows,omitempty"`

	Program int `json:"-"` // index into the cell's; -1 of the cell as a whole
	Test    int `json:"-"` // index into the program's; -1 of the program as a whole
}

// Problems lists every result of a cell that is bad, the cell as a whole first,
// a program before its tests. What is expected to fail is none: why, its reason
// says.
func Problems(c *verdict.Cell) []Problem {
	var all []Problem
	sources := complaints(c)
	add := func(p Problem, own string) {
		if p.Fingerprint == "" {
			p.Fingerprint = own
		}
		all = append(all, p)
	}
	if c.Reason != "" && !c.Verdict.Good() {
		one := Problem{Name: Name("", ""), Verdict: c.Verdict, Reason: c.Reason, Program: -1, Test: -1}
		one.follow(sources)
		add(one, OfCell(c).Fingerprint(""))
	}
	for i, p := range c.Programs {
		whole := Problem{Name: Name(p.Name, ""), Verdict: p.Verdict, Reason: p.Reason, Program: i, Test: -1}
		own := wholly(p)
		whole.follow(sources)
		if whole.Fingerprint == "" && c.Reason != "" && (p.Reason == "not run: "+c.Reason || p.Reason == "did not finish: "+c.Reason) {
			whole.Fingerprint, whole.Follows = OfCell(c).Fingerprint(""), true
		}
		if p.Reason != "" && !p.Verdict.Good() {
			add(whole, own)
		}
		for j, t := range p.Tests {
			if t.Verdict.Good() {
				continue
			}
			one := Problem{Name: Name(p.Name, t.Name), Verdict: t.Verdict, Reason: t.Reason, Program: i, Test: j}
			if len(t.Findings) == 0 && missing(t.Reason) {
				one.follow(sources)
				if one.Fingerprint == "" && p.Reason != "" {
					one.Fingerprint, one.Follows = cmp.Or(whole.Fingerprint, own), true
				}
			}
			add(one, Of(t).Fingerprint(one.Name))
		}
	}
	return all
}

// complaint is something that the kernel said, in the test or the program that
// it said it in.
type complaint struct {
	title, print  string
	program, test int // see Problem
}

func complaints(c *verdict.Cell) []complaint {
	var all []complaint
	for _, f := range c.Findings {
		all = append(all, complaint{f.Title, OfCell(c).Fingerprint(""), -1, -1})
	}
	for i, p := range c.Programs {
		for j, t := range p.Tests {
			for _, f := range t.Findings {
				all = append(all, complaint{f.Title, Of(t).Fingerprint(Name(p.Name, t.Name)), i, j})
			}
		}
		for _, f := range p.Findings {
			all = append(all, complaint{f.Title, wholly(p), i, -1})
		}
	}
	return all
}

// wholly is the fingerprint of what is wrong with a program outside its tests.
func wholly(p verdict.Program) string {
	return OfProgram(verdict.Program{Verdict: p.Verdict, Reason: p.Reason, Findings: p.Findings}).Fingerprint(p.Name)
}

// follow gives a result that only repeats what the kernel said elsewhere that
// other's fingerprint: one in the same program before one in any other.
func (p *Problem) follow(sources []complaint) {
	// A program of several guests has the reasons of all of them.
	for i, reason := range strings.Split(p.Reason, "; ") {
		var from *complaint
		for _, s := range sources {
			switch {
			case s.title == "" || !strings.HasSuffix(reason, s.title):
			case s.program == p.Program && s.test == p.Test:
				p.Fingerprint, p.Follows = "", false // it is its own
				return
			case from == nil, s.program == p.Program && from.program != p.Program:
				from = &s
			}
		}
		if from == nil {
			p.Fingerprint, p.Follows = "", false
			return
		}
		if i == 0 {
			p.Fingerprint, p.Follows = from.print, true
		}
	}
}

// missing says whether a test is bad only because its program did not get to
// it, or to its end.
func missing(reason string) bool {
	for _, words := range []string{"not run: ", "did not finish: ", "no result when ", "no result: "} {
		if strings.HasPrefix(reason, words) {
			return true
		}
	}
	return false
}

// What is left out of an assertion: the line where it stands, which moves while
// the test stays, and numbers that stand alone, which are what was found (a
// count of objects, an address); what it is about, and what was wanted, are
// words.
var (
	sourceLine = regexp.MustCompile(`\b([\w./-]+\.[ch]|[\w./-]+\.go):[0-9]+\b`)
	alone      = regexp.MustCompile(`(^|[ (=\[])[-+]?(?:0x)?[0-9][0-9a-f]*\b`)
)

// assertion is a complaint without what is left out of it.
func assertion(text string) string {
	return alone.ReplaceAllString(sourceLine.ReplaceAllString(text, "$1"), "$1#")
}

// Fingerprint is what a failure of a named result is known by: 12 hex digits
// of a hash of the name, the assertions without line numbers, numbers and whatever
// else differs from boot to boot, and the kernel's complaints with their innermost
// functions. The verdict is no part of it, nor is the cell.
func (f Failure) Fingerprint(name string) string {
	h := sha256.New()
	text := f.Text
	for _, c := range f.Crashes {
		// "did not finish: TITLE" of a crash is the crash.
		if strings.HasSuffix(text, c.Title) {
			text = ""
		}
	}
	fmt.Fprintf(h, "%q %q\n", name, assertion(text))
	for _, more := range f.More {
		fmt.Fprintf(h, "besides %q\n", more)
	}
	for _, c := range f.Crashes {
		fmt.Fprintf(h, "%q %q\n", c.Title, c.Stack)
	}
	return hex.EncodeToString(h.Sum(nil)[:6])
}

// Group is one problem with all the results that have it.
type Group struct {
	Problem          // the first result with it that does not only follow
	Cells   []string `json:"cells"`   // names, each once
	Results int      `json:"results"` // how many have it
	Follow  int      `json:"follow"`  // how many of them only follow
}

// Groups puts the problems of all cells together, in the order in which they
// come.
func Groups(cells []*verdict.Cell) []Group {
	at := make(map[string]int)
	var all []Group
	for _, c := range cells {
		for _, p := range Problems(c) {
			i, ok := at[p.Fingerprint]
			if !ok {
				i = len(all)
				at[p.Fingerprint] = i
				all = append(all, Group{Problem: p})
			}
			g := &all[i]
			if g.Follows && !p.Follows {
				g.Problem = p
			}
			if len(g.Cells) == 0 || g.Cells[len(g.Cells)-1] != c.Name {
				g.Cells = append(g.Cells, c.Name)
			}
			g.Results++
			if p.Follows {
				g.Follow++
			}
		}
	}
	return all
}
