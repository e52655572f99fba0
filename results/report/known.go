// SPDX-License-Identifier: Apache-2.0

package report

import (
	"fmt"
	"path/filepath"
	"strings"

	"noiommu-farm/results"
	"noiommu-farm/results/failure"
	"noiommu-farm/results/known"
	"noiommu-farm/results/verdict"
)

// Excuse groups what is bad in a run into problems, makes what a list of known
// issues names expected, and leaves a copy of the list in the run's folder. The
// run's verdict is that of its cells then, unless it was worse than theirs.
func (r *Run) Excuse(list known.List) error {
	outside := worst(r.Cells) != r.Verdict
	r.Problems = failure.Groups(r.Cells)
	r.Known = known.Apply(list, r.Cells, r.Started)
	if now := worst(r.Cells); outside {
		r.Verdict = verdict.Worst(r.Verdict, now)
	} else {
		r.Verdict = now
	}
	if len(list.Text) == 0 {
		return nil
	}
	if err := results.WriteFile(filepath.Join(r.Dir, known.File), list.Text); err != nil {
		return fmt.Errorf("%w: %w", results.ErrNotRecorded, err)
	}
	return nil
}

func worst(cells []*verdict.Cell) (v verdict.Verdict) {
	for _, c := range cells {
		v = verdict.Worst(v, c.Verdict)
	}
	return v
}

// states are those of a known issue that are told, in this order.
var states = []struct {
	known.State
	heading string
}{
	{known.Matched, "known issues, expected to fail:"},
	{known.Kept, "known issues that excuse nothing here:"},
	{known.Expired, "known issues that have expired:"},
	{known.Stale, "known issues that no longer match, although the test was run:"},
}

// known lists what became of the known issues.
func (s Style) known(b *strings.Builder, all []known.Applied) {
	for _, state := range states {
		told := false
		for _, a := range all {
			if a.State != state.State {
				continue
			}
			if !told {
				fmt.Fprintf(b, "\n%s\n", state.heading)
				told = true
			}
			fmt.Fprintf(b, "  %s %s", a.Fingerprint, Clean(a.Test))
			if len(a.Cells) > 0 {
				fmt.Fprintf(b, " (%s)", Clean(strings.Join(a.Cells, ", ")))
			}
			fmt.Fprintf(b, ", until %s, %s\n      %s\n      %s\n", Clean(a.Expires), Clean(a.Owner), Clean(a.Reason), Clean(a.Link))
			if a.Because != "" {
				fmt.Fprintf(b, "      not excused: %s\n", a.Because)
			}
		}
	}
}
