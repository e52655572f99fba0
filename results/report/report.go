// SPDX-License-Identifier: Apache-2.0

// Package report shows judged cells: as a table on a terminal, as JSON, as KTAP
// and as JUnit XML. In come verdicts, out goes text; it decides nothing.
//
// Whatever came from a guest is hostile: control characters never reach a
// terminal, and XML gets only the characters that it allows.
package report

import (
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"strings"
	"unicode"

	"noiommu-farm/results"
	"noiommu-farm/results/failure"
	"noiommu-farm/results/known"
	"noiommu-farm/results/ktap"
	"noiommu-farm/results/verdict"
)

// Run is a whole run as a report sees it, and the shape of results.json.
type Run struct {
	results.Run
	Dir     string          `json:"dir"`
	Verdict verdict.Verdict `json:"verdict"`
	Cells   []*verdict.Cell `json:"judged"`

	// What is bad, each problem once, before known issues were taken away, and
	// what became of those; see [Run.Excuse].
	Problems []failure.Group `json:"problems,omitempty"`
	Known    []known.Applied `json:"known,omitempty"`
}

// Write writes results.json, results.ktap and junit.xml into the run's folder.
func Write(r Run) error {
	if err := results.WriteJSON(filepath.Join(r.Dir, results.ConclusionJSON), r); err != nil {
		return fmt.Errorf("%w: %w", results.ErrNotRecorded, err)
	}
	for name, render := range map[string]func(io.Writer, Run) error{
		results.ConclusionKTAP:  KTAP,
		results.ConclusionJUnit: JUnit,
	} {
		var b strings.Builder
		if err := render(&b, r); err != nil {
			return fmt.Errorf("write %s: %w", name, err)
		}
		if err := results.WriteFile(filepath.Join(r.Dir, name), []byte(b.String())); err != nil {
			return fmt.Errorf("%w: %w", results.ErrNotRecorded, err)
		}
	}
	return nil
}

// KTAP writes a run as KTAP: cells, in them programs, in them tests.
func KTAP(w io.Writer, r Run) error {
	top := ktap.Report{Plan: len(r.Cells) + len(r.Left)}
	for i, c := range r.Cells {
		cell := ktap.Test{Number: i + 1, Name: c.Name, Outcome: outcome(c.Verdict), Reason: Clean(c.Reason)}
		for j, p := range c.Programs {
			prog := ktap.Test{Number: j + 1, Name: p.Name, Outcome: outcome(p.Verdict), Reason: Clean(p.Reason)}
			for k, t := range p.Tests {
				prog.Sub = append(prog.Sub, ktap.Test{
					Number: k + 1, Name: Clean(t.Name), Outcome: outcome(t.Verdict), Reason: Clean(t.Reason),
					Diagnostics: cleanAll(t.Diagnostics),
				})
			}
			cell.Sub = append(cell.Sub, prog)
		}
		top.Tests = append(top.Tests, cell)
	}
	for _, name := range r.Left {
		top.Tests = append(top.Tests, ktap.Test{Number: len(top.Tests) + 1, Name: Clean(name), Outcome: ktap.Skip, Reason: noTime})
	}
	return ktap.Write(w, top)
}

// noTime is why nothing is told of a cell that is in [results.Run.Left].
const noTime = "not run for want of time"

func outcome(v verdict.Verdict) ktap.Outcome {
	switch v {
	case verdict.Pass:
		return ktap.OK
	case verdict.Skip:
		return ktap.Skip
	case verdict.XFail:
		return ktap.XFail
	case verdict.Timeout:
		return ktap.Timeout
	case verdict.Infra:
		return ktap.Error
	}
	return ktap.NotOK
}

// Clean makes text from a guest fit for a terminal: control characters,
// invalid UTF-8 and what changes the direction of writing become visible
// escapes.
func Clean(s string) string {
	if strings.IndexFunc(s, hostile) < 0 && strings.ToValidUTF8(s, "") == s {
		return s
	}
	var b strings.Builder
	for i, r := range s {
		switch {
		case r == unicode.ReplacementChar && s[i] != 0xef:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case hostile(r):
			b.WriteString(strings.Trim(strconv.QuoteRuneToASCII(r), "'"))
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

func hostile(r rune) bool { return r != '\t' && !unicode.IsPrint(r) }

func cleanAll(lines []string) []string {
	out := make([]string, len(lines))
	for i, l := range lines {
		out[i] = Clean(l)
	}
	return out
}
