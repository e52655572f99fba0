// SPDX-License-Identifier: Apache-2.0

package verdict

import (
	"fmt"
	"slices"
	"strings"

	"noiommu-farm/results"
	"noiommu-farm/results/console"
)

// guest is one guest of a cell, as the record tells of it.
type guest struct {
	number   uint32
	assigned results.Assigned // zero for the first
	story    story
	cons     *consoleLog
	cause    cause // why it ended early
}

// readGuests reads what is recorded of every guest; the first one is the first.
func readGuests(rec *results.Record) ([]*guest, error) {
	assigned := make(map[uint32]results.Assigned)
	for _, e := range rec.Events {
		if e.Assigned != nil {
			assigned[e.Guest] = *e.Assigned
		}
	}
	var all []*guest
	for _, n := range rec.Guests() {
		g := &guest{number: n, assigned: assigned[n]}
		var from *saved
		if at := g.assigned.Restored; at > 0 {
			if at > len(all[0].story.saved) {
				return nil, fmt.Errorf("guest %d goes on from where no guest was saved", n)
			}
			from = &all[0].story.saved[at-1]
		}
		g.story = readStory(rec, n, from)
		log, err := rec.ConsoleOf(n)
		if err != nil {
			return nil, err
		}
		g.cons, err = readConsole(log, g.story.hung != nil)
		log.Close()
		if err != nil {
			return nil, fmt.Errorf("classify console: %w", err)
		}
		g.cause = g.story.cause(g.cons)
		all = append(all, g)
	}
	return all, nil
}

// outside is what the kernel complained of while none of the guest's programs
// ran, whichever one the log says it began.
func (g *guest) outside() []console.Finding {
	list := slices.Clone(g.cons.outside)
	for _, l := range g.cons.within {
		if _, ran := g.story.running[l.program]; !ran {
			list = append(list, l.Finding)
		}
	}
	return list
}

// what says what a guest was there for.
func (g *guest) what(planned results.Planned) string {
	if len(g.assigned.Tests) == 1 {
		return g.assigned.Tests[0]
	}
	for _, p := range planned.Programs {
		if p.ID == g.assigned.Program {
			return p.Name
		}
	}
	return "nothing"
}

// named says of which guest a reason is, where that is not the first.
func (g *guest) named(planned results.Planned, reason string) string {
	if g.number == 0 {
		return reason
	}
	return fmt.Sprintf("guest %d (%s): %s", g.number, g.what(planned), reason)
}

// howMany counts guests.
func howMany(guests []*guest) Guests {
	var n Guests
	for _, g := range guests {
		if g.assigned.Restored > 0 {
			n.Restored++
		} else {
			n.Booted++
		}
	}
	n.Why = guests[0].story.unsavable
	return n
}

// judgeParts judges a program in each guest that it ran in, and puts together
// what came out: each test was in one of them.
func judgeParts(rec *results.Record, p results.Program, guests []*guest) (Program, error) {
	var parts []Program
	assigned := make(map[string]bool)
	for _, g := range guests {
		_, ran := g.story.running[p.ID]
		if !ran && g.assigned.Program != p.ID {
			continue
		}
		part := p
		if g.assigned.Program == p.ID && g.assigned.Tests != nil {
			part.Tests = slices.DeleteFunc(slices.Clone(p.Tests), func(e results.Expected) bool {
				return !slices.Contains(g.assigned.Tests, e.Name)
			})
		}
		for _, e := range part.Tests {
			assigned[e.Name] = true
		}
		judged, err := judgeProgram(rec, part, g)
		if err != nil {
			return Program{}, err
		}
		parts = append(parts, judged)
	}
	// What nobody got to is judged by what became of the first guest.
	rest := p
	rest.Tests = slices.DeleteFunc(slices.Clone(p.Tests), func(e results.Expected) bool { return assigned[e.Name] })
	if len(parts) == 0 || len(rest.Tests) > 0 {
		judged, err := judgeProgram(rec, rest, &guest{story: story{}, cause: guests[0].cause})
		if err != nil {
			return Program{}, err
		}
		parts = append(parts, judged)
	}
	return together(p, parts), nil
}

// together makes one program of its parts, with its tests in the order of the
// plan.
func together(p results.Program, parts []Program) Program {
	if len(parts) == 1 {
		return parts[0]
	}
	out := Program{ID: p.ID, Name: p.Name}
	var reasons []string
	for _, part := range parts {
		out.Own, out.Verdict = Worst(out.Own, part.Own), Worst(out.Verdict, part.Verdict)
		out.Wall += part.Wall
		out.Tests = append(out.Tests, part.Tests...)
		out.Findings = append(out.Findings, part.Findings...)
		if part.Reason != "" && !slices.Contains(reasons, part.Reason) {
			reasons = append(reasons, part.Reason)
		}
	}
	out.Reason = strings.Join(reasons, "; ")
	place := make(map[string]int)
	for i, e := range p.Tests {
		place[e.Name] = i
	}
	slices.SortStableFunc(out.Tests, func(a, b Test) int {
		at := func(t Test) int {
			if i, ok := place[t.Name]; ok {
				return i
			}
			return len(p.Tests)
		}
		return at(a) - at(b)
	})
	return out
}
