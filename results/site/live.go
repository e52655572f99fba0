// SPDX-License-Identifier: Apache-2.0

package site

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"noiommu-farm/results"
	"noiommu-farm/results/report"
	"noiommu-farm/results/verdict"
)

// What is not judged yet is no verdict of a run that goes on.
const (
	running verdict.Verdict = "running"
	waiting verdict.Verdict = "waiting"
)

// open says whether a result is still to come.
func open(v verdict.Verdict) bool { return v == running || v == waiting }

// silence is after how long without a word a run that holds no lock is taken
// for dead.
const silence = 30 * time.Minute

// Live keeps the pages of a run up to date while the run goes on.
type Live struct {
	dir     string                    // of the run
	vmlinux func(build string) string // see [Run]
	w       *writer
	stamps  []string // what the files of each cell looked like when it was read
	run     string   // and those of the run
	over    bool
}

// Watch begins with the pages of a run, in an empty directory. [Live.Update]
// writes them.
func Watch(dir, pages, called string, vmlinux func(build string) string) (*Live, error) {
	root, err := os.OpenRoot(pages)
	if err != nil {
		return nil, fmt.Errorf("watch run: %w", err)
	}
	return &Live{dir: dir, vmlinux: vmlinux, w: &writer{called: called, root: root, live: true}}, nil
}

// Close lets go of the directory of the pages.
func (l *Live) Close() error { return l.w.root.Close() }

// Over says whether the run has ended.
func (l *Live) Over() bool { return l.over }

// Update judges anew what has changed since the last time and writes its pages.
// It says whether anything had.
func (l *Live) Update() (changed bool, err error) {
	if l.over && l.ended() { // it may have been resumed
		return false, nil
	}
	head, err := results.ReadRun(l.dir)
	if err != nil {
		return false, err
	}
	for _, name := range head.Cells {
		if err := localName(name); err != nil {
			return false, err
		}
	}
	stamps := make([]string, len(head.Cells))
	for i, name := range head.Cells {
		dir := results.CellDir(l.dir, name)
		stamps[i] = stamp(filepath.Join(dir, "events.jsonl"), filepath.Join(dir, "console.log"))
	}
	over := l.ended()
	run := stamp(filepath.Join(l.dir, results.ConclusionJSON), filepath.Join(l.dir, "run.json"))
	if over == l.over && run == l.run && slices.Equal(stamps, l.stamps) {
		return false, nil
	}

	old, oldNames := l.w.Run, l.w.names
	var r *Run
	if over {
		// The last word is that of a report.
		if r, err = Load(l.dir); err != nil {
			return false, err
		}
	} else {
		r = &Run{Run: report.Run{Run: head, Dir: l.dir}}
		if r.plan, err = readPlan(l.dir); err != nil {
			r.Notes = append(r.Notes, err.Error())
		}
		for i, name := range head.Cells {
			if old != nil && i < len(old.Cells) && old.Cells[i].Name == name && stamps[i] == l.stamps[i] {
				r.Cells, r.records = append(r.Cells, old.Cells[i]), append(r.records, old.records[i])
			} else {
				c, rec := loadCell(results.CellDir(l.dir, name), name)
				r.plan.foretell(c)
				unfinished(c, rec)
				r.Cells, r.records = append(r.Cells, c), append(r.records, rec)
			}
			if v := r.Cells[i].Verdict; !open(v) {
				r.Verdict = verdict.Worst(r.Verdict, v)
			}
		}
		r.progress()
		if old == nil {
			r.compare()
		} else {
			r.Previous, r.history = old.Previous, old.history
		}
	}
	r.Vmlinux = l.vmlinux
	l.w.Run, l.w.names, l.w.live = r, nameCells(r.Cells), !over
	all := old == nil || over || !slices.Equal(oldNames.whole, l.w.names.whole)
	for i := range r.Cells {
		if all || stamps[i] != l.stamps[i] {
			if err := l.w.cell(i); err != nil {
				return false, fmt.Errorf("cell %s: %w", r.Cells[i].Name, err)
			}
		}
	}
	if err := l.w.tests(); err != nil {
		return false, err
	}
	if err := l.w.index(); err != nil {
		return false, err
	}
	l.stamps, l.run, l.over = stamps, run, over
	return true, nil
}

// progress says how far a run is.
func (r *Run) progress() {
	n := make(map[verdict.Verdict]int)
	for _, rec := range r.records {
		switch {
		case rec == nil:
			n[waiting]++
		case !finished(rec):
			n[running]++
		}
	}
	left := n[running] + n[waiting]
	r.Going = fmt.Sprintf("%d of %s done, %d running, %d waiting", len(r.Cells)-left, plural(len(r.Cells), "cell"), n[running], n[waiting])
	// What fails is told as soon as it is known; that all is well, at the end.
	if r.Verdict.Good() || r.Verdict == "" {
		r.Verdict = running
	}
}

// ended says whether a run has come to its end, or died. Who holds its lock
// carries it out, also again.
func (l *Live) ended() bool {
	if held, known := locked(filepath.Join(l.dir, "lock")); known {
		return !held
	}
	if _, err := os.Stat(filepath.Join(l.dir, results.ConclusionJSON)); err == nil {
		return true
	}
	return time.Since(lastWord(l.dir)) > silence
}

// lastWord is when a run last wrote anything.
func lastWord(dir string) (last time.Time) {
	files, _ := filepath.Glob(filepath.Join(results.CellDir(dir, "*"), "*"))
	for _, path := range append(files, filepath.Join(dir, "run.json")) {
		if info, err := os.Stat(path); err == nil && info.ModTime().After(last) {
			last = info.ModTime()
		}
	}
	return last
}

// stamp is what files look like from outside.
func stamp(paths ...string) string {
	s := ""
	for _, path := range paths {
		if info, err := os.Stat(path); err == nil {
			s += fmt.Sprintf("%d@%d ", info.Size(), info.ModTime().UnixNano())
		} else {
			s += "- "
		}
	}
	return s
}

// finished says whether a cell was carried to its end, or given up: every guest
// of it has ended, and there is nothing left to run.
func finished(rec *results.Record) bool {
	if _, err := os.Stat(filepath.Join(rec.Dir, "done.json")); err == nil {
		return true
	}
	ended, exited, early := make(map[uint32]bool), make(map[uint32]bool), false
	for _, e := range rec.Events {
		switch {
		case e.Ended != nil:
			ended[e.Guest] = true
		case e.Infra != nil, e.Hung != nil, e.Lost != nil, e.Unbuilt != nil:
			early = true
		case e.Agent != nil && e.Agent.Exited != nil:
			exited[e.Agent.Exited.ID] = true
		}
	}
	for _, guest := range rec.Guests() {
		if !ended[guest] && !early {
			return false
		}
	}
	return early || !slices.ContainsFunc(rec.Planned.Programs, func(p results.Program) bool { return !exited[p.ID] })
}

// unfinished takes back what was judged of a cell that goes on: only a program
// that has ended has a verdict. A cell that was carried to its end keeps it.
func unfinished(c *verdict.Cell, rec *results.Record) {
	if rec == nil {
		c.Verdict, c.Reason = waiting, ""
		return
	}
	if finished(rec) {
		return
	}
	began, exited := make(map[uint32]bool), make(map[uint32]bool)
	for _, e := range rec.Events {
		switch {
		case e.Running != nil:
			began[e.Running.ID] = true
		case e.Agent != nil && e.Agent.Exited != nil:
			exited[e.Agent.Exited.ID] = true
		}
	}
	c.Verdict, c.Reason, c.Tail = "", "", nil
	for i := range c.Programs {
		p := &c.Programs[i]
		switch {
		case !began[p.ID]:
			p.Verdict, p.Reason, p.Tests = waiting, "", nil
			continue
		case !exited[p.ID]:
			p.Verdict, p.Reason, p.Tests = running, "", nil
			continue
		}
		// Of one that is carried out in parts the rest is still to come.
		n := len(p.Tests)
		p.Tests = slices.DeleteFunc(p.Tests, func(t verdict.Test) bool { return t.Verdict == verdict.Infra })
		if len(p.Tests) < n {
			p.Verdict, p.Reason = "", ""
			for _, t := range p.Tests {
				p.Verdict = verdict.Worst(p.Verdict, t.Verdict)
			}
			if p.Verdict.Good() || p.Verdict == "" {
				p.Verdict = running
			}
		}
		if !open(p.Verdict) {
			c.Verdict = verdict.Worst(c.Verdict, p.Verdict)
		}
	}
	if c.Verdict == "" || c.Verdict.Good() {
		c.Verdict = running
	}
}
