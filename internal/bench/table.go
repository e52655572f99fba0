// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"
)

// table is what was measured.
type table struct {
	head string
	rows [][3]string // what, figure, remark
}

func newTable(l *lab) *table {
	cpu := runtime.GOARCH
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(text)) {
			if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
				cpu = strings.TrimSpace(value)
				break
			}
		}
	}
	return &table{head: fmt.Sprintf("%s: %d processors (%s), QEMU with %s, Linux %s, %d MiB and %d processor a guest; medians of %d.",
		time.Now().UTC().Format("2 January 2006"), runtime.NumCPU(), cpu, strings.ToUpper(string(l.machine.Accel)), l.build.Release,
		l.machine.MemoryMiB, l.machine.CPUs, l.pairs)}
}

// row adds a line. A duration is shown in seconds.
func (t *table) row(what string, figure any, remark ...string) {
	text := fmt.Sprint(figure)
	if d, ok := figure.(time.Duration); ok {
		text = fmt.Sprintf("%.3f s", d.Seconds())
	}
	t.rows = append(t.rows, [3]string{what, text, strings.Join(remark, "; ")})
}

func (t *table) write(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\n| what | figure | |\n|---|---|---|\n", t.head)
	for _, r := range t.rows {
		fmt.Fprintf(&b, "| %s | %s | %s |\n", r[0], r[1], r[2])
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func median(all []time.Duration) time.Duration {
	sorted := slices.Sorted(slices.Values(all))
	n := len(sorted)
	if n == 0 {
		return 0
	}
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// ratio is the median of what a took of what b took in the same pair.
func ratio(a, b []time.Duration) float64 {
	var all []float64
	for i := range min(len(a), len(b)) {
		all = append(all, float64(a[i])/float64(b[i]))
	}
	slices.Sort(all)
	n := len(all)
	if n == 0 {
		return 0
	}
	return (all[(n-1)/2] + all[n/2]) / 2
}

// spread is the range in which most are: without a tenth at either end.
func spread(all []time.Duration) string {
	sorted := slices.Sorted(slices.Values(all))
	n := len(sorted)
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("%.3f to %.3f s", sorted[n/10].Seconds(), sorted[n-1-n/10].Seconds())
}
