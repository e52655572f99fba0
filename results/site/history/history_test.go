// SPDX-License-Identifier: Apache-2.0

package history

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"noiommu-farm/results"
	"noiommu-farm/results/report"
	"noiommu-farm/results/verdict"
)

// ended makes a run of one cell and one test that ended so.
func ended(t *testing.T, root string, v verdict.Verdict, change func(*verdict.Cell)) string {
	t.Helper()
	c := &verdict.Cell{Name: "cell", Verdict: v, Wall: 3 * time.Second, Kernel: results.Kernel{Source: "debian:7.3", Config: "noiommu"},
		Programs: []verdict.Program{{Name: "get_pa", Verdict: v, Wall: time.Second, Tests: []verdict.Test{{Name: "get_pa.PA-01", Verdict: v}}}}}
	if change != nil {
		change(c)
	}
	head := results.Run{Cells: []string{c.Name}}
	dir, err := results.CreateRun(root, &head)
	if err != nil {
		t.Fatal(err)
	}
	if err := results.WriteJSON(filepath.Join(dir, "results.json"), report.Run{Run: head, Verdict: v, Cells: []*verdict.Cell{c}}); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestRead(t *testing.T) {
	root := t.TempDir()
	var want strings.Builder
	var ids []string
	for i := range Runs + 3 {
		v := verdict.Pass
		if i%4 == 1 {
			v = verdict.Fail
		}
		dir := ended(t, root, v, nil)
		if i >= 3 {
			want.WriteByte(Letter(v))
			ids = append(ids, filepath.Base(dir))
		}
	}
	dir := ended(t, root, verdict.Pass, nil)
	ended(t, root, verdict.Crash, nil) // after it
	head, err := results.ReadRun(dir)
	if err != nil {
		t.Fatal(err)
	}
	cells := []*verdict.Cell{{Name: "cell", Kernel: results.Kernel{Source: "debian:7.3", Config: "noiommu", Build: "b"}}}
	h, errs := Read(dir, head, cells)
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	for _, k := range [][2]string{{"", ""}, {"get_pa", ""}, {"get_pa", "get_pa.PA-01"}} {
		if got := h.Line("cell", k[0], k[1]); string(got) != want.String() {
			t.Errorf("%q: %q, want %q", k, got, want.String())
		}
	}
	if got := h.Line("cell", "get_pa", "get_pa.PA-99"); got.Known() != 0 {
		t.Errorf("the history of no test: %q", got)
	}
	if got := h.Walls("cell", "get_pa"); len(got) != Runs || slices.Min(got) != time.Second {
		t.Errorf("%v", got)
	}
	if !slices.Equal(h.IDs, ids) {
		t.Errorf("runs %q, want %q", h.IDs, ids)
	}
	var none *History
	if none.Line("cell", "", "") != "" || none.Walls("cell", "") != nil {
		t.Error("no history has lines")
	}
}

// Another question under the same name is another cell; a run that cannot be
// read is told.
func TestReadTellsCellsApart(t *testing.T) {
	root := t.TempDir()
	other := map[string]func(*verdict.Cell){
		"source":     func(c *verdict.Cell) { c.Kernel.Source = "debian:7.2" },
		"series":     func(c *verdict.Cell) { c.Kernel.Series = "v5.mbox" },
		"config":     func(c *verdict.Cell) { c.Kernel.Config = "k-off" },
		"topology":   func(c *verdict.Cell) { c.Machine.Topology = "amd" },
		"devices":    func(c *verdict.Cell) { c.Machine.Devices = []string{"igb"} },
		"cpus":       func(c *verdict.Cell) { c.Machine.CPUs = 2 },
		"memory":     func(c *verdict.Cell) { c.Machine.MemoryMiB = 1 },
		"privileges": func(c *verdict.Cell) { c.Machine.Privileges = "no-rawio" },
		"parameters": func(c *verdict.Cell) { c.Machine.Parameters = []string{"x"} },
	}
	for _, change := range other {
		ended(t, root, verdict.Fail, change)
	}
	torn := ended(t, root, verdict.Pass, nil)
	if err := os.WriteFile(filepath.Join(torn, "results.json"), []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(ended(t, root, verdict.Fail, nil), "results.json")); err != nil {
		t.Fatal(err)
	}
	ended(t, root, verdict.Pass, func(c *verdict.Cell) { c.Kernel.SourceID = "of another night" })
	dir := ended(t, root, verdict.Pass, nil)
	head, err := results.ReadRun(dir)
	if err != nil {
		t.Fatal(err)
	}
	cells := []*verdict.Cell{{Name: "cell", Kernel: results.Kernel{Source: "debian:7.3", Config: "noiommu", Build: "b"}}}
	h, errs := Read(dir, head, cells)
	if got := h.Line("cell", "", ""); got != "p" {
		t.Errorf("%q", got)
	}
	if len(errs) != 1 || !strings.Contains(errs[0].Error(), filepath.Base(torn)) {
		t.Errorf("%v", errs)
	}
}

func TestLine(t *testing.T) {
	for _, c := range []struct {
		line              Line
		known, bad, since int
	}{
		{"", 0, 0, 0}, {"---", 0, 0, 3}, {"pppp", 4, 0, 4}, {"pfpp", 4, 1, 4}, {"pfct", 4, 3, 1}, {"i-f-", 2, 2, 0}, {"p-f-s", 3, 1, 5}, {"xsf", 3, 1, 2},
	} {
		if c.line.Known() != c.known || c.line.Bad() != c.bad || c.line.Since() != c.since {
			t.Errorf("%q: known %d, bad %d, since %d", c.line, c.line.Known(), c.line.Bad(), c.line.Since())
		}
	}
}

// No two verdicts have the same letter.
func TestLetter(t *testing.T) {
	seen := make(map[byte]verdict.Verdict)
	for _, v := range []verdict.Verdict{"", verdict.Pass, verdict.Skip, verdict.XFail, verdict.Infra, verdict.Fail, verdict.Timeout, verdict.Crash} {
		if other, twice := seen[Letter(v)]; twice {
			t.Errorf("%q and %q", v, other)
		}
		seen[Letter(v)] = v
		bad := v != "" && !v.Good()
		if got := Line(fmt.Sprintf("%c", Letter(v))).Bad() == 1; got != bad {
			t.Errorf("%q is bad: %v", v, got)
		}
	}
}
