// SPDX-License-Identifier: Apache-2.0

package report

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"noiommu-farm/results"
	"noiommu-farm/results/verdict"
)

// Read reads what a run came to: results.json, or, of a run that has not ended,
// the verdicts of its cells. A cell of the plan that has none is the farm's
// failure, and so is the run.
func Read(dir string) (Run, error) {
	head, err := results.ReadRun(dir)
	if err != nil {
		return Run{}, err
	}
	var r Run
	switch err := results.ReadJSON(filepath.Join(dir, results.ConclusionJSON), &r); {
	case errors.Is(err, fs.ErrNotExist):
		r = Run{Run: head, Verdict: verdict.Infra}
	case err != nil:
		return Run{}, fmt.Errorf("read run: %w", err)
	}
	r.Dir = dir
	judged := make(map[string]bool)
	for _, c := range r.Cells {
		judged[c.Name] = true
	}
	for _, name := range head.Cells {
		if judged[name] {
			continue
		}
		if !filepath.IsLocal(name) || strings.ContainsAny(name, `/\`) {
			return Run{}, fmt.Errorf("read run: cell %q is no name of a folder", name)
		}
		cell := results.CellDir(dir, name)
		c := &verdict.Cell{}
		if err := results.ReadJSON(filepath.Join(cell, "verdict.json"), c); errors.Is(err, fs.ErrNotExist) {
			c = &verdict.Cell{Verdict: verdict.Infra, Reason: "it has no verdict: the run did not get to its end"}
		} else if err != nil {
			return Run{}, fmt.Errorf("read run: cell %s: %w", name, err)
		}
		c.Name, c.Dir = name, cell
		r.Cells = append(r.Cells, c)
		r.Verdict = verdict.Worst(r.Verdict, c.Verdict)
	}
	return r, nil
}
