// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"slices"
	"time"

	"noiommu-farm/results/known"
	"noiommu-farm/results/verdict"
)

// excused shows cells judged by what is known, while their run goes on. The
// cells of the run stay as they are: the whole run is judged at its end.
type excused struct {
	issues known.List
	began  time.Time                // the run, by which an issue expires
	seen   map[string]*verdict.Cell // bad cells, by name
}

// judge is a cell of the run.
func (e *excused) judge(c *verdict.Cell) *verdict.Cell {
	if len(e.issues.Issues) == 0 || c.Verdict.Good() {
		return c
	}
	if e.seen[c.Name] == nil {
		mine := *c
		mine.Programs = slices.Clone(c.Programs)
		for i := range mine.Programs {
			mine.Programs[i].Tests = slices.Clone(c.Programs[i].Tests)
		}
		known.Apply(e.issues, []*verdict.Cell{&mine}, e.began)
		if e.seen == nil {
			e.seen = make(map[string]*verdict.Cell)
		}
		e.seen[c.Name] = &mine
	}
	return e.seen[c.Name]
}
