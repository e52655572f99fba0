// SPDX-License-Identifier: Apache-2.0

// Package witness checks a second time, from outside the guest, what physical
// memory holds: by the host, which knows nothing of processes and tables.
//
// In comes a physical address and what must be there. Without a host nothing
// is checked; that there is one is a fact of the cell, which the host compares
// with its own.
package witness

import (
	"bytes"
	"fmt"

	"noiommu-farm/suites/edu"
	"noiommu-farm/suites/lab"
)

// Sees asserts that guest-physical memory from pa on is want, as the host
// reads it. The bytes that are right are counted as "host.bytes".
func Sees(t *lab.T, pa uint64, want []byte, what string, args ...any) {
	if !t.Facts.Host {
		return
	}
	got := t.Host().ReadPhysical(pa, len(want))
	if lab.Equal(t, edu.FirstDifference(got, want), -1, "%s: first byte that the host sees otherwise, from %#x", fmt.Sprintf(what, args...), pa) {
		t.Tally.Add("host.bytes", uint64(len(want)))
	}
}

// Canaries are the pages before and after a piece of physical memory.
type Canaries struct {
	t             *lab.T
	before, after uint64
	was           [2][]byte
}

// Guard remembers the page before and the page after n bytes at pa, as the
// host sees them. Both must be memory of the test, or of nobody.
func Guard(t *lab.T, pa uint64, n int) *Canaries {
	c := &Canaries{t: t, before: pa - lab.PageSize, after: pa + uint64(n)}
	if t.Facts.Host {
		for i, at := range []uint64{c.before, c.after} {
			c.was[i] = bytes.Clone(t.Host().ReadPhysical(at, lab.PageSize))
		}
	}
	return c
}

// Intact asserts that neither page has changed.
func (c *Canaries) Intact(what string, args ...any) {
	for i, at := range []uint64{c.before, c.after} {
		if c.was[i] != nil {
			Sees(c.t, at, c.was[i], "%s: canary page", fmt.Sprintf(what, args...))
		}
	}
}
