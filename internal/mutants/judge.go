// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// found is what one trial of a mutant showed. It adds up over trials.
type found struct {
	Red       []string          `json:"red"`                 // statements, in the order in which they turned red; a program as a whole by its name
	Why       map[string]string `json:"why,omitempty"`       // of each in Red
	Passed    []string          `json:"passed,omitempty"`    // statements
	Skipped   map[string]string `json:"skipped,omitempty"`   // statements, and for which reason
	Unreached []string          `json:"unreached,omitempty"` // statements that were not begun when the cell ended
	Infra     string            `json:"infra,omitempty"`     // what the farm failed at
	builds    []string          // keys of the kernels
	dir       string            // of the run
}

func (f *found) red(id, why string) {
	if slices.Contains(f.Red, id) {
		return
	}
	if f.Why == nil {
		f.Why = make(map[string]string)
	}
	f.Red = append(f.Red, id)
	f.Why[id] = why
}

func (f *found) add(g found) {
	for _, id := range g.Red {
		f.red(id, g.Why[id])
	}
	f.Passed = append(f.Passed, g.Passed...)
	for id, why := range g.Skipped {
		if f.Skipped == nil {
			f.Skipped = make(map[string]string)
		}
		f.Skipped[id] = why
	}
	f.Unreached = g.Unreached
	f.Infra = or(f.Infra, g.Infra)
	f.builds = append(f.builds, g.builds...)
}

// run is the part of results.json that is needed here.
type run struct {
	Dir    string `json:"dir"`
	Judged []struct {
		Kernel struct {
			Build string `json:"build"`
		} `json:"kernel"`
		Verdict  string  `json:"verdict"`
		Reason   string  `json:"reason"`
		Findings []title `json:"findings"`
		Programs []struct {
			Name     string  `json:"name"`
			Verdict  string  `json:"verdict"`
			Reason   string  `json:"reason"`
			Findings []title `json:"findings"`
			Tests    []struct {
				Name        string   `json:"name"`
				Verdict     string   `json:"verdict"`
				Reason      string   `json:"reason"`
				Diagnostics []string `json:"diagnostics"`
			} `json:"tests"`
		} `json:"programs"`
	} `json:"judged"`
}

type title struct {
	Title string `json:"title"`
}

func bad(verdict string) bool {
	return verdict == "fail" || verdict == "timeout" || verdict == "crash"
}

// readRun judges what farm run --json printed.
func readRun(text []byte) (found, error) {
	var r run
	if err := json.Unmarshal(text, &r); err != nil {
		return found{}, fmt.Errorf("read what farm run printed: %w", err)
	}
	if len(r.Judged) == 0 {
		return found{}, fmt.Errorf("read what farm run printed: no cell was judged")
	}
	f := found{dir: r.Dir}
	for _, c := range r.Judged {
		f.builds = append(f.builds, c.Kernel.Build)
		for _, p := range c.Programs {
			reds, ended := len(f.Red), false
			for _, t := range p.Tests {
				id := t.Name[strings.LastIndexByte(t.Name, '.')+1:]
				switch {
				case ended || strings.HasPrefix(t.Reason, "not run: "):
					f.Unreached = append(f.Unreached, id)
				case bad(t.Verdict):
					f.red(id, reason(t.Reason, t.Diagnostics))
					// The first test without a result is the one in which the
					// program ended; those after it were not begun.
					ended = strings.HasPrefix(t.Reason, "did not finish: ") || strings.HasPrefix(t.Reason, "no result")
				case t.Verdict == "pass" || t.Verdict == "xfail":
					f.Passed = append(f.Passed, id)
				case t.Verdict == "skip":
					if f.Skipped == nil {
						f.Skipped = make(map[string]string)
					}
					f.Skipped[id] = t.Reason
				default:
					f.Infra = or(f.Infra, t.Name+": "+t.Reason)
				}
			}
			if p.Verdict == "infra" {
				f.Infra = or(f.Infra, p.Name+": "+p.Reason)
			}
			if bad(p.Verdict) && len(f.Red) == reds && !strings.HasPrefix(p.Reason, "not run: ") {
				f.red(p.Name, p.Reason)
			}
		}
		if len(c.Findings) > 0 && bad(c.Verdict) {
			f.red("outside every program", c.Findings[0].Title)
		}
		switch {
		case c.Verdict == "infra":
			f.Infra = or(or(f.Infra, c.Reason), "cell")
		case bad(c.Verdict) && len(f.Red) == 0:
			f.red("cell", c.Reason)
		}
	}
	return f, nil
}

// reason is why a test failed: what the verdict says, or the test itself.
func reason(verdict string, diagnostics []string) string {
	for _, line := range diagnostics {
		line = strings.TrimSpace(strings.TrimPrefix(line, "#"))
		if line != "" && !strings.HasPrefix(line, "evidence ") && !strings.HasPrefix(line, "facts ") {
			return line[:min(len(line), 300)]
		}
	}
	return verdict
}

// readKconfig judges what farm kconfig --json printed.
func readKconfig(text []byte) (found, error) {
	var report struct {
		Statements []struct {
			ID, Verdict string
			Findings    []json.RawMessage
		}
		Support    struct{ Wrong []json.RawMessage }
		Difference struct{ Unmet []json.RawMessage }
	}
	if err := json.Unmarshal(text, &report); err != nil {
		return found{}, fmt.Errorf("read what farm kconfig printed: %w", err)
	}
	if len(report.Statements) == 0 {
		return found{}, fmt.Errorf("read what farm kconfig printed: no statement was judged")
	}
	var f found
	for _, s := range report.Statements {
		switch s.Verdict {
		case "fail":
			why := ""
			if len(s.Findings) > 0 {
				why = string(s.Findings[0])
			}
			f.red(s.ID, why)
		case "pass":
			f.Passed = append(f.Passed, s.ID)
		}
	}
	if wrong := report.Support.Wrong; len(wrong) > 0 {
		f.red("the support matrix", string(wrong[0]))
	}
	if unmet := report.Difference.Unmet; len(unmet) > 0 {
		f.red("unmet dependencies", string(unmet[0]))
	}
	return f, nil
}
