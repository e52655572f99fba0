// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"noiommu-farm/farm/runner"
	"noiommu-farm/kernels"
	"noiommu-farm/results/ktap"
	"noiommu-farm/results/report"
)

// progress shows what a run is doing: whole lines for what is finished and, on
// a terminal, one line below them that changes.
type progress struct {
	w     io.Writer
	width func() int // of the terminal, in columns; nil when w is none

	mu      sync.Mutex
	start   time.Time
	running map[place]*running
	order   []place
	status  bool   // a status line stands on the screen
	text    string // what it says, without the time
	step    string // of the build in progress

	excused        excused
	planned, tests int       // results that are expected, and that are here
	tested         time.Time // when the first cell began
	told           time.Time // when a pipe was last told of it
	done           bool
	stop           chan struct{} // ends the redrawing
}

// place is a program of a cell. A cell may be at several.
type place struct{ cell, program string }

// running is how far a program is.
type running struct {
	ok, skip, notOK int
}

// How often a build is told of in a pipe, and a screen redrawn.
const (
	pipeEvery   = 15 * time.Second
	screenEvery = 100 * time.Millisecond
)

func newProgress(w io.Writer) *progress {
	p := &progress{w: w, start: time.Now(), running: make(map[place]*running), stop: make(chan struct{})}
	if size := terminalSize(w); size != nil {
		p.width = func() int {
			columns, _ := size()
			return columns
		}
		go redraw(&p.mu, p.draw, p.stop)
	}
	return p
}

func (p *progress) note(text string) { p.tell(runner.Progress{Note: text}) }

func (p *progress) tell(e runner.Progress) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.done {
		return
	}
	switch {
	case e.Run != nil:
		p.excused.began = e.Run.Started
	case e.Note != "":
		p.line("%s", e.Note)
	case e.Build != nil:
		p.build(*e.Build)
	case e.Judged != nil:
		for _, at := range slices.Clone(p.order) {
			if at.cell == e.Cell {
				p.flush(at)
			}
		}
		judged := p.excused.judge(e.Judged)
		p.line("%s: %s, %s in %s", e.Cell, strings.ToUpper(string(judged.Verdict)), judged.Reasoned(), judged.Wall.Round(100*time.Millisecond))
	case e.Test != nil:
		p.test(e)
	case e.Program == "": // a cell begins
		if p.tested.IsZero() {
			p.tested = time.Now()
		}
		p.planned += e.Planned
	case e.Over:
		p.flush(place{e.Cell, e.Program})
	default:
		if at := (place{e.Cell, e.Program}); p.running[at] == nil {
			p.running[at] = &running{}
			p.order = append(p.order, at)
		}
		p.text = p.programs()
	}
}

func (p *progress) test(e runner.Progress) {
	p.tests++
	r := p.running[place{e.Cell, e.Program}]
	if r == nil {
		return
	}
	switch {
	case e.Test.Outcome == ktap.Skip:
		r.skip++
	case e.Test.Outcome.Failed():
		r.notOK++
		p.line("%s: %s: not ok: %s", e.Cell, e.Program, report.Clean(e.Test.Name))
	default:
		r.ok++
	}
	p.text = p.programs()
}

// flush prints the line of a program that has ended.
func (p *progress) flush(at place) {
	r := p.running[at]
	if r == nil {
		return
	}
	delete(p.running, at)
	p.order = slices.DeleteFunc(p.order, func(other place) bool { return other == at })
	p.text = p.programs()
	p.line("%s: %s: %s", at.cell, at.program, r.counts())
}

func (r *running) counts() string {
	text := fmt.Sprintf("%d ok", r.ok)
	if r.skip > 0 {
		text += fmt.Sprintf(", %d skipped", r.skip)
	}
	if r.notOK > 0 {
		text += fmt.Sprintf(", %d not ok", r.notOK)
	}
	return text
}

func (p *progress) build(b kernels.Progress) {
	text := "kernel: " + b.Step
	switch {
	case b.Total > 0:
		text += fmt.Sprintf(" %d/%d", b.Done, b.Total)
	case b.Done > 0:
		text += fmt.Sprintf(" %d done", b.Done)
	}
	if b.ETA > 0 {
		text += fmt.Sprintf(", about %s left", b.ETA.Round(time.Second))
	}
	if b.Note != "" {
		text += ": " + report.Clean(b.Note)
	}
	switch {
	case p.width != nil:
		p.text = text
	case b.Step != p.step || b.Note != "" || time.Since(p.told) > pipeEvery:
		p.told = time.Now()
		p.line("%s", text)
	}
	p.step = b.Step
}

// line prints a line that stays.
func (p *progress) line(format string, args ...any) {
	p.erase()
	fmt.Fprintf(p.w, "[%6.1fs] %s\n", time.Since(p.start).Seconds(), fmt.Sprintf(format, args...))
}

// pace says how many results there are, how fast they come and when the last
// one will. What is skipped comes fastest, and the kernel's own selftests are
// not foretold, so it is no more than a guess.
func pace(tests, planned int, since time.Duration) string {
	text := fmt.Sprintf("%d of %d tests", tests, max(tests, planned))
	if tests == 0 || since <= 0 {
		return text
	}
	text += fmt.Sprintf(", %.0f a minute", float64(tests)/since.Minutes())
	if left := planned - tests; left > 0 {
		text += fmt.Sprintf(", about %s left", (since * time.Duration(left) / time.Duration(tests)).Round(time.Second))
	}
	return text
}

// programs says what every cell is at.
func (p *progress) programs() string {
	var parts []string
	if p.planned > 0 {
		parts = append(parts, pace(p.tests, p.planned, time.Since(p.tested)))
	}
	for _, at := range p.order {
		parts = append(parts, fmt.Sprintf("%s: %s %s", at.cell, at.program, p.running[at].counts()))
	}
	return strings.Join(parts, "  |  ")
}

// draw replaces the status line. It never fills the last column, where some
// terminals wrap.
func (p *progress) draw() {
	if p.text == "" || p.done {
		return
	}
	p.erase()
	fmt.Fprint(p.w, cut(fmt.Sprintf("[%6.1fs] %s", time.Since(p.start).Seconds(), p.text), p.width()-1))
	p.status = true
}

func (p *progress) erase() {
	if p.status {
		fmt.Fprint(p.w, "\r\x1b[K")
		p.status = false
	}
}

// quiet takes the status line away until something happens again.
func (p *progress) quiet() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.erase()
	p.text, p.step = "", ""
}

// close ends the status line; nothing is printed after it.
func (p *progress) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.done {
		close(p.stop)
	}
	p.erase()
	p.done = true
}

func cut(s string, n int) string {
	r := []rune(s)
	switch {
	case len(r) <= n:
		return s
	case n < 1:
		return ""
	}
	return string(r[:n-1]) + "…"
}
