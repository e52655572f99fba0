// SPDX-License-Identifier: Apache-2.0

package schedule

import (
	"cmp"
	"slices"
	"time"

	"noiommu-farm/farm/matrix"
	"noiommu-farm/suites/contract"
)

// A Work is a cell with what it costs and tells.
type Work struct {
	Number int           `json:"number"` // of the cell in its plan, from 1
	Cell   matrix.Cell   `json:"cell"`
	Cost   time.Duration `json:"cost_ns"`
	Known  bool          `json:"known,omitempty"` // the cost is from history
	News   News          `json:"news"`
}

// A Building is a kernel that is to be built.
type Building struct {
	Kernel matrix.Kernel `json:"kernel"`
	Cost   time.Duration `json:"cost_ns"` // 0: it is there already
}

// Distance says how much of a kernel must be compiled again when it starts
// from another: any unit, the smaller the nearer; below 0 it cannot.
type Distance func(from, to matrix.Kernel) int

// A Schedule is what is to be done: kernels in the order in which they are
// built, cells in the order in which they boot as soon as theirs is there.
type Schedule struct {
	Builds []Building    `json:"builds"`
	Work   []Work        `json:"work"`
	Left   []Work        `json:"left,omitempty"` // for which there is no time
	Wall   time.Duration `json:"wall_ns"`        // on that many processors
}

// Arrange makes a schedule. Kernels that are ready come first; after that each
// time the one that is nearest to those before it, so that most is shared. If
// all of it takes longer than the limit, the cells that are most likely to tell
// something new are taken until the time is spent, and their kernels come
// first. No limit is 0. cpus are the processors of the machine.
func Arrange(work []Work, h *History, ready func(matrix.Kernel) bool, near Distance, cpus int, limit time.Duration) Schedule {
	s := arrange(work, h, ready, near, cpus, false)
	if limit <= 0 || s.Wall <= limit {
		return s
	}
	work = slices.SortedStableFunc(slices.Values(work), func(a, b Work) int { return a.News.compare(b.News) })
	taken, left := afford(work, h, ready, near, cpus, limit)
	s = arrange(taken, h, ready, near, cpus, true)
	s.Left = left
	return s
}

// arrange makes a schedule of all work, in its order of importance or so that
// most is shared.
func arrange(work []Work, h *History, ready func(matrix.Kernel) bool, near Distance, cpus int, important bool) Schedule {
	s := Schedule{Builds: buildOrder(work, h, ready, near, important)}
	of := make(map[matrix.Kernel][]Work)
	for _, w := range work {
		of[w.Cell.Kernel()] = append(of[w.Cell.Kernel()], w)
	}
	for _, b := range s.Builds {
		mine := of[b.Kernel]
		if !important {
			// The longest first, so that none is left alone at the end.
			slices.SortStableFunc(mine, func(a, b Work) int { return cmp.Compare(b.Cost, a.Cost) })
		}
		s.Work = append(s.Work, mine...)
	}
	s.Wall = wall(s.Builds, s.Work, cpus)
	return s
}

// afford takes work in its order as long as it fits; what is too long is
// passed over, and something shorter behind it may fit.
func afford(ordered []Work, h *History, ready func(matrix.Kernel) bool, near Distance, cpus int, limit time.Duration) (taken, left []Work) {
	var busy time.Duration // of processors
	var done []matrix.Kernel
	for _, w := range ordered {
		k := w.Cell.Kernel()
		more := w.Cost * time.Duration(min(w.Cell.CPUs, cpus))
		if !slices.Contains(done, k) && !ready(k) {
			more += h.build(k, done, near).Cost * time.Duration(cpus)
		}
		if w.Cost > limit || (busy+more)/time.Duration(cpus) > limit {
			left = append(left, w)
			continue
		}
		busy += more
		taken = append(taken, w)
		if !slices.Contains(done, k) {
			done = append(done, k)
		}
	}
	return taken, left
}

// build is the building of a kernel when others are there.
func (h *History) build(k matrix.Kernel, done []matrix.Kernel, near Distance) Building {
	best := distance(done, k, near)
	return Building{k, h.Build(k, best < 0 || best >= Far)}
}

// buildOrder lists the kernels of the work. In the order given, if it is that
// of importance; else each time the nearest.
func buildOrder(work []Work, h *History, ready func(matrix.Kernel) bool, near Distance, important bool) []Building {
	var waiting []matrix.Kernel
	for _, w := range work {
		if k := w.Cell.Kernel(); !slices.Contains(waiting, k) {
			waiting = append(waiting, k)
		}
	}
	var order []Building
	var done []matrix.Kernel
	for _, k := range slices.Clone(waiting) {
		if ready(k) {
			order, done = append(order, Building{Kernel: k}), append(done, k)
			waiting = slices.DeleteFunc(waiting, func(w matrix.Kernel) bool { return w == k })
		}
	}
	for len(waiting) > 0 {
		next, best := 0, distance(done, waiting[0], near)
		for i, k := range waiting {
			if d := distance(done, k, near); !important && d >= 0 && (best < 0 || d < best) {
				next, best = i, d
			}
		}
		k := waiting[next]
		waiting = slices.Delete(waiting, next, next+1)
		order, done = append(order, h.build(k, done, near)), append(done, k)
	}
	return order
}

// Far is the distance from which on nearly everything is compiled again.
const Far = 1000

// distance is that of the nearest; below 0 there is none.
func distance(done []matrix.Kernel, k matrix.Kernel, near Distance) int {
	best := -1
	for _, from := range done {
		if d := near(from, k); d >= 0 && (best < 0 || d < best) {
			best = d
		}
	}
	return best
}

// wall is the wall clock that builds and cells take together: a build uses
// all processors that no guest uses, a guest as many as it has.
func wall(builds []Building, work []Work, cpus int) time.Duration {
	var busy, longest time.Duration // of processors
	for _, b := range builds {
		busy += b.Cost * time.Duration(cpus)
	}
	for _, w := range work {
		busy += w.Cost * time.Duration(min(w.Cell.CPUs, cpus))
		longest = max(longest, w.Cost)
	}
	return max(busy/time.Duration(cpus), longest)
}

// Of is the work that a plan asks for, with costs and news.
func Of(p *matrix.Planned, h *History, v matrix.Vocabulary, now Now) ([]Work, error) {
	work := make([]Work, len(p.Cells))
	for i, c := range p.Cells {
		w := Work{Number: i + 1, Cell: c, News: h.News(c, p.Weights[i], now)}
		var facts contract.Facts
		if v.Facts != nil {
			var err error
			if facts, err = v.Facts(c); err != nil {
				return nil, err
			}
		}
		w.Cost, w.Known = h.Cost(c, facts)
		work[i] = w
	}
	return work, nil
}
