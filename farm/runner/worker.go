// SPDX-License-Identifier: Apache-2.0

package runner

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"noiommu-farm/farm/matrix/schedule"
	"noiommu-farm/internal/fault"
	"noiommu-farm/results/verdict"
)

// Work is a cell of a run directory, by its number in the plan, as a worker
// carries it out: the same as [Local] does it, in the same place. A cell that
// is finished is not done again. With build, its kernel is built and nothing
// else; one that cannot be built ends all cells that have it.
func Work(ctx context.Context, dir string, number int, build bool, opt Options) (*verdict.Cell, error) {
	if opt.Tell == nil {
		opt.Tell = func(Progress) {}
	}
	plan, err := ReadPlan(dir)
	if err != nil {
		return nil, &fault.Usage{Key: "PLAN", Value: dir, Err: err}
	}
	work := plan.Schedule.Work
	i := slices.IndexFunc(work, func(w schedule.Work) bool { return w.Number == number })
	if i < 0 {
		return nil, &fault.Usage{Key: "N", Value: fmt.Sprint(number), Err: errors.New("the plan has no such cell")}
	}
	cells, err := checkWork(work)
	if err != nil {
		return nil, err
	}
	opt.Images, opt.Isolation = plan.Images, plan.Isolation
	r := &run{Options: opt, agreed: plan}
	if r.host, err = probe(ctx); err != nil {
		return nil, err
	}
	if err := r.budget.share(r.Jobs, r.MemoryMiB); err != nil {
		return nil, err
	}
	mine := cells[i]
	b, cannot := r.kernel(ctx, mine)
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if build {
		if cannot == nil {
			return nil, nil
		}
		for _, c := range cells {
			if c.Kernel() == mine.Kernel() {
				if _, _, err := r.one(ctx, dir, c, r.without(plan.Sources[c.Source], cannot)); err != nil {
					return nil, err
				}
			}
		}
		return nil, cannot
	}
	do := r.bootIn
	if cannot == nil {
		cannot = r.equip(ctx, mine, b)
	}
	if cannot != nil {
		do = r.without(plan.Sources[mine.Source], cannot)
	}
	judged, _, err := r.one(ctx, dir, mine, do)
	return judged, err
}
