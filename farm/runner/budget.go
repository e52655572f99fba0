// SPDX-License-Identifier: Apache-2.0

package runner

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sync/semaphore"
)

// budget is what guests may take of this machine, all cells together. A guest
// takes its share for its own life and waits for nothing else meanwhile, so
// nobody can wait for ever. Not counted are the copies of guests that were saved,
// because what goes on from one shares its memory with it and is counted with
// all of its own, nor QEMUs that wait without a guest. The zero value is that of
// the whole machine.
type budget struct {
	once           sync.Once
	err            error // why nothing is known of the machine
	cpus, mib      *semaphore.Weighted
	maxCPU, maxMiB int64
}

const (
	// qemuMiB is what QEMU takes beside the guest's memory, code that it has
	// translated included.
	qemuMiB = 160
	// hostShare of the memory that is available is for guests.
	hostShare = 0.8
	// Tests sleep: edu takes a tenth of a second for a transfer, a bus as long
	// for a reset, and each waits for the kernel's grace periods at its end. With
	// 1.5 guests a processor those of two idled a fifth of the time on the core
	// suite, with 2 a seventh, with 2.5 a twentieth; with 3 it took longer.
	guestsPerCPU = 2.5
)

// measure finds out what the machine has.
func (b *budget) measure() error {
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return fmt.Errorf("read how much memory there is: %w", err)
	}
	mib, err := availableMiB(string(text))
	if err != nil {
		return fmt.Errorf("read how much memory there is: %w", err)
	}
	b.maxCPU, b.maxMiB = max(2, int64(guestsPerCPU*float64(runtime.NumCPU()))), int64(hostShare*float64(mib))
	b.cpus, b.mib = semaphore.NewWeighted(b.maxCPU), semaphore.NewWeighted(b.maxMiB)
	return nil
}

// availableMiB is MemAvailable of /proc/meminfo.
func availableMiB(meminfo string) (int64, error) {
	for line := range strings.Lines(meminfo) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == "MemAvailable:" {
			kib, err := strconv.ParseInt(fields[1], 10, 64)
			return kib >> 10, err
		}
	}
	return 0, errors.New("no MemAvailable in /proc/meminfo")
}

// take waits until a guest may start, and returns what gives its share back.
// One that is larger than the machine gets all of it.
func (b *budget) take(ctx context.Context, cpus, memoryMiB int) (release func(), err error) {
	b.once.Do(func() { b.err = b.measure() })
	if b.err != nil {
		return nil, b.err
	}
	c, m := min(int64(cpus), b.maxCPU), min(int64(memoryMiB)+qemuMiB, b.maxMiB)
	if err := b.cpus.Acquire(ctx, c); err != nil {
		return nil, context.Cause(ctx)
	}
	if err := b.mib.Acquire(ctx, m); err != nil {
		b.cpus.Release(c)
		return nil, context.Cause(ctx)
	}
	return func() {
		b.mib.Release(m)
		b.cpus.Release(c)
	}, nil
}
