// SPDX-License-Identifier: Apache-2.0

package runner

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"noiommu-farm/farm/machine"
	"noiommu-farm/farm/matrix"
	"noiommu-farm/farm/runner/meaning"
	"noiommu-farm/guestagent/wire"
	"noiommu-farm/images"
	"noiommu-farm/internal/fault"
	"noiommu-farm/kernels"
	"noiommu-farm/results"
)

// A Repeat is a cell that is carried out again, as its record says.
type Repeat struct {
	// Planned is what was recorded, with only those programs that are to run.
	// Its Cell names the folder.
	Planned results.Planned

	Kernel string            // path of the vmlinux
	Initrd string            // path of the initramfs
	Config string            // text of the built .config
	Set    map[string]string // its options

	More []string // further arguments of QEMU
	// Patience is how many times longer than usual the guest may be silent:
	// somebody may have stopped it. Below 1 it is 1.
	Patience float64
	Booted   func() // called when QEMU runs, unless it is nil
}

// Again carries out cells from their records, one after the other, on the
// accelerator that each was recorded with, or on TCG where that does not work
// here. Nothing is built, and nothing is asked of the kernel that was not asked
// of it then.
func Again(ctx context.Context, cells []Repeat, opt Options) (*Outcome, error) {
	r := &run{Options: opt}
	if r.Tell == nil {
		r.Tell = func(Progress) {}
	}
	all := make([]*prepared, len(cells))
	head := results.Run{Command: r.Command}
	for i, c := range cells {
		var err error
		if all[i], err = c.prepare(); err != nil {
			return nil, err
		}
		head.Cells = append(head.Cells, c.Planned.Cell)
	}
	if err := r.sameHost(ctx, cells); err != nil {
		return nil, err
	}
	head.Versions = r.versions()
	dir, err := results.CreateRun(r.Runs, &head)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", results.ErrNotRecorded, err)
	}
	out := &Outcome{Dir: dir, Run: head}
	var errs []error
	for i, c := range cells {
		if ctx.Err() != nil {
			errs = append(errs, context.Cause(ctx))
			break
		}
		r.patience = c.Patience
		if len(c.More) > 0 {
			c.Planned.Isolation = results.PerCell // somebody looks at one guest
		}
		c.Planned.Machine.Accel, c.Planned.Machine.QEMU = string(r.host.accel), r.host.version
		judged, err := r.cell(ctx, dir, all[i], cellPlan{planned: c.Planned, phases: inPhases(c.Planned.Programs)})
		if err != nil {
			errs = append(errs, fmt.Errorf("cell %s: %w", c.Planned.Cell, err))
		}
		if judged != nil {
			out.Cells = append(out.Cells, judged)
		}
	}
	return out, errors.Join(errs...)
}

// prepare makes of a record what a cell needs to boot. A record that no farm
// can have written is a *fault.Usage: it may have come from anywhere.
func (c Repeat) prepare() (*prepared, error) {
	p, m := c.Planned, c.Planned.Machine
	cell := &prepared{
		Cell: matrix.Cell{
			Name: p.Cell, Source: p.Kernel.Source, Config: p.Kernel.Config, Topology: m.Topology,
			Guest: matrix.Guest{
				Devices: m.Devices, CPUs: m.CPUs, MemoryMiB: m.MemoryMiB,
				Hugepages: p.Facts.Hugepages, Hugepages1G: p.Facts.Hugepages1G,
			},
		},
		machine: machine.Machine{
			CPUs: m.CPUs, MemoryMiB: m.MemoryMiB, Hugepages1G: p.Facts.Hugepages1G, Accel: machine.TCG,
			Append:      m.Parameters,
			ControlPort: wire.ControlPort, OutputPort: wire.OutputPort,
			More: c.More,
		},
		build:  &kernels.Build{Key: p.Kernel.Build, Vmlinux: c.Kernel, Config: c.Set},
		image:  images.Image{Path: c.Initrd, SHA256: p.Image},
		config: c.Config,
		booted: c.Booted,
	}
	var err error
	if cell.machine.Topology, err = machine.ParseTopology(m.Topology); err != nil {
		return nil, err
	}
	for _, name := range m.Devices {
		d, err := machine.ParseDevice(name)
		if err != nil {
			return nil, err
		}
		cell.machine.Devices = append(cell.machine.Devices, d)
	}
	if err := cell.machine.Validate(); err != nil {
		return nil, err
	}
	if sum := sha256.Sum256([]byte(c.Config)); hex.EncodeToString(sum[:]) != p.Kernel.ConfigSHA256 {
		return nil, &fault.Usage{Key: "cell", Value: p.Cell, Err: errors.New("its .config is not the one that it was planned with")}
	}
	return cell, nil
}

// sameHost finds QEMU, and the accelerator that the cells were recorded with.
func (r *run) sameHost(ctx context.Context, cells []Repeat) error {
	var err error
	for _, c := range cells {
		if c.Planned.Machine.Accel == string(machine.KVM) {
			r.host, err = probe(ctx)
			return err
		}
	}
	r.host.accel = machine.TCG
	r.host.qemu, r.host.version, err = machine.FindQEMU()
	return err
}

// inPhases finds out when each program of a record runs.
func inPhases(programs []results.Program) meaning.Phases {
	var ph meaning.Phases
	for _, p := range programs {
		switch {
		case strings.HasSuffix(p.Name, "@boot"):
			ph.Unbound = append(ph.Unbound, p)
		case strings.HasSuffix(p.Name, "@end"):
			ph.AtEnd = append(ph.AtEnd, p)
		default:
			ph.Bound = append(ph.Bound, p)
		}
	}
	return ph
}

// QEMUVersion is the version of this machine's QEMU, and whether hardware
// virtualization works here.
func QEMUVersion(ctx context.Context) (version string, accel string, err error) {
	h, err := probe(ctx)
	return h.version, string(h.accel), err
}

// QEMU is the version of this machine's QEMU.
func QEMU() (string, error) {
	_, version, err := machine.FindQEMU()
	return version, err
}

// Suites is the image of a cell in which nothing runs but the farm's own
// suites.
func Suites() images.Spec { return meaning.Image(matrix.Cell{}, nil) }
