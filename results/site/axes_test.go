// SPDX-License-Identifier: Apache-2.0

package site

import (
	"slices"
	"strings"
	"testing"
	"time"

	"noiommu-farm/results"
	"noiommu-farm/results/site/history"
	"noiommu-farm/results/verdict"
)

func cellOf(name, source, config, topology string, change ...func(*verdict.Cell)) *verdict.Cell {
	c := &verdict.Cell{Name: name, Verdict: verdict.Pass, Kernel: results.Kernel{Source: source, Config: config}, Machine: results.Machine{Topology: topology}}
	for _, f := range change {
		f(c)
	}
	return c
}

func TestNames(t *testing.T) {
	memory := func(n int) func(*verdict.Cell) { return func(c *verdict.Cell) { c.Machine.MemoryMiB = n } }
	privileges := func(c *verdict.Cell) { c.Machine.Privileges = "no-rawio" }
	parameter := func(c *verdict.Cell) { c.Machine.Parameters = []string{"intremap=off"} }
	for name, c := range map[string]struct {
		cells []*verdict.Cell
		want  []string
	}{
		"one":                 {[]*verdict.Cell{cellOf("a", "s", "c", "none")}, []string{"IOMMU none"}},
		"less than root":      {[]*verdict.Cell{cellOf("a", "s", "c", "none", privileges)}, []string{"IOMMU none no-rawio"}},
		"kernels":             {[]*verdict.Cell{cellOf("a", "s", "c", "none"), cellOf("b", "s", "d", "none")}, []string{"c IOMMU none", "d IOMMU none"}},
		"what is told anyway": {[]*verdict.Cell{cellOf("a", "s", "c", "none"), cellOf("b", "s", "c", "intel", memory(5))}, []string{"IOMMU none", "IOMMU intel"}},
		"what is not":         {[]*verdict.Cell{cellOf("a", "s", "c", "none", memory(1)), cellOf("b", "s", "c", "none", memory(5))}, []string{"IOMMU none 1 MiB", "IOMMU none 5 MiB"}},
		"parameters":          {[]*verdict.Cell{cellOf("a", "s", "c", "none"), cellOf("b", "s", "c", "none", parameter)}, []string{"IOMMU none", "IOMMU none intremap=off"}},
		"nothing tells":       {[]*verdict.Cell{cellOf("a", "s", "c", "none"), cellOf("b", "s", "c", "none")}, []string{"IOMMU none a", "IOMMU none b"}},
		"what was asked for":  {[]*verdict.Cell{cellOf("s_c_n", "s", "c", "none"), cellOf("s_c_n_nightly", "s", "c", "none")}, []string{"IOMMU none", "IOMMU none nightly"}},
		"the same words":      {[]*verdict.Cell{cellOf("a_b", "s", "c", "none"), cellOf("b_a", "s", "c", "none")}, []string{"IOMMU none a_b", "IOMMU none b_a"}},
		"no record":           {[]*verdict.Cell{cellOf("s_c_n", "s", "c", "none"), cellOf("s_d_i", "s", "d", "intel"), {Name: "s_c_i"}, {Name: "other"}}, []string{"c IOMMU none", "d IOMMU intel", "c IOMMU intel", "other"}},
	} {
		if got := nameCells(c.cells).whole; !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

// Each cell of many stands in the matrix once, in the row and column of its name.
func TestCellGrid(t *testing.T) {
	var cells []*verdict.Cell
	for _, source := range []string{"7.3", "7.2"} {
		for _, config := range []string{"a", "b", "c"} {
			for _, topology := range []string{"none", "intel", "amd"} {
				cells = append(cells, cellOf(source+"_"+config+"_"+topology, source, config, topology))
			}
		}
	}
	cells[4].Verdict = verdict.Crash
	w := &writer{Run: &Run{}, names: nameCells(cells)}
	w.Cells = cells
	g := w.cellGrid()
	if len(g.Columns) != 3 || len(g.Rows) != 6 || g.Across != "IOMMU" {
		t.Fatalf("%d rows and %d columns of %s", len(g.Rows), len(g.Columns), g.Across)
	}
	n := 0
	for _, r := range g.Rows {
		for i, f := range r.Fields {
			if !strings.HasPrefix(f.About, r.Name+" IOMMU "+g.Columns[i].Text+": ") {
				t.Errorf("%q in row %q", f.About, r.Name)
			}
			n++
		}
	}
	if n != len(cells) || g.Rows[1].Fields[1].Verdict != verdict.Crash || !strings.Contains(g.Rows[1].Words, "crash") {
		t.Errorf("%d fields: %+v", n, g.Rows)
	}
	// A long row stands upright.
	for i, c := range cells {
		c.Kernel.Source, c.Kernel.Config, c.Machine.Topology = "7.3", "a", c.Name
		c.Machine.MemoryMiB = i
	}
	w.names = nameCells(cells)
	if g := w.cellGrid(); len(g.Columns) != 1 || len(g.Rows) != len(cells) {
		t.Errorf("%d rows and %d columns", len(g.Rows), len(g.Columns))
	}
}

func TestDrawn(t *testing.T) {
	got := string(drawn("ps-fx", verdict.Fail))
	for _, want := range []string{`width="24"`, `aria-label="oldest first: pass skip none fail xfail fail"`, `class="fail" d="M12 0h3v14h-3zM20 0h3v14h-3z"`, `class="pass" d="M0 9h3v5h-3z"`} {
		if !strings.Contains(got, want) {
			t.Errorf("%s has no %s", got, want)
		}
	}
	if drawn("---", verdict.Pass) != "" || drawn("", verdict.Pass) != "" {
		t.Error("a history of nothing is drawn")
	}
	if got := recently(history.Line("pf-f"), []string{"a", "b", "c", "d"}); got != "bad in 2 of the 3 runs before, without a break since b" {
		t.Error(got)
	}
	if got := string(drawnWalls([]time.Duration{time.Second, 0, 3 * time.Second}, 2*time.Second)); !strings.Contains(got, `"usually 3s, at most 3s"`) || !strings.Contains(got, "M8 0h3v14h-3z") {
		t.Error(got)
	}
}
