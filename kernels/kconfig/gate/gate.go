// SPDX-License-Identifier: Apache-2.0

// Package gate holds a kernel's Kconfig files to what they promise of VFIO's
// no-IOMMU mode, and says what a series changes in them: the statements KC-01
// to KC-11 of the contract, the support matrix of the kernel's documentation,
// and what differs from the source without the series.
//
// In comes a source tree, and the one before the series; out goes a report
// with the option, the dependencies and the line behind each failure. The
// tree's own conf says what a configuration becomes, in the sandbox, for
// several architectures and every combination of VFIO's options. Nothing is
// compiled but conf, and nothing boots. The package never decides an option's
// value for itself, and never writes in the tree.
package gate

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"noiommu-farm/internal/fault"
	"noiommu-farm/kernels/kconfig"
)

// A Job is one kernel to judge.
type Job struct {
	Tree    string // the source; it is only read
	Version string // of the source
	Work    string // an empty directory
	Jobs    int    // confs at once; 0 is 1
	Archs   []string

	// Of a source with a series: the source without it, and the paths that
	// the series touches.
	Base    string
	Touched []string

	// Kept is a directory in which what was found of the source without a
	// series is kept for the next time; "" is nowhere.
	Kept string
}

// A Report is what was found of a kernel.
type Report struct {
	Statements []Result
	Support    *Support    `json:",omitempty"` // nil when the documentation has no support matrix
	Difference *Difference `json:",omitempty"` // nil without a series
}

// Results are the statements, and what else may fail as if it were one: that
// Kconfig gives what the documentation says, and that a series brings no unmet
// dependency.
func (r Report) Results() []Result {
	all := slices.Clone(r.Statements)
	verdict := func(bad int) Verdict {
		if bad > 0 {
			return Fail
		}
		return Pass
	}
	if s := r.Support; s != nil {
		all = append(all, Result{
			ID: "matrix", Promise: "Kconfig gives what the documentation's support matrix promises.",
			Lines: []string{manual}, Verdict: verdict(len(s.Wrong)), Reason: strings.Join(s.Wrong, "; "), Judged: len(s.Cases) * len(s.Archs),
		})
	}
	if d := r.Difference; d != nil && len(d.Options) > 0 {
		all = append(all, Result{
			ID: "unmet", Promise: "The series brings no unmet direct dependency.",
			Lines: d.Files, Verdict: verdict(len(d.Unmet)), Judged: d.Judged, Findings: d.Unmet,
		})
	}
	return all
}

// Failed says whether something is wrong.
func (r Report) Failed() bool {
	return slices.ContainsFunc(r.Statements, func(s Result) bool { return s.Verdict == Fail }) ||
		r.Support != nil && len(r.Support.Wrong) > 0 ||
		r.Difference != nil && len(r.Difference.Unmet) > 0
}

// Run judges a kernel. Kconfig files that conf refuses are a *fault.Kernel; a
// kernel that has no no-IOMMU mode for the cdev is no error: its results say
// so.
func Run(ctx context.Context, j Job) (Report, error) {
	archs, err := architecturesOf(j.Archs)
	if err != nil {
		return Report{}, err
	}
	has, err := hasFeature(os.DirFS(j.Tree))
	if err != nil {
		return Report{}, err
	}
	change, err := j.change(archs)
	if err != nil {
		return Report{}, err
	}
	if !has && (change == nil || len(change.Options) == 0) {
		return Report{Statements: j.notApplicable(), Difference: change.difference()}, nil
	}
	before := program{tree: j.Base, kept: j.Kept}
	if j.Base == "" {
		before.tree = j.Tree
	}
	if before.conf, err = j.keptConf(ctx, before.tree); err != nil {
		return Report{}, err
	}
	after := before
	if j.Base != "" {
		after = program{tree: j.Tree, conf: before.conf}
	}
	if slices.ContainsFunc(j.Touched, func(name string) bool { return strings.HasPrefix(name, "scripts/") }) {
		after.conf = filepath.Join(j.Work, "conf-after")
		if err := j.buildConf(ctx, j.Tree, after.conf); err != nil {
			return Report{}, err
		}
	}
	return j.judge(ctx, archs, change, after, before)
}

// judge runs the programs for the architectures and collects what is wrong.
func (j Job) judge(ctx context.Context, archs []architecture, change *change, after, before program) (Report, error) {
	var r Report
	has, err := hasFeature(os.DirFS(j.Tree))
	if err != nil {
		return r, err
	}
	if !has {
		r.Statements = j.notApplicable()
	}
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(max(j.Jobs, 1))
	observe := func(p program, when, top string, requests []request) []observation {
		o := make([]observation, len(archs))
		for i, a := range archs {
			group.Go(func() (err error) {
				o[i], err = j.observe(groupCtx, p, when, a, top, requests)
				return err
			})
		}
		return o
	}
	var observed, earlier, later []observation
	switch {
	case change == nil || len(change.Options) == 0:
		observed = observe(after, "after", part, requests())
	case change.whole:
		if has {
			observed = observe(after, "after", part, requests())
		}
		later = observe(after, "after-whole", "", change.requests())
		earlier = observe(before, "before", "", change.requests())
	default:
		observed = observe(after, "after", part, change.requests())
		earlier, later = observe(before, "before", part, change.requests()), observed
	}
	if err := group.Wait(); err != nil {
		return r, err
	}
	if has {
		for _, s := range statements {
			r.Statements = append(r.Statements, s.judge(observed))
		}
		if r.Support, err = support(os.DirFS(j.Tree), observed); err != nil {
			return r, err
		}
	}
	if later != nil {
		change.compare(earlier, later)
	}
	r.Difference = change.difference()
	return r, nil
}

func (j Job) notApplicable() []Result {
	return notApplicable("Linux " + j.Version + " does not have no-IOMMU through the cdev")
}

// A program is a tree's conf, and where what it says is kept; "" is nowhere.
type program struct{ tree, conf, kept string }

// hasFeature says whether the kernel knows the cdev's no-IOMMU mode: by the
// option, or by its user interface, so that a kernel that lost the option is
// judged all the same.
func hasFeature(tree fs.FS) (bool, error) {
	for file, word := range map[string]string{
		iommufd:                        "IOMMUFD_NOIOMMU",
		vfio:                           "IOMMUFD_NOIOMMU",
		"include/uapi/linux/iommufd.h": "IOMMU_IOAS_NOIOMMU_GET_PA",
	} {
		text, err := fs.ReadFile(tree, file)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return false, fmt.Errorf("kconfig: %w", err)
		}
		if bytes.Contains(text, []byte(word)) {
			return true, nil
		}
	}
	return false, nil
}

// An observation is what conf made of every request for an architecture.
type observation struct {
	arch     architecture
	generic  bool // GENERIC_ATOMIC64
	requests []request
	outcomes []outcome // of the requests, in order
	symbols  kconfig.Symbols
}

// observe runs conf of a program on the Kconfig file top. when tells its
// directory from that of another program.
func (j Job) observe(ctx context.Context, p program, when string, a architecture, top string, requests []request) (observation, error) {
	o := observation{arch: a, requests: requests}
	fragments := map[string]string{"alone." + allNo: a.alone(), "alone." + allDefault: a.alone()}
	names := make([]string, len(o.requests))
	for i, r := range o.requests {
		mode := allNo
		if r.defaults {
			mode = allDefault
		}
		names[i] = fmt.Sprintf("%03d.%s", i, mode)
		fragments[names[i]] = a.fragment(r)
	}
	if top == "" {
		text, err := os.ReadFile(filepath.Join(p.tree, "Kconfig"))
		if err != nil {
			return o, &fault.Kernel{Stage: "kconfig", Err: err}
		}
		top = string(text)
	}
	found, err := j.outcomes(ctx, p, filepath.Join(j.Work, when, a.name), a, top, fragments)
	if err != nil {
		return o, err
	}
	o.generic = found["alone."+allNo].Config["GENERIC_ATOMIC64"] == "y"
	// What the architecture is warned of without VFIO is not VFIO's doing.
	old := map[string]bool{}
	for _, mode := range []string{allNo, allDefault} {
		for _, u := range found["alone."+mode].Unmet {
			old[unmetOption(u)] = true
		}
	}
	for _, name := range names {
		out := found[name]
		out.Unmet = slices.DeleteFunc(out.Unmet, func(u string) bool { return old[unmetOption(u)] })
		o.outcomes = append(o.outcomes, out)
	}
	if o.symbols, err = kconfig.ReadPart(os.DirFS(p.tree), top, a.source); err != nil {
		return o, &fault.Kernel{Stage: "kconfig " + a.name, Err: err}
	}
	return o, nil
}

func unmetOption(unmet string) string {
	name, _, _ := strings.Cut(unmet, " ")
	return name
}
