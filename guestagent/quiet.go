// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"time"
)

const (
	// rcuBarrier makes whoever writes 1 to it wait until all RCU callbacks
	// have run that are queued (kernel/rcu/tree.c, rcutree.do_rcu_barrier; not
	// more often than 16 times a second).
	rcuBarrier = "sys/module/rcutree/parameters/do_rcu_barrier"
	loadavg    = "proc/loadavg"
)

const (
	// gracePeriods is time for a few, where the kernel has no such parameter.
	gracePeriods = 60 * time.Millisecond
	// tick is that of a kernel with CONFIG_HZ=250; for so many of them others
	// may be ready to run. Of the agent's own threads one may be.
	tick  = 4 * time.Millisecond
	ticks = 3
)

// quiet waits until the kernel has done what it put off: work items, RCU
// callbacks, and the work items that these queued. What it has to complain of
// in them it has then said. It returns in a few ticks, and does not return when
// a grace period does not end: then the kernel hangs.
//
// It does not wait for what has a time of its own (timers, delayed work items,
// kfree_rcu, which collects for up to five seconds), nor for work items that
// sleep, SRCU, and the second of two callbacks that follow each other.
func (g guest) quiet() {
	g.worked()
	if writeText(g.path(rcuBarrier), "1") != nil {
		time.Sleep(gracePeriods)
	}
	g.worked()
	// Work items that are bound to no processor have queues of their own.
	for range ticks {
		if !g.busy() {
			return
		}
		time.Sleep(tick)
	}
}

// worked waits until the work items of each processor's queue have run: the
// refresh puts one of its own behind them and waits for it. What it fails at,
// the measurement will.
func (g guest) worked() { _ = writeText(g.path(statRefresh), "1") }

// busy says whether anything is ready to run beside who asks: the fourth field
// of /proc/loadavg is "1/57" when nothing is (proc_loadavg(5)).
func (g guest) busy() bool {
	text, err := readText(g.path(loadavg))
	if err != nil {
		return false
	}
	fields := strings.Fields(text)
	return len(fields) > 3 && !strings.HasPrefix(fields[3], "1/")
}
