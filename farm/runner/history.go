// SPDX-License-Identifier: Apache-2.0

package runner

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"noiommu-farm/farm/matrix"
	"noiommu-farm/farm/matrix/schedule"
	"noiommu-farm/kernels"
	"noiommu-farm/results"
	"noiommu-farm/results/verdict"
)

// Files of a run directory that is carried out by a plan.
const (
	planFile = "plan.json"
	doneFile = "done.json" // of a cell
)

// Plan is plan.json of a run directory: all that somebody needs who carries
// out cells of it, now or later, here or elsewhere.
type Plan struct {
	File     string            `json:"file,omitempty"` // the matrix file
	Schedule schedule.Schedule `json:"schedule"`
	Excluded []matrix.Excluded `json:"excluded,omitempty"`
	Sources  map[string]string `json:"sources"` // hash of the content of each source
	Suites   string            `json:"suites"`  // hash of the test programs and the agent
	Cache    string            `json:"cache"`
	Images   string            `json:"images"`
	// Isolation is what has a guest of its own in every cell.
	Isolation results.Isolation `json:"isolation"`
	Until     time.Time         `json:"until,omitzero"` // no cell begins that would not be over by then
}

// Done is done.json of a cell. It is written last: with it, the cell was
// carried out to its end and all that it left is on the disk.
type Done struct {
	Verdict verdict.Verdict `json:"verdict"`
	Began   time.Time       `json:"began"`
	Wall    time.Duration   `json:"wall_ns"`
	Source  string          `json:"source_id"`
	Host    string          `json:"host"`
}

// ReadPlan reads plan.json of a run directory.
func ReadPlan(dir string) (*Plan, error) {
	var p Plan
	if err := readJSON(filepath.Join(dir, planFile), &p); err != nil {
		return nil, fmt.Errorf("read plan: %w", err)
	}
	for _, w := range p.Schedule.Work {
		if w.Cell.Name == "" || !filepath.IsLocal(w.Cell.Name) || filepath.Base(w.Cell.Name) != w.Cell.Name || w.Cell.Name == "." {
			return nil, fmt.Errorf("read plan: %.100q is no name of a cell", w.Cell.Name)
		}
	}
	return &p, nil
}

func readJSON(path string, v any) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, v); err != nil {
		return fmt.Errorf("%s: %w", filepath.Base(path), err)
	}
	return nil
}

// maxHistory is how many earlier runs are looked at.
const maxHistory = 100

// ReadHistory reads what earlier runs tell of costs and verdicts, and what the
// cache tells of builds. A run that cannot be read is none.
func ReadHistory(runs string, cache *kernels.Cache) (*schedule.History, error) {
	entries, err := os.ReadDir(runs)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read history: %w", err)
	}
	entries = slices.DeleteFunc(entries, func(e os.DirEntry) bool { return !e.IsDir() })
	slices.SortFunc(entries, func(a, b os.DirEntry) int { return cmp.Compare(b.Name(), a.Name()) })
	var past []schedule.Past
	seen := 0
	for _, e := range entries {
		dir := filepath.Join(runs, e.Name())
		plan, err := ReadPlan(dir)
		if err != nil {
			continue
		}
		if seen++; seen > maxHistory {
			break
		}
		for _, w := range plan.Schedule.Work {
			var d Done
			if readJSON(filepath.Join(results.CellDir(dir, w.Cell.Name), doneFile), &d) == nil {
				past = append(past, schedule.Past{Cell: w.Cell, Began: d.Began, Wall: d.Wall, Good: d.Verdict.Good(), Source: d.Source, Suites: plan.Suites})
			}
		}
	}
	made, err := cache.Made()
	if err != nil {
		return nil, fmt.Errorf("read history: %w", err)
	}
	var builds []schedule.PastBuild
	for _, m := range made {
		if m.Source != "" && !m.Series && m.Compiler == "gcc" {
			k := matrix.Kernel{Source: m.Source, Config: m.Config}
			builds = append(builds, schedule.PastBuild{Kernel: k, Took: m.Took, New: m.FromNothing})
		}
	}
	return schedule.NewHistory(past, builds), nil
}

// Ready says which kernels the cache has already, as far as can be told
// without fetching their sources.
func Ready(cache *kernels.Cache) (func(matrix.Kernel) bool, error) {
	made, err := cache.Made()
	if err != nil {
		return nil, err
	}
	known := make(map[matrix.Kernel]bool)
	return func(k matrix.Kernel) bool {
		if is, ok := known[k]; ok {
			return is
		}
		config, err := kernels.LoadConfiguration(k.Config)
		known[k] = err == nil && k.Series == "" && slices.ContainsFunc(made, func(m kernels.Made) bool {
			return m.Source == k.Source && m.Of(config, cmp.Or(k.Compiler, "gcc"))
		})
		return known[k]
	}, nil
}

// maxLooks is how many earlier runs are looked through for a cell.
const maxLooks = 20

// past is what became of a cell in the last run that had it; the zero value
// when there is none.
func (r *run) past(cell string) verdict.Cell {
	entries, err := os.ReadDir(r.Runs)
	if err != nil {
		return verdict.Cell{}
	}
	looks := 0
	for _, e := range slices.Backward(entries) { // the ids of runs sort by time
		if !e.IsDir() {
			continue
		}
		if looks++; looks > maxLooks {
			break
		}
		var c verdict.Cell
		text, err := os.ReadFile(filepath.Join(results.CellDir(filepath.Join(r.Runs, e.Name()), cell), "verdict.json"))
		if err == nil && json.Unmarshal(text, &c) == nil {
			return c
		}
	}
	return verdict.Cell{}
}
