// SPDX-License-Identifier: Apache-2.0

package wire

import "slices"

// Measure asks for the counters by which leaks are seen. The answer is
// Measured or Error.
type Measure struct {
	Forget bool `json:"forget,omitempty"` // what kmemleak has found until now is forgotten
	Find   bool `json:"find,omitempty"`   // kmemleak looks for what was lost since
}

// Measured answers Measure.
type Measured struct {
	Counters map[string]int64 `json:"counters"`         // those of [Counters] that the kernel has
	Looked   bool             `json:"looked,omitempty"` // kmemleak has looked for what was lost
	Leaks    string           `json:"leaks,omitempty"`  // what it reports
}

// Counters by which leaks are seen: the fields of /proc/vmstat and
// /proc/meminfo, the latter in KiB or in pages of 2 MiB.
const (
	PinsAcquired   = "vmstat.nr_foll_pin_acquired" // pages pinned for devices since boot
	PinsReleased   = "vmstat.nr_foll_pin_released"
	IOMMUPages     = "vmstat.nr_iommu_pages" // page tables of IOMMUs
	HugepagesTotal = "meminfo.HugePages_Total"
	HugepagesFree  = "meminfo.HugePages_Free"
	Unreclaimable  = "meminfo.SUnreclaim" // slab memory in use
)

// Counts says whether a counter is one of those.
func Counts(name string) bool {
	return slices.Contains([]string{PinsAcquired, PinsReleased, IOMMUPages, HugepagesTotal, HugepagesFree, Unreclaimable}, name)
}
