// SPDX-License-Identifier: Apache-2.0

// Command scribbler is a test program that overwrites the kernel under it by
// DMA, which without an IOMMU nothing keeps a device from: where the kernel
// enters exceptions and system calls, it finds code that resets the machine.
// The farm's own tests run it in real guests.
package main

import (
	"bytes"
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

// reset is code that has the keyboard controller reset the machine, again and
// again. Entries are at multiples of its length.
var reset = []byte{
	0xb0, 0xfe, // movb $0xfe, %al
	0xe6, 0x64, // outb %al, $0x64
	0xeb, 0xfa, // jmp to the first byte
	0x90, 0x90, // nop; nop
}

func scribble(t *lab.T) {
	pa, err := target()
	t.Must(err, "find the page")
	c, s := t.ToAttached(edu.Find(t))
	device := edu.New(c)
	m := t.Pages(1)
	copy(m.Bytes, bytes.Repeat(reset, lab.PageSize/len(reset)))
	s.Map(m, 1<<30)
	device.Fetch(m.PA(0), lab.PageSize)
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
