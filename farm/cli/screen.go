// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"

	"noiommu-farm/farm/runner"
	"noiommu-farm/results/known"
	"noiommu-farm/results/report"
	"noiommu-farm/results/verdict"
)

// screen shows a run of many cells: on a terminal one picture that changes,
// which is never higher than the terminal, and whole lines above it for what
// stays; in a pipe lines alone.
type screen struct {
	w    io.Writer
	name string
	size func() (columns, rows int) // nil when w is no terminal

	mu       sync.Mutex
	start    time.Time
	status   runner.Status
	step     string            // of the build
	programs map[string]string // that a cell is at
	judged   map[string]bool   // cells that were told of
	excused  excused
	drawn    int // lines of the picture that stand there
	done     bool
	stop     chan struct{}
}

func newScreen(w io.Writer, name string) *screen {
	s := &screen{w: w, name: report.Clean(name), start: time.Now(), programs: make(map[string]string), judged: make(map[string]bool), stop: make(chan struct{})}
	if s.size = terminalSize(w); s.size != nil {
		go redraw(&s.mu, s.draw, s.stop)
	}
	return s
}

// terminalSize is how large the terminal is that w is; nil when it is none.
func terminalSize(w io.Writer) func() (columns, rows int) {
	f, ok := w.(*os.File)
	if !ok || !isTerminal(w) {
		return nil
	}
	return func() (int, int) {
		columns, rows, err := term.GetSize(int(f.Fd()))
		if err != nil || columns < 1 || rows < 1 {
			return 80, 24
		}
		return columns, rows
	}
}

// redraw keeps what stands on a terminal true, until stop is closed: the time
// in it goes on when nothing else happens, and no state is skipped for ever.
func redraw(mu *sync.Mutex, draw func(), stop <-chan struct{}) {
	tick := time.NewTicker(screenEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			mu.Lock()
			draw()
			mu.Unlock()
		case <-stop:
			return
		}
	}
}

// excuse has the known issues of a run shown as what they are: expected.
func (s *screen) excuse(issues known.List, began time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.excused.issues, s.excused.began = issues, began
}

// watch takes the state of the run.
func (s *screen) watch(now runner.Status) {
	s.mu.Lock()
	defer s.mu.Unlock()
	failed := now.Failed
	now.Failed, now.Verdicts = nil, maps.Clone(now.Verdicts)
	for _, c := range failed {
		judged := s.excused.judge(c)
		if judged.Verdict != c.Verdict {
			now.Verdicts[c.Verdict]--
			now.Verdicts[judged.Verdict]++
		}
		if !judged.Verdict.Good() {
			now.Failed = append(now.Failed, judged)
		}
	}
	if s.size == nil && now.Building != s.status.Building && now.Building != "" {
		s.line("building %s", report.Clean(now.Building))
	}
	if s.size == nil && now.Elsewhere != s.status.Elsewhere && now.Elsewhere != "" {
		s.line("in the queue: %s", report.Clean(now.Elsewhere))
	}
	if now.Building != s.status.Building {
		s.step = ""
	}
	s.status = now
}

func (s *screen) note(text string) { s.tell(runner.Progress{Note: text}) }

// tell takes what happens in a cell.
func (s *screen) tell(e runner.Progress) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.done:
	case e.Note != "":
		s.line("%s", report.Clean(e.Note))
	case e.Build != nil:
		s.step = e.Build.Step
		if e.Build.Total > 0 {
			s.step += fmt.Sprintf(" %d/%d", e.Build.Done, e.Build.Total)
		}
		if e.Build.ETA > 0 {
			s.step += ", about " + about(e.Build.ETA) + " left"
		}
	case e.Judged != nil:
		delete(s.programs, e.Cell)
		if s.judged[e.Cell] {
			return
		}
		s.judged[e.Cell] = true
		// On a terminal, what is as expected only counts.
		if judged := s.excused.judge(e.Judged); s.size == nil || !judged.Verdict.Good() {
			s.line("%s", cellLine(judged))
		}
	case e.Program != "":
		s.programs[e.Cell] = e.Program
	}
}

// cellLine is a cell that is over, in one line.
func cellLine(c *verdict.Cell) string {
	return fmt.Sprintf("%s: %s, %s in %s", c.Name, strings.ToUpper(string(c.Verdict)), report.Clean(c.Reasoned()), about(c.Wall))
}

// line prints a line that stays.
func (s *screen) line(format string, args ...any) {
	s.erase()
	text := fmt.Sprintf(format, args...)
	if s.size == nil && s.status.Total > 0 {
		text = fmt.Sprintf("%d/%d %s", max(s.status.Done, len(s.judged)), s.status.Total, text)
	}
	fmt.Fprintf(s.w, "[%6.1fs] %s\n", time.Since(s.start).Seconds(), text)
}

// picture is the state of the run in at most so many lines.
func (s *screen) picture(now time.Time, rows int) []string {
	st := s.status
	if st.Total == 0 {
		return []string{s.name + ": looking at sources" + prefixed(": ", s.step)}
	}
	head := fmt.Sprintf("%s: %d of %d cells", s.name, st.Done, st.Total)
	if counts := st.Verdicts.String(); counts != "" {
		head += " (" + counts + ")"
	}
	lines := []string{head + fmt.Sprintf(", %s, about %s left", about(now.Sub(s.start)), about(st.Left))}
	if st.Building != "" {
		lines = append(lines, "  build   "+report.Clean(st.Building)+prefixed(": ", s.step))
	}
	if st.Elsewhere != "" {
		lines = append(lines, "  queue   "+report.Clean(st.Elsewhere))
	}
	for _, r := range st.Running {
		text := fmt.Sprintf("  run     %s: %s of about %s", r.Cell, about(now.Sub(r.Began)), about(r.Cost))
		if p := s.programs[r.Cell]; p != "" {
			text += ": " + p
		}
		lines = append(lines, text)
	}
	if st.Ready+st.Waiting > 0 {
		lines = append(lines, fmt.Sprintf("  wait    %d for room, %d for their kernel", st.Ready, st.Waiting))
	}
	if room := rows - len(lines); len(st.Failed) > 0 && room > 0 {
		for i, c := range slices.Backward(st.Failed) {
			if len(st.Failed)-i >= room && i > 0 {
				lines = append(lines, fmt.Sprintf("  failed  and %d more", i+1))
				break
			}
			lines = append(lines, "  failed  "+cellLine(c))
		}
	}
	return lines[:min(len(lines), rows)]
}

func prefixed(prefix, text string) string {
	if text == "" {
		return ""
	}
	return prefix + text
}

// draw replaces the picture. It never fills the last column, where some
// terminals wrap, nor the last row, where they scroll.
func (s *screen) draw() {
	if s.done {
		return
	}
	columns, rows := s.size()
	s.erase()
	for _, l := range s.picture(time.Now(), max(rows-1, 1)) {
		fmt.Fprintf(s.w, "%s\n", cut(l, columns-1))
		s.drawn++
	}
}

func (s *screen) erase() {
	if s.drawn > 0 {
		fmt.Fprintf(s.w, "\x1b[%dA\x1b[J", s.drawn)
		s.drawn = 0
	}
}

// close takes the picture away; nothing is printed after it.
func (s *screen) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.done {
		close(s.stop)
	}
	s.erase()
	s.done = true
}
