// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"os"
	"strconv"
	"sync"
	"time"

	"noiommu-farm/guestagent/wire"
)

// Patience is a time limit on this machine: limit is that on an idle machine
// with hardware virtualization and a kernel without checkers.
func Patience(limit time.Duration) time.Duration {
	return time.Duration(float64(limit) * slowness())
}

// maxPatience bounds the factor, so that no limit overflows.
const maxPatience = 1000

var slowness = sync.OnceValue(func() float64 { return patienceOf(os.Getenv(wire.PatienceEnv)) })

func patienceOf(text string) float64 {
	factor, err := strconv.ParseFloat(text, 64)
	if err != nil || !(factor >= 1) {
		return 1
	}
	return min(factor, maxPatience)
}
