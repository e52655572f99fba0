// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"noiommu-farm/farm/gate"
	"noiommu-farm/internal/fault"
	"noiommu-farm/suites/contract"
)

// compiles is the statement that each profile of the kernel compiles.
const compiles = "KC-12"

// A bench tries mutants.
type bench struct {
	tools  tools
	kernel string        // source, as farm run takes it
	cache  string        // of the farm
	runs   string        // directory for run directories
	limit  time.Duration // of one mutant
}

// try finds out what turns red for a mutant.
func (b *bench) try(ctx context.Context, m mutant) (found, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, b.limit, fmt.Errorf("not done after %s", b.limit))
	defer cancel()
	if m.cells == nil {
		return b.search(ctx, m)
	}
	var f found
	if m.kconfig() {
		g, err := b.kconfig(ctx, m)
		f.add(g)
		if err != nil || m.only("KC") {
			return f, err
		}
	}
	for _, c := range m.cells {
		g, err := b.boot(ctx, m, c, m.statements())
		if err == nil {
			// A guest that crashed says nothing of what was to come: the
			// statements that matter get one of their own.
			for _, id := range m.broken {
				if !slices.Contains(g.Unreached, id) {
					continue
				}
				var alone found
				if alone, err = b.boot(ctx, m, c, []string{id}); err != nil {
					break
				}
				g.add(alone)
			}
		}
		f.add(g)
		b.thin(g.builds)
		if err != nil {
			return f, err
		}
	}
	return f, nil
}

// only says whether all that a mutant breaks is in one part of the contract.
func (m mutant) only(part string) bool {
	return m.broken != nil && !slices.ContainsFunc(m.broken, func(id string) bool { return !strings.HasPrefix(id, part+"-") || id == compiles })
}

// statements are those that are tested on a mutant: the ones it breaks, and
// all of their suites, so that what is wrongly flagged is seen; all of them
// when it does not say what it breaks. Expensive ones only by name.
func (m mutant) statements() []string {
	var suites, ids []string
	for _, id := range m.broken {
		if s, ok := contract.ByID(id); ok {
			suites = append(suites, s.Suite)
		}
	}
	for _, s := range contract.Statements {
		if slices.Contains(m.broken, s.ID) || !s.Nightly && (suites == nil || slices.Contains(suites, s.Suite)) {
			ids = append(ids, s.ID)
		}
	}
	return ids
}

func (b *bench) kconfig(ctx context.Context, m mutant) (found, error) {
	out, complaint, code, err := b.farm(ctx, "kconfig", "--json", "--cache", b.cache, "--kernel", b.kernel, "--series", m.path)
	switch {
	case err != nil:
		return found{}, err
	case code == fault.ExitOK, code == fault.ExitKernel && len(out) > 0:
		return readKconfig(out)
	case code == fault.ExitKernel:
		var f found
		f.red(compiles, complaint)
		return f, nil
	case code == fault.ExitUsage:
		return found{}, &fault.Usage{Key: m.path, Err: errors.New(complaint)}
	}
	return found{Infra: complaint}, nil
}

// boot tests statements on a mutant in one cell. What the farm fails at is
// tried once more.
func (b *bench) boot(ctx context.Context, m mutant, c cell, statements []string) (found, error) {
	args := []string{
		"run", "--json", "--jobs", "1", "--cache", b.cache, "--out", b.runs,
		"--kernel", b.kernel, "--series", m.path, "--config", c.config, "--topology", c.topology, "--test", strings.Join(statements, ","),
	}
	for _, parameter := range gate.Watchful {
		args = append(args, "--append", parameter)
	}
	if c.device != "" {
		args = append(args, "--device", c.device)
	}
	if c.memory != "" {
		args = append(args, "--memory", c.memory)
	}
	var f found
	for range 2 {
		out, complaint, code, err := b.farm(ctx, args...)
		switch {
		case err != nil:
			return found{}, err
		case len(out) > 0:
			if f, err = readRun(out); err != nil {
				return found{}, err
			}
			if f.Infra == "" && code != fault.ExitInfra {
				return f, b.clean(f)
			}
			f.Infra = or(f.Infra, complaint)
		case code == fault.ExitKernel:
			// No cell was judged: it did not come to booting one.
			f = found{}
			f.red(compiles, complaint)
			return f, nil
		case code == fault.ExitUsage:
			return found{}, &fault.Usage{Key: m.path, Err: errors.New(complaint)}
		default:
			f = found{Infra: complaint}
		}
	}
	return f, nil
}

// clean removes the run directory of a trial that could be judged: what is
// remembered says it all. What went wrong in the farm itself stays to be read.
func (b *bench) clean(f found) error {
	if f.dir == "" || filepath.Dir(f.dir) != filepath.Clean(b.runs) {
		return nil
	}
	return os.RemoveAll(f.dir)
}

// thin removes what kbuild left of a mutated kernel: a next one starts from
// the kernel without a patch, which is nearer. The build itself stays.
func (b *bench) thin(builds []string) {
	for _, key := range builds {
		if key == "" || filepath.Base(key) != key {
			continue
		}
		// Others may copy it this moment; the farm expects that.
		os.RemoveAll(filepath.Join(b.cache, "builds", key, "objects"))
	}
}

// farm runs the farm. The complaint is the last line that it wrote for people.
func (b *bench) farm(ctx context.Context, args ...string) (out []byte, complaint string, code int, err error) {
	cmd := exec.CommandContext(ctx, b.tools.farm, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	// It ends its guests and builds by itself when it is asked to.
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGINT) }
	cmd.WaitDelay = 30 * time.Second
	err = cmd.Run()
	lines := strings.FieldsFunc(stderr.String(), func(r rune) bool { return r == '\n' || r == '\r' })
	if len(lines) > 0 {
		complaint = strings.TrimPrefix(lines[len(lines)-1], "farm: ")
	}
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return nil, complaint, 0, context.Cause(ctx)
	case err == nil:
		return stdout.Bytes(), complaint, 0, nil
	case errors.As(err, &exit) && exit.Exited():
		return stdout.Bytes(), complaint, exit.ExitCode(), nil
	}
	return nil, complaint, 0, fmt.Errorf("run %s %s: %w", filepath.Base(b.tools.farm), args[0], err)
}
