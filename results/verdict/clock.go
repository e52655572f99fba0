// SPDX-License-Identifier: Apache-2.0

package verdict

import (
	"fmt"
	"time"
)

// A guest's clock may be this many times faster than the host's, and its
// programs must have run for so long that the measurement says something.
const (
	maxClockRate = 2
	minClockTime = 3 * time.Second
)

// clockRate is how many times faster than the host's clock the guest's ran
// while its programs did: 1 when nothing can be said. A kernel that measures
// its processor's clock wrongly while the host is busy makes every time limit
// in the guest too short, and that says nothing about it.
func (s story) clockRate() float64 {
	rate := 1.0
	for id, exit := range s.exited {
		began, ended := s.running[id], s.exitedAt[id]
		guest := time.Duration(exit.WallMS) * time.Millisecond
		// The host's time has the guest's in it, and never less.
		if host := max(ended.Sub(began), time.Millisecond); !began.IsZero() && guest > minClockTime {
			rate = max(rate, float64(guest)/float64(host))
		}
	}
	return rate
}

// excuse makes what a clock that is too fast may have caused the farm's: a time
// limit, a wrong answer. What the kernel complained of stays.
func (p *Program) excuse(rate float64) {
	if rate <= maxClockRate {
		return
	}
	why := fmt.Sprintf("the guest's clock ran %.0f times too fast: ", rate)
	was := p.Verdict
	p.Verdict = ""
	for i := range p.Tests {
		t := &p.Tests[i]
		if (t.Verdict == Timeout || t.Verdict == Fail) && len(t.Findings) == 0 {
			t.Verdict, t.Reason = Infra, why+t.Reason
		}
		p.Verdict = Worst(p.Verdict, t.Verdict)
	}
	if (was == Timeout || was == Fail) && len(p.Findings) == 0 {
		was = Infra
		if p.Reason != "" {
			p.Reason = why + p.Reason
		}
	}
	p.Verdict = Worst(p.Verdict, was)
	if (p.Own == Timeout || p.Own == Fail) && len(p.Findings) == 0 {
		p.Own = Infra
	}
	if p.Verdict == "" {
		p.Verdict = Skip
	}
}
