// SPDX-License-Identifier: Apache-2.0

// Command scribbler is a test program that overwrites the kernel under it by
// DMA, which without an IOMMU nothing keeps a device from: the page with the
// entries of all exceptions and system calls. The farm's own tests run it in
// real guests.
package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"noiommu-farm/suites/edu"
	"noiommu-farm/suites/lab"
)

// kernelMap is where x86-64 maps the kernel's image, from physical address 0 on
// (__START_KERNEL_map).
const kernelMap = 0xffffffff80000000

// target is the physical address of the page.
func target() (uint64, error) {
	text, err := os.ReadFile("/proc/kallsyms")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) > 2 && fields[2] == "asm_exc_page_fault" {
			va, err := strconv.ParseUint(fields[0], 16, 64)
			return (va - kernelMap) &^ (lab.PageSize - 1), err
		}
	}
	return 0, fmt.Errorf("/proc/kallsyms does not have it")
}

func scribble(t *lab.T) {
	pa, err := target()
	t.Must(err, "find the page")
	c, _ := t.ToAttached(edu.Find(t))
	device := edu.New(c)
	for page := pa; ; page += lab.PageSize {
		device.Store(page, lab.PageSize)
	}
}

func main() {
	devices, err := lab.FindDevices("/", nil)
	if err != nil {
		fmt.Println("Bail out!", err)
		os.Exit(1)
	}
	facts, err := lab.FindFacts("/", devices)
	if err != nil {
		fmt.Println("Bail out!", err)
		os.Exit(1)
	}
	bench := lab.Bench{Facts: facts, Devices: devices, Out: os.Stdout, Kmsg: lab.Kmsg()}
	bench.Run([]lab.Test{{ID: "DM-01", Run: scribble}})
}
