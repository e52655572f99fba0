// SPDX-License-Identifier: Apache-2.0

package verdict

import (
	"fmt"
	"slices"
	"strings"

	"noiommu-farm/guestagent/wire"
	"noiommu-farm/results"
	"noiommu-farm/results/console"
	"noiommu-farm/suites/contract"
)

// How much slab memory a kernel may have in use afterwards beyond that before,
// in KiB: after a whole suite, or all of them, and after a single test in a guest
// of its own. Most of it are caches that were filled; after a test they have been
// seen to hold half a MiB.
const (
	maxSlabGrowth       = 16 << 10
	maxSlabGrowthOfTest = 4 << 10
)

// Single says whether what a guest is there for is so little that hardly any
// cache is filled by it: tests, nil for whole programs, of which none is meant
// as stress.
func Single(tests []string) bool {
	return tests != nil && !slices.ContainsFunc(tests, func(name string) bool {
		_, id, _ := strings.Cut(name, ".")
		s, known := contract.ByID(id)
		return known && s.Nightly
	})
}

// Lost lists what a kernel has not got back when every test program has ended:
// facts are the cell's, before and after what was measured; single is that of
// what the guest was there for.
func Lost(facts contract.Facts, before, after wire.Measured, single bool) []string {
	slab := int64(maxSlabGrowth)
	if single {
		slab = maxSlabGrowthOfTest
	}
	var lost []string
	missing := func(n int64, what string) {
		if n > 0 {
			lost = append(lost, fmt.Sprintf("%d %s", n, what))
		}
	}
	grown := func(counter string) int64 { return after.Counters[counter] - before.Counters[counter] }
	missing(grown(wire.PinsAcquired)-grown(wire.PinsReleased), "pages are still pinned")
	missing(-grown(wire.HugepagesFree)+grown(wire.HugepagesTotal), "hugepages are not free again")
	if facts.IOMMU.Kind == "" {
		// Behind an IOMMU the kernel's own drivers have page tables too.
		missing(grown(wire.IOMMUPages), "pages of IOMMU page tables are not free again")
	}
	// KASAN and kmemleak keep much of what was freed, or books of it.
	if g := grown(wire.Unreclaimable); g > slab && !facts.Config.KASAN && !facts.Config.DebugKmemleak {
		missing(g, "KiB of slab memory are in use beyond those before")
	}
	return lost
}

// judgeLeaks judges what a guest has lost, one that was restored since then.
func judgeLeaks(cell *Cell, planned results.Planned, g *guest) error {
	facts, measured := planned.Facts, g.story.measured
	tell := func(v Verdict, reason string) { cell.tell(v, g.named(planned, reason)) }
	if len(measured) < 2 {
		tell(Infra, "what the kernel has allocated was not measured before and after")
		return nil
	}
	before, last := measured[0], measured[len(measured)-1]
	if facts.Config.DebugKmemleak && !last.Looked {
		tell(Infra, "kmemleak was not asked what was lost")
	}
	for _, name := range []string{wire.PinsAcquired, wire.PinsReleased, wire.Unreclaimable} {
		if _, ok := last.Counters[name]; !ok {
			tell(Infra, "the guest does not count "+name)
		}
	}
	if lost := Lost(facts, before, last, Single(g.assigned.Tests)); len(lost) > 0 {
		tell(Fail, "leak: "+strings.Join(lost, ", ")+" after the last program")
	}
	leaks, err := console.Classify(strings.NewReader(last.Leaks))
	if err != nil {
		return fmt.Errorf("classify kmemleak's report: %w", err)
	}
	if last.Leaks != "" && len(leaks) == 0 {
		tell(Fail, "kmemleak reports what is no object: "+firstLine(last.Leaks))
	}
	cell.Findings = append(cell.Findings, leaks...)
	return nil
}

func firstLine(text string) string {
	text, _, _ = strings.Cut(strings.TrimSpace(text), "\n")
	return text
}
