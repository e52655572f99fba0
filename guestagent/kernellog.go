// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"noiommu-farm/guestagent/wire"
)

// kernelLog writes marked lines between the kernel's own.
type kernelLog struct {
	w io.Writer
}

// openKernelLog opens /dev/kmsg below root and lets everything that matters
// through to the console. Where a kernel has no log, lines go to the console
// directly.
func openKernelLog(root string) *kernelLog {
	// Console: every level up to KERN_INFO, whatever "quiet" said.
	_ = os.WriteFile(filepath.Join(root, "proc/sys/kernel/printk"), []byte("7\n"), 0)
	// Without this the kernel drops lines of user space after ten in five
	// seconds (Documentation/admin-guide/sysctl/kernel.rst, printk_devkmsg),
	// and the windows of programs could not be told apart.
	_ = os.WriteFile(filepath.Join(root, "proc/sys/kernel/printk_devkmsg"), []byte("on\n"), 0)
	f, err := os.OpenFile(filepath.Join(root, "dev/kmsg"), os.O_WRONLY, 0)
	if err != nil {
		return &kernelLog{os.Stderr}
	}
	return &kernelLog{f}
}

// line writes one marked line.
func (l *kernelLog) line(format string, args ...any) { l.write(fmt.Sprintf(format, args...)) }

func (l *kernelLog) start(id uint32, name string) { l.write("start " + decimal(id) + " " + name) }
func (l *kernelLog) end(id uint32)                { l.write("end " + decimal(id)) }
func (l *kernelLog) fatal(err error)              { l.line("fatal: %v", err) }

// write writes one marked line. Level 5 is KERN_NOTICE.
func (l *kernelLog) write(text string) {
	_, _ = io.WriteString(l.w, "<5>"+wire.Marker+" "+strings.ReplaceAll(text, "\n", "; ")+"\n")
}

func decimal(id uint32) string { return strconv.FormatUint(uint64(id), 10) }
