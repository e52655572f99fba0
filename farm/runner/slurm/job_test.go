// SPDX-License-Identifier: Apache-2.0

package slurm

import (
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"noiommu-farm/farm/matrix"
	"noiommu-farm/farm/matrix/schedule"
	"noiommu-farm/farm/runner"
)

func planOfTwo() *runner.Plan {
	work := func(n int, config string, memory int, cost time.Duration) schedule.Work {
		return schedule.Work{Number: n, Cell: matrix.Cell{Name: config, Source: "s", Config: config, Guest: matrix.Guest{CPUs: 1, MemoryMiB: memory}}, Cost: cost}
	}
	return &runner.Plan{Schedule: schedule.Schedule{
		Builds: []schedule.Building{{Kernel: matrix.Kernel{Source: "s", Config: "b"}, Cost: 10 * time.Minute}, {Kernel: matrix.Kernel{Source: "s", Config: "a"}}},
		Work: []schedule.Work{
			work(4, "b", 512, time.Minute), work(5, "b", 512, 2*time.Minute), work(6, "b", 5120, time.Minute),
			work(1, "a", 512, time.Minute), work(2, "a", 512, time.Hour),
		},
	}}
}

// Builds come first and one after the other; cells wait for their own kernel
// alone, and ask for what they need.
func TestJobs(t *testing.T) {
	p := planOfTwo()
	var said []string
	for _, j := range Jobs(p, p.Schedule.Work) {
		said = append(said, strings.Join(j.Arguments(), " ")+" after "+string(rune('0'+j.Task)))
	}
	want := []string{
		"--array=1-2%1 --exclusive --mem=0 --nodes=1 --time=60 after 0",
		"--array=4,5 --ntasks=1 --cpus-per-task=1 --mem=1792 --time=30 after 1",
		"--array=6 --ntasks=1 --cpus-per-task=1 --mem=11008 --time=30 after 1",
		"--array=1 --ntasks=1 --cpus-per-task=1 --mem=1792 --time=30 after 2",
		"--array=2 --ntasks=1 --cpus-per-task=1 --mem=1792 --time=210 after 2",
	}
	if diff := cmp.Diff(want, said); diff != "" {
		t.Error(diff)
	}
	// What is finished needs neither a job nor a kernel.
	if left := Jobs(p, p.Schedule.Work[4:]); len(left) != 2 || len(left[0].Cells) != 1 || left[0].Cells[0] != 2 || left[1].Task != 1 {
		t.Errorf("%+v", left)
	}
	if none := Jobs(p, nil); none != nil {
		t.Errorf("%+v", none)
	}
}

// A task of a build finds its cell by its place in the array; the paths are
// words to the shell, whatever is in them.
func TestScript(t *testing.T) {
	p := planOfTwo()
	jobs := Jobs(p, p.Schedule.Work)
	for _, c := range []struct {
		job        Job
		task, want string
	}{
		{jobs[0], "1", "cell\n--build\n/runs/it's $(one)\n4\n"},
		{jobs[0], "2", "cell\n--build\n/runs/it's $(one)\n1\n"},
		{jobs[2], "6", "cell\n--jobs\n1\n--memory\n11008\n/runs/it's $(one)\n6\n"},
	} {
		script := strings.Replace(c.job.Script("/farm", "/runs/it's $(one)"), "exec /farm", `exec printf '%s\n'`, 1)
		cmd := exec.Command("/bin/sh")
		cmd.Stdin, cmd.Env = strings.NewReader(script), []string{"SLURM_ARRAY_TASK_ID=" + c.task}
		out, err := cmd.CombinedOutput()
		if err != nil || string(out) != c.want {
			t.Errorf("task %s: %q, %v; want %q", c.task, out, err, c.want)
		}
	}
}
