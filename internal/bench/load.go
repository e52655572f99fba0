// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"noiommu-farm/farm/machine"
	"noiommu-farm/guestagent/wire"
)

// smallMiB is the memory of a guest of which many are counted.
const smallMiB = 256

// memory measures what restored guests cost the host together, while each has
// run a test.
func memory(ctx context.Context, l *lab) error {
	small := *l
	small.machine.MemoryMiB = smallMiB
	saved, err := small.save(ctx)
	if err != nil {
		return err
	}
	defer saved.Close()
	var guests []*guest
	defer func() {
		for _, g := range guests {
			g.Close()
		}
	}()
	for n := range 8 {
		in, err := saved.Standby(ctx, machine.BootOptions{})
		if err != nil {
			return err
		}
		g, err := small.restore(ctx, in, n+1)
		if err != nil {
			return err
		}
		guests = append(guests, g)
		if _, _, err := g.exited(ctx); err != nil {
			return err
		}
		if n := len(guests); n == 1 || n == 4 || n == 8 {
			kib, err := proportional(guests)
			if err != nil {
				return err
			}
			l.table.row(fmt.Sprintf("memory of %d restored guests of %d MiB and what was saved, together", n, smallMiB), fmt.Sprintf("%d MiB", kib>>10+saved.Size()>>20))
		}
	}
	return nil
}

// proportional is the memory of the guests' QEMUs in KiB, what they share
// counted once (Pss of /proc/PID/smaps_rollup).
func proportional(guests []*guest) (kib int64, err error) {
	for _, g := range guests {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", g.PID()))
		if err != nil {
			return 0, err
		}
		n, err := field(string(text), "Pss:")
		if err != nil {
			return 0, err
		}
		kib += n
	}
	return kib, nil
}

// field is the number after a word that begins a line.
func field(text, word string) (int64, error) {
	for line := range strings.Lines(text) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == word {
			return strconv.ParseInt(fields[1], 10, 64)
		}
	}
	return 0, fmt.Errorf("there is no %s", word)
}

// floodMiB is how much a program prints to measure how fast that arrives.
const floodMiB = 200

// throughput measures how fast a program's output arrives, while the agent is
// pinged and the kernel logs something.
func throughput(ctx context.Context, l *lab) error {
	var took, pongs []time.Duration
	for range max(1, l.pairs/5) {
		d, pong, err := l.flood(ctx)
		if err != nil {
			return err
		}
		took, pongs = append(took, d), append(pongs, pong)
	}
	l.table.row(fmt.Sprintf("%d MiB that a program prints", floodMiB), fmt.Sprintf("%.0f MB/s", floodMiB*1.048576/median(took).Seconds()),
		"complete, with every line of the kernel log", fmt.Sprintf("the longest answer to a ping took %.3f s", median(pongs).Seconds()))
	return nil
}

func (l *lab) flood(ctx context.Context) (took, longest time.Duration, err error) {
	g, err := l.boot(ctx, false)
	if err != nil {
		return 0, 0, err
	}
	defer g.Close()
	before := g.console.lines()
	run := &wire.Run{ID: 1, Name: "flood", Argv: []string{floodPath, strconv.Itoa(floodMiB)}, TimeoutMS: 10 * patience.Milliseconds()}
	if _, err := g.ask(ctx, wire.ToGuest{Run: run}); err != nil {
		return 0, 0, err
	}
	began := time.Now()
	for n := uint64(1); ; n++ {
		sent := time.Now()
		if err := g.agent.Send(wire.ToGuest{Ping: &wire.Ping{N: n}}); err != nil {
			return 0, 0, err
		}
		said, err := g.hear(ctx)
		if err != nil {
			return 0, 0, err
		}
		if x := said.Exited; x != nil {
			if x.Code != 0 || x.Stdout != floodMiB<<20 {
				return 0, 0, fmt.Errorf("the program ended with %d after %d bytes", x.Code, x.Stdout)
			}
			break
		}
		if said.Pong == nil || said.Pong.N != n {
			return 0, 0, errors.New("a ping was not answered")
		}
		longest = max(longest, time.Since(sent))
		select {
		case <-time.After(50 * time.Millisecond): // between two pings
		case <-ctx.Done():
			return 0, 0, context.Cause(ctx)
		}
	}
	if _, err := g.output.await(ctx, floodMiB<<20); err != nil {
		return 0, 0, err
	}
	took = time.Since(began)
	if n := g.console.lines() - before; n < 10 {
		return 0, 0, fmt.Errorf("only %d lines of the kernel log arrived meanwhile", n)
	}
	return took, longest, nil
}

// suite measures the core suite in one guest for all, and in one for each test.
func suite(ctx context.Context, l *lab) error {
	// One directory for all runs: the farm begins with what took longest the last
	// time, as it does each night.
	dir, err := os.MkdirTemp("", "bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	var together, apart []time.Duration
	var idle []float64
	for range max(1, l.pairs/5) {
		for _, isolation := range []string{"cell", "test"} {
			began, was := time.Now(), processors()
			if err := l.run(ctx, dir, "--topology", "none", "--core", "--isolation", isolation); err != nil {
				return err
			}
			took := time.Since(began)
			if isolation == "cell" {
				together = append(together, took)
				continue
			}
			apart = append(apart, took)
			idle = append(idle, processors().idleSince(was))
		}
	}
	l.table.row("core suite, no IOMMU, in one guest", median(together), spread(together))
	l.table.row("core suite, no IOMMU, in a pristine guest for each test", median(apart), spread(apart))
	l.table.row("pristine, as a part of one guest", fmt.Sprintf("%.2f", ratio(apart, together)))
	var share float64
	for _, i := range idle {
		share += i / float64(len(idle))
	}
	l.table.row("share of the processors' time that was idle meanwhile", fmt.Sprintf("%.0f %%", 100*share))
	return nil
}

// run runs the farm, which must find all as expected and records it below runs.
func (l *lab) run(ctx context.Context, runs string, args ...string) error {
	cmd := exec.CommandContext(ctx, l.farm, append([]string{"run", "--cache", l.cache, "--out", runs}, args...)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("farm run %q: %w\n%s", args, err, out)
	}
	return nil
}

// usage is the processors' time since boot, in ticks.
type usage struct{ idle, all int64 }

// processors reads /proc/stat; what cannot be read counts as nothing.
func processors() usage {
	var u usage
	text, _ := os.ReadFile("/proc/stat")
	line, _, _ := strings.Cut(string(text), "\n")
	for i, word := range strings.Fields(line) {
		n, err := strconv.ParseInt(word, 10, 64)
		if err != nil || i > 8 { // guest time is in user time already
			continue
		}
		u.all += n
		if i == 4 || i == 5 { // idle, and waiting for a disk
			u.idle += n
		}
	}
	return u
}

func (u usage) idleSince(was usage) float64 {
	return float64(u.idle-was.idle) / float64(max(1, u.all-was.all))
}
