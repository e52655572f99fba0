// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"noiommu-farm/farm/matrix"
	"noiommu-farm/farm/matrix/schedule"
	"noiommu-farm/farm/runner"
	"noiommu-farm/farm/runner/meaning"
	"noiommu-farm/internal/fault"
	"noiommu-farm/results"
	"noiommu-farm/results/known"
	"noiommu-farm/results/report"
)

type cellCmd struct {
	Plan   string `arg:"" help:"A run directory that a matrix was planned in, or a matrix file." placeholder:"PLAN"`
	N      int    `arg:"" help:"Number of the cell in the plan." placeholder:"N"`
	Build  bool   `help:"Build the cell's kernel and nothing else."`
	Jobs   int    `short:"j" help:"Processors for guests." default:"${cpus}"`
	Memory int64  `help:"Memory for guests, in MiB. Default: what is available." placeholder:"MIB"`
	Cache  string `help:"Of a matrix file: directory of sources, builds and images." default:"${cache}" placeholder:"DIR"`
	Out    string `help:"Of a matrix file: directory for run directories." default:"${runs}" placeholder:"DIR"`
}

func (cellCmd) Help() string {
	return `Carries out one cell of a plan: what a job of a cluster or of another engine runs.
In a run directory the cell is done in its place there, once, whoever else is at
the others; of a matrix file it becomes a run of its own.

Examples:

  farm cell /shared/runs/20260131-020000-1a2b 17
  farm cell matrix.yaml 17 --out runs      a job of "farm matrix plan --format github"`
}

func (c *cellCmd) Run(s *surroundings) error {
	if c.Jobs < 1 || c.Memory < 0 {
		return &fault.Usage{Key: "--jobs, --memory", Value: fmt.Sprintf("%d, %d", c.Jobs, c.Memory), Err: errors.New("must be above 0")}
	}
	watch := newProgress(s.stderr)
	defer watch.close()
	opt := runner.Options{
		Cache: openCache(c.Cache, watch.note), Images: filepath.Join(c.Cache, "images"), Runs: c.Out,
		Jobs: c.Jobs, MemoryMiB: c.Memory, Command: append([]string{"farm"}, s.args...), Tell: watch.tell,
	}
	if strings.HasSuffix(c.Plan, ".yaml") || strings.HasSuffix(c.Plan, ".yml") {
		return c.alone(s, opt, watch)
	}
	dir, err := filepath.EvalSymlinks(strings.TrimSuffix(c.Plan, "/plan.json"))
	if err != nil {
		return &fault.Usage{Key: "PLAN", Value: c.Plan, Err: err}
	}
	plan, err := runner.ReadPlan(dir)
	if err != nil {
		return &fault.Usage{Key: "PLAN", Value: c.Plan, Err: err}
	}
	opt.Cache = openCache(plan.Cache, watch.note)
	judged, err := runner.Work(s.ctx, dir, c.N, c.Build, opt)
	watch.close()
	if err != nil {
		return stoppedOr(s, err)
	}
	if judged == nil {
		return nil // its kernel is built
	}
	fmt.Fprintln(s.stdout, cellLine(judged))
	return conclude(s.stderr, judged.Verdict, nil)
}

// alone makes a run of one cell of a matrix file.
func (c *cellCmd) alone(s *surroundings, opt runner.Options, watch *progress) error {
	if c.Build {
		return &fault.Usage{Key: "--build", Err: errors.New("is for a cell of a run directory")}
	}
	words := meaning.NewWords()
	planned, err := readMatrix(c.Plan, words.Vocabulary())
	if err != nil {
		return err
	}
	if c.N < 1 || c.N > len(planned.Cells) {
		return &fault.Usage{Key: "N", Value: fmt.Sprint(c.N), Err: fmt.Errorf("the plan has the cells 1 to %d", len(planned.Cells))}
	}
	cell := planned.Cells[c.N-1]
	now, err := runner.Now(s.ctx, []matrix.Cell{cell}, opt)
	if err != nil {
		return stoppedOr(s, err)
	}
	nothing := schedule.NewHistory(nil, nil)
	work := []schedule.Work{{Number: c.N, Cell: cell, Cost: time.Minute}}
	dir, err := runner.Begin(s.ctx, runner.Plan{
		File: c.Plan, Sources: now.Sources, Suites: now.Suites, Isolation: results.PerSuite,
		Schedule: schedule.Arrange(work, nothing, func(matrix.Kernel) bool { return false }, words.Distance, c.Jobs, 0),
	}, opt)
	if err != nil {
		return stoppedOr(s, err)
	}
	out, err := runner.Carry(s.ctx, dir, opt, runner.Local)
	watch.close()
	if out == nil {
		return stoppedOr(s, err)
	}
	shown, err := wholeRun(out, known.List{}, err)
	err = errors.Join(err, report.Table(s.stdout, shown, report.Style{Color: colorful(s.stdout)}))
	return conclude(s.stderr, shown.Verdict, err)
}
