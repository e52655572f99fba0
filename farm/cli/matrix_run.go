// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"noiommu-farm/farm/matrix"
	"noiommu-farm/farm/repro"
	"noiommu-farm/farm/runner"
	"noiommu-farm/farm/runner/meaning"
	"noiommu-farm/farm/runner/slurm"
	"noiommu-farm/internal/fault"
	"noiommu-farm/results"
	"noiommu-farm/results/known"
	"noiommu-farm/results/report"
	"noiommu-farm/results/verdict"
)

// matrixRunFlags say how a run is carried out.
type matrixRunFlags struct {
	Jobs     int      `short:"j" help:"Cells at once, and processors that are counted on." default:"${cpus}"`
	Executor string   `help:"Who does the work: local, or slurm, a cluster that sees the run directory, the cache and this program at the same paths." default:"local" placeholder:"NAME"`
	Sbatch   []string `help:"One more argument of sbatch, as in --partition=night. May be repeated." placeholder:"ARG" sep:"none"`
	JSON     bool     `name:"json" help:"Print results.json instead of the table."`
	knownFlag
}

type matrixRunCmd struct {
	matrixFlags
	Isolation string `help:"What has a guest of its own, as in farm run: test, suite or cell. Where many cells wait for processors, a guest for every test costs twice the time." enum:"test,suite,cell" default:"suite" placeholder:"NAME"`
	matrixRunFlags
}

func (matrixRunCmd) Help() string {
	return `Builds the kernels one after the other, in the order in which most is shared, and
boots each cell as soon as its kernel is ready and there is room for it. Nothing is
lost when it is stopped, killed or loses power: "farm matrix resume" goes on.

Examples:

  farm matrix run matrix.smoke.yaml     two kernels, four configurations, three machines
  farm matrix run --until 06:00         the nightly, and what there is time for
  farm matrix run --executor slurm      on a cluster
  farm matrix resume latest             go on after Ctrl-C, a kill or a power cut`
}

func (c *matrixRunCmd) Run(s *surroundings) error {
	if err := c.check(); err != nil {
		return err
	}
	watch := newScreen(s.stderr, c.File)
	defer watch.close()
	opt := c.options(s, c.Cache, watch)
	var err error
	if opt.Runs, err = filepath.Abs(c.Out); err != nil {
		return err
	}
	words := meaning.NewWords()
	planned, err := readMatrix(c.File, words.Vocabulary())
	if err != nil {
		return err
	}
	now, err := runner.Now(s.ctx, planned.Cells, opt)
	if err != nil {
		return stoppedOr(s, err)
	}
	a, err := c.arrange(now)
	if err != nil {
		return err
	}
	if len(a.schedule.Work) == 0 {
		return &fault.Usage{Key: "--until", Value: c.Until, Err: errors.New("there is no time for a single cell")}
	}
	dir, err := runner.Begin(s.ctx, runner.Plan{
		File: c.File, Schedule: a.schedule, Excluded: a.planned.Excluded, Sources: now.Sources, Suites: now.Suites, Until: a.until,
		Isolation: results.Isolation(c.Isolation),
	}, opt)
	if err != nil {
		return stoppedOr(s, err)
	}
	return c.carry(s, dir, opt, watch)
}

type matrixResumeCmd struct {
	Run_  string `arg:"" name:"run" optional:"" help:"A run directory, its name, or latest." default:"latest" placeholder:"RUN"`
	Until string `help:"Time of day, as in 06:00, or how long, as in 5h. Default: as when it began, if that is to come." placeholder:"TIME"`
	Out   string `help:"Directory of run directories." default:"${runs}" placeholder:"DIR"`
	matrixRunFlags
}

func (matrixResumeCmd) Help() string {
	return `Goes on with a run of a matrix that was stopped. A cell that was finished is not done
again, one that was half done is. Sources and test programs must be what they were.`
}

func (c *matrixResumeCmd) Run(s *surroundings) error {
	if err := c.check(); err != nil {
		return err
	}
	target, err := repro.Find(c.Out, c.Run_)
	if err != nil {
		return err
	}
	if target.Cell != "" {
		return &fault.Usage{Key: "RUN", Value: c.Run_, Err: errors.New("it is a whole run that goes on")}
	}
	dir, err := filepath.EvalSymlinks(target.Run) // "latest" is another run tomorrow
	if err != nil {
		return err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return err
	}
	plan, err := runner.ReadPlan(dir)
	if err != nil {
		return &fault.Usage{Key: "RUN", Value: c.Run_, Err: fmt.Errorf("is no run of a matrix: %w", err)}
	}
	var until time.Duration
	if c.Until != "" {
		if until, err = parseUntil(c.Until, time.Now()); err != nil {
			return err
		}
	}
	if err := runner.Extend(dir, until); err != nil {
		return err
	}
	watch := newScreen(s.stderr, plan.File)
	defer watch.close()
	return c.carry(s, dir, c.options(s, plan.Cache, watch), watch)
}

func (c *matrixRunFlags) check() error {
	if c.Jobs < 1 {
		return &fault.Usage{Key: "--jobs", Value: fmt.Sprint(c.Jobs), Err: errors.New("must be at least 1")}
	}
	if c.Executor != "local" && c.Executor != "slurm" {
		return &fault.Usage{Key: "--executor", Value: c.Executor, Allowed: []string{"local", "slurm"}}
	}
	if _, err := c.load(); err != nil {
		return err // before anything is spent
	}
	if c.Executor == "local" && len(c.Sbatch) > 0 {
		return &fault.Usage{Key: "--sbatch", Value: c.Sbatch[0], Err: errors.New("is for --executor slurm")}
	}
	return nil
}

// executor is who does the work.
func (c *matrixRunFlags) executor() (runner.Executor, error) {
	if c.Executor == "local" {
		return runner.Local, nil
	}
	farm, err := os.Executable()
	if err != nil {
		return nil, err
	}
	dir, err := os.Getwd()
	return slurm.Executor(slurm.Options{Farm: farm, Dir: dir, More: c.Sbatch}), err
}

func (c *matrixRunFlags) options(s *surroundings, cache string, watch *screen) runner.Options {
	return runner.Options{
		Cache: openCache(cache, watch.note), Images: filepath.Join(cache, "images"), Jobs: c.Jobs,
		Command: append([]string{"farm"}, s.args...), Tell: watch.tell, Watch: watch.watch,
	}
}

// carry goes on with a run directory and shows what came of it.
func (c *matrixRunFlags) carry(s *surroundings, dir string, opt runner.Options, watch *screen) error {
	// The run keeps the list, for whoever goes on with it.
	issues, err := c.load()
	if c.Known == "" {
		issues, err = known.OfRun(dir)
	}
	if err == nil && len(issues.Text) > 0 {
		err = results.WriteFile(filepath.Join(dir, known.File), issues.Text)
	}
	if err != nil {
		return err
	}
	head, err := results.ReadRun(dir)
	if err != nil {
		return err
	}
	watch.excuse(issues, head.Started)
	with, err := c.executor()
	if err != nil {
		return err
	}
	out, err := runner.Carry(s.ctx, dir, opt, with)
	watch.close()
	if out == nil {
		return stoppedOr(s, err)
	}
	var stopped interrupted
	if errors.As(context.Cause(s.ctx), &stopped) {
		fmt.Fprintf(s.stderr, "farm: %v: \"farm matrix resume %s\" goes on from here\n", stopped, filepath.Base(dir))
		return exitCode(fault.ExitInfra)
	}
	shown, err := wholeRun(out, issues, err)
	if c.JSON {
		e := json.NewEncoder(s.stdout)
		e.SetIndent("", "  ")
		err = errors.Join(err, e.Encode(shown))
	} else {
		err = errors.Join(err, matrixTable(s.stdout, dir, shown))
	}
	return conclude(s.stderr, shown.Verdict, err)
}

// wholeRun is a run for a report, judged by what is known, and what the farm
// failed at.
func wholeRun(out *runner.Outcome, issues known.List, err error) (report.Run, error) {
	r := report.Run{Run: out.Run, Dir: out.Dir, Verdict: out.Verdict(), Cells: out.Cells}
	err = errors.Join(err, r.Excuse(issues))
	if err != nil {
		r.Verdict = verdict.Worst(r.Verdict, verdict.Infra)
	}
	return r, errors.Join(err, report.Write(r))
}

// stoppedOr is the signal that ended a verb, if one did, or the error.
func stoppedOr(s *surroundings, err error) error {
	var stopped interrupted
	if errors.As(context.Cause(s.ctx), &stopped) {
		return stopped
	}
	return err
}

// matrixTable shows a run of many cells: what is not as expected, and a grid.
func matrixTable(w io.Writer, dir string, r report.Run) error {
	plan, err := runner.ReadPlan(dir)
	if err != nil {
		return err
	}
	cells := make(map[string]*verdict.Cell)
	for _, c := range r.Cells {
		cells[c.Name] = c
	}
	var columns, rows []string
	at := make(map[[2]string]verdict.Verdict)
	for _, work := range plan.Schedule.Work {
		c := cells[work.Cell.Name]
		if c == nil {
			continue
		}
		row := rowOf(work.Cell)
		if !slices.Contains(rows, row) {
			rows = append(rows, row)
		}
		if !slices.Contains(columns, work.Cell.Topology) {
			columns = append(columns, work.Cell.Topology)
		}
		at[[2]string{row, work.Cell.Topology}] = c.Verdict
		if !c.Verdict.Good() {
			fmt.Fprintln(w, cellLine(c))
		}
	}
	for _, a := range r.Known {
		if a.State == known.Expired || a.State == known.Stale {
			fmt.Fprintf(w, "known issue %s is %s: %s\n", report.Clean(a.Issue.Fingerprint), a.State, report.Clean(a.Issue.Reason))
		}
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "\n\t%s\n", strings.Join(columns, "\t"))
	for _, row := range rows {
		fmt.Fprint(t, report.Clean(row))
		for _, column := range columns {
			text := string(at[[2]string{row, column}])
			if !verdict.Verdict(text).Good() {
				text = strings.ToUpper(text)
			}
			fmt.Fprintf(t, "\t%s", text)
		}
		fmt.Fprintln(t)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if left := len(r.Left); left > 0 {
		fmt.Fprintf(w, "\n%d cells were not run for want of time\n", left)
	}
	_, err = fmt.Fprintf(w, "\nverdict %s, %d cells, run directory %s\n", strings.ToUpper(string(r.Verdict)), len(r.Cells), dir)
	return err
}

// rowOf is what a cell is beside its topology.
func rowOf(c matrix.Cell) string {
	before, after, _ := strings.Cut(c.Name, "_"+c.Topology)
	return strings.ReplaceAll(before, "_", " ") + strings.ReplaceAll(after, "_", " ")
}
