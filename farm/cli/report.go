// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"errors"
	"fmt"
	"path/filepath"

	"noiommu-farm/farm/repro"
	"noiommu-farm/internal/fault"
	"noiommu-farm/results/site"
)

type reportCmd struct {
	What  string `arg:"" optional:"" help:"A run directory, its name, or latest." default:"latest" placeholder:"RUN"`
	To    string `short:"o" help:"Directory to write to; empty, absent, or an older report. Default: report in the run's directory." placeholder:"DIR" xor:"form"`
	Mail  bool   `help:"Print plain text instead: what changed, then the table." xor:"form"`
	Cache string `help:"Directory of builds: where one has debug information, complaints of its kernel name lines of the source." default:"${cache}" placeholder:"DIR"`
	Out   string `help:"Directory of run directories." default:"${runs}" placeholder:"DIR"`
}

func (reportCmd) Help() string {
	return `Writes static pages of a run and prints the path of the first: the matrix, what
fails and what changed since the run of the same command before, and of each cell
its programs, tests, output, console, facts, and the commands to have it again.
The pages need no server, no network and no script. Every verdict is judged anew
from the records; a cell of the plan without one counts as infra. Exit code 0 when
the report was written, whatever it says.

Examples:

  farm report                       the last run
  farm report 20260131-020000-1a2b -o ~/public_html/farm
  farm report --mail | mail -s "no-IOMMU nightly" list@example.org`
}

func (c *reportCmd) Run(s *surroundings) error {
	target, err := repro.Find(c.Out, c.What)
	if err != nil {
		return err
	}
	if target.Cell != "" {
		return &fault.Usage{Key: "RUN", Value: c.What, Err: errors.New("a report is of a whole run")}
	}
	dir, err := filepath.Abs(target.Run)
	if err != nil {
		return err
	}
	// "latest" is another run tomorrow.
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		return err
	}
	run, err := site.Load(dir)
	if err != nil {
		return err
	}
	if c.Mail {
		return site.Mail(s.stdout, run, calledIn(dir))
	}
	run.Vmlinux = s.vmlinux(c.Cache)
	to := c.To
	if to == "" {
		to = filepath.Join(dir, "report")
	}
	index, err := site.Write(to, run, calledIn(dir))
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(s.stdout, index)
	return err
}

// calledIn is what "farm repro" calls a run directory: its name, where it looks
// for names.
func calledIn(dir string) string {
	if runs, err := filepath.EvalSymlinks(runsDir()); err == nil && filepath.Dir(dir) == runs {
		return filepath.Base(dir)
	}
	return dir
}

// vmlinux finds kernels in a cache by the keys of their builds.
func (s *surroundings) vmlinux(cache string) func(build string) string {
	c := openCache(cache, func(string) {})
	return func(key string) string {
		b, err := c.Open(s.ctx, key)
		if err != nil {
			return "" // cleared, or built elsewhere
		}
		return b.Vmlinux
	}
}
