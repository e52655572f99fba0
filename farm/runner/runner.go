// SPDX-License-Identifier: Apache-2.0

// Package runner carries out a plan: it has the kernels built and the images
// made, keeps the run directory, and says who carries out which cell when. In
// comes a plan; out goes a run directory and the verdicts that were derived from
// it. What a cell is, farm/runner/meaning says; farm/runner/guests leads its
// guests.
//
// It never decides what a result means: that is for results/verdict.
package runner

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"noiommu-farm/farm/machine"
	"noiommu-farm/farm/matrix"
	"noiommu-farm/farm/runner/meaning"
	"noiommu-farm/images"
	"noiommu-farm/internal/fault"
	"noiommu-farm/kernels"
	"noiommu-farm/kernels/series"
	"noiommu-farm/results"
	"noiommu-farm/results/ktap"
	"noiommu-farm/results/verdict"
	"noiommu-farm/suites/contract"
)

// Options say how a plan is carried out.
type Options struct {
	Cache   *kernels.Cache
	Series  map[string]series.Series // what the plan's cells call a series
	Images  string                   // directory for initramfs
	Runs    string                   // directory for run directories
	Jobs    int                      // cells at once; 0 is one for each processor
	Timeout time.Duration            // of each program; 0 is its own
	Keep    bool                     // put all that is needed to boot again into the run directory
	Command []string                 // the farm's own arguments, for the record
	// Isolation is what has a guest of its own; "" is every test, and every
	// suite of a kernel with kmemleak.
	Isolation results.Isolation
	Tell      func(Progress)
	Watch     func(Status) // of a plan that is carried out; nil: nobody does
	MemoryMiB int64        // for guests of a plan; 0 is what is available
}

// Progress is one thing that a user who watches wants to know. Cell is empty
// for what concerns all of them.
type Progress struct {
	Cell string
	// One of the following is set; none, when a cell begins of which no result is
	// foretold.
	Run     *results.Run      // the run has its directory, and begins
	Note    string            // a line of text
	Build   *kernels.Progress // of a kernel
	Program string            // a program has started
	Test    *ktap.Test        // a result line has arrived
	Judged  *verdict.Cell     // the cell is over
	Planned int               // the cell begins, and so many results are foretold

	Over bool // the Program is over
}

// Outcome is a finished run.
type Outcome struct {
	Dir   string
	Run   results.Run
	Cells []*verdict.Cell
}

// Verdict is the worst of the cells'.
func (o *Outcome) Verdict() verdict.Verdict {
	var v verdict.Verdict
	for _, c := range o.Cells {
		v = verdict.Worst(v, c.Verdict)
	}
	return v
}

type run struct {
	Options
	host     host
	patience float64 // a factor; below 1 it is 1
	mu       sync.Mutex
	budget   budget
	agreed   *Plan // what is tested must be of its sources and its programs; nil without a plan
}

// host is what this machine offers to guests.
type host struct {
	qemu    string // path
	version string
	accel   machine.Accel
	noKVM   string // why the accelerator is not kvm
}

// prepared is a cell with all that it needs to boot.
type prepared struct {
	matrix.Cell
	machine machine.Machine // without accelerator, kernel and initramfs
	request kernels.Request
	build   *kernels.Build
	image   images.Image
	config  string // text of the built .config
	booted  func() // called when QEMU runs, unless it is nil
}

// Run carries out a plan. The outcome is there, as far as it got, even with an
// error; the error is about the farm or the user's input, or is the
// [fault.Kernel] of a kernel that could not be built.
func Run(ctx context.Context, plan matrix.Plan, opt Options) (*Outcome, error) {
	r := &run{Options: opt}
	if r.Tell == nil {
		r.Tell = func(Progress) {}
	}
	if r.Jobs <= 0 {
		r.Jobs = runtime.NumCPU()
	}
	cells, err := check(plan)
	if err != nil {
		return nil, err
	}
	if r.host, err = probe(ctx); err != nil {
		return nil, err
	}
	if r.host.noKVM != "" {
		r.Tell(Progress{Note: "running WITHOUT hardware virtualization (TCG, several times slower): " + r.host.noKVM})
	}
	// A kernel may take minutes: first see whether its results have a place.
	if err := os.MkdirAll(r.Runs, 0o755); err != nil {
		return nil, fmt.Errorf("%w: %w", results.ErrNotRecorded, err)
	}
	if err := r.build(ctx, cells); err != nil {
		return nil, err
	}
	return r.carryOut(ctx, cells)
}

// check finds out what the names on the axes mean, before anything is spent.
func check(plan matrix.Plan) ([]*prepared, error) {
	var cells []*prepared
	for _, c := range plan.Cells {
		m, err := meaning.Machine(c)
		if err != nil {
			return nil, err
		}
		p := &prepared{Cell: c, machine: m, request: kernels.Request{Compiler: c.Compiler}}
		if p.request.Source, err = kernels.ParseSource(c.Source); err != nil {
			return nil, err
		}
		if p.request.Config, err = kernels.LoadConfiguration(c.Config); err != nil {
			return nil, err
		}
		for _, u := range c.Selection.Programs {
			if err := meaning.CheckProgram(u, p.machine.Devices); err != nil {
				return nil, err
			}
		}
		cells = append(cells, p)
	}
	return cells, nil
}

// probe finds QEMU and the accelerator that works.
func probe(ctx context.Context) (host, error) {
	var h host
	var err error
	if h.qemu, h.version, err = machine.FindQEMU(); err != nil {
		return h, err
	}
	ok, why, err := machine.ProbeKVM(ctx, h.qemu)
	switch {
	case ctx.Err() != nil:
		return h, context.Cause(ctx)
	case err != nil:
		h.accel, h.noKVM = machine.TCG, "could not tell whether KVM works: "+err.Error()
	case !ok:
		h.accel, h.noKVM = machine.TCG, why
	default:
		h.accel = machine.KVM
	}
	return h, nil
}

// build has every kernel and every image made, one after the other: a kernel
// build uses all processors by itself.
func (r *run) build(ctx context.Context, cells []*prepared) error {
	builds := make(map[matrix.Kernel]*kernels.Build)
	for _, c := range cells {
		b, ok := builds[c.Kernel()]
		if !ok {
			var err error
			if b, err = r.kernel(ctx, c); err != nil {
				return err
			}
			builds[c.Kernel()] = b
		}
		if err := r.equip(ctx, c, b); err != nil {
			return err
		}
	}
	return nil
}

// kernel has the kernel of a cell built.
func (r *run) kernel(ctx context.Context, c *prepared) (*kernels.Build, error) {
	patches, known := r.Series[c.Series]
	if c.Series != "" && !known {
		return nil, fmt.Errorf("cell %s: nobody gave the series %s", c.Name, c.Series)
	}
	c.request.Source = c.request.Source.With(patches)
	b, err := r.Cache.Build(ctx, c.request, func(p kernels.Progress) {
		r.Tell(Progress{Cell: c.Name, Build: &p})
	})
	if r.agreed == nil {
		return b, err
	}
	return r.agreed.kernel(c.Source, b, err, func() (string, error) { return r.Cache.SourceID(ctx, c.request.Source) })
}

// equip gives a cell its kernel, and has its image made.
func (r *run) equip(ctx context.Context, c *prepared, b *kernels.Build) error {
	c.build = b
	text, err := os.ReadFile(b.ConfigPath)
	if err != nil {
		return fmt.Errorf("read the built .config: %w", err)
	}
	c.config = string(text)
	if err := meaning.CheckKselftests(c.Cell, b); err != nil {
		return err
	}
	if c.Privileges == contract.UserNamespace && b.Config["USER_NS"] != "y" {
		return &fault.Usage{Key: "--privileges", Value: string(c.Privileges), Err: errors.New("the kernel was built without CONFIG_USER_NS")}
	}
	spec := meaning.Image(c.Cell, b.Selftests)
	modules, err := meaning.Modules(b.Modules)
	if err != nil {
		return err
	}
	spec.Files = append(spec.Files, modules...)
	// An image is the same for every cell with the same programs; the second
	// time it comes from the cache.
	if c.image, err = images.Build(ctx, spec, r.Images); err != nil {
		return fmt.Errorf("build initramfs: %w", err)
	}
	if r.agreed != nil {
		return r.agreed.suites(c.image.Programs)
	}
	return nil
}

func (r *run) carryOut(ctx context.Context, cells []*prepared) (*Outcome, error) {
	plans := make([]cellPlan, len(cells))
	for i, c := range cells {
		plans[i] = r.plan(c)
	}
	if err := checkTests(plans); err != nil {
		return nil, err
	}

	head := results.Run{Command: r.Command, Versions: r.versions()}
	for _, c := range cells {
		head.Cells = append(head.Cells, c.Name)
	}
	dir, err := results.CreateRun(r.Runs, &head)
	if err != nil {
		return nil, err
	}
	r.Tell(Progress{Run: &head})
	out := &Outcome{Dir: dir, Run: head, Cells: make([]*verdict.Cell, len(cells))}

	var errs []error
	var group errgroup.Group
	group.SetLimit(r.Jobs)
	for i, c := range cells {
		group.Go(func() error {
			if ctx.Err() != nil {
				return nil
			}
			judged, err := r.cell(ctx, dir, c, plans[i])
			r.mu.Lock()
			defer r.mu.Unlock()
			out.Cells[i] = judged
			if err != nil {
				errs = append(errs, fmt.Errorf("cell %s: %w", c.Name, err))
			}
			return nil
		})
	}
	group.Wait()
	out.Cells = slices.DeleteFunc(out.Cells, func(c *verdict.Cell) bool { return c == nil })
	if ctx.Err() != nil {
		errs = append(errs, context.Cause(ctx))
	}
	return out, errors.Join(errs...)
}

// versions are those of what a result depends on beside kernel and image.
func (r *run) versions() map[string]string {
	v := map[string]string{
		"qemu":  r.host.version,
		"accel": string(r.host.accel),
		"go":    runtime.Version(),
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" || s.Key == "vcs.modified" {
				v["farm "+s.Key] = s.Value
			}
		}
	}
	var host unix.Utsname
	if unix.Uname(&host) == nil {
		v["host"] = unix.ByteSliceToString(host.Sysname[:]) + " " + unix.ByteSliceToString(host.Release[:])
	}
	return v
}
