// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"noiommu-farm/farm/machine"
)

// early is how many guests are restored before what they cost is counted for
// the first time: until then the process itself is still growing.
const early = 20

// endurance restores one guest after the other, each of which runs a test, and
// sees that nothing is left of them.
func endurance(ctx context.Context, l *lab) error {
	saved, err := l.save(ctx)
	if err != nil {
		return err
	}
	defer saved.Close()
	var was holdings
	var took []time.Duration
	for n := 1; n <= l.restores; n++ {
		in, err := saved.Standby(ctx, machine.BootOptions{})
		if err != nil {
			return fmt.Errorf("guest %d: %w", n, err)
		}
		began := time.Now()
		if err := l.verdict(ctx, in, n); err != nil {
			return fmt.Errorf("guest %d: %w", n, err)
		}
		took = append(took, time.Since(began))
		if n == min(early, l.restores) {
			was = counted()
		}
	}
	now := counted()
	if now.descriptors > was.descriptors || now.children > was.children || now.kib > was.kib+maxGrowth {
		return fmt.Errorf("after %d guests %+v, and at first %+v", l.restores, now, was)
	}
	l.table.row(fmt.Sprintf("%d guests restored one after the other, the same test in each", l.restores), "the same verdict",
		fmt.Sprintf("no descriptor, process or file more; %d KiB of memory more", max(0, now.kib-was.kib)), "the median guest took "+fmt.Sprintf("%.3f s", median(took).Seconds()))
	return nil
}

// maxGrowth is how much more memory this process may have after all guests, in
// KiB: what its heap has grown by.
const maxGrowth = 16 << 10

// verdict runs the test in a restored guest; it must pass.
func (l *lab) verdict(ctx context.Context, in *machine.Standby, n int) error {
	g, err := l.restore(ctx, in, n)
	if err != nil {
		return err
	}
	defer g.Close()
	_, text, err := g.exited(ctx)
	if err != nil {
		return err
	}
	if !bytes.Contains(text, []byte("\n1..1\n")) || !bytes.Contains(text, []byte("\nok 1 nodes."+sample)) || bytes.Contains(text, []byte("SKIP")) {
		return fmt.Errorf("the test said %q", text)
	}
	return nil
}

// holdings are what this process has.
type holdings struct {
	descriptors, children int
	kib                   int64
}

func counted() holdings {
	runtime.GC()
	var h holdings
	names, _ := os.ReadDir("/proc/self/fd")
	h.descriptors = len(names)
	tasks, _ := filepath.Glob("/proc/self/task/*/children")
	for _, task := range tasks {
		text, _ := os.ReadFile(task)
		h.children += len(strings.Fields(string(text)))
	}
	if text, err := os.ReadFile("/proc/self/status"); err == nil {
		h.kib, _ = field(string(text), "VmRSS:")
	}
	return h
}
