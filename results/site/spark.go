// SPDX-License-Identifier: Apache-2.0

package site

import (
	"fmt"
	"html/template"
	"slices"
	"strings"
	"time"

	"noiommu-farm/results/site/history"
	"noiommu-farm/results/verdict"
)

// A bar of a history: its place, and what is good stands lower than what is bad.
const (
	barWide  = 4 // with the gap
	barsHigh = 14
)

// bars are how each letter of a history is drawn; the classes are in the style.
var bars = map[rune]struct {
	class string
	high  int
}{
	'p': {"pass", 5}, 's': {"skip", 2}, 'x': {"xfail", 7}, 'i': {"infra", 14}, 'f': {"fail", 14}, 't': {"timeout", 14}, 'c': {"crash", 14},
}

// drawn is a history with this run at its end; empty where there is none.
func drawn(line history.Line, now verdict.Verdict) template.HTML {
	if line.Known() == 0 || len(now) == 0 {
		return ""
	}
	line += history.Line(history.Letter(now))
	paths := make(map[string]*strings.Builder)
	for i, c := range line {
		bar, ok := bars[c]
		if !ok {
			continue
		}
		if paths[bar.class] == nil {
			paths[bar.class] = new(strings.Builder)
		}
		fmt.Fprintf(paths[bar.class], "M%d %dh%dv%dh-%dz", i*barWide, barsHigh-bar.high, barWide-1, bar.high, barWide-1)
	}
	var b strings.Builder
	fmt.Fprintf(&b, `<svg class="spark" width="%d" height="%d" role="img" aria-label="%s">`, len(line)*barWide, barsHigh, told(line))
	for _, class := range []string{"pass", "skip", "xfail", "infra", "fail", "timeout", "crash"} {
		if paths[class] != nil {
			fmt.Fprintf(&b, `<path class="%s" d="%s"></path>`, class, paths[class])
		}
	}
	b.WriteString("</svg>")
	return template.HTML(b.String()) // of letters that are known and of numbers
}

// told says a history in words.
func told(line history.Line) string {
	words := make([]string, 0, len(line))
	for _, c := range line {
		if bar, ok := bars[c]; ok {
			words = append(words, bar.class)
		} else {
			words = append(words, "none")
		}
	}
	return "oldest first: " + strings.Join(words, " ")
}

// drawnWalls draws how long something took in each run, this one last, and says how
// long it mostly takes.
func drawnWalls(walls []time.Duration, now time.Duration) template.HTML {
	var known []time.Duration
	for _, d := range walls {
		if d > 0 {
			known = append(known, d)
		}
	}
	if len(known) == 0 || now <= 0 {
		return ""
	}
	walls = append(slices.Clone(walls), now)
	longest := slices.Max(walls)
	var path strings.Builder
	for i, d := range walls {
		if d > 0 {
			high := max(1, int(int64(barsHigh)*int64(d/time.Microsecond)/int64(max(1, longest/time.Microsecond))))
			fmt.Fprintf(&path, "M%d %dh%dv%dh-%dz", i*barWide, barsHigh-high, barWide-1, high, barWide-1)
		}
	}
	slices.Sort(known)
	usual := spent(known[len(known)/2])
	return template.HTML(fmt.Sprintf(`<svg class="spark" width="%d" height="%d" role="img" aria-label="usually %s, at most %s"><path class="wall" d="%s"></path></svg>`,
		len(walls)*barWide, barsHigh, usual, spent(longest), path.String()))
}

// past is a result's history, drawn and in words; the words only where it is
// bad, or was.
func (r *Run) past(now verdict.Verdict, cell, program, test string) (template.HTML, string) {
	if r.history == nil {
		return "", ""
	}
	line := r.history.Line(cell, program, test)
	if now.Good() && line.Bad() == 0 {
		return drawn(line, now), ""
	}
	return drawn(line, now), recently(line, r.history.IDs)
}

// recently says in words how a result that is bad was before.
func recently(line history.Line, ids []string) string {
	n := line.Known()
	if n == 0 {
		return ""
	}
	text := fmt.Sprintf("bad in %d of the %s before", line.Bad(), plural(n, "run"))
	if since := line.Since(); since < len(ids) {
		text += ", without a break since " + ids[since]
	}
	return text
}
