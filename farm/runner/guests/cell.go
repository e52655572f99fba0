// SPDX-License-Identifier: Apache-2.0

// Package guests leads the guests of one cell through their lives: it boots
// them, or restores them from one that was saved, has each do its part of the
// cell's programs, answers what the programs ask of the host, and ends it. In
// comes a cell with its machine and its programs; out goes its record.
//
// It never decides what runs, nor what a result means.
package guests

import (
	"context"

	"noiommu-farm/farm/machine"
	"noiommu-farm/farm/runner/meaning"
	"noiommu-farm/results"
	"noiommu-farm/results/ktap"
	"noiommu-farm/results/verdict"
)

// Cell is what the guests of a cell are and do.
type Cell struct {
	Planned     results.Planned
	Phases      meaning.Phases
	Machine     machine.Machine
	Hugepages   int // of 2 MiB
	Hugepages1G int
	Dir         string       // the cell's folder
	Scale       float64      // how many times longer than on an idle machine things may take
	Suites      string       // where the farm's own suites are in the guest
	Checked     bool         // the kernel checks itself, and may have more to say when a guest ends
	Past        verdict.Cell // as the last run left it; zero when there is none
	// Take waits until a guest may start, and returns what gives its share of
	// the machine back.
	Take   func(ctx context.Context, cpus, memoryMiB int) (release func(), err error)
	Tell   func(News) // from several goroutines
	Booted func()     // called when the first QEMU runs, unless it is nil
}

// News is what a user who watches wants to know of a program.
type News struct {
	Program string
	Test    *ktap.Test // a result line that has arrived; nil: the program has started, or is over
	Over    bool
}

// Live is the life of a cell's guests, from the first QEMU's start to the end
// of the last. What goes wrong is an event; the error only says that the record
// is not whole.
func Live(ctx context.Context, rec *results.CellWriter, c Cell) error {
	l := &lives{Cell: c, record: rec}
	if l.alone() {
		return l.together(ctx)
	}
	return l.apart(ctx)
}
