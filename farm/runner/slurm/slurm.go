// SPDX-License-Identifier: Apache-2.0

// Package slurm has the cells of a run directory carried out by a Slurm
// cluster: array jobs, kernels first and cells after theirs.
//
// In comes a run directory that every node sees at the same path, as it does
// the cache and the farm itself; the directory is what comes out. What a cell
// is, and whether it is finished, the runner says; here is only who does it and
// where.
package slurm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"noiommu-farm/farm/matrix/schedule"
	"noiommu-farm/farm/runner"
	"noiommu-farm/internal/fault"
	"noiommu-farm/results"
)

// Options say how jobs are submitted.
type Options struct {
	Farm string   // path of the farm's own program, on every node
	Dir  string   // working directory of the jobs: guests' programs are compiled from it
	More []string // further arguments of sbatch: a partition, an account
}

// How often the queue is looked at, and how long jobs that were cancelled may
// take to leave it.
const (
	poll        = 2 * time.Second
	leaveWithin = 2 * time.Minute
	// patience with a controller that does not answer.
	patience = 10 * time.Minute
)

// Executor carries out cells by a cluster. A cluster without sbatch is a
// *fault.Usage.
func Executor(o Options) runner.Executor {
	return func(ctx context.Context, dir string, plan *runner.Plan, opt runner.Options) error {
		for _, program := range []string{"sbatch", "squeue", "scancel"} {
			if _, err := exec.LookPath(program); err != nil {
				return &fault.Usage{Key: "--executor", Value: "slurm", Err: fmt.Errorf("%s is not installed (Debian package: slurm-client)", program)}
			}
		}
		if err := results.Reopen(dir); err != nil {
			return err
		}
		c := &cluster{Options: o, dir: dir, plan: plan, opt: opt, logs: filepath.Join(dir, "slurm")}
		if err := os.MkdirAll(c.logs, 0o755); err != nil {
			return fmt.Errorf("slurm: %w", err)
		}
		return c.run(ctx)
	}
}

// cluster is a run directory that jobs are at.
type cluster struct {
	Options
	dir  string
	plan *runner.Plan
	opt  runner.Options
	logs string
	jobs []string // ids
}

func (c *cluster) run(ctx context.Context) error {
	board, err := runner.NewBoard(c.dir, c.plan, c.opt)
	if err != nil {
		return err
	}
	// A farm that was killed has left its jobs behind, who are at these cells.
	if left, err := c.queue(ctx); err != nil {
		return err
	} else if len(left) > 0 {
		c.say("cancelling %d jobs of this run that were left in the queue", len(left))
		if err := c.cancel(ctx); err != nil {
			return err
		}
	}
	jobs := Jobs(c.plan, board.Open())
	err = c.submit(ctx, jobs)
	if err == nil {
		err = c.wait(ctx, board)
	}
	if err != nil {
		// What was submitted is taken back, whatever happened.
		return errors.Join(err, c.cancel(context.WithoutCancel(ctx)))
	}
	return board.Abandon(ctx, c.why)
}

func (c *cluster) say(format string, args ...any) {
	c.opt.Tell(runner.Progress{Note: "slurm: " + fmt.Sprintf(format, args...)})
}

// name is that of all jobs of the run.
func (c *cluster) name() string { return "farm-" + filepath.Base(c.dir) }

// submit puts jobs into the queue, each after the one that it depends on.
func (c *cluster) submit(ctx context.Context, jobs []Job) error {
	for _, j := range jobs {
		args := slices.Concat([]string{"--parsable", "--job-name=" + c.name(), "--chdir=" + c.Dir, "--requeue", "--open-mode=append",
			"--output=" + filepath.Join(c.logs, "%A_%a.out")}, j.Arguments(), c.More)
		if !j.Build {
			args = append(args, fmt.Sprintf("--dependency=afterok:%s_%d", c.jobs[0], j.Task), "--kill-on-invalid-dep=yes")
		}
		out, err := command(ctx, j.Script(c.Farm, c.dir), "sbatch", args...)
		if err != nil {
			return err
		}
		id, _, _ := strings.Cut(strings.TrimSpace(out), ";")
		if _, err := strconv.Atoi(id); err != nil {
			return fmt.Errorf("sbatch said %.100q instead of a job's number", out)
		}
		c.jobs = append(c.jobs, id)
	}
	c.say("%d array jobs submitted", len(jobs))
	return nil
}

// wait watches the queue until no job of the run is in it.
func (c *cluster) wait(ctx context.Context, board *runner.Board) error {
	tick := time.NewTicker(poll)
	defer tick.Stop()
	var silent time.Time // since when the controller has not answered
	for {
		if err := board.Look(); err != nil {
			return err
		}
		left, err := c.queue(ctx)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil && silent.IsZero():
			silent = time.Now()
			c.say("the controller does not answer: %v", err)
		case err != nil && time.Since(silent) > patience:
			return err
		case err == nil:
			silent = time.Time{}
			if board.Show(left); len(left) == 0 {
				return board.Look()
			}
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}

// queue counts the tasks of the run that are in the queue, by their state.
func (c *cluster) queue(ctx context.Context) (map[string]int, error) {
	out, err := command(ctx, "", "squeue", "--noheader", "--array", "--me", "--name="+c.name(), "--format=%T")
	if err != nil {
		return nil, err
	}
	states := make(map[string]int)
	for _, s := range strings.Fields(out) {
		states[s]++
	}
	return states, nil
}

// cancel takes all jobs of the run out of the queue, and waits until they have
// left it.
func (c *cluster) cancel(ctx context.Context) error {
	ctx, stop := context.WithTimeout(ctx, leaveWithin)
	defer stop()
	if _, err := command(ctx, "", "scancel", "--me", "--name="+c.name()); err != nil {
		return err
	}
	for {
		left, err := c.queue(ctx)
		if err == nil && len(left) == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("slurm: cancelled jobs are still in the queue: %v", left)
		case <-time.After(poll):
		}
	}
}

// tail is how much of a job's output is told, in bytes.
const tail = 400

// why says what is known of a cell that no job brought to an end.
func (c *cluster) why(w schedule.Work) string {
	logs, _ := filepath.Glob(filepath.Join(c.logs, fmt.Sprintf("*_%d.out", w.Number)))
	if len(logs) == 0 {
		return "no job of the cluster began it"
	}
	newest := slices.MaxFunc(logs, func(a, b string) int { return modified(a).Compare(modified(b)) })
	text, err := os.ReadFile(newest)
	if err != nil {
		return "its job came to no end, and left no output"
	}
	return fmt.Sprintf("its job came to no end (%s): %s", newest, strings.TrimSpace(string(text[max(0, len(text)-tail):])))
}

func modified(path string) time.Time {
	info, err := os.Stat(path)
	if err != nil {
		return time.Time{}
	}
	return info.ModTime()
}

// command runs one of Slurm's programs.
func command(ctx context.Context, stdin, program string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Stdin = strings.NewReader(stdin)
	cmd.WaitDelay = time.Second
	var out, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaint
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return "", context.Cause(ctx)
		}
		return "", fmt.Errorf("slurm: %s: %w: %s", program, err, strings.TrimSpace(complaint.String()))
	}
	return out.String(), nil
}

var plainWord = regexp.MustCompile(`^[A-Za-z0-9_./:=,@%+-]+$`)

// quoted is a word for a shell.
func quoted(word string) string {
	if plainWord.MatchString(word) {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
