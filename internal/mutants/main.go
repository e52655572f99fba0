// SPDX-License-Identifier: Apache-2.0

// Mutants shows that the suites can fail. In come patches that break the
// kernel on purpose and name the statements that must turn red for it; out
// goes a table of which were caught. It builds and boots by means of the farm
// alone, and never decides what a test means.
//
//	go run ./internal/mutants [-match GLOB] [DIR...]
//
// It exits with 1 when a mutant was missed or not built, or a benign one was
// flagged, 2 for patches that cannot be used, and 3 when the farm failed.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"noiommu-farm/internal/fault"
)

// home is where the farm's own mutants are.
const home = "suites/testdata/mutants"

// usual is the source that the farm's own mutants are for.
const usual = "debian:7.3"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(exit(os.Stderr, do(ctx, os.Args[1:], os.Stdout, os.Stderr)))
}

// errMissed says that the table has a row that must not be.
var errMissed = &fault.Kernel{Stage: "mutants", Err: errors.New("the suites do not see what they should, or see what is not there")}

func exit(stderr io.Writer, err error) int {
	if errors.Is(err, flag.ErrHelp) {
		return fault.ExitUsage
	}
	if err != nil {
		fmt.Fprintf(stderr, "mutants: %v\n", err)
	}
	return fault.ExitCode(err)
}

func do(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("mutants", flag.ContinueOnError)
	flags.SetOutput(stderr)
	match := flags.String("match", "*", "only mutants whose name matches this `glob`")
	kernel := flags.String("kernel", usual, "the `source` that the patches are for, as farm run takes it")
	limit := flags.Duration("limit", 90*time.Minute, "give up on a mutant after this `time`")
	older := flags.Bool("older", false, "what an older farm or suite caught counts as caught; only the rest is tried again")
	recalled := flags.Bool("recalled", false, "try nothing: show what is remembered")
	table := flags.String("markdown", "", "write the table as Markdown to this `file`")
	if err := flags.Parse(args); err != nil {
		return err
	}
	dirs := flags.Args()
	if len(dirs) == 0 {
		dirs = []string{home}
	}
	all, err := read(dirs, *match)
	if err != nil {
		return err
	}

	user, err := os.UserCacheDir()
	if err != nil {
		return fmt.Errorf("find the cache: %w", err)
	}
	cache := filepath.Join(user, "noiommu-farm")
	kept := memory(filepath.Join(cache, "mutants"))
	b := bench{kernel: *kernel, cache: cache, runs: filepath.Join(cache, "mutants", "runs"), limit: *limit}
	if err := os.MkdirAll(b.runs, 0o755); err != nil {
		return fmt.Errorf("open the cache: %w", err)
	}
	work, err := os.MkdirTemp("", "mutants-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	if b.tools, err = buildTools(ctx, work); err != nil {
		return err
	}

	var rows []row
	printHead(stdout)
	for _, m := range all {
		r, ok := kept.recall(m, *kernel)
		ok = ok && (*recalled || r.Found.Infra == "") // the farm may do better now
		if ok && !*recalled && r.Version != b.tools.version {
			o, _ := judge(m, r.Found)
			ok = *older && (o == caught || o == quiet)
		}
		if !ok && *recalled {
			continue
		}
		if !ok {
			start := time.Now()
			f, err := b.try(ctx, m)
			switch {
			case ctx.Err() != nil:
				return errors.New("interrupted: what is in the table is remembered")
			case fault.ExitCode(err) == fault.ExitUsage:
				return err
			case err != nil:
				f.Infra = or(f.Infra, err.Error())
			}
			r = result{Mutant: m.name, Kernel: *kernel, Version: b.tools.version, When: time.Now().UTC(), Seconds: time.Since(start).Seconds(), Found: f}
			if err := kept.keep(m, r); err != nil {
				return err
			}
		}
		next := newRow(m, r)
		next.print(stdout)
		rows = append(rows, next)
	}
	fmt.Fprintf(stdout, "\n%s\n", summary(rows))
	if *table != "" {
		if err := writeTable(*table, rows); err != nil {
			return err
		}
	}
	switch has := func(os ...outcome) bool {
		return slices.ContainsFunc(rows, func(r row) bool { return slices.Contains(os, r.outcome) })
	}; {
	case has(missed, flagged, notBuilt):
		return errMissed
	case has(notJudged):
		return errors.New("the farm could not judge every mutant")
	}
	return nil
}

func writeTable(path string, rows []row) error {
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("write the table: %w", err)
	}
	markdown(f, rows)
	return errors.Join(f.Sync(), f.Close())
}
