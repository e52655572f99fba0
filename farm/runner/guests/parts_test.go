// SPDX-License-Identifier: Apache-2.0

package guests

import (
	"strings"
	"testing"
	"time"

	"noiommu-farm/results"
)

// cutUp shows parts as one line each.
func cutUp(all []part) string {
	var lines []string
	for _, p := range all {
		line := p.program.Name + " " + strings.Join(p.program.Argv, " ")
		for _, e := range p.program.Tests {
			line += " " + e.Name
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

func TestParts(t *testing.T) {
	programs := []results.Program{
		{Name: "nodes", Argv: []string{"/s", "-test", "ND-04,ND-05,ND-06,ND-07", "{...}"}, Tests: []results.Expected{
			{Name: "nodes.ND-04"}, {Name: "nodes.ND-05"}, {Name: "nodes.ND-06", Skip: "requires no-group"}, {Name: "nodes.ND-07"},
		}},
		{Name: "vfio/x", Argv: []string{"/x"}},
	}
	want := map[results.Isolation]string{
		results.PerTest: "nodes /s -test ND-04 {...} nodes.ND-04\n" +
			"nodes /s -test ND-07 {...} nodes.ND-07\n" +
			"nodes /s -test ND-05,ND-06 {...} nodes.ND-05 nodes.ND-06\n" + // what reads and what is skipped
			"vfio/x /x",
		results.PerSuite: "nodes /s -test ND-04,ND-05,ND-06,ND-07 {...} nodes.ND-04 nodes.ND-05 nodes.ND-06 nodes.ND-07\nvfio/x /x",
	}
	for level, want := range want {
		if got := cutUp(parts(programs, level)); got != want {
			t.Errorf("by %s:\n%s\nwant:\n%s", level, got, want)
		}
	}
	if programs[0].Argv[2] != "ND-04,ND-05,ND-06,ND-07" {
		t.Errorf("the plan was changed: %q", programs[0].Argv)
	}
}

func TestLongestFirst(t *testing.T) {
	all := parts([]results.Program{
		{Name: "s", Tests: []results.Expected{{Name: "s.A"}, {Name: "s.B"}, {Name: "s.C", Skip: "x"}, {Name: "s.D"}}},
		{Name: "known", Timeout: time.Hour},
		{Name: "new", Timeout: time.Minute},
	}, results.PerTest)
	longestFirst(all, map[string]time.Duration{"s.A": time.Second, "s.B": 3 * time.Second, "known": 2 * time.Second})
	want := "new \ns  s.B\nknown \ns  s.A\ns  s.D\ns  s.C"
	if got := cutUp(all); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}
