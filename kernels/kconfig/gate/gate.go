// SPDX-License-Identifier: Apache-2.0

// Package gate holds a kernel's Kconfig files to what they promise of VFIO's
// no-IOMMU mode: the statements KC-01 to KC-11 of the contract.
//
// In comes a source tree; out goes a result for every statement, with the
// option, the dependencies and the line behind each failure. The tree's own
// conf says what a configuration becomes, in the sandbox, for several
// architectures and every combination of VFIO's options. Nothing is compiled
// but conf, and nothing boots. The package never decides an option's value
// for itself, and never writes in the tree.
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
}

// Run judges a kernel. Kconfig files that conf refuses are a *fault.Kernel; a
// kernel that has no no-IOMMU mode for the cdev is no error: its results say
// so.
func Run(ctx context.Context, j Job) ([]Result, error) {
	has, err := hasFeature(os.DirFS(j.Tree))
	if err != nil {
		return nil, err
	}
	if !has {
		return notApplicable("Linux " + j.Version + " does not have no-IOMMU through the cdev"), nil
	}
	conf := filepath.Join(j.Work, "conf")
	if err := os.MkdirAll(conf, 0o755); err != nil {
		return nil, err
	}
	if err := j.buildConf(ctx, conf); err != nil {
		return nil, err
	}
	return j.judge(ctx, conf, architectures)
}

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

// judge runs conf for the architectures and collects what is wrong.
func (j Job) judge(ctx context.Context, conf string, archs []architecture) ([]Result, error) {
	observed := make([]observation, len(archs))
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(max(j.Jobs, 1))
	for i, a := range archs {
		group.Go(func() error {
			o, err := j.observe(groupCtx, conf, a)
			observed[i] = o
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	var results []Result
	for _, s := range statements {
		results = append(results, s.judge(observed))
	}
	return results, nil
}

// An observation is what conf made of every request for an architecture.
type observation struct {
	arch     architecture
	generic  bool // GENERIC_ATOMIC64
	requests []request
	outcomes []outcome // of the requests, in order
	symbols  kconfig.Symbols
}

func (j Job) observe(ctx context.Context, conf string, a architecture) (observation, error) {
	o := observation{arch: a, requests: requests()}
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
	found, err := j.configure(ctx, a, conf, part, fragments)
	if err != nil {
		return o, err
	}
	o.generic = found["alone."+allNo].config["GENERIC_ATOMIC64"] == "y"
	// What the architecture is warned of without VFIO is not VFIO's doing.
	old := map[string]bool{}
	for _, mode := range []string{allNo, allDefault} {
		for _, u := range found["alone."+mode].unmet {
			old[unmetOption(u)] = true
		}
	}
	for _, name := range names {
		out := found[name]
		out.unmet = slices.DeleteFunc(out.unmet, func(u string) bool { return old[unmetOption(u)] })
		o.outcomes = append(o.outcomes, out)
	}
	if o.symbols, err = kconfig.ReadSymbols(os.DirFS(j.Tree), a.source); err != nil {
		return o, &fault.Kernel{Stage: "kconfig " + a.name, Err: err}
	}
	return o, nil
}

func unmetOption(unmet string) string {
	name, _, _ := strings.Cut(unmet, " ")
	return name
}
