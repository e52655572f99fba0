// SPDX-License-Identifier: Apache-2.0

package repro

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"noiommu-farm/farm/runner"
	"noiommu-farm/internal/fault"
	"noiommu-farm/kernels"
	"noiommu-farm/kernels/series"
	"noiommu-farm/results"
)

// described are the directories whose files are compiled with debug
// information to find lines: that of all files would take a whole build.
var described = []string{"drivers/vfio", "drivers/iommu"}

// Lines is what the kernel complained of when a case was recorded, with
// function, file and line below each place of it in the code of VFIO, iommufd
// and the IOMMU drivers, and those of what was inlined there. The first time a
// kernel like the case's is built for it. Nothing boots. It is empty when the
// kernel did not complain. vmlinux is the path of that kernel, for a debugger.
func Lines(ctx context.Context, c Case, opt Options) (text []string, vmlinux string, err error) {
	if len(c.log) == 0 {
		return nil, "", nil
	}
	kernel := c.repeat.Planned.Kernel
	tree := opt.Cache.SourceDir(kernel.SourceID)
	if _, err := os.Stat(tree); err != nil {
		return nil, "", &fault.Usage{Key: "--lines", Value: c.Name(), Err: errors.New("the source of its kernel is not in the cache")}
	}
	debug, err := withDebug(ctx, kernel, tree, opt.Cache, func(now kernels.Progress) {
		if opt.Tell != nil {
			opt.Tell(runner.Progress{Cell: c.Cell, Build: &now})
		}
	})
	if err != nil {
		return nil, "", fmt.Errorf("build the kernel with debug information: %w", err)
	}
	s, err := newSymbolizer(c.repeat.Kernel, debug.Vmlinux, os.DirFS(tree))
	if err != nil {
		return nil, "", fmt.Errorf("read the kernel's debug information: %w", err)
	}
	defer s.close()
	return s.annotate(c.log), debug.Vmlinux, nil
}

// withDebug is a kernel of the same source, configuration and compiler with
// debug information in the described directories.
func withDebug(ctx context.Context, k results.Kernel, tree string, cache *kernels.Cache, see func(kernels.Progress)) (*kernels.Build, error) {
	dir, err := os.MkdirTemp("", "noiommu-farm-lines-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	patch, err := debugPatch(tree)
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, "debug.patch")
	if err := os.WriteFile(file, []byte(patch), 0o600); err != nil {
		return nil, err
	}
	flags, err := series.Load(ctx, file)
	if err != nil {
		return nil, err
	}
	source, err := sourceOf(ctx, k, tree, cache)
	if err != nil {
		return nil, err
	}
	config, err := kernels.LoadConfiguration(k.Config)
	if err != nil {
		return nil, err
	}
	return cache.Build(ctx, kernels.Request{Source: source.With(flags), Config: config}, see)
}

// sourceOf is a recorded kernel's source: as it was asked for if that is still
// the same, else its tree in the cache, which has to be hashed first.
func sourceOf(ctx context.Context, k results.Kernel, tree string, cache *kernels.Cache) (kernels.Source, error) {
	if len(k.Patches) == 0 { // a source has but one series
		if s, err := sourceAgain(ctx, k, cache); err == nil {
			return s, nil
		}
	}
	return kernels.ParseSource("tree:" + tree)
}

// debugPatch is a patch that has the described directories compiled with debug
// information.
func debugPatch(tree string) (string, error) {
	const context = 3 // lines below, as git has them
	var b strings.Builder
	b.WriteString("From: noiommu-farm <noiommu-farm@localhost.invalid>\nSubject: [PATCH] Debug information for what is under test\n\n---\n")
	for _, dir := range described {
		name := dir + "/Makefile"
		lines, err := firstLines(filepath.Join(tree, name), 1+context)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&b, "diff --git a/%[1]s b/%[1]s\n--- a/%[1]s\n+++ b/%[1]s\n@@ -1,%[2]d +1,%[3]d @@\n", name, len(lines), len(lines)+1)
		for i, line := range lines {
			fmt.Fprintf(&b, " %s\n", line)
			if i == 0 {
				b.WriteString("+subdir-ccflags-y += -g\n")
			}
		}
	}
	return b.String(), nil
}

// firstLines are the first lines of a file, at most n.
func firstLines(path string, n int) ([]string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var lines []string
	for text := bufio.NewScanner(f); len(lines) < n && text.Scan(); {
		lines = append(lines, text.Text())
	}
	if len(lines) == 0 {
		return nil, fmt.Errorf("%s has no lines", path)
	}
	return lines, nil
}
