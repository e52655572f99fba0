// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"encoding/json"
	"fmt"

	"noiommu-farm/internal/fault"
	"noiommu-farm/kernels"
	"noiommu-farm/results/report"
)

type kconfigCmd struct {
	Kernel string `help:"Kernel source: debian:7.3, debian:7.2, debian:6.12, tree:DIR, tree:DIR@REF or tarball:FILE." default:"debian:7.3" placeholder:"SOURCE"`
	JSON   bool   `name:"json" help:"Print the statements and findings as JSON."`
	Cache  string `help:"Directory of sources, builds and images." default:"${cache}" placeholder:"DIR"`
}

func (kconfigCmd) Help() string {
	return `Runs the tree's own Kconfig program over every combination of VFIO's options on
four architectures, without compiling or booting anything, and holds the answers
to the statements KC-01 to KC-11. Exit code 1 when one does not hold.

Examples:

  farm kconfig
  farm kconfig --kernel tree:$HOME/linux`
}

func (c *kconfigCmd) Run(s *surroundings) error {
	source, err := kernels.ParseSource(c.Kernel)
	if err != nil {
		return err
	}
	cache := openCache(c.Cache, func(line string) { fmt.Fprintln(s.stderr, report.Clean(line)) })
	all, err := cache.Kconfig(s.ctx, source)
	if err != nil {
		return err
	}
	failed := false
	for _, r := range all {
		failed = failed || r.Verdict == kernels.KconfigFail
	}
	if c.JSON {
		enc := json.NewEncoder(s.stdout)
		enc.SetIndent("", "  ")
		err = enc.Encode(all)
	} else {
		err = c.print(s, all)
	}
	if err != nil {
		return fmt.Errorf("write results: %w", err)
	}
	if failed {
		return exitCode(fault.ExitKernel)
	}
	return nil
}

func (c *kconfigCmd) print(s *surroundings, all []kernels.KconfigResult) error {
	for _, r := range all {
		text := report.Clean(r.Promise)
		if r.Reason != "" {
			text = report.Clean(r.Reason)
		}
		if _, err := fmt.Fprintf(s.stdout, "%-14s %s  %s\n", r.Verdict, r.ID, text); err != nil {
			return err
		}
		for _, f := range r.Findings {
			if _, err := fmt.Fprintf(s.stdout, "    %s\n", report.Clean(f.String())); err != nil {
				return err
			}
		}
	}
	return nil
}
