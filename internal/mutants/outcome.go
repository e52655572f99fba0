// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"noiommu-farm/suites/contract"
)

// An outcome is what became of a mutant.
type outcome string

const (
	caught    outcome = "caught"
	quiet     outcome = "not flagged" // a benign one
	missed    outcome = "missed"
	flagged   outcome = "wrongly flagged" // a benign one
	notBuilt  outcome = "not built"
	notJudged outcome = "not judged" // the farm failed
)

// judge says what became of a mutant, and why when that needs words.
func judge(m mutant, f found) (outcome, string) {
	built := !slices.Contains(f.Red, compiles)
	switch {
	case m.benign && len(f.Red) > 0:
		return flagged, f.Red[0] + ": " + f.Why[f.Red[0]]
	case m.benign && f.Infra != "":
		return notJudged, f.Infra
	case m.benign:
		return quiet, ""
	case m.broken == nil && len(f.Red) > 0:
		// That it was the right one is for the reader to say.
		red := m.nearest(f.Red)
		id := red[max(0, slices.IndexFunc(red, statementID.MatchString))]
		return caught, id + ": " + f.Why[id]
	case !built && !slices.Contains(m.broken, compiles):
		return notBuilt, f.Why[compiles]
	}
	var open []string
	for _, id := range m.broken {
		if !slices.Contains(f.Red, id) {
			open = append(open, id+" "+f.state(id))
		}
	}
	switch {
	case m.broken != nil && len(open) == 0:
		return caught, ""
	case f.Infra != "":
		return notJudged, f.Infra
	case m.broken == nil:
		return missed, "nothing turned red anywhere"
	}
	return missed, strings.Join(open, ", ")
}

// state is what became of a statement that did not turn red.
func (f found) state(id string) string {
	if why, ok := f.Skipped[id]; ok {
		return "was skipped (" + why + ")"
	}
	if slices.Contains(f.Passed, id) {
		return "passed"
	}
	if _, ok := contract.ByID(id); !ok && !strings.HasPrefix(id, "KC-") {
		return "has no test"
	}
	return "was not reached"
}

// A row is a mutant's line in the table.
type row struct {
	mutant  mutant
	outcome outcome
	why     string
	red     []string
	took    time.Duration
}

func newRow(m mutant, r result) row {
	o, why := judge(m, r.Found)
	return row{mutant: m, outcome: o, why: why, red: r.Found.Red, took: time.Duration(r.Seconds * float64(time.Second))}
}

func (r row) expected() string {
	switch {
	case r.mutant.benign:
		return "none"
	case r.mutant.broken == nil:
		return "any"
	}
	return strings.Join(r.mutant.broken, " ")
}

// reds is what turned red, what was expected first, then what is about the
// lines that the mutant changes.
func (r row) reds(most int) string {
	all := r.mutant.nearest(r.red)
	slices.SortStableFunc(all, func(a, b string) int {
		return slices.Index([]bool{true, false}, slices.Contains(r.mutant.broken, a)) - slices.Index([]bool{true, false}, slices.Contains(r.mutant.broken, b))
	})
	if len(all) > most {
		return fmt.Sprintf("%s +%d", strings.Join(all[:most], " "), len(all)-most)
	}
	return strings.Join(all, " ")
}

const rowForm = "%-34s  %-14s  %-30s  %-15s  %6s\n"

func printHead(w io.Writer) {
	fmt.Fprintf(w, rowForm, "mutant", "expected", "red", "", "time")
}

func (r row) print(w io.Writer) {
	fmt.Fprintf(w, rowForm, r.mutant.name, r.expected(), r.reds(5), r.outcome, r.took.Round(time.Second))
	if first, _, _ := strings.Cut(r.why, "\n"); first != "" {
		fmt.Fprintf(w, "    %s\n", first)
	}
}

// markdown writes the rows as a table.
func markdown(w io.Writer, rows []row) {
	fmt.Fprintf(w, "| mutant | files | cell | expected | red | |\n|---|---|---|---|---|---|\n")
	for _, r := range rows {
		var files, cells []string
		for _, f := range r.mutant.files {
			files = append(files, f[strings.LastIndexByte(f, '/')+1:])
		}
		for _, c := range r.mutant.cells {
			cells = append(cells, c.String())
		}
		if r.mutant.only("KC") {
			cells = []string{"kconfig"}
		}
		fmt.Fprintf(w, "| %s | %s | %s | %s | %s | %s |\n", r.mutant.name, strings.Join(files, " "), strings.Join(cells, ", "), r.expected(), r.reds(8), r.outcome)
	}
}

// summary counts.
func summary(rows []row) string {
	count := map[outcome]int{}
	for _, r := range rows {
		count[r.outcome]++
	}
	words := []string{fmt.Sprintf("%d mutants", len(rows))}
	for _, o := range []outcome{caught, missed, quiet, flagged, notBuilt, notJudged} {
		if count[o] > 0 {
			words = append(words, fmt.Sprintf("%d %s", count[o], o))
		}
	}
	return strings.Join(words, ", ")
}
