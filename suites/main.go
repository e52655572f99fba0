// SPDX-License-Identifier: Apache-2.0

// Suites proves the statements of the noiommu contract on the running kernel.
// It prints KTAP, with evidence, on standard output and exits 0 when nothing
// failed, 1 when something did, 2 when it could not begin and 4 when every
// test was skipped.
//
// It needs root, a kernel with CONFIG_IKCONFIG_PROC and devices that may be
// overwritten by DMA: run it in a guest.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"noiommu-farm/guestagent/wire"
	"noiommu-farm/suites/cdev"
	"noiommu-farm/suites/coexistence"
	"noiommu-farm/suites/contract"
	"noiommu-farm/suites/dma"
	"noiommu-farm/suites/getpa"
	"noiommu-farm/suites/group"
	"noiommu-farm/suites/interrupts"
	"noiommu-farm/suites/ioas"
	"noiommu-farm/suites/lab"
	"noiommu-farm/suites/lifecycle"
	"noiommu-farm/suites/nodes"
	"noiommu-farm/suites/permission"
	"noiommu-farm/suites/present"
	"noiommu-farm/suites/stress"
	"noiommu-farm/suites/taint"
)

// Exit codes, those of the kernel's selftests where they have one.
const (
	exitPass  = 0
	exitFail  = 1
	exitUsage = 2
	exitSkip  = 4
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// options are what the command line says.
type options struct {
	list   bool
	chosen []contract.Statement
	bdfs   []string
}

// errUsage says that the command line was refused, and why, on stderr.
var errUsage = errors.New("bad usage")

func parse(args []string, stderr io.Writer) (options, error) {
	flags := flag.NewFlagSet("suites", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		fmt.Fprint(stderr, usage)
		flags.PrintDefaults()
	}
	list := flags.Bool("list", false, "list the tests and what they promise, and run none")
	suite := flags.String("suite", "", "run only the tests of these `suites`, comma-separated")
	test := flags.String("test", "", "run only these `tests`, comma-separated, by id (PA-02) or name (get_pa.PA-02)")
	phase := flags.String("phase", "", "run only the tests of a `phase`: unbound, bound or end (default bound; with -test any)")
	if err := flags.Parse(args); err != nil {
		return options{}, errUsage
	}
	chosen, err := choose(*suite, *test, *phase)
	if err != nil {
		fmt.Fprintf(stderr, "suites: %v\n", err)
		return options{}, errUsage
	}
	return options{*list, chosen, flags.Args()}, nil
}

func run(args []string, stdout, stderr io.Writer) int {
	o, err := parse(args, stderr)
	if err != nil {
		return exitUsage
	}
	if o.list {
		for _, s := range o.chosen {
			fmt.Fprintf(stdout, "%-20s %-8s %s\n", s.Name(), phaseNames[s.Phase], s.Promise)
		}
		return exitPass
	}
	bench, err := newBench(o.bdfs, stdout)
	if waiting := os.Getenv(wire.WaitEnv); err == nil && waiting != "" {
		o, err = waitForArgs(waiting, o.bdfs)
	}
	if err != nil {
		fmt.Fprintf(stderr, "suites: %v\n", err)
		return exitUsage
	}
	result := bench.Run(programs(o.chosen))
	switch {
	case result.Failed > 0:
		return exitFail
	case result.Passed == 0:
		return exitSkip
	}
	return exitPass
}

// newBench finds out all that the tests must know.
func newBench(bdfs []string, stdout io.Writer) (*lab.Bench, error) {
	devices, err := lab.FindDevices("/", bdfs)
	if err != nil {
		return nil, err
	}
	facts, err := lab.FindFacts("/", devices)
	if err != nil {
		return nil, err
	}
	bench := &lab.Bench{Facts: facts, Devices: devices, Out: stdout, Kmsg: lab.Kmsg()}
	bench.Ready()
	return bench, nil
}

const usage = `Usage: suites [-list] [-suite NAMES] [-test IDS] [-phase PHASE] [BDF...]

Proves the noiommu contract on the PCI functions BDF...; without any, on those
bound to vfio-pci, and when there are none on every edu and igb. No driver but
vfio-pci may have them. Tests of the phase bound need them bound to it.

  suites -list
  suites -phase unbound 0000:00:10.0    # before anything was bound since boot
  suites -suite get_pa
  suites -test PA-02,PA-04 0000:00:10.0

`

// tests are the tests of every suite.
var tests = slices.Concat(
	nodes.Tests, group.Tests, cdev.Tests, ioas.Tests, getpa.Tests, dma.Tests, interrupts.Tests,
	permission.Tests, coexistence.Tests, lifecycle.Tests, present.Tests, stress.Tests, taint.Tests,
)

var phaseNames = []string{
	contract.Unbound: "unbound",
	contract.Bound:   "bound",
	contract.AtEnd:   "end",
}

// choose picks statements in the order of the contract.
func choose(suite, test, phase string) ([]contract.Statement, error) {
	suites, ids := split(suite), split(test)
	for _, name := range suites {
		if !slices.ContainsFunc(contract.Statements, func(s contract.Statement) bool { return s.Suite == name }) {
			return nil, fmt.Errorf("-suite: there is no suite %q (see -list)", name)
		}
	}
	for i, id := range ids {
		j := slices.IndexFunc(contract.Statements, func(s contract.Statement) bool { return s.ID == id || s.Name() == id })
		if j < 0 {
			return nil, fmt.Errorf("-test: there is no test %q (see -list)", id)
		}
		ids[i] = contract.Statements[j].ID
	}
	anyPhase := phase == "" && len(ids) > 0
	if phase == "" {
		phase = phaseNames[contract.Bound]
	}
	if !slices.Contains(phaseNames, phase) {
		return nil, fmt.Errorf("-phase: there is no phase %q (unbound, bound, end)", phase)
	}
	var chosen []contract.Statement
	for _, s := range contract.Statements {
		if len(suites) > 0 && !slices.Contains(suites, s.Suite) {
			continue
		}
		if len(ids) > 0 && !slices.Contains(ids, s.ID) {
			continue
		}
		if anyPhase || phaseNames[s.Phase] == phase {
			chosen = append(chosen, s)
		}
	}
	if len(chosen) == 0 {
		return nil, fmt.Errorf("no test of suite %q is in phase %s", suite, phase)
	}
	return chosen, nil
}

func split(list string) []string {
	if list == "" {
		return nil
	}
	return strings.Split(list, ",")
}

// programs are the tests that prove the statements.
func programs(statements []contract.Statement) []lab.Test {
	var found []lab.Test
	for _, s := range statements {
		i := slices.IndexFunc(tests, func(t lab.Test) bool { return t.ID == s.ID })
		found = append(found, tests[i])
	}
	return found
}
