// SPDX-License-Identifier: Apache-2.0

// Package prefault has a process's memory be there before it is needed. A guest
// is saved with programs that wait in it; without this each guest that goes on
// from there would take the same page faults again before its first test.
package prefault

import (
	"bytes"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// largest is the largest mapping that is looked at, in bytes. Larger ones the Go
// runtime has for tables of which it uses a few pages (32 MiB for the heap's
// arenas), and a small guest has not that much memory.
const largest = 8 << 20

// Prefault maps all pages of this process's memory that it may write, read or
// execute. What cannot be mapped (a kernel before 5.14, a device's memory) stays
// as it is: it costs time later, nothing else.
func Prefault() {
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return
	}
	for line := range bytes.Lines(maps) {
		var from, to uint64
		var may string
		if n, _ := fmt.Sscanf(string(line), "%x-%x %s", &from, &to, &may); n != 3 || len(may) != 4 || may[0] != 'r' || may[3] != 'p' || to-from > largest {
			continue // nothing to see, or shared with somebody, or mostly empty
		}
		advice := uintptr(unix.MADV_POPULATE_READ)
		if may[1] == 'w' {
			advice = unix.MADV_POPULATE_WRITE
		}
		_, _, _ = unix.Syscall(unix.SYS_MADVISE, uintptr(from), uintptr(to-from), advice)
	}
}
