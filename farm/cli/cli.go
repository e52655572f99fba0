// SPDX-License-Identifier: Apache-2.0

// Package cli is the command line: one file a verb. In come arguments; out go
// text and an exit code. A verb checks what the user wrote, hands it to the
// room that does the work, and shows the answer.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"
	"golang.org/x/term"

	"noiommu-farm/internal/fault"
	"noiommu-farm/kernels"
	"noiommu-farm/results/report"
)

type grammar struct {
	Run        runCmd        `cmd:"" help:"Build kernels, boot them with and without an IOMMU, run the suites, and print what was found."`
	Matrix     matrixCmd     `cmd:"" help:"Many cells, from a file of axes: plan them, run them, go on with what was stopped."`
	Cell       cellCmd       `cmd:"" help:"Carry out one cell of a plan: what a job of a cluster runs."`
	Gate       gateCmd       `cmd:"" help:"Judge a series of patches: the base and each patch must build, boot and pass."`
	Bisect     bisectCmd     `cmd:"" help:"Find the patch or the commit from which on a test fails."`
	Repro      reproCmd      `cmd:"" help:"Bring a failure of a run back: the same kernel and machine, and that one test; or a shell or a debugger there."`
	Capsule    capsuleCmd    `cmd:"" help:"Write one file with which a failure happens again elsewhere."`
	Kernel     kernelCmd     `cmd:"" help:"Kernels: list what there is, build configurations and judge how they compile, compare them, clear the cache."`
	Report     reportCmd     `cmd:"" help:"Write static pages of a run, or a mail: what failed, what changed, and all that each cell said."`
	Serve      serveCmd      `cmd:"" help:"Serve the pages of runs to a browser on this machine, up to date while a run goes on."`
	Results    resultsCmd    `cmd:"" help:"What all runs tell: the history of a test, where two runs differ, problems by their fingerprints, exports."`
	Kconfig    kconfigCmd    `cmd:"" help:"Hold a kernel's Kconfig files to what they promise of no-IOMMU, without building."`
	Suites     suitesCmd     `cmd:"" help:"List the statements of the contract, their tests, and what they ask of each kernel on each machine."`
	Console    consoleCmd    `cmd:"" help:"Classify a saved console log: oopses, warnings, sanitizer reports, hangs."`
	Doctor     doctorCmd     `cmd:"" help:"Say what this machine can and cannot do, and the command that mends it."`
	Completion completionCmd `cmd:"" help:"Print a completion script for bash, zsh or fish."`
}

// surroundings is what a verb may touch beside its own flags.
type surroundings struct {
	ctx            context.Context
	args           []string
	stdout, stderr io.Writer
	parser         *kong.Kong
}

// interrupted is the cause of a context that a signal ended.
type interrupted struct{ signal os.Signal }

func (i interrupted) Error() string { return "interrupted (" + i.signal.String() + ")" }

// Run carries out one command line and returns its exit code: 0 all as
// expected, 1 the kernel failed, 2 usage, 3 infrastructure.
func Run(args []string, stdout, stderr io.Writer) int {
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(signals)
	go func() {
		if s, ok := <-signals; ok {
			cancel(interrupted{s})
			// The second one is obeyed at once; guests die with the farm.
			signal.Stop(signals)
		}
	}()

	var g grammar
	done := -1 // the exit code of what kong itself answered, such as --help
	parser, err := kong.New(&g,
		kong.Name("farm"),
		kong.Description("An integration test farm for the no-IOMMU mode of Linux's VFIO and iommufd.\n\n"+
			"Exit codes: 0 all as expected, 1 the kernel under test failed, 2 the command line or an input is bad, 3 the farm itself failed."),
		kong.Writers(stdout, stderr),
		kong.Exit(func(code int) { done = code }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, Summary: false}),
		kong.Vars{"cache": cacheDir(), "runs": runsDir(), "origin": report.Origin, "cpus": fmt.Sprint(runtime.NumCPU())},
	)
	if err != nil {
		return tell(stderr, err)
	}
	parsed, err := parser.Parse(args)
	if done >= 0 {
		return done
	}
	if err != nil {
		complain(stderr, err)
		fmt.Fprintf(stderr, "Try \"farm %s--help\".\n", verbOf(args))
		return fault.ExitUsage
	}
	return tell(stderr, parsed.Run(&surroundings{ctx, args, stdout, stderr, parser}))
}

// exitCode is an error that only says how to exit: all was told already.
type exitCode int

func (e exitCode) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

func tell(stderr io.Writer, err error) int {
	var code exitCode
	if errors.As(err, &code) {
		return int(code)
	}
	if err != nil {
		complain(stderr, err)
	}
	return fault.ExitCode(err)
}

// complain tells an error. Some quote what a compiler printed of a patch, so
// nothing in it may steer the terminal.
func complain(stderr io.Writer, err error) {
	for line := range strings.Lines(fmt.Sprintf("farm: %v\n", err)) {
		fmt.Fprintln(stderr, report.Clean(strings.TrimSuffix(line, "\n")))
	}
}

func verbOf(args []string) string {
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		switch args[0] {
		case "run", "matrix", "cell", "kernel", "gate", "bisect", "repro", "capsule", "kconfig", "report", "serve", "results", "suites", "console", "doctor", "completion":
			return args[0] + " "
		}
	}
	return ""
}

// cacheDir is where builds, sources and images are kept.
func cacheDir() string { return below("XDG_CACHE_HOME", ".cache") }

// runsDir is where run directories are kept.
func runsDir() string { return filepath.Join(below("XDG_STATE_HOME", ".local/state"), "runs") }

// below follows the XDG base directory specification: an environment variable,
// or a place in the home directory.
func below(variable, inHome string) string {
	base := os.Getenv(variable)
	if !filepath.IsAbs(base) {
		home, err := os.UserHomeDir()
		if err != nil {
			home = os.TempDir()
		}
		base = filepath.Join(home, inHome)
	}
	return filepath.Join(base, "noiommu-farm")
}

// isTerminal says whether a person watches w.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd())) && os.Getenv("TERM") != "dumb"
}

// colorful says whether w may be painted (https://no-color.org).
func colorful(w io.Writer) bool { return isTerminal(w) && os.Getenv("NO_COLOR") == "" }

func openCache(dir string, log func(string)) *kernels.Cache {
	return &kernels.Cache{Dir: dir, Jobs: runtime.NumCPU(), Log: log}
}
