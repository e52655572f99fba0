// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"

	"noiommu-farm/farm/repro"
	"noiommu-farm/internal/fault"
	"noiommu-farm/results/report"
	"noiommu-farm/results/verdict"
)

type reproCmd struct {
	What   string   `arg:"" help:"RUN, RUN/CELL or RUN/CELL/TEST, or a capsule. RUN is a run directory, its name, or latest." placeholder:"RUN[/CELL[/TEST]]"`
	Tries  int      `short:"n" help:"How often to try each test." default:"1"`
	Shell  bool     `help:"Boot the test's guest and give a shell in it, with its devices bound." xor:"how"`
	GDB    bool     `name:"gdb" help:"Boot the test's guest stopped, with a debugger that has breakpoints on the functions of the statement." xor:"how"`
	Break  []string `help:"With --gdb: break on this function instead. May be repeated." placeholder:"FUNCTION" sep:"none"`
	Trace  []string `help:"Record functions (iommufd_*) and events (irq:irq_handler_entry) of the kernel meanwhile. Needs a kernel with --config NAME,trace." placeholder:"PATTERN" xor:"how"`
	Strace bool     `help:"Write down every system call of the test's program meanwhile." xor:"how"`
	Dump   bool     `help:"Write the guest's memory when it is over: an ELF core that crash and drgn open." xor:"how"`
	Lines  bool     `help:"Boot nothing: tell the source lines of what the kernel complained of. Builds it once more, with debug information for VFIO and the IOMMU drivers." xor:"how"`
	JSON   bool     `name:"json" help:"Print the results as JSON."`
	Cache  string   `help:"Directory of sources, builds and images." default:"${cache}" placeholder:"DIR"`
	Out    string   `help:"Directory for run directories." default:"${runs}" placeholder:"DIR"`
}

func (reproCmd) Help() string {
	return `Boots the same kernel on the same machine with the same devices and parameters as
in a recorded run, runs that one test alone, and says whether it ended in the
same way. Without a test, all that failed. Exit code 1 when the kernel failed in
any try.

Examples:

  farm repro latest                              all that failed in the last run
  farm repro latest/debian-7.3_noiommu_none/PA-02 -n 10
  farm repro latest/debian-7.3_noiommu_none/PA-02 --shell
  farm repro failure.tar.zst                     what "farm capsule" wrote`
}

func (c *reproCmd) Run(s *surroundings) error {
	if c.Tries < 1 {
		return &fault.Usage{Key: "--tries", Value: fmt.Sprint(c.Tries), Err: errors.New("must be at least 1")}
	}
	if len(c.Break) > 0 && !c.GDB {
		return &fault.Usage{Key: "--break", Value: c.Break[0], Err: errors.New("needs --gdb")}
	}
	watch := newProgress(s.stderr)
	defer watch.close()
	opt := repro.Options{
		Cache: openCache(c.Cache, watch.note), Images: filepath.Join(c.Cache, "images"), Runs: c.Out,
		Command: append([]string{"farm"}, s.args...),
		Tell:    watch.tell,
	}
	cases, done, err := c.load(s.ctx, &opt, watch)
	if err != nil {
		return err
	}
	defer done()
	switch {
	case (c.Shell || c.GDB || c.Strace || c.Dump || c.Lines || len(c.Trace) > 0) && len(cases) > 1:
		var names []string
		for _, one := range cases {
			names = append(names, one.Where())
		}
		return &fault.Usage{Key: "RUN", Value: c.What, Allowed: names, Err: errors.New("more than one test failed; name one")}
	case c.Shell:
		watch.close()
		return c.shell(s, cases[0], opt)
	case c.Lines:
		return c.lines(s, cases[0], opt, watch)
	}
	var all []repro.Result
	var errs []error
	for _, one := range cases {
		if s.ctx.Err() != nil {
			errs = append(errs, context.Cause(s.ctx))
			break
		}
		var r repro.Result
		switch {
		case c.GDB:
			r, err = c.debug(s, one, opt, watch)
		case len(c.Trace) > 0, c.Strace, c.Dump:
			var file string
			r, file, err = c.record(s.ctx, one, opt)
			if file != "" {
				watch.note("recorded in " + file)
			}
		default:
			r, err = repro.Tries(s.ctx, one, c.Tries, opt)
		}
		if r.Run != "" {
			all = append(all, r)
		}
		errs = append(errs, err)
	}
	watch.close()
	err = errors.Join(errs...)
	if len(all) == 0 {
		return err
	}
	return conclude(s.stderr, worst(all), errors.Join(err, c.show(s, all)))
}

// record tries a case with something written down, into a file.
func (c *reproCmd) record(ctx context.Context, one repro.Case, opt repro.Options) (repro.Result, string, error) {
	switch {
	case c.Strace:
		return repro.Strace(ctx, one, opt)
	case c.Dump:
		return repro.Dump(ctx, one, opt)
	}
	return repro.Trace(ctx, one, c.Trace, opt)
}

// load finds the cases of what was named. done removes what it unpacked.
func (c *reproCmd) load(ctx context.Context, opt *repro.Options, watch *progress) ([]repro.Case, func(), error) {
	if repro.IsCapsule(c.What) {
		dir, err := os.MkdirTemp("", "noiommu-farm-capsule-")
		if err != nil {
			return nil, nil, err
		}
		// The capsule may be the only place that has them.
		opt.Keep = true
		done := func() { os.RemoveAll(dir) }
		one, err := repro.OpenCapsule(c.What, dir)
		if err != nil {
			done()
			return nil, nil, err
		}
		differs, err := one.Elsewhere(ctx)
		if err != nil {
			done()
			return nil, nil, err
		}
		for _, line := range differs {
			watch.note(report.Clean(line))
		}
		return []repro.Case{one}, done, nil
	}
	target, err := repro.Find(c.Out, c.What)
	if err != nil {
		return nil, nil, err
	}
	// What a run's failures came to again is kept with the run.
	opt.Runs = filepath.Join(target.Run, "repro")
	if err := os.MkdirAll(opt.Runs, 0o755); err != nil {
		return nil, nil, err
	}
	cases, err := repro.Load(ctx, target, *opt)
	return cases, func() {}, err
}

// lines prints what the kernel complained of, with its source lines.
func (c *reproCmd) lines(s *surroundings, one repro.Case, opt repro.Options, watch *progress) error {
	log, vmlinux, err := repro.Lines(s.ctx, one, opt)
	if err == nil {
		watch.note("debug information in " + vmlinux)
	}
	watch.close()
	if err != nil {
		return err
	}
	if len(log) == 0 {
		log = []string{"The kernel did not complain."}
	}
	for _, line := range log {
		if _, err := fmt.Fprintln(s.stdout, report.Clean(line)); err != nil {
			return err
		}
	}
	return nil
}

func (c *reproCmd) shell(s *surroundings, one repro.Case, opt repro.Options) error {
	opt.Tell = nil // the terminal is the guest's
	fmt.Fprintln(s.stderr, "booting "+one.Name())
	out, err := repro.Shell(s.ctx, one, os.Stdin, os.Stdout, opt)
	if out == nil {
		return err
	}
	v := out.Verdict()
	if v.Good() || v == verdict.Infra && err == nil {
		return err // a user may end a guest as he likes
	}
	for _, cell := range out.Cells {
		fmt.Fprintf(s.stderr, "%s: %s: %s\nconsole %s/console.log\n", v, report.Clean(cell.Name), report.Clean(cell.Reasoned()), cell.Dir)
	}
	return conclude(s.stderr, v, err)
}

// debug prints how to call gdb, or calls it where a person sits at a terminal.
func (c *reproCmd) debug(s *surroundings, one repro.Case, opt repro.Options, watch *progress) (repro.Result, error) {
	watch.close()
	opt.Tell = nil
	interactive := isTerminal(s.stdout) && isTerminal(os.Stdin)
	return repro.Debug(s.ctx, one, c.Break, opt, func(d repro.Debugger) error {
		for _, n := range d.Notes {
			fmt.Fprintln(s.stderr, report.Clean(n))
		}
		line := make([]string, len(d.Argv))
		for i, a := range d.Argv {
			line[i] = "'" + strings.ReplaceAll(a, "'", `'\''`) + "'"
		}
		fmt.Fprintln(s.stdout, strings.Join(line, " "))
		if !interactive {
			return nil
		}
		// Ctrl-C is gdb's: it stops the guest.
		signal.Ignore(os.Interrupt)
		gdb := exec.CommandContext(s.ctx, d.Argv[0], d.Argv[1:]...)
		gdb.Stdin, gdb.Stdout, gdb.Stderr = os.Stdin, os.Stdout, os.Stderr
		if err := gdb.Run(); err != nil {
			return fmt.Errorf("run gdb: %w", err)
		}
		return nil
	})
}

// worst is what the tries say of the kernel.
func worst(all []repro.Result) verdict.Verdict {
	v := verdict.Pass
	for _, r := range all {
		for _, t := range r.Tries {
			v = verdict.Worst(v, t.Seen.Verdict)
		}
	}
	return v
}

func (c *reproCmd) show(s *surroundings, all []repro.Result) error {
	if c.JSON {
		enc := json.NewEncoder(s.stdout)
		enc.SetIndent("", "  ")
		return enc.Encode(all)
	}
	var b strings.Builder
	for _, r := range all {
		n := len(r.Tries)
		var words []string
		for _, one := range []struct {
			likeness repro.Likeness
			text     string
		}{
			{repro.Same, "the same way"}, {repro.Different, "another way"},
			{repro.Passed, "passed"}, {repro.NotTried, "not tried, the farm failed"},
		} {
			if k := r.Count(one.likeness); k > 0 {
				words = append(words, fmt.Sprintf("%s in %d of %d", one.text, k, n))
			}
		}
		fmt.Fprintf(&b, "%s: %s: %s\n", report.Clean(r.Case), strings.ToUpper(string(r.Seen.Verdict)), strings.Join(words, ", "))
		var told []string
		for _, t := range r.Tries {
			line := t.Reason
			if t.Difference != "" && t.Likeness != repro.NotTried {
				line = t.Difference
			}
			if line == "" || contains(told, line) {
				continue
			}
			told = append(told, line)
			fmt.Fprintf(&b, "    %s: %s\n", t.Likeness, report.Clean(line))
		}
		fmt.Fprintf(&b, "    %s\n", r.Run)
	}
	_, err := fmt.Fprint(s.stdout, b.String())
	return err
}

func contains(list []string, s string) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}

type capsuleCmd struct {
	What  string `arg:"" help:"RUN/CELL/TEST; RUN or RUN/CELL if only one test failed there." placeholder:"RUN/CELL/TEST"`
	File  string `short:"o" help:"The file to write. Default: named after the test, in the current directory." placeholder:"FILE"`
	Cache string `help:"Directory of sources, builds and images." default:"${cache}" placeholder:"DIR"`
	Out   string `help:"Directory of run directories." default:"${runs}" placeholder:"DIR"`
}

func (capsuleCmd) Help() string {
	return `Writes one file with all that a failure needs to happen again elsewhere: kernel,
configuration, initramfs, machine, the result and the console. Send it; "farm
repro FILE" replays it on another machine, without network or cache.

Example:

  farm capsule latest/debian-7.3_noiommu_none/PA-02`
}

func (c *capsuleCmd) Run(s *surroundings) error {
	watch := newProgress(s.stderr)
	defer watch.close()
	target, err := repro.Find(c.Out, c.What)
	if err != nil {
		return err
	}
	cases, err := repro.Load(s.ctx, target, repro.Options{
		Cache: openCache(c.Cache, watch.note), Images: filepath.Join(c.Cache, "images"), Tell: watch.tell,
	})
	if err != nil {
		return err
	}
	if len(cases) > 1 {
		var names []string
		for _, one := range cases {
			names = append(names, one.Where())
		}
		return &fault.Usage{Key: "RUN/CELL/TEST", Value: c.What, Allowed: names, Err: errors.New("more than one test failed; name one")}
	}
	file := c.File
	if file == "" {
		file = strings.NewReplacer("/", "-", " ", "-").Replace(cases[0].Where()) + ".tar.zst"
	}
	if err := repro.WriteCapsule(file, cases[0]); err != nil {
		return err
	}
	info, err := os.Stat(file)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(s.stdout, "%s (%d MiB): %s\n", file, (info.Size()+(1<<20-1))>>20, report.Clean(cases[0].Name()))
	return err
}
