// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strings"

	"noiommu-farm/guestagent/wire"
	"noiommu-farm/suites/contract"
	"noiommu-farm/suites/uapi"
)

// Test proves one statement.
type Test struct {
	ID  string // the statement's
	Run func(*T)
}

// Bench is what tests run on.
type Bench struct {
	Facts   contract.Facts
	Devices []*Device
	Out     io.Writer // KTAP; every line is written at once
	Kmsg    io.Writer // the kernel log

	facts []byte // as they are printed
}

// Ready does all that can be done before it is known which tests are run.
func (b *Bench) Ready() {
	facts, err := json.Marshal(b.Facts)
	if err != nil {
		panic(fmt.Sprintf("lab: facts: %v", err)) // they are plain values
	}
	b.facts = facts
}

// Result counts how tests ended.
type Result struct{ Passed, Failed, Skipped int }

// Run runs the tests in order and prints KTAP: the plan first, and for every
// test its failures, its evidence and its result.
func (b *Bench) Run(tests []Test) Result {
	fmt.Fprintf(b.Out, "KTAP version 1\n")
	if b.facts == nil {
		b.Ready()
	}
	fmt.Fprintf(b.Out, "%s%s\n", contract.FactsLine, b.facts)
	fmt.Fprintf(b.Out, "1..%d\n", len(tests))
	var result Result
	for i, test := range tests {
		statement, known := contract.ByID(test.ID)
		if !known {
			panic("lab: no statement " + test.ID)
		}
		name := statement.Name()
		if unmet := statement.Unmet(b.Facts); len(unmet) > 0 {
			result.Skipped++
			fmt.Fprintf(b.Out, "ok %d %s # SKIP %s\n", i+1, name, contract.SkipReason(unmet))
			continue
		}
		fmt.Fprintf(b.Kmsg, "%s test %s\n", wire.Marker, name)
		word := "ok"
		if b.run(statement, test) {
			result.Passed++
		} else {
			result.Failed++
			word = "not ok"
		}
		fmt.Fprintf(b.Kmsg, "%s done %s\n", wire.Marker, name)
		fmt.Fprintf(b.Out, "%s %d %s\n", word, i+1, name)
	}
	fmt.Fprintf(b.Out, "# Totals: pass:%d fail:%d xfail:0 xpass:0 skip:%d error:0\n", result.Passed, result.Failed, result.Skipped)
	return result
}

// run runs one test to the end of its cleanup and says whether it passed.
func (b *Bench) run(statement contract.Statement, test Test) bool {
	t := &T{Statement: statement, Facts: b.Facts, Tally: &uapi.Tally{}, out: b.Out, all: b.Devices}
	for _, d := range b.Devices {
		if contract.Sees(statement.Requires, d.BehindIOMMU) {
			t.Devices = append(t.Devices, d)
		}
	}
	t.restoreDrivers()
	t.guarded(test.Run)
	for len(t.cleanups) > 0 {
		last := t.cleanups[len(t.cleanups)-1]
		t.cleanups = t.cleanups[:len(t.cleanups)-1]
		t.guarded(func(*T) { last() })
	}
	if t.asserts == 0 && t.failures == 0 {
		fmt.Fprintf(b.Out, "# %s: the test asserted nothing\n", statement.ID)
		t.failures++
	}
	if t.failures > 0 {
		fmt.Fprintf(b.Out, "# %s promises: %s\n", statement.ID, statement.Promise)
	}
	evidence := strings.TrimSpace(fmt.Sprintf("%s asserts=%d", t.Tally, t.asserts))
	fmt.Fprintf(b.Out, "# evidence %s: %s\n", statement.Name(), evidence)
	return t.failures == 0
}

// guarded runs f; a panic in it is a failure of the test and not of the program.
func (t *T) guarded(f func(*T)) {
	defer func() {
		switch reason := recover().(type) {
		case nil, stop:
		default:
			t.failures++
			fmt.Fprintf(t.out, "# %s: panic: %s\n", t.Statement.ID, oneLine(fmt.Sprint(reason)))
			for line := range strings.Lines(string(debug.Stack())) {
				fmt.Fprintf(t.out, "#   %s\n", strings.TrimRight(line, "\n"))
			}
		}
	}()
	f(t)
}

// Kmsg opens the kernel log for the markers; without permission there are none.
func Kmsg() io.Writer {
	f, err := os.OpenFile("/dev/kmsg", os.O_WRONLY, 0)
	if err != nil {
		return io.Discard
	}
	return f
}
