// SPDX-License-Identifier: Apache-2.0

// Command flood prints so many MiB as its argument says, and a line into the
// kernel log for each tenth of them.
package main

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
)

func main() {
	mib, err := strconv.Atoi(os.Args[1])
	if err != nil || mib < 10 {
		os.Exit(2)
	}
	log, err := os.OpenFile("/dev/kmsg", os.O_WRONLY, 0)
	if err != nil {
		os.Exit(2)
	}
	text := bytes.Repeat([]byte("# 0123456789 abcdefghijklmnopqrstuvwxyz 0123456789 ABCDEFGHIJKL\n"), 1<<20/64)
	for n := range mib {
		if n%(mib/10) == 0 {
			fmt.Fprintf(log, "<5>flood %d\n", n)
		}
		if _, err := os.Stdout.Write(text); err != nil {
			os.Exit(1)
		}
	}
}
