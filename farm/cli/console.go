// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"os"

	"noiommu-farm/internal/fault"
	"noiommu-farm/results/console"
	"noiommu-farm/results/report"
)

type consoleCmd struct {
	File  string `arg:"" help:"Console log, of any architecture and age; - is standard input."`
	JSON  bool   `name:"json" help:"Print the findings as JSON."`
	Lines bool   `short:"l" help:"Print the lines of each finding too."`
}

func (consoleCmd) Help() string {
	return `Prints one line a finding: its lines in the file, its class, and a title as a
maintainer would write it. Exit code 1 when there is one, 0 when there is none.

Examples:

  farm console serial.log
  ssh board dmesg | farm console --json -`
}

func (c *consoleCmd) Run(s *surroundings) error {
	in := io.Reader(os.Stdin)
	if c.File != "-" {
		f, err := os.Open(c.File)
		if err != nil {
			return &fault.Usage{Key: "FILE", Value: c.File, Err: err}
		}
		defer f.Close()
		if info, err := f.Stat(); err == nil && info.IsDir() {
			return &fault.Usage{Key: "FILE", Value: c.File, Err: fmt.Errorf("is a directory")}
		}
		in = f
	}
	findings, err := console.Classify(in)
	if err != nil {
		return fmt.Errorf("classify %s: %w", c.File, err)
	}
	if c.JSON {
		if findings == nil {
			findings = []console.Finding{}
		}
		enc := json.NewEncoder(s.stdout)
		enc.SetIndent("", "  ")
		if err := enc.Encode(findings); err != nil {
			return fmt.Errorf("write findings: %w", err)
		}
	} else {
		for _, f := range findings {
			if _, err := fmt.Fprintf(s.stdout, "%d-%d\t%s\t%s\n", f.First, f.Last, f.Class, report.Clean(f.Title)); err != nil {
				return fmt.Errorf("write findings: %w", err)
			}
			for _, l := range f.Lines {
				if c.Lines {
					fmt.Fprintf(s.stdout, "\t%s\n", report.Clean(l))
				}
			}
		}
	}
	if len(findings) == console.MaxFindings {
		fmt.Fprintf(s.stderr, "farm: only the first %d findings are told\n", len(findings))
	}
	if len(findings) > 0 {
		return exitCode(fault.ExitKernel)
	}
	return nil
}
