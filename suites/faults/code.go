// SPDX-License-Identifier: Apache-2.0

package faults

import (
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
	var last uint64 // the address of the last function that matches
	for _, line := range t.Lines("/proc/kallsyms") {
		// "ffffffff81000000 T name [module]"
		words := strings.Fields(line)
		if len(words) < 3 || words[1] != "t" && words[1] != "T" || !c.has(words[2]) {
			continue
		}
		at := address(t, words[0])
		if from == 0 || at < from {
			from = at
		}
		last = max(last, at)
	}
	if from == 0 {
		t.Fatalf("no function of %q in /proc/kallsyms", []string(c))
	}
	// It ends where the next one begins.
	for _, line := range t.Lines("/proc/kallsyms") {
		words := strings.Fields(line)
		if len(words) < 3 || words[1] != "t" && words[1] != "T" {
			continue
		}
		at := address(t, words[0])
		if at > last && (to == 0 || at < to) {
			to = at
		}
		if name := words[2]; at >= from && at <= last && (strings.HasPrefix(name, "iommufd") || strings.HasPrefix(name, "iopt_")) {
			t.Fatalf("%s is among %q: what is tested would be spared", name, []string(c))
		}
	}
	return from, to
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
