// SPDX-License-Identifier: Apache-2.0

// Package profile says where the wall clock of a run went. In comes the record
// of a run; out go spans, a table of them, and a trace file.
package profile

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"noiommu-farm/results"
)

// Span is a piece of a run's wall clock.
type Span struct {
	Cell  string // "" for what comes before all cells
	Guest uint32 // of the cell
	What  string // one of phases
	Name  string // of the program or test, if it is one
	Began time.Time
	Took  time.Duration
}

// phases are what a guest's time is spent on, in their order.
var phases = []string{"build", "boot", "restore", "prepare", "test", "measure", "end"}

// Read says where the wall clock of a run went, from its record. began is
// when it was asked for: until its first cell, kernels and images are made.
func Read(dir string, began time.Time) ([]Span, error) {
	head, err := results.ReadRun(dir)
	if err != nil {
		return nil, err
	}
	spans := []Span{{What: "build", Began: began, Took: head.Started.Sub(began)}}
	for _, cell := range head.Cells {
		rec, err := results.ReadCell(results.CellDir(dir, cell))
		if err != nil {
			continue // it was not begun
		}
		spans = append(spans, spansOf(rec)...)
	}
	return spans, nil
}

// spansOf cuts the life of each guest of a cell where an event says that
// something else begins.
func spansOf(rec *results.Record) []Span {
	names := make(map[uint32]string)
	for _, p := range rec.Planned.Programs {
		names[p.ID] = p.Name
	}
	var spans []Span
	open := map[uint32]*Span{0: {Cell: rec.Planned.Cell, What: "boot", Began: rec.Events[0].Time}}
	called := make(map[uint32]string) // what a guest's test is called
	for _, e := range rec.Events {
		what, name := "", ""
		switch {
		case e.Assigned != nil:
			what = "boot"
			if e.Assigned.Restored > 0 {
				what = "restore"
			}
			if len(e.Assigned.Tests) == 1 {
				called[e.Guest] = e.Assigned.Tests[0]
			}
		case e.Agent != nil && e.Agent.Hello != nil:
			what = "prepare"
		case e.Running != nil:
			what, name = "test", cmp.Or(called[e.Guest], names[e.Running.ID])
		case e.Agent != nil && e.Agent.Exited != nil:
			what = "measure"
		case e.Agent != nil && e.Agent.Measured != nil && open[e.Guest] != nil && open[e.Guest].What == "measure":
			what = "end"
		case e.Ended == nil:
			continue
		}
		if was := open[e.Guest]; was != nil {
			was.Took = e.Time.Sub(was.Began)
			spans = append(spans, *was)
		}
		delete(open, e.Guest)
		if what != "" {
			open[e.Guest] = &Span{Cell: rec.Planned.Cell, Guest: e.Guest, What: what, Name: name, Began: e.Time}
		}
	}
	return spans
}

// Write writes a table of spans, those of each phase together.
func Write(w io.Writer, spans []Span, processors int) error {
	sum, count := make(map[string]time.Duration), make(map[string]int)
	var all [][2]time.Time
	for _, s := range spans {
		sum[s.What] += s.Took
		count[s.What]++
		if s.What != "build" {
			all = append(all, [2]time.Time{s.Began, s.Began.Add(s.Took)})
		}
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "\nwhere the time went, all guests together\t\t\t")
	for _, p := range phases {
		if count[p] > 0 {
			fmt.Fprintf(t, "  %s\t%s\t%d times\n", p, sum[p].Round(time.Millisecond), count[p])
		}
	}
	wall, alone := shares(all, processors)
	fmt.Fprintf(t, "  guests ran for\t%s\tof it %s fewer than the %d processors\n", wall.Round(time.Millisecond), alone.Round(time.Millisecond), processors)
	return t.Flush()
}

// shares says for how long any of the intervals lasted, and for how long fewer
// of them than there are processors.
func shares(all [][2]time.Time, processors int) (wall, fewer time.Duration) {
	type edge struct {
		at   time.Time
		step int
	}
	var edges []edge
	for _, one := range all {
		edges = append(edges, edge{one[0], 1}, edge{one[1], -1})
	}
	slices.SortFunc(edges, func(a, b edge) int { return cmp.Or(a.at.Compare(b.at), b.step-a.step) })
	running := 0
	for i, e := range edges {
		if i > 0 && running > 0 {
			d := e.at.Sub(edges[i-1].at)
			wall += d
			if running < processors {
				fewer += d
			}
		}
		running += e.step
	}
	return wall, fewer
}

// traceEvent is an event of the Trace Event Format, which Chrome's tracing and
// Perfetto show: a process for each cell, a thread for each guest.
type traceEvent struct {
	Name  string            `json:"name"`
	Phase string            `json:"ph"` // X: complete, M: a name
	TS    int64             `json:"ts"` // microseconds
	Dur   int64             `json:"dur,omitempty"`
	PID   int               `json:"pid"`
	TID   uint32            `json:"tid"`
	Args  map[string]string `json:"args,omitempty"`
}

// traceFile is what the trace of a run is called in its directory.
const traceFile = "profile.json"

// WriteTrace writes the spans into the run directory.
func WriteTrace(dir string, spans []Span) error {
	pids := make(map[string]int)
	var events []traceEvent
	for _, s := range spans {
		pid, ok := pids[s.Cell]
		if !ok {
			pid = len(pids) + 1
			pids[s.Cell] = pid
			events = append(events, traceEvent{Name: "process_name", Phase: "M", PID: pid, Args: map[string]string{"name": cmp.Or(s.Cell, "all cells")}})
		}
		events = append(events, traceEvent{
			Name: strings.TrimSpace(s.What + " " + s.Name), Phase: "X", TS: s.Began.UnixMicro(), Dur: s.Took.Microseconds(), PID: pid, TID: s.Guest,
		})
	}
	text, err := json.Marshal(map[string]any{"traceEvents": events, "displayTimeUnit": "ms"})
	if err != nil {
		return err
	}
	return results.WriteFile(filepath.Join(dir, traceFile), text)
}
