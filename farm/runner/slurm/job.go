// SPDX-License-Identifier: Apache-2.0

package slurm

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"noiommu-farm/farm/matrix/schedule"
	"noiommu-farm/farm/runner"
)

// A Job is an array of tasks that need the same. For builds a task is a place
// in the array, for cells it is the number of a cell.
type Job struct {
	Build bool  // one task after the other builds a kernel
	Cells []int // numbers of cells; of a build one for each kernel
	Task  int   // of the build, which is depended on; 0 of the build itself

	CPUs      int
	MemoryMiB int
	Limit     time.Duration
}

// What a job may take beyond what is expected of it: history is of another
// machine, and a node may be busy.
const (
	slack      = 3
	leastLimit = 15 * time.Minute
	// overheadMiB is what the farm and QEMU take beside guests. A guest that
	// was saved and those that are restored from it share memory.
	overheadMiB = 768
	guests      = 2
)

// Jobs are the array jobs for the cells that are open: one that builds kernels
// in the order of the plan, never two at once, then for each kernel one for the
// cells that need the same memory, processors and time.
func Jobs(plan *runner.Plan, open []schedule.Work) []Job {
	var jobs []Job
	build := Job{Build: true}
	for _, b := range plan.Schedule.Builds {
		var needs []Job
		for _, w := range open {
			if w.Cell.Kernel() != b.Kernel {
				continue
			}
			need := Job{Task: len(build.Cells) + 1, CPUs: max(w.Cell.CPUs, 1), MemoryMiB: guests*w.Cell.MemoryMiB + overheadMiB,
				Limit: limit(w.Cost)}
			key := need.key()
			i := slices.IndexFunc(needs, func(j Job) bool { return j.key() == key })
			if i < 0 {
				needs = append(needs, need)
				i = len(needs) - 1
			}
			needs[i].Cells = append(needs[i].Cells, w.Number)
		}
		if len(needs) == 0 {
			continue
		}
		build.Cells = append(build.Cells, needs[0].Cells[0])
		build.Limit = max(build.Limit, limit(b.Cost))
		jobs = append(jobs, needs...)
	}
	if len(build.Cells) == 0 {
		return nil
	}
	return append([]Job{build}, jobs...)
}

// key tells apart jobs that need different things.
func (j Job) key() [3]int64 { return [3]int64{int64(j.CPUs), int64(j.MemoryMiB), int64(j.Limit)} }

// limit is the time that something may take, in steps of a quarter of an hour,
// so that cells that are much alike are one job.
func limit(cost time.Duration) time.Duration {
	return (slack*cost + leastLimit).Round(leastLimit) + leastLimit
}

// Arguments are those of sbatch for what the job is and needs.
func (j Job) Arguments() []string {
	minutes := fmt.Sprintf("--time=%d", int(j.Limit/time.Minute))
	if j.Build {
		// A build uses every processor of its node.
		return []string{fmt.Sprintf("--array=1-%d%%1", len(j.Cells)), "--exclusive", "--mem=0", "--nodes=1", minutes}
	}
	return []string{"--array=" + numbers(j.Cells), "--ntasks=1", fmt.Sprintf("--cpus-per-task=%d", j.CPUs), fmt.Sprintf("--mem=%d", j.MemoryMiB), minutes}
}

// Script is what each task runs. It has nothing in it that came from a matrix.
func (j Job) Script(farm, dir string) string {
	if j.Build {
		return fmt.Sprintf("#!/bin/sh\nset -- %s\nshift $((SLURM_ARRAY_TASK_ID - 1))\nexec %s cell --build %s \"$1\"\n",
			strings.ReplaceAll(numbers(j.Cells), ",", " "), quoted(farm), quoted(dir))
	}
	return fmt.Sprintf("#!/bin/sh\nexec %s cell --jobs %d --memory %d %s \"$SLURM_ARRAY_TASK_ID\"\n", quoted(farm), j.CPUs, j.MemoryMiB, quoted(dir))
}

func numbers(list []int) string {
	words := make([]string, len(list))
	for i, n := range list {
		words[i] = fmt.Sprint(n)
	}
	return strings.Join(words, ",")
}
