// SPDX-License-Identifier: Apache-2.0

package site

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"noiommu-farm/results/verdict"
	"noiommu-farm/suites/contract"
)

// maxPlan bounds plan.json, in bytes.
const maxPlan = 64 << 20

// plan is what a report wants to know of plan.json, which a run of a matrix has.
type plan struct {
	Schedule struct {
		Work []plannedCell `json:"work"`
		Left []plannedCell `json:"left"` // for which there was no time
	} `json:"schedule"`
	Excluded []struct {
		Reason string `json:"reason"`
		Points int    `json:"points"`
	} `json:"excluded"`
}

type plannedCell struct {
	Cell struct {
		Name       string              `json:"name"`
		Source     string              `json:"source"`
		Series     string              `json:"series"`
		Config     string              `json:"config"`
		Compiler   string              `json:"compiler"`
		Topology   string              `json:"topology"`
		Privileges contract.Privileges `json:"privileges"`
		Devices    []string            `json:"devices"`
		CPUs       int                 `json:"cpus"`
		MemoryMiB  int                 `json:"memory_mib"`
	} `json:"cell"`
}

// readPlan reads the plan of a run; a run without one has an empty plan.
func readPlan(dir string) (p plan, err error) {
	f, err := os.Open(filepath.Join(dir, "plan.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return p, nil
	}
	if err != nil {
		return p, err
	}
	defer f.Close()
	if err := json.NewDecoder(io.LimitReader(f, maxPlan)).Decode(&p); err != nil {
		return p, fmt.Errorf("read plan.json: %w", err)
	}
	return p, nil
}

// foretell says of a cell without a record what was planned.
func (p plan) foretell(c *verdict.Cell) {
	for _, w := range p.Schedule.Work {
		if w.Cell.Name == c.Name && c.Kernel.Source == "" {
			c.Kernel.Source, c.Kernel.Series, c.Kernel.Config, c.Kernel.Compiler = w.Cell.Source, w.Cell.Series, w.Cell.Config, w.Cell.Compiler
			c.Machine.Topology, c.Machine.Privileges, c.Machine.Devices = w.Cell.Topology, w.Cell.Privileges, w.Cell.Devices
			c.Machine.CPUs, c.Machine.MemoryMiB = w.Cell.CPUs, w.Cell.MemoryMiB
		}
	}
}

// left are the cells that the plan has and the run has not.
func (p plan) left() []reason {
	var out []reason
	if n := len(p.Schedule.Left); n > 0 {
		var names []string
		for _, w := range p.Schedule.Left[:min(n, maxCells)] {
			names = append(names, w.Cell.Name)
		}
		if n > maxCells {
			names = append(names, "…")
		}
		out = append(out, reason{Name: plural(n, "cell"), Why: "no time was left: " + strings.Join(names, ", ")})
	}
	for _, e := range p.Excluded {
		out = append(out, reason{Name: plural(e.Points, "point") + " of the matrix", Why: e.Reason})
	}
	return out
}
