// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"noiommu-farm/farm/gate"
	"noiommu-farm/internal/fault"
	"noiommu-farm/suites/contract"
)

// sanitized is the configuration with sanitizers, which is slow to build and
// to boot.
const sanitized = "k-dbg"

// besides are cells that the gate's rules do not have: a kernel and a machine
// with all that a statement can ask for, and those that a few statements are
// about.
var besides = []step{
	{boot, cell{config: "k-more", topology: "none", device: "edu,edu,edu-port,edu-port,edu-multifunction,igb,e1000e,nvme", memory: "5120"}, everything},
	{boot, cell{config: "noiommu", topology: "intel-pt"}, open},
	{boot, cell{config: "noiommu", topology: "intel-nointremap"}, open},
}

// A step is one thing to do with a patch that does not say what it breaks.
type step struct {
	task task
	cell cell // of a build only the configuration
	test test // of a boot
}

type (
	task string
	test string
)

const (
	kconfig task = "kconfig"
	build   task = "build"
	boot    task = "boot"

	everything test = "everything" // but what is expensive
	open       test = "open"       // what was skipped wherever it was tried
	about      test = "about"      // what is about the files
)

// steps are what to do with a patch, by the gate's rules of where its files
// can show. What costs little or shows much comes first: Kconfig, the first
// cell, the other builds, the other cells, those besides, and the sanitizers
// with the statements about the files alone.
func (m mutant) steps() []step {
	plan := gate.PlanFor(m.files, gate.Full)
	var builds, boots, last []step
	for _, p := range plan.Points {
		c := cell{config: p.Config, topology: p.Topology}
		if p.Config == sanitized {
			last = append(last, step{task: boot, cell: c, test: about})
			continue
		}
		if s := (step{task: build, cell: cell{config: p.Config}}); !slices.Contains(builds, s) {
			builds = append(builds, s)
		}
		boots = append(boots, step{task: boot, cell: c, test: everything})
	}
	var all []step
	if plan.Kconfig {
		all = append(all, step{task: kconfig})
	}
	if len(boots) > 0 {
		all = slices.Concat(all, boots[:1], builds, boots[1:], besides)
	}
	return append(all, last...)
}

// search does one step after the other until a statement turns red.
func (b *bench) search(ctx context.Context, m mutant) (found, error) {
	var f found
	var keys []string
	defer func() { b.thin(keys) }()
	for _, s := range m.steps() {
		var g found
		var err error
		switch s.task {
		case kconfig:
			g, err = b.kconfig(ctx, m)
		case build:
			g, err = b.build(ctx, m, s.cell.config)
		case boot:
			ids := m.statements()
			switch s.test {
			case open:
				ids = f.open(ids)
			case about:
				ids = m.about()
			}
			if len(ids) == 0 {
				continue
			}
			g, err = b.boot(ctx, m, s.cell, ids)
		}
		f.add(g)
		keys = append(keys, g.builds...)
		if err != nil || f.named() {
			return f, err
		}
	}
	return f, nil
}

// named says whether a statement turned red, and not only something that
// belongs to none.
func (f found) named() bool {
	return slices.ContainsFunc(f.Red, statementID.MatchString)
}

// open are those of a list of statements that were skipped wherever they were
// tried.
func (f found) open(ids []string) []string {
	return slices.DeleteFunc(slices.Clone(ids), func(id string) bool {
		_, skipped := f.Skipped[id]
		return !skipped || slices.Contains(f.Passed, id)
	})
}

// about are the statements whose source is in the files of a mutant, the
// expensive ones too unless they have a limit of their own; all but the
// expensive ones when there are none.
func (m mutant) about() []string {
	var ids []string
	for _, s := range contract.Statements {
		if s.Limit == 0 && m.distance(s.ID) < elsewhere {
			ids = append(ids, s.ID)
		}
	}
	if ids == nil {
		return m.statements()
	}
	return ids
}

// build compiles a mutant, and holds the warnings to those of the kernel
// without it.
func (b *bench) build(ctx context.Context, m mutant, config string) (found, error) {
	out, complaint, code, err := b.farm(ctx, "kernel", "build", "--json", "--cache", b.cache, "--kernel", b.kernel, "--series", m.path, config)
	switch {
	case err != nil:
		return found{}, err
	case code == fault.ExitOK, code == fault.ExitKernel && len(out) > 0:
		return readBuild(out)
	case code == fault.ExitUsage:
		return found{}, &fault.Usage{Key: m.path, Err: errors.New(complaint)}
	}
	return found{Infra: complaint}, nil
}

// readBuild judges what farm kernel build --json printed.
func readBuild(text []byte) (found, error) {
	var records []struct {
		Config, Verdict, Key, Failure string
		Warnings                      []json.RawMessage
	}
	if err := json.Unmarshal(text, &records); err != nil {
		return found{}, fmt.Errorf("read what farm kernel build printed: %w", err)
	}
	if len(records) == 0 {
		return found{}, errors.New("read what farm kernel build printed: no configuration was judged")
	}
	var f found
	for _, r := range records {
		if r.Key != "" {
			f.builds = append(f.builds, r.Key)
		}
		if r.Verdict == "pass" {
			continue
		}
		why := r.Failure
		if why == "" && len(r.Warnings) > 0 {
			why = "new warning: " + string(r.Warnings[0])
		}
		f.red(compiles, r.Config+": "+why)
	}
	return f, nil
}
