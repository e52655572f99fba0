// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"encoding/json"
	"fmt"
	"strings"

	"noiommu-farm/internal/fault"
	"noiommu-farm/kernels"
	"noiommu-farm/results/report"
)

type kconfigCmd struct {
	Kernel string   `help:"Kernel source: debian:7.3, debian:7.2, debian:6.12, tree:DIR, tree:DIR@REF or tarball:FILE." default:"debian:7.3" placeholder:"SOURCE"`
	Series string   `help:"Patches to put on it, and to compare with it: an mbox (of a thread too), a maildir, a directory of .patch files, a .patch, any of them with @vN for a version, or a range of commits DIR@A..B." placeholder:"SERIES"`
	Arch   []string `help:"Architectures: x86_64, arm64, arm, m68k, riscv32, mips. Default: all of them." placeholder:"NAME"`
	JSON   bool     `name:"json" help:"Print what was found as JSON."`
	Cache  string   `help:"Directory of sources, builds and images." default:"${cache}" placeholder:"DIR"`
}

func (kconfigCmd) Help() string {
	return `Runs the tree's own Kconfig program over every combination of VFIO's options on
six architectures, without compiling or booting anything. It holds the answers
to the statements KC-01 to KC-11 and to the support matrix of the kernel's
documentation. With a series it also asks before the patches, adds the options
that they touch to the combinations, and tells what differs: unmet direct
dependencies that are new, options that appear, vanish or change their value.
Exit code 1 when a statement does not hold, the matrix is not what Kconfig
gives, or a dependency is newly unmet.

Examples:

  farm kconfig
  farm kconfig --kernel tree:$HOME/linux
  farm kconfig --series v5.mbox
  farm kconfig --series 0001-vfio.patch --arch x86_64,m68k`
}

func (c *kconfigCmd) Run(s *surroundings) error {
	source, err := kernels.ParseSource(c.Kernel)
	if err != nil {
		return err
	}
	patches, err := loadSeries(s, c.Series)
	if err != nil {
		return err
	}
	cache := openCache(c.Cache, func(line string) { fmt.Fprintln(s.stderr, report.Clean(line)) })
	found, err := cache.JudgeKconfig(s.ctx, source.With(patches), c.Arch)
	if err != nil {
		return err
	}
	if c.JSON {
		enc := json.NewEncoder(s.stdout)
		enc.SetIndent("", "  ")
		err = enc.Encode(found)
	} else {
		for line := range strings.Lines(text(found)) {
			if _, err = fmt.Fprintln(s.stdout, report.Clean(strings.TrimSuffix(line, "\n"))); err != nil {
				break
			}
		}
	}
	if err != nil {
		return fmt.Errorf("write results: %w", err)
	}
	if found.Failed() {
		return exitCode(fault.ExitKernel)
	}
	return nil
}

// text is a report for people.
func text(r kernels.KconfigReport) string {
	var b strings.Builder
	for _, s := range r.Statements {
		says := s.Promise
		if s.Reason != "" {
			says = s.Reason
		}
		fmt.Fprintf(&b, "%-14s %s  %s\n", s.Verdict, s.ID, says)
		for _, f := range s.Findings {
			fmt.Fprintf(&b, "    %s\n", f)
		}
	}
	if s := r.Support; s != nil {
		b.WriteString("\nVFIO_NOIOMMU by the documentation, and as Kconfig gives it\n")
		fmt.Fprintf(&b, "%4s  %-5s  %-9s  %-4s  %-10s", "case", "GROUP", "container", "CDEV", "documented")
		for _, a := range s.Archs {
			name := a.Name
			if a.Generic {
				name += "*"
			}
			fmt.Fprintf(&b, "  %-9s", name)
		}
		b.WriteByte('\n')
		for _, row := range s.Cases {
			documented := row.Documented
			if row.Footnote {
				documented += " [#cdev]"
			}
			fmt.Fprintf(&b, "%4s  %-5s  %-9s  %-4s  %-10s", row.Case, row.Group, row.Container, row.Cdev, documented)
			for _, given := range row.Given {
				fmt.Fprintf(&b, "  %-9s", given)
			}
			b.WriteByte('\n')
		}
		b.WriteString("* GENERIC_ATOMIC64=y. group: yes, without a cdev. none such: no configuration comes out so.\n")
		for _, w := range s.Wrong {
			fmt.Fprintf(&b, "WRONG: %s\n", w)
		}
	}
	if d := r.Difference; d != nil {
		b.WriteByte('\n')
		switch {
		case len(d.Files) == 0:
			b.WriteString("The series touches no Kconfig file.\n")
		case len(d.Options) == 0:
			fmt.Fprintf(&b, "The series touches %s, but no option's definition.\n", strings.Join(d.Files, ", "))
		default:
			difference(&b, d)
		}
	}
	return b.String()
}

func difference(b *strings.Builder, d *kernels.KconfigDifference) {
	fmt.Fprintf(b, "The series touches %s in %s.\n", strings.Join(d.Options, ", "), strings.Join(d.Files, ", "))
	how := "all combinations"
	if !d.All {
		how = "not all combinations"
	}
	fmt.Fprintf(b, "Compared: %d configurations, %s of VFIO's options", d.Judged, how)
	if len(d.Varied) > 0 {
		fmt.Fprintf(b, " and %s", strings.Join(d.Varied, ", "))
	}
	b.WriteString(".\n")
	for _, f := range d.Unmet {
		fmt.Fprintf(b, "NEW UNMET DEPENDENCY: %s\n", f)
	}
	for _, list := range []struct {
		name    string
		options []string
	}{{"No longer unmet", d.Mended}, {"New options", d.Appeared}, {"Options that are gone", d.Vanished}} {
		if len(list.options) > 0 {
			fmt.Fprintf(b, "%s: %s\n", list.name, strings.Join(list.options, ", "))
		}
	}
	const enough = 30
	for i, f := range d.Flips {
		if i == enough {
			fmt.Fprintf(b, "... and %d more\n", len(d.Flips)-enough)
			break
		}
		fmt.Fprintf(b, "%s\n", f)
	}
}
