// SPDX-License-Identifier: Apache-2.0

// Package schedule says in which order the cells of a plan are best carried
// out, and what that will take: in come a plan and the history of earlier runs,
// out go kernels in the order in which they are built and cells in the order in
// which they boot. It is pure: what happened, what is there already and how far
// one kernel is from another it is told.
package schedule

import (
	"cmp"
	"slices"
	"time"

	"noiommu-farm/farm/matrix"
	"noiommu-farm/suites/contract"
)

// Past is a cell that was carried out to its end.
type Past struct {
	Cell   matrix.Cell
	Began  time.Time
	Wall   time.Duration
	Good   bool
	Source string // hash of the kernel source's content
	Suites string // hash of the test programs
}

// PastBuild is a kernel that was built.
type PastBuild struct {
	matrix.Kernel
	Took time.Duration
	New  bool // from nothing, not from another build
}

// History is what is known of earlier runs.
type History struct {
	cells  map[string][]Past                        // by key, newest first
	like   map[string][]Past                        // by key without the source
	builds map[matrix.Kernel]map[bool]time.Duration // from nothing or not; the fastest, which nothing else slowed down
}

// NewHistory makes a history.
func NewHistory(cells []Past, builds []PastBuild) *History {
	h := &History{cells: make(map[string][]Past), like: make(map[string][]Past), builds: make(map[matrix.Kernel]map[bool]time.Duration)}
	sorted := slices.SortedStableFunc(slices.Values(cells), func(a, b Past) int { return b.Began.Compare(a.Began) })
	for _, p := range sorted {
		h.cells[p.Cell.Key()] = append(h.cells[p.Cell.Key()], p)
		other := p.Cell
		other.Source, other.Series = "", ""
		h.like[other.Key()] = append(h.like[other.Key()], p)
	}
	for _, b := range builds {
		if h.builds[b.Kernel] == nil {
			h.builds[b.Kernel] = make(map[bool]time.Duration)
		}
		if took, ok := h.builds[b.Kernel][b.New]; !ok || b.Took < took {
			h.builds[b.Kernel][b.New] = b.Took
		}
	}
	return h
}

// Standard costs, for what was never run, measured on two cores without hardware
// virtualization: of a cell, of the selection nightly and of sanitizers the means of
// one default nightly, rounded. docs/matrix.md has them.
const (
	standardCell  = 50 * time.Second
	standardCore  = 12 * time.Second // of the core statements alone
	standardNight = 8 * time.Minute  // what the selection nightly adds
	standardBuild = 5 * time.Minute
	standardNear  = 20 * time.Second // of a kernel built from another
	// standardDebug is how many times longer a kernel with sanitizers takes.
	standardDebug = 20
)

// enough earlier runs for a median.
const enough = 5

// Cost is the wall clock that a cell will take from its boot: the median of
// its last runs, or of the same cell with other sources; known is false where
// there is neither, and the cost is the standard one for a kernel with these
// facts.
func (h *History) Cost(c matrix.Cell, f contract.Facts) (cost time.Duration, known bool) {
	other := c
	other.Source, other.Series = "", ""
	for _, past := range [][]Past{h.cells[c.Key()], h.like[other.Key()]} {
		if len(past) == 0 {
			continue
		}
		var walls []time.Duration
		for _, p := range past[:min(enough, len(past))] {
			walls = append(walls, p.Wall)
		}
		slices.Sort(walls)
		return walls[len(walls)/2], true
	}
	cost = standardCell
	if c.Core {
		cost = standardCore
	}
	if c.Nightly {
		cost += standardNight
	}
	if f.Config.KASAN || f.Config.ProveLocking {
		cost *= standardDebug
	}
	return cost, false
}

// Build is what building a kernel will take, which starts from another build
// or, if new, from nothing.
func (h *History) Build(k matrix.Kernel, fromNothing bool) time.Duration {
	if took, ok := h.builds[k][fromNothing]; ok {
		return took
	}
	if fromNothing {
		return standardBuild
	}
	return standardNear
}

// Now is the code that is to be tested. What is not known of it is not said to
// have changed.
type Now struct {
	Time    time.Time
	Sources map[string]string // hash of the content of each source
	Suites  string            // hash of the test programs
}

// News is how likely a cell is to tell something new. Cells are compared by
// it: changed code first, then those that failed lately, then those that were
// not seen for longest.
type News struct {
	Changed bool          `json:"changed,omitempty"` // its code was never run in this cell
	Failed  int           `json:"failed,omitempty"`  // of its last runs, this many failed
	Unseen  time.Duration `json:"unseen,omitempty"`  // since it was last run
	Weight  float64       `json:"weight"`            // of the matrix file
}

// News is what a cell has to tell.
func (h *History) News(c matrix.Cell, weight float64, now Now) News {
	past := h.cells[c.Key()]
	n := News{Changed: len(past) == 0, Weight: weight}
	if len(past) == 0 {
		return n
	}
	n.Unseen = max(0, now.Time.Sub(past[0].Began))
	source, known := now.Sources[c.Source]
	n.Changed = known && past[0].Source != source || now.Suites != "" && past[0].Suites != now.Suites
	for _, p := range past[:min(enough, len(past))] {
		if !p.Good {
			n.Failed++
		}
	}
	return n
}

// compare orders by what is most likely to tell something new. A weight moves
// a cell within those that are alike in the first two.
func (n News) compare(m News) int {
	if n.Changed != m.Changed {
		if n.Changed {
			return -1
		}
		return 1
	}
	return cmp.Or(
		cmp.Compare(float64(m.Failed)*m.Weight, float64(n.Failed)*n.Weight),
		cmp.Compare(m.age(), n.age()),
	)
}

// age is how long the cell was not seen, weighed. One that was never seen has
// its weight alone.
func (n News) age() float64 { return (1 + n.Unseen.Hours()) * n.Weight }
