// SPDX-License-Identifier: Apache-2.0

// Package history tells what earlier runs said of the cells of one run.
//
// In goes a judged run; out comes, for each of its cells, programs and tests, a
// letter for each earlier run. It takes the word of each run's results.json,
// looks only at runs in the same directory, and never judges.
package history

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"noiommu-farm/results"
	"noiommu-farm/results/report"
	"noiommu-farm/results/verdict"
)

// What is read at most.
const (
	Runs     = 20       // earlier runs, the newest
	maxBytes = 64 << 20 // of one results.json
)

// Absent is the letter of a run in which there was no such result.
const Absent = '-'

// Letter is a verdict in a [Line]: its first one. No two begin with the same.
func Letter(v verdict.Verdict) byte {
	if v == "" {
		return Absent
	}
	return v[0]
}

// Line is a letter for each earlier run, the oldest first.
type Line string

// Known counts the runs that had a result.
func (l Line) Known() int { return len(l) - strings.Count(string(l), string(Absent)) }

// Bad counts the runs in which it was not as expected.
func (l Line) Bad() int {
	n := 0
	for _, c := range l {
		if strings.ContainsRune("fcti", c) {
			n++
		}
	}
	return n
}

// Since is the run from which on it has been bad without a break to the end,
// as an index into [History.IDs]; len(l) if it was not bad in the last that had
// it.
func (l Line) Since() int {
	first := len(l)
	for i := len(l) - 1; i >= 0; i-- {
		switch {
		case strings.IndexByte("fcti", l[i]) >= 0:
			first = i
		case l[i] != Absent:
			return first
		}
	}
	return first
}

type key struct{ cell, program, test string }

// History is what earlier runs said.
type History struct {
	IDs   []string // of the runs, the oldest first
	lines map[key][]byte
	walls map[key][]time.Duration
}

// Line is the history of a test; of a program as a whole if test is empty, and
// of a cell if program is too.
func (h *History) Line(cell, program, test string) Line {
	if h == nil {
		return ""
	}
	return Line(h.lines[key{cell, program, test}])
}

// Walls are how long a program took in each run, or a cell if program is empty;
// 0 where it was not there.
func (h *History) Walls(cell, program string) []time.Duration {
	if h == nil {
		return nil
	}
	return h.walls[key{cell, program, ""}]
}

// Read reads the newest runs that ended before the one in dir began and had a
// cell in common with it. A run that cannot be read is left out, and told.
func Read(dir string, head results.Run, cells []*verdict.Cell) (*History, []error) {
	earlier, errs := neighbours(dir, head)
	h := &History{lines: make(map[key][]byte), walls: make(map[key][]time.Duration)}
	now := make(map[string]*verdict.Cell, len(cells))
	for _, c := range cells {
		now[c.Name] = c
	}
	var kept []report.Run
	for _, e := range earlier { // newest first
		if len(kept) == Runs {
			break
		}
		r, err := read(filepath.Join(e.dir, results.ConclusionJSON))
		if err != nil {
			errs = append(errs, fmt.Errorf("run %s: %w", e.ID, err))
			continue
		}
		r.Cells = slices.DeleteFunc(r.Cells, func(c *verdict.Cell) bool {
			return c == nil || now[c.Name] == nil || !Same(c, now[c.Name])
		})
		if r.ID = e.ID; len(r.Cells) > 0 {
			kept = append(kept, r)
		}
	}
	slices.Reverse(kept)
	for i, r := range kept {
		h.IDs = append(h.IDs, r.ID)
		for _, c := range r.Cells {
			h.put(key{c.Name, "", ""}, i, len(kept), c.Verdict, c.Wall)
			for _, p := range c.Programs {
				h.put(key{c.Name, p.Name, ""}, i, len(kept), p.Verdict, p.Wall)
				for _, t := range p.Tests {
					h.put(key{c.Name, p.Name, t.Name}, i, len(kept), t.Verdict, 0)
				}
			}
		}
	}
	return h, errs
}

func (h *History) put(k key, i, n int, v verdict.Verdict, wall time.Duration) {
	line := h.lines[k]
	if line == nil {
		line = slices.Repeat([]byte{Absent}, n)
		h.lines[k] = line
		if k.test == "" {
			h.walls[k] = make([]time.Duration, n)
		}
	}
	line[i] = Letter(v)
	if k.test == "" {
		h.walls[k][i] = wall
	}
}

// Same says whether two cells ask the same question: the same source and
// series, whatever is in them by now, with the same configuration on the same
// machine. Of a cell that has not begun only the name is known, which has to do.
func Same(a, b *verdict.Cell) bool {
	return b.Kernel.Build == "" || a.Kernel.Source == b.Kernel.Source && a.Kernel.Series == b.Kernel.Series && a.Kernel.Config == b.Kernel.Config &&
		a.Machine.Topology == b.Machine.Topology && slices.Equal(a.Machine.Devices, b.Machine.Devices) &&
		a.Machine.CPUs == b.Machine.CPUs && a.Machine.MemoryMiB == b.Machine.MemoryMiB &&
		a.Machine.Privileges == b.Machine.Privileges && slices.Equal(a.Machine.Parameters, b.Machine.Parameters)
}

type neighbour struct {
	dir string
	results.Run
}

// neighbours are the runs in the same directory that ended, began before this
// one and have a cell in common with it, the newest first.
func neighbours(dir string, head results.Run) ([]neighbour, []error) {
	entries, err := os.ReadDir(filepath.Dir(dir))
	if err != nil {
		return nil, []error{fmt.Errorf("earlier runs: %w", err)}
	}
	var all []neighbour
	for _, e := range entries {
		if !e.IsDir() || e.Name() == filepath.Base(dir) { // "latest" is a link
			continue
		}
		n := neighbour{dir: filepath.Join(filepath.Dir(dir), e.Name())}
		if n.Run, err = results.ReadRun(n.dir); err != nil || !n.Started.Before(head.Started) {
			continue // no run, or none before
		}
		if _, err := os.Stat(filepath.Join(n.dir, results.ConclusionJSON)); err == nil && slices.ContainsFunc(n.Cells, func(c string) bool { return slices.Contains(head.Cells, c) }) {
			all = append(all, n)
		}
	}
	slices.SortFunc(all, func(a, b neighbour) int {
		return cmp.Or(b.Started.Compare(a.Started), cmp.Compare(b.dir, a.dir))
	})
	return all, nil
}

func read(path string) (r report.Run, err error) {
	f, err := os.Open(path)
	if err != nil {
		return r, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxBytes+1))
	if err != nil {
		return r, err
	}
	if len(text) > maxBytes {
		return r, fmt.Errorf("%s is larger than %d bytes", filepath.Base(path), maxBytes)
	}
	if err := json.Unmarshal(text, &r); err != nil {
		return r, fmt.Errorf("%s: %w", filepath.Base(path), err)
	}
	return r, nil
}
