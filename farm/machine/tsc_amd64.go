// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// rdtsc reads the time stamp counter after all earlier instructions.
func rdtsc() uint64

// tscWindow is how long the counter is watched: its rate comes out to a few
// parts in a million.
const tscWindow = 20 * time.Millisecond

// TSCKHz is the rate of this processor's time stamp counter in kHz, rounded to
// a MHz, so that it is the same every time. Under TCG the guest's counter is
// this one (cpu_get_host_ticks in QEMU's source). It is 0 when the counter does
// not run steadily. It is measured once.
var TSCKHz = sync.OnceValue(func() int {
	first, second := tscRate(), tscRate()
	if off := first - second; off > second/1000 || -off > second/1000 {
		return 0
	}
	return (second + 500) / 1000 * 1000
})

// tscRate measures the rate in kHz.
func tscRate() int {
	tsc0, ns0 := tscNow()
	time.Sleep(tscWindow)
	tsc1, ns1 := tscNow()
	return int(float64(tsc1-tsc0) / float64(ns1-ns0) * 1e6)
}

// tscNow reads the counter and the host's clock at about the same moment: of
// several readings the one that was the least interrupted.
func tscNow() (tsc uint64, ns int64) {
	best := ^uint64(0)
	for range 20 {
		var clock unix.Timespec
		before := rdtsc()
		if unix.ClockGettime(unix.CLOCK_MONOTONIC_RAW, &clock) != nil {
			continue
		}
		if after := rdtsc(); after-before < best {
			best, tsc, ns = after-before, before+(after-before)/2, clock.Nano()
		}
	}
	return tsc, ns
}
