// SPDX-License-Identifier: Apache-2.0

package report

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"noiommu-farm/results"
	"noiommu-farm/results/verdict"
)

// cellOf is a cell with one test of each letter: p passes, f and F fail in two
// ways, s is skipped, i is the farm's failure, - is not there.
func cellOf(name, letters string) *verdict.Cell {
	c := &verdict.Cell{Name: name, Programs: []verdict.Program{{Name: "get_pa"}}}
	p := &c.Programs[0]
	for i, letter := range letters {
		one := verdict.Test{Name: "get_pa.PA-0" + string(rune('1'+i))}
		switch letter {
		case 'p':
			one.Verdict = verdict.Pass
		case 'f':
			one.Verdict, one.Reason = verdict.Fail, "get_pa.go:1: no"
		case 'F':
			one.Verdict, one.Reason = verdict.Fail, "get_pa.go:2: not at all"
		case 's':
			one.Verdict, one.Reason = verdict.Skip, "requires iommu"
		case 'i':
			one.Verdict, one.Reason = verdict.Infra, "no space"
		case '-':
			continue
		}
		p.Tests = append(p.Tests, one)
		p.Verdict = verdict.Worst(p.Verdict, one.Verdict)
	}
	c.Verdict = p.Verdict
	return c
}

func TestCompare(t *testing.T) {
	for _, c := range []struct {
		was, now string
		want     Relation
	}{
		{"p", "p", ""}, {"s", "s", ""},
		{"p", "f", Worse}, {"f", "F", Worse}, {"s", "f", Worse}, {"-", "f", Worse}, {"i", "f", Worse},
		{"f", "p", Better}, {"f", "s", Better},
		{"f", "f", Still},
		{"p", "s", Other}, {"s", "p", Other},
		{"p", "-", Gone}, {"f", "-", Gone}, {"-", "p", New},
		{"p", "i", Unsaid}, {"i", "p", Unsaid}, {"i", "i", Unsaid}, {"f", "i", Unsaid}, {"-", "i", Unsaid}, {"i", "-", Unsaid},
	} {
		all := Compare(Run{Cells: []*verdict.Cell{cellOf("x", c.was)}}, Run{Cells: []*verdict.Cell{cellOf("x", c.now)}})
		var got Relation
		if len(all) > 0 {
			got = all[0].Relation
		}
		if len(all) > 1 || got != c.want {
			t.Errorf("%s -> %s: %+v, want %q", c.was, c.now, all, c.want)
		}
		if Regression(all) != (c.want == Worse) {
			t.Errorf("%s -> %s: a regression: %v", c.was, c.now, Regression(all))
		}
	}
}

// What is wrong with a cell or a program as a whole is a difference too.
func TestCompareWhole(t *testing.T) {
	a, b := cellOf("x", "p"), cellOf("x", "p")
	b.Verdict, b.Reason = verdict.Fail, "WARNING in f"
	b.Programs[0].Verdict, b.Programs[0].Reason = verdict.Fail, "exit code 1, although no test failed"
	all := Compare(Run{Cells: []*verdict.Cell{a}}, Run{Cells: []*verdict.Cell{b}})
	var text strings.Builder
	if err := Differences(&text, all); err != nil {
		t.Fatal(err)
	}
	const want = `worse:
  cell in x: absent -> fail
      WARNING in f
  get_pa in x: absent -> fail
      exit code 1, although no test failed
`
	if text.String() != want {
		t.Errorf("got\n%s", text.String())
	}
}

func TestRead(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, v any) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := results.WriteJSON(path, v); err != nil {
			t.Fatal(err)
		}
	}
	write("run.json", results.Run{ID: "r", Cells: []string{"x", "y"}})
	write("cells/x/verdict.json", cellOf("x", "p"))
	r, err := Read(dir)
	if err != nil || r.Verdict != verdict.Infra || len(r.Cells) != 2 || r.Cells[0].Verdict != verdict.Pass || r.Cells[1].Verdict != verdict.Infra {
		t.Errorf("a run that has not ended: %+v, %v", r, err)
	}
	write("results.json", Run{Run: results.Run{ID: "r", Cells: []string{"x", "y"}}, Verdict: verdict.Pass, Cells: []*verdict.Cell{cellOf("x", "p"), cellOf("y", "p")}})
	if r, err := Read(dir); err != nil || r.Verdict != verdict.Pass || len(r.Cells) != 2 || r.Dir != dir {
		t.Errorf("a run that has ended: %+v, %v", r, err)
	}
	write("results.json", "rubbish")
	if _, err := Read(dir); err == nil {
		t.Error("rubbish was read")
	}
	write("run.json", results.Run{ID: "r", Cells: []string{"../../x"}})
	os.Remove(filepath.Join(dir, "results.json"))
	if _, err := Read(dir); err == nil {
		t.Error("a cell outside of the run was read")
	}
}
