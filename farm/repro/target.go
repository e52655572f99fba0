// SPDX-License-Identifier: Apache-2.0

package repro

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"noiommu-farm/internal/fault"
	"noiommu-farm/results"
	"noiommu-farm/results/verdict"
)

// A Target is what a user points at: a run, a cell of it, a test of that.
type Target struct {
	Run  string // its directory
	Cell string // "" is all of them
	Test string // "get_pa.PA-02", "PA-02", a program, or a test of a program after a slash; "" is all that failed
	// Whole has all that the cell ran run again, and not the test alone.
	Whole bool
}

// Find reads RUN[/CELL[/TEST]]. RUN is a run's directory or its name below
// runs.
func Find(runs, spec string) (Target, error) {
	for _, start := range []string{spec, filepath.Join(runs, spec)} {
		if filepath.IsAbs(spec) && start != spec {
			continue
		}
		dir, rest := filepath.Clean(start), []string(nil)
		for {
			if info, err := os.Stat(dir); err == nil && info.IsDir() {
				if _, err := results.ReadRun(dir); err == nil {
					return target(dir, rest)
				}
			}
			up := filepath.Dir(dir)
			if up == dir {
				break
			}
			dir, rest = up, append([]string{filepath.Base(dir)}, rest...)
		}
	}
	return Target{}, &fault.Usage{Key: "RUN", Value: spec, Err: fmt.Errorf(
		"neither a run directory nor a run below %s, with a cell and a test after it", runs)}
}

func target(dir string, rest []string) (Target, error) {
	t := Target{Run: dir}
	if len(rest) > 0 && rest[0] == "cells" { // the folder itself was named
		rest = rest[1:]
	}
	if len(rest) == 0 {
		return t, nil
	}
	head, err := results.ReadRun(dir)
	if err != nil {
		return t, err
	}
	if !slices.Contains(head.Cells, rest[0]) {
		return t, &fault.Usage{Key: "CELL", Value: rest[0], Allowed: head.Cells, Err: errors.New("the run has no such cell")}
	}
	t.Cell, t.Test = rest[0], strings.Join(rest[1:], "/")
	return t, nil
}

// A Place is a result in a judged cell: of a test, of a program as a whole, or,
// if both are empty, of the cell outside its programs.
type Place struct{ Program, Test string }

// Failed finds what is to be had again of a cell that is not as expected. What
// only followed from something else (not run, no result because the guest was
// gone) is left out.
func Failed(c *verdict.Cell) []Place {
	var all []Place
	for _, p := range c.Programs {
		if p.Verdict.Good() || strings.HasPrefix(p.Reason, "not run: ") {
			continue
		}
		found, followed := false, false
		for _, t := range p.Tests {
			if t.Verdict.Good() {
				continue
			}
			// The first without a result is where the program ended.
			if ended := noResult(t); !ended || !followed || len(t.Findings) > 0 {
				all = append(all, Place{p.Name, t.Name})
				found, followed = true, followed || ended
			}
		}
		if !found {
			all = append(all, Place{p.Name, ""})
		}
	}
	if len(all) == 0 && !c.Verdict.Good() {
		return []Place{{}}
	}
	return all
}

func noResult(t verdict.Test) bool {
	return strings.HasPrefix(t.Reason, "did not finish: ") || strings.HasPrefix(t.Reason, "no result")
}

// named finds the result that a user calls so.
func named(c *verdict.Cell, name string) (Place, error) {
	var all []string
	for _, p := range c.Programs {
		all = append(all, p.Name)
		if p.Name == name {
			return Place{p.Name, ""}, nil
		}
		for _, t := range p.Tests {
			all = append(all, Place{p.Name, t.Name}.String())
			_, id, _ := strings.Cut(t.Name, ".")
			if t.Name == name || p.Tests != nil && id == name && strings.HasPrefix(t.Name, suiteOf(p.Name)+".") || p.Name+"/"+t.Name == name {
				return Place{p.Name, t.Name}, nil
			}
		}
	}
	if name == boot {
		return Place{}, nil
	}
	return Place{}, &fault.Usage{Key: "TEST", Value: name, Allowed: all, Err: errors.New("the cell ran no such test")}
}

// String is the place as a [Target] has it.
func (p Place) String() string {
	if p == (Place{}) {
		return boot
	}
	if p.Test == "" {
		return p.Program
	}
	if strings.HasPrefix(p.Test, suiteOf(p.Program)+".") {
		return p.Test
	}
	return p.Program + "/" + p.Test
}

// boot is what a user calls the place of a cell outside its programs.
const boot = "boot"
