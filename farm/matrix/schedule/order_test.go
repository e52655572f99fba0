// SPDX-License-Identifier: Apache-2.0

package schedule

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"noiommu-farm/farm/matrix"
	"noiommu-farm/suites/contract"
)

// alphabet makes kernels whose distance is that of their letters; capitals
// are of another compiler.
func alphabet(from, to matrix.Kernel) int {
	if from.Compiler != to.Compiler {
		return -1
	}
	if from.Source != to.Source {
		return Far
	}
	d := int(from.Config[0]) - int(to.Config[0])
	return max(d, -d)
}

func cellsOf(configs string) []Work {
	var all []Work
	for i, c := range strings.Fields(configs) {
		all = append(all, Work{Number: i + 1, Cell: matrix.Cell{Name: c, Source: "s", Config: c[:1], Guest: matrix.Guest{CPUs: 1}}, Cost: time.Minute, News: News{Weight: 1}})
	}
	return all
}

func order(s Schedule) (builds, cells string) {
	var b, c []string
	for _, x := range s.Builds {
		b = append(b, x.Kernel.Config)
	}
	for _, x := range s.Work {
		c = append(c, x.Cell.Name)
	}
	return strings.Join(b, " "), strings.Join(c, " ")
}

// Each kernel is built from the nearest that is there, and what is there
// already comes first.
func TestBuildOrder(t *testing.T) {
	h := NewHistory(nil, nil)
	s := Arrange(cellsOf("a1 h1 c1 b1 a2 g1"), h, func(k matrix.Kernel) bool { return k.Config == "h" }, alphabet, 2, 0)
	builds, cells := order(s)
	if builds != "h g c b a" || cells != "h1 g1 c1 b1 a1 a2" {
		t.Errorf("%s: %s", builds, cells)
	}
	if s.Builds[0].Cost != 0 || s.Builds[1].Cost != standardNear {
		t.Errorf("%+v", s.Builds)
	}
	none := Arrange(cellsOf("a1 h1"), h, func(matrix.Kernel) bool { return false }, alphabet, 2, 0)
	if none.Builds[0].Cost != standardBuild || none.Wall != standardBuild+standardNear+time.Minute {
		t.Errorf("%+v", none)
	}
}

// The longest cell of a kernel boots first.
func TestLongestFirst(t *testing.T) {
	work := cellsOf("a1 a2 a3")
	work[1].Cost = time.Hour
	_, cells := order(Arrange(work, NewHistory(nil, nil), func(matrix.Kernel) bool { return true }, alphabet, 2, 0))
	if cells != "a2 a1 a3" {
		t.Error(cells)
	}
}

// When time is short it goes to what is likely to tell something new.
func TestLimit(t *testing.T) {
	work := cellsOf("a1 b1 c1 d1 e1")
	work[0].News = News{Weight: 1, Unseen: time.Hour}
	work[1].News = News{Weight: 1, Unseen: 100 * time.Hour}
	work[2].News = News{Weight: 1, Failed: 1}
	work[3].News = News{Weight: 1, Changed: true}
	work[4].News = News{Weight: 3, Failed: 1}
	all := func(matrix.Kernel) bool { return true }
	h := NewHistory(nil, nil)
	for limit, want := range map[time.Duration]string{
		0:                "a1 b1 c1 d1 e1",
		time.Hour:        "a1 b1 c1 d1 e1",
		4 * time.Minute:  "d1 e1 c1 b1",
		2 * time.Minute:  "d1 e1",
		time.Minute:      "d1",
		30 * time.Second: "",
	} {
		s := Arrange(work, h, all, alphabet, 1, limit)
		if _, cells := order(s); cells != want || len(s.Work)+len(s.Left) != len(work) {
			t.Errorf("%v: %s, left %d; want %s", limit, cells, len(s.Left), want)
		}
	}
	// What does not fit is passed over, and a shorter one behind it is not.
	work[3].Cost = time.Hour
	if _, cells := order(Arrange(work, h, all, alphabet, 1, 2*time.Minute)); cells != "e1 c1" {
		t.Error(cells)
	}
	// A kernel costs as well.
	if s := Arrange(cellsOf("a1 b1"), h, func(k matrix.Kernel) bool { return k.Config == "b" }, alphabet, 1, 2*time.Minute); len(s.Work) != 1 || s.Work[0].Cell.Name != "b1" && s.Work[0].Cell.Name != "a1" {
		t.Errorf("%+v", s)
	}
}

// No schedule loses a cell, has one twice, builds a kernel that none needs, or
// is longer than its limit.
func TestScheduleProperties(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		var work []Work
		for i, config := range rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "c", "x"}), 1, 30).Draw(r, "cells") {
			work = append(work, Work{
				Number: i + 1,
				Cell:   matrix.Cell{Name: config, Source: rapid.SampledFrom([]string{"s", "t"}).Draw(r, "source"), Config: config, Guest: matrix.Guest{CPUs: rapid.IntRange(1, 4).Draw(r, "cpus")}},
				Cost:   time.Duration(rapid.IntRange(1, 1000).Draw(r, "cost")) * time.Second,
				News:   News{Weight: 1, Failed: rapid.IntRange(0, 5).Draw(r, "failed"), Changed: rapid.Bool().Draw(r, "changed")},
			})
		}
		limit := time.Duration(rapid.IntRange(0, 10000).Draw(r, "limit")) * time.Second
		cpus := rapid.IntRange(1, 8).Draw(r, "processors")
		ready := rapid.SliceOfDistinct(rapid.SampledFrom([]string{"a", "b", "c", "x"}), rapid.ID[string]).Draw(r, "ready")
		s := Arrange(work, NewHistory(nil, nil), func(k matrix.Kernel) bool { return slices.Contains(ready, k.Config) }, alphabet, cpus, limit)
		seen := make(map[int]bool)
		for _, w := range slices.Concat(s.Work, s.Left) {
			if seen[w.Number] {
				r.Fatalf("cell %d twice", w.Number)
			}
			seen[w.Number] = true
		}
		if len(seen) != len(work) {
			r.Fatalf("%d cells of %d", len(seen), len(work))
		}
		for _, b := range s.Builds {
			if !slices.ContainsFunc(s.Work, func(w Work) bool { return w.Cell.Kernel() == b.Kernel }) {
				r.Fatalf("%v is built for nothing", b.Kernel)
			}
		}
		if limit > 0 && s.Wall > limit {
			r.Fatalf("%v, limit %v", s.Wall, limit)
		}
		if limit == 0 && len(s.Left) > 0 {
			r.Fatal("cells are left out without a limit")
		}
	})
}

func TestHistory(t *testing.T) {
	at := func(hours int) time.Time { return time.Date(2026, 1, 1, hours, 0, 0, 0, time.UTC) }
	mine := matrix.Cell{Name: "mine", Source: "s", Config: "a", Topology: "none"}
	other := mine
	other.Name, other.Source = "other", "t"
	renamed := mine
	renamed.Name = "renamed"
	var past []Past
	for i, wall := range []int{100, 30, 20, 50, 40, 10} { // the oldest does not count
		past = append(past, Past{Cell: mine, Began: at(i), Wall: time.Duration(wall) * time.Second, Good: i != 4, Source: "id", Suites: "x"})
	}
	k := mine.Kernel()
	h := NewHistory(past, []PastBuild{{k, time.Hour, true}, {k, 7 * time.Minute, true}, {k, time.Minute, false}})
	for _, c := range []struct {
		cell  matrix.Cell
		facts contract.Facts
		cost  time.Duration
		known bool
	}{
		{mine, contract.Facts{}, 30 * time.Second, true},
		{renamed, contract.Facts{}, 30 * time.Second, true},
		{other, contract.Facts{}, 30 * time.Second, true},
		{matrix.Cell{Source: "s", Config: "b"}, contract.Facts{}, standardCell, false},
		{matrix.Cell{Source: "s", Config: "b", Selection: matrix.Selection{Core: true}}, contract.Facts{}, standardCore, false},
		{matrix.Cell{Source: "s", Config: "b", Selection: matrix.Selection{Nightly: true}}, contract.Facts{}, standardCell + standardNight, false},
		{matrix.Cell{Source: "s", Config: "b"}, contract.Facts{Config: contract.Config{KASAN: true}}, standardDebug * standardCell, false},
	} {
		if cost, known := h.Cost(c.cell, c.facts); cost != c.cost || known != c.known {
			t.Errorf("%+v: %v, %v", c.cell, cost, known)
		}
	}
	if a, b, c := h.Build(k, true), h.Build(k, false), h.Build(matrix.Kernel{Config: "z"}, false); a != 7*time.Minute || b != time.Minute || c != standardNear {
		t.Errorf("%v %v %v", a, b, c)
	}
	for name, c := range map[string]struct {
		cell matrix.Cell
		now  Now
		want News
	}{
		"as it was":       {mine, Now{at(10), map[string]string{"s": "id"}, "x"}, News{Failed: 1, Unseen: 5 * time.Hour, Weight: 2}},
		"another source":  {mine, Now{at(10), map[string]string{"s": "new"}, "x"}, News{Changed: true, Failed: 1, Unseen: 5 * time.Hour, Weight: 2}},
		"other tests":     {mine, Now{at(10), map[string]string{"s": "id"}, "y"}, News{Changed: true, Failed: 1, Unseen: 5 * time.Hour, Weight: 2}},
		"nothing known":   {mine, Now{Time: at(10)}, News{Failed: 1, Unseen: 5 * time.Hour, Weight: 2}},
		"never seen here": {other, Now{Time: at(10)}, News{Changed: true, Weight: 2}},
	} {
		if got := h.News(c.cell, 2, c.now); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}
