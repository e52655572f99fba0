// SPDX-License-Identifier: Apache-2.0

package gate

import "math"

// sure is the confidence, 0 to 1, that failures are more frequent with the
// patch than before it: one minus the one-sided p-value of Fisher's exact test
// on the four counts.
func sure(with, before Rate) float64 {
	failed := with.Failed + before.Failed
	tried := with.Tried + before.Tried
	if with.Tried == 0 || before.Tried == 0 {
		return 0
	}
	// The probability that at least as many of the failures fall on the
	// patch's tries by chance.
	p := 0.0
	for k := with.Failed; k <= min(failed, with.Tried); k++ {
		if failed-k > before.Tried {
			continue
		}
		p += math.Exp(choose(with.Tried, k) + choose(before.Tried, failed-k) - choose(tried, failed))
	}
	return max(0, 1-p)
}

// choose is the logarithm of the binomial coefficient.
func choose(n, k int) float64 {
	lg := func(x int) float64 { v, _ := math.Lgamma(float64(x + 1)); return v }
	return lg(n) - lg(k) - lg(n-k)
}
