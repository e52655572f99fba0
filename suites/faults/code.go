// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"noiommu-farm/suites/lab"
)

// Code is a stretch of the kernel: from the first to the last function whose
// name has one of these beginnings. None is no code.
type Code []string

// ACPICA is the interpreter of ACPI's bytecode. An interrupt of a PCI device is
// looked up with it whenever the device is enabled or disabled, and it uses
// objects of which the parts could not be allocated.
var ACPICA = Code{
	"acpi_ds_", "acpi_ev_", "acpi_ex_", "acpi_hw_", "acpi_ns_", "acpi_ps_", "acpi_rs_", "acpi_tb_", "acpi_ut_",
}

// Nothing is no code.
var Nothing = Code{}

// find is where the code begins and where it ends; 0 and 0 for none. The test
// ends when the kernel has no such function.
func (c Code) find(t *lab.T) (from, to uint64) {
	if len(c) == 0 {
		return 0, 0
	}
	functions := functions(t)
	var last uint64 // the address of the last function that matches
	for _, f := range functions {
		if c.has(f.name) {
			if from == 0 {
				from = f.at
			}
			last = f.at
		}
	}
	if from == 0 {
		t.Fatalf("no function of %q in /proc/kallsyms", []string(c))
	}
	for _, f := range functions {
		if f.at >= from && f.at <= last && (strings.HasPrefix(f.name, "iommufd") || strings.HasPrefix(f.name, "iopt_")) {
			t.Fatalf("%s is among %q: what is tested would be spared", f.name, []string(c))
		}
		if f.at > last {
			return from, f.at // it ends where the next one begins
		}
	}
	t.Fatalf("nothing behind %q in /proc/kallsyms", []string(c))
	return 0, 0
}

// function is one of the kernel.
type function struct {
	name   string
	at     uint64
	module bool
}

// functions are those of the kernel and its modules, by address, without what
// the kernel needed for its start only.
func functions(t *lab.T) []function {
	var all []function
	var end uint64
	for _, line := range t.Lines("/proc/kallsyms") {
		// "ffffffff81000000 T name", and [module] behind it
		words := strings.Fields(line)
		if len(words) < 3 || words[1] != "t" && words[1] != "T" {
			continue
		}
		f := function{words[2], address(t, words[0]), len(words) > 3}
		if f.name == "_etext" {
			end = f.at
		}
		all = append(all, f)
	}
	if end == 0 {
		t.Fatalf("no _etext in /proc/kallsyms")
	}
	all = slices.DeleteFunc(all, func(f function) bool { return !f.module && f.at > end })
	slices.SortFunc(all, func(a, b function) int { return cmp.Compare(a.at, b.at) })
	return all
}

func (c Code) has(name string) bool {
	for _, beginning := range c {
		if strings.HasPrefix(name, beginning) {
			return true
		}
	}
	return false
}

func address(t *lab.T, text string) uint64 {
	at, err := strconv.ParseUint(text, 16, 64)
	t.Must(err, "parse the address %q", text)
	return at
}
