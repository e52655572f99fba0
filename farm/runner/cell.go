// SPDX-License-Identifier: Apache-2.0

package runner

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"noiommu-farm/farm/machine"
	"noiommu-farm/farm/runner/guests"
	"noiommu-farm/farm/runner/meaning"
	"noiommu-farm/guestagent/wire"
	"noiommu-farm/internal/fault"
	"noiommu-farm/results"
	"noiommu-farm/results/verdict"
	"noiommu-farm/suites/contract"
)

// cellPlan is what a cell will do, before it boots.
type cellPlan struct {
	planned results.Planned
	phases  meaning.Phases
}

// checkTests refuses a plan in which nothing would be tested, and says why not.
func checkTests(plans []cellPlan) error {
	var reasons []string
	because := func(reason string) {
		if !slices.Contains(reasons, reason) {
			reasons = append(reasons, reason)
		}
	}
	for _, p := range plans {
		if len(p.planned.Broken) > 0 {
			return nil
		}
		for _, prog := range p.phases.All() {
			if prog.Tests == nil {
				return nil
			}
			for _, t := range prog.Tests {
				if t.Skip == "" {
					return nil
				}
				because(t.Skip)
			}
		}
		for _, a := range p.planned.Absent {
			because(a.Reason)
		}
	}
	if len(reasons) == 0 {
		reasons = []string{"this kernel has no such selftests"}
	}
	return &fault.Usage{
		Key:   "farm run",
		Value: cellNames(plans),
		Err:   fmt.Errorf("nothing of what was asked for applies to any cell, so nothing would be tested: %s", strings.Join(reasons, "; ")),
	}
}

func cellNames(plans []cellPlan) string {
	names := make([]string, len(plans))
	for i, p := range plans {
		names[i] = p.planned.Cell
	}
	return strings.Join(names, ", ")
}

func (r *run) plan(c *prepared) cellPlan {
	config := contract.ParseConfig(c.config)
	facts := c.Facts(c.build.GetPA, config, meaning.Hardware(c.machine, config))
	ph, absent := meaning.Programs(c.Cell, facts, c.build.Selftests, func(own time.Duration) time.Duration {
		if r.Timeout > 0 {
			own = r.Timeout
		}
		return time.Duration(float64(own) * r.scale(c))
	})
	for _, list := range [][]results.Program{ph.Unbound, ph.Bound, ph.AtEnd} {
		for i := range list {
			if list[i].Host {
				list[i].Env = append(list[i].Env, fmt.Sprintf("%s=%g", wire.PatienceEnv, r.scale(c)), fmt.Sprintf("%s=%t", wire.GetPAEnv, facts.GetPA))
			}
		}
	}
	broken, missing := meaning.Broken(c.Cell, facts, c.build)
	sum := sha256.Sum256([]byte(c.config))
	return cellPlan{
		phases: ph,
		planned: results.Planned{
			Cell: c.Name,
			Kernel: results.Kernel{
				Source:       c.Source,
				SourceID:     c.build.SourceID,
				Series:       c.Series,
				Patches:      c.build.Series,
				Config:       c.Config,
				Release:      c.build.Release,
				Build:        c.build.Key,
				Compiler:     c.build.Compiler,
				ConfigSHA256: hex.EncodeToString(sum[:]),
			},
			Machine: results.Machine{
				Topology:  c.Topology,
				IOMMU:     c.machine.Topology.IOMMU(),
				Devices:   c.Devices,
				PCI:       meaning.UnderTest(c.machine),
				CPUs:      c.CPUs,
				MemoryMiB: c.MemoryMiB,
				Accel:     string(r.host.accel),
				QEMU:      r.host.version,

				Privileges: facts.Privileges,
				Parameters: kernelParameters(c, facts),
			},
			Image:    c.image.SHA256,
			Facts:    facts,
			Programs: ph.All(),
			Absent:   append(absent, missing...),
			Broken:   broken,
			Measured: true,

			Isolation: r.isolation(facts),
		},
	}
}

// isolation is what has a guest of its own. kmemleak takes many seconds to
// look through memory, which it does at the end of every guest.
func (r *run) isolation(facts contract.Facts) results.Isolation {
	switch {
	case r.Isolation != "":
		return r.Isolation
	case facts.Config.DebugKmemleak:
		return results.PerSuite
	}
	return results.PerTest
}

// cell carries out one cell and judges it from what was recorded.
func (r *run) cell(ctx context.Context, runDir string, c *prepared, plan cellPlan) (*verdict.Cell, error) {
	dir := results.CellDir(runDir, c.Name)
	rec, err := results.CreateCell(dir, plan.planned)
	if err != nil {
		return nil, err
	}
	liveErr := r.live(ctx, rec, dir, c, plan)
	if err = rec.Close(); err == nil {
		err = liveErr
	}
	record, readErr := results.ReadCell(dir)
	if readErr != nil {
		return nil, errors.Join(err, readErr)
	}
	judged, judgeErr := verdict.Judge(record)
	if judgeErr != nil {
		return nil, errors.Join(err, judgeErr)
	}
	// A verdict that is left behind says that the record is whole: see finished.
	if err == nil {
		if writeErr := results.WriteJSON(filepath.Join(dir, verdictFile), judged); writeErr != nil {
			err = fmt.Errorf("%w: %w", results.ErrNotRecorded, writeErr)
		}
	}
	r.Tell(Progress{Cell: c.Name, Judged: judged})
	return judged, err
}

// live leads the cell's guests through their lives. The error only says that
// the record is not whole.
func (r *run) live(ctx context.Context, rec *results.CellWriter, dir string, c *prepared, plan cellPlan) error {
	m := c.machine
	m.Accel = r.host.accel
	m.QEMU = r.host.qemu
	m.Kernel = c.build.Vmlinux
	m.Initrd = c.image.Path
	m.Append = plan.planned.Machine.Parameters
	m.TSCKHz = machine.TSCKHz()
	if err := results.WriteFile(filepath.Join(dir, "config"), []byte(c.config)); err != nil {
		return fmt.Errorf("%w: %w", results.ErrNotRecorded, err)
	}
	if r.Keep {
		var err error
		if m.Kernel, err = keep(dir, "vmlinux", m.Kernel); err != nil {
			return err
		}
		if m.Initrd, err = keep(dir, "initramfs.cpio", m.Initrd); err != nil {
			return err
		}
	}
	expected := 0
	for _, p := range plan.planned.Programs {
		expected += len(p.Tests)
	}
	r.Tell(Progress{Cell: c.Name, Planned: expected})
	return guests.Live(ctx, rec, guests.Cell{
		Planned:     plan.planned,
		Phases:      plan.phases,
		Machine:     m,
		Hugepages:   c.Hugepages,
		Hugepages1G: c.Hugepages1G,
		Dir:         dir,
		Scale:       r.scale(c),
		Suites:      meaning.SuitesPath,
		Checked:     countCheckers(c.build.Config) > 0,
		Past:        r.past(c.Name),
		Take:        r.budget.take,
		Tell: func(n guests.News) {
			r.Tell(Progress{Cell: c.Name, Program: n.Program, Test: n.Test, Over: n.Over})
		},
		Booted: c.booted,
	})
}

// keep copies a file into the cell's folder, to be booted from there.
func keep(dir, name, from string) (string, error) {
	text, err := os.ReadFile(from)
	if err != nil {
		return "", fmt.Errorf("keep %s: %w", name, err)
	}
	to := filepath.Join(dir, name)
	if err := results.WriteFile(to, text); err != nil {
		return "", fmt.Errorf("%w: %w", results.ErrNotRecorded, err)
	}
	return to, nil
}

// scale is how much longer than on an idle machine with hardware
// virtualization things may take here.
func (r *run) scale(c *prepared) float64 {
	s := max(1, r.patience)
	if r.host.accel == machine.TCG {
		s *= 2
	}
	// With KASAN, lockdep and kmemleak together the tests of a cell take more than 30
	// times as long as without. Two cells beside each other on two processors used up to
	// 17 minutes for a suite that has 2 minutes on such a machine.
	switch checkers := countCheckers(c.build.Config); {
	case checkers > 1:
		s *= 16
	case checkers == 1:
		s *= 4
	}
	return s
}

// countCheckers counts what makes a kernel slow, and makes it tell more.
func countCheckers(config map[string]string) (n int) {
	for _, o := range []string{"KASAN", "PROVE_LOCKING", "DEBUG_KMEMLEAK"} {
		if config[o] == "y" {
			n++
		}
	}
	return n
}

func kernelParameters(c *prepared, facts contract.Facts) []string {
	// A hung guest is sent an NMI, and says where it was by panicking.
	params := []string{"unknown_nmi_panic"}
	if facts.Config.Noiommu {
		params = append(params, "vfio.enable_unsafe_noiommu_mode=1")
	}
	if facts.SRIOV {
		params = append(params, "vfio_pci.enable_sriov=1")
	}
	if t := c.machine.Topology; t.IOMMU() && !t.InterruptRemapping() {
		// Without it nothing could be bound; IP-06 tests that.
		params = append(params, "iommufd.allow_unsafe_interrupts=1", "vfio_iommu_type1.allow_unsafe_interrupts=1")
	}
	return append(params, c.Append...)
}
