// SPDX-License-Identifier: Apache-2.0

// Package repro brings a failure back: the same kernel on the same machine with
// the same devices and parameters, and in it that one test.
//
// In comes a recorded run, or a capsule made of one; out goes whether the test
// ended in the same way, or a guest to look around in: with a shell, with a
// debugger, with a trace. It never builds a kernel that was not recorded, and
// never takes another one for it.
package repro

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"noiommu-farm/farm/runner"
	"noiommu-farm/kernels"
	"noiommu-farm/results"
	"noiommu-farm/results/console"
	"noiommu-farm/results/failure"
	"noiommu-farm/results/verdict"
)

// A Case is one result of a run that is to be had again.
type Case struct {
	Cell    string
	Program string // "" is the cell without any program: it did not get that far
	Test    string // "" is the program as a whole
	Seen    failure.Failure
	Reason  string // of what was seen, with its addresses
	Dir     string // the cell's folder

	repeat runner.Repeat
	log    []string // what the kernel complained of
}

// Name is the case as it is told of: "get_pa.PA-02 in CELL".
func (c Case) Name() string { return c.what() + " in " + c.Cell }

// Where is the case as [Find] reads it, below its run.
func (c Case) Where() string {
	switch {
	case c.Program == "":
		return c.Cell
	case c.Test == "" || strings.HasPrefix(c.Test, suiteOf(c.Program)+"."):
		return c.Cell + "/" + c.what()
	}
	return c.Cell + "/" + c.Program + "/" + c.Test
}

func (c Case) what() string {
	switch {
	case c.Program == "":
		return "the boot"
	case c.Test == "":
		return c.Program
	case strings.HasPrefix(c.Test, suiteOf(c.Program)+"."):
		return c.Test
	}
	return c.Program + " " + c.Test
}

// suiteOf is a program's name without the time that it runs at.
func suiteOf(program string) string {
	suite, _, _ := strings.Cut(program, "@")
	return suite
}

// Likeness is how a try ended, compared with what was seen.
type Likeness string

const (
	Same      Likeness = "same"      // in the same way: verdict, complaint, crash and its functions
	Different Likeness = "different" // it failed too, in another way
	Passed    Likeness = "passed"    // it passed; when it had passed, too, that is [Same]
	NotTried  Likeness = "infra"     // the farm failed, which says nothing
)

// Try is one more time.
type Try struct {
	Likeness   Likeness        `json:"likeness"`
	Difference string          `json:"difference,omitempty"` // when different
	Seen       failure.Failure `json:"seen"`
	Reason     string          `json:"reason,omitempty"`
	Dir        string          `json:"dir"` // the cell's folder
}

// Result is what became of a case.
type Result struct {
	Case  string          `json:"case"`
	Run   string          `json:"run"` // directory of the tries
	Seen  failure.Failure `json:"seen"`
	Tries []Try           `json:"tries"`
}

// Count is how many tries ended so.
func (r Result) Count(l Likeness) int {
	n := 0
	for _, t := range r.Tries {
		if t.Likeness == l {
			n++
		}
	}
	return n
}

// Failed says whether the kernel failed in any try.
func (r Result) Failed() bool {
	return slices.ContainsFunc(r.Tries, func(t Try) bool { return !t.Seen.Verdict.Good() && t.Likeness != NotTried })
}

// Options say where things are and who is told.
type Options struct {
	Cache   *kernels.Cache
	Images  string   // directory of initramfs
	Runs    string   // where the directory of the tries is made
	Keep    bool     // put kernel and initramfs into it
	Command []string // the farm's own arguments, for the record
	Tell    func(runner.Progress)
}

func (o Options) runner() runner.Options {
	return runner.Options{Cache: o.Cache, Images: o.Images, Runs: o.Runs, Keep: o.Keep, Command: o.Command, Tell: o.Tell}
}

// Tries carries out a case n times, each in a guest of its own.
func Tries(ctx context.Context, c Case, n int, opt Options) (Result, error) {
	cells := make([]runner.Repeat, n)
	for i := range cells {
		cells[i] = c.repeat
		if n > 1 {
			cells[i].Planned.Cell = fmt.Sprintf("%s~%d", c.Cell, i+1)
		}
	}
	result := Result{Case: c.Name(), Seen: c.Seen}
	out, err := runner.Again(ctx, cells, opt.runner())
	if out == nil {
		return result, err
	}
	result.Run = out.Dir
	for _, cell := range out.Cells {
		result.Tries = append(result.Tries, c.compare(cell))
	}
	if writeErr := results.WriteJSON(out.Dir+"/repro.json", result); writeErr != nil && err == nil {
		err = fmt.Errorf("%w: %w", results.ErrNotRecorded, writeErr)
	}
	return result, err
}

// once carries out a case in one guest that is somehow prepared. dir is the
// cell's folder, "" when it did not come to a guest.
func (c Case) once(ctx context.Context, repeat runner.Repeat, opt Options) (result Result, dir string, err error) {
	result = Result{Case: c.Name(), Seen: c.Seen}
	out, err := runner.Again(ctx, []runner.Repeat{repeat}, opt.runner())
	if out == nil {
		return result, "", err
	}
	result.Run = out.Dir
	for _, cell := range out.Cells {
		result.Tries, dir = append(result.Tries, c.compare(cell)), cell.Dir
	}
	return result, dir, err
}

// compare holds what a cell came to against what was seen.
func (c Case) compare(cell *verdict.Cell) Try {
	seen, reason := c.of(cell)
	t := Try{Seen: seen, Reason: reason, Dir: cell.Dir}
	t.Difference = t.Seen.Difference(c.Seen)
	switch {
	case t.Difference == "":
		t.Likeness = Same
	case t.Seen.Verdict == verdict.Infra:
		t.Likeness = NotTried
	case t.Seen.Verdict.Good():
		t.Likeness, t.Difference = Passed, ""
	default:
		t.Likeness = Different
	}
	return t
}

// of finds what became of the case in a judged cell.
func (c Case) of(cell *verdict.Cell) (failure.Failure, string) {
	if c.Program == "" {
		return failure.OfCell(cell), cell.Reason
	}
	for _, p := range cell.Programs {
		if p.Name != c.Program {
			continue
		}
		if c.Test == "" {
			return failure.OfProgram(p), p.Reason
		}
		for _, t := range p.Tests {
			if t.Name == c.Test {
				return failure.Of(t), t.Reason
			}
		}
		if !p.Verdict.Good() {
			return failure.OfProgram(p), p.Reason
		}
	}
	reason := "no such result"
	return failure.Failure{Verdict: verdict.Fail, Text: reason}, reason
}

// heard is what the kernel complained of meanwhile.
func (c Case) heard(cell *verdict.Cell) []console.Finding {
	if c.Program == "" {
		return cell.Findings
	}
	var all []console.Finding
	for _, p := range cell.Programs {
		if p.Name != c.Program {
			continue
		}
		for _, t := range p.Tests {
			if c.Test == "" || t.Name == c.Test {
				all = append(all, t.Findings...)
			}
		}
		if len(all) == 0 {
			all = p.Findings
		}
	}
	return all
}

// text is what findings say.
func text(found []console.Finding) []string {
	var lines []string
	for _, one := range found {
		lines = append(lines, one.Lines...)
	}
	return lines
}
