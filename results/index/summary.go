// SPDX-License-Identifier: Apache-2.0

package index

import (
	"math"
	"slices"
	"time"

	"noiommu-farm/results/verdict"
)

// Summary is what a history comes to.
type Summary struct {
	// FirstBad is the run from which on the test has been bad, where it is bad
	// now: skips, expected failures and what the farm failed at left aside.
	FirstBad *Result `json:"first_bad,omitempty"`
	// LastGood is the newest pass, if there is one.
	LastGood *Result `json:"last_good,omitempty"`
	Flaky    Rate    `json:"flaky"`
	// Took is the median time of the passes; 0 when it is not known.
	Took time.Duration `json:"took_ns,omitempty"`
}

// Rate is a share with its 95 % confidence interval (Wilson's score interval).
type Rate struct {
	Bad  int     `json:"bad"`
	Of   int     `json:"of"`
	Low  float64 `json:"low"`
	High float64 `json:"high"`
}

// NewRate is the rate of so many of so many. Of none it may be anything.
func NewRate(bad, of int) Rate {
	if of == 0 {
		return Rate{High: 1}
	}
	const z = 1.959964 // of the normal distribution, 97.5 %
	n, p := float64(of), float64(bad)/float64(of)
	middle := (p + z*z/(2*n)) / (1 + z*z/n)
	half := z / (1 + z*z/n) * math.Sqrt(p*(1-p)/n+z*z/(4*n*n))
	r := Rate{Bad: bad, Of: of, Low: middle - half, High: middle + half}
	// There the interval ends exactly, which rounding misses.
	if bad == 0 {
		r.Low = 0
	}
	if bad == of {
		r.High = 1
	}
	return r
}

// summarize reads a history, the oldest result first. A test is flaky on
// kernels on which it passed: a build on which it never did is broken, and
// counts for nothing. Its own failure counts, not that it was not run because
// of another's.
func summarize(results []Result) Summary {
	var s Summary
	var times []time.Duration
	type count struct{ pass, bad int }
	builds := make(map[string]*count)
	for i := range results {
		r := &results[i]
		build := builds[r.Build]
		if build == nil {
			build = &count{}
			builds[r.Build] = build
		}
		switch {
		case r.Verdict == verdict.Pass:
			s.FirstBad, s.LastGood = nil, r
			build.pass++
			if r.Wall > 0 {
				times = append(times, r.Wall)
			}
		case !r.Verdict.Good() && r.Verdict != verdict.Infra:
			if s.FirstBad == nil {
				s.FirstBad = r
			}
			if !r.Follows {
				build.bad++
			}
		}
	}
	var bad, of int
	for _, b := range builds {
		if b.pass > 0 {
			bad, of = bad+b.bad, of+b.pass+b.bad
		}
	}
	s.Flaky = NewRate(bad, of)
	if slices.Sort(times); len(times) > 0 {
		s.Took = times[len(times)/2]
	}
	return s
}
