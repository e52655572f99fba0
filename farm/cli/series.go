// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"

	"noiommu-farm/kernels/series"
	"noiommu-farm/results/report"
)

// loadSeries reads the series of a command line, and says what it took and
// what it left out. Without one it is empty.
func loadSeries(s *surroundings, spec string) (series.Series, error) {
	if spec == "" {
		return series.Series{}, nil
	}
	p, err := series.Load(s.ctx, spec)
	if err != nil {
		return p, err
	}
	fmt.Fprintln(s.stderr, report.Clean("series "+p.String()))
	for i := range p.Patches {
		line := "  " + p.Patches[i].Name()
		if id := p.Patches[i].MessageID; id != "" {
			line += " <" + id + ">"
		}
		fmt.Fprintln(s.stderr, report.Clean(line))
	}
	const enough = 20
	for i, l := range p.Left {
		if i == enough {
			fmt.Fprintf(s.stderr, "  left out: %d more\n", len(p.Left)-enough)
			break
		}
		fmt.Fprintln(s.stderr, report.Clean(fmt.Sprintf("  left out: %.100q: %s", l.What, l.Why)))
	}
	return p, nil
}
