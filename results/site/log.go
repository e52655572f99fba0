// SPDX-License-Identifier: Apache-2.0

package site

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"noiommu-farm/results/console"
	"noiommu-farm/results/ktap"
	"noiommu-farm/results/report"
	"noiommu-farm/results/site/symbols"
)

// What a page shows of one log. The beginning, the end, and what is marked are
// kept; what is left out is counted.
const (
	maxLine   = 4 << 10 // bytes
	endLines  = 3000    // at each end
	endBytes  = 512 << 10
	markLines = 6000 // marked, between the ends
	markBytes = 1 << 20
)

// line is one line of a log page.
type line struct {
	N     int    // from 1; 0 for a gap
	Text  string // clean
	Kind  string // "ok", "bad", "skip", "mark", "find", or empty
	Title string // of the finding that begins here
	Guest uint32 // of the cell, whose console begins here
	Gap   int    // lines that are left out here
}

// logPage is a bounded log.
type logPage struct {
	Lines    []line
	Findings []guestFinding
	at       map[string]int // line numbers by name; see readOutput and readConsole
	Left     int            // lines left out
	found    map[int]bool   // lines of findings that are kept
	table    *symbols.Table // of the kernel that complained
}

// guestFinding is a complaint with the line numbers of a page.
type guestFinding struct {
	console.Finding
	guest  uint32
	before int // lines on the page before its guest's console
}

// inGuest is the complaint with the line numbers of its guest's console.
func (g guestFinding) inGuest() console.Finding {
	f := g.Finding
	f.First, f.Last = f.First-g.before, f.Last-g.before
	return f
}

// keeper decides which lines of a log are kept, while it streams by.
type keeper struct {
	page        logPage
	head, marks budget
	tail        []line
	tailBytes   int
	number      int
}

type budget struct{ lines, bytes int }

func (b *budget) take(n int) bool {
	if b.lines < 1 || b.bytes < n {
		b.lines = 0 // what is kept has no holes
		return false
	}
	b.lines--
	b.bytes -= n
	return true
}

// classify may mark a line; name is what links to the line call it.
type classify func(n int, text string) (kind, title, name string)

// reader streams logs of any size through a keeper, one after the other.
type reader struct{ keeper }

func newReader() *reader {
	r := &reader{keeper{head: budget{endLines, endBytes}, marks: budget{markLines, markBytes}}}
	r.page.at, r.page.found = make(map[string]int), make(map[int]bool)
	return r
}

// read adds a log, of a guest or of the first; its lines are numbered on, and classified by the numbers
// that they have in it.
func (r *reader) read(log io.Reader, guest uint32, classify classify) error {
	lines := ktap.Lines{Max: maxLine}
	before := r.number
	emit := func(text string, cut int) {
		r.number++
		kind, title, name := classify(r.number-before, text)
		if kind == "find" {
			text = r.page.table.Mark(text)
		}
		text = report.Clean(text)
		if cut > 0 {
			text += fmt.Sprintf("… (%d bytes more)", cut)
		}
		l := line{N: r.number, Text: text, Kind: kind, Title: title}
		if r.number == before+1 && guest > 0 {
			l.Guest, l.Kind = guest, cmp.Or(kind, "mark")
		}
		r.add(l, name)
	}
	buf := make([]byte, 64<<10)
	for {
		n, err := log.Read(buf)
		lines.Feed(buf[:n], emit)
		if errors.Is(err, io.EOF) {
			lines.Flush(emit)
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (k *keeper) add(l line, name string) {
	if name != "" {
		if _, twice := k.page.at[name]; !twice && len(k.page.at) < markLines {
			k.page.at[name] = l.N
		}
	}
	if k.head.take(len(l.Text)) || l.Kind != "" && k.marks.take(len(l.Text)) {
		k.page.Lines = append(k.page.Lines, l)
		return
	}
	k.tail = append(k.tail, l)
	k.tailBytes += len(l.Text)
	for len(k.tail) > endLines || k.tailBytes > endBytes {
		k.tailBytes -= len(k.tail[0].Text)
		k.tail = k.tail[1:]
	}
}

// done puts the parts together, with a line for each gap.
func (k *keeper) done() *logPage {
	all := append(k.page.Lines, k.tail...)
	slices.SortFunc(all, func(a, b line) int { return a.N - b.N })
	k.page.Lines = nil
	next := 1
	shown := make(map[int]bool, len(all))
	for _, l := range all {
		if gap := l.N - next; gap > 0 {
			k.page.Lines = append(k.page.Lines, line{Gap: gap})
			k.page.Left += gap
		}
		next = l.N + 1
		shown[l.N] = true
		if l.Kind == "find" {
			k.page.found[l.N] = true
		}
		k.page.Lines = append(k.page.Lines, l)
	}
	for name, n := range k.page.at {
		if !shown[n] {
			delete(k.page.at, name)
		}
	}
	return &k.page
}

var resultLine = regexp.MustCompile(`^\s*(not )?ok \d+(?: -)?(?: ([^#]*))?(?:# *(\w+))?`)

// readOutput marks the KTAP results in what a program printed. Their names are
// the tests'.
func readOutput(log io.Reader) (*logPage, error) {
	r := newReader()
	err := r.read(log, 0, func(_ int, text string) (string, string, string) {
		m := resultLine.FindStringSubmatch(text)
		switch {
		case m == nil:
			return "", "", ""
		case strings.EqualFold(m[3], "SKIP"), strings.EqualFold(m[3], "XFAIL"):
			return "skip", "", strings.TrimSpace(m[2])
		case m[1] != "":
			return "bad", "", strings.TrimSpace(m[2])
		}
		return "ok", "", strings.TrimSpace(m[2])
	})
	return r.done(), err
}

// Lines that the agent and the suites write into the kernel log.
var (
	startLine = regexp.MustCompile(`\bnoiommu-farm: start (\d+) `)
	testLine  = regexp.MustCompile(`\bnoiommu-farm: test (.+?)\s*$`)
	otherLine = regexp.MustCompile(`\bnoiommu-farm: (?:done|end) `)
)

// readConsole adds the console of a guest, with the kernel's complaints in it
// and the markers of the farm. The names are programs' ids, and in each its
// tests' names; see [inConsole].
func (r *reader) readConsole(log io.Reader, guest uint32, findings []console.Finding) error {
	before, id, next := r.number, "", 0
	for i := range findings {
		findings[i].First, findings[i].Last = findings[i].First+before, findings[i].Last+before
		r.page.Findings = append(r.page.Findings, guestFinding{findings[i], guest, before})
	}
	return r.read(log, guest, func(n int, text string) (string, string, string) {
		n += before
		for next < len(findings) && findings[next].Last < n {
			next++
		}
		if next < len(findings) && findings[next].First <= n {
			title := ""
			if f := findings[next]; f.First == n {
				title = string(f.Class) + ": " + report.Clean(short(f.Title, 400))
			}
			return "find", title, ""
		}
		if m := startLine.FindStringSubmatch(text); m != nil {
			id = m[1]
			return "mark", "", inConsole(id, "")
		}
		if m := testLine.FindStringSubmatch(text); m != nil {
			return "mark", "", inConsole(id, m[1])
		}
		if otherLine.MatchString(text) {
			return "mark", "", ""
		}
		return "", "", ""
	})
}

// anyGuest is for a complaint of which it is not known who made it.
const anyGuest = -1

// line is where a page has a complaint that stands in that line of a guest's
// console; 0 if it was left out.
func (p *logPage) line(guest int, f console.Finding) int {
	for _, g := range p.Findings {
		if (guest == anyGuest || int(g.guest) == guest) && g.First-g.before == f.First && g.Class == f.Class && p.found[g.First] {
			return g.First
		}
	}
	return 0
}

func inConsole(program, test string) string { return program + " " + test }
