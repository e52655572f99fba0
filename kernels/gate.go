// SPDX-License-Identifier: Apache-2.0

package kernels

import (
	"context"
	"errors"
	"fmt"
	"os"

	"noiommu-farm/kernels/build"
	"noiommu-farm/kernels/kconfig/gate"
	"noiommu-farm/kernels/lock"
)

// A KconfigResult is one statement of the suite KC and what was found of it.
type KconfigResult = gate.Result

// Verdicts of a [KconfigResult].
const (
	KconfigPass          = gate.Pass
	KconfigFail          = gate.Fail
	KconfigNotApplicable = gate.NotApplicable // the kernel has no no-IOMMU mode for the cdev
)

// A KconfigReport is what was found of a source's Kconfig files.
type KconfigReport = gate.Report

// A KconfigDifference is what a series changes in them.
type KconfigDifference = gate.Difference

// KconfigArchitectures are the names that JudgeKconfig knows.
func KconfigArchitectures() []string { return gate.Architectures() }

// Kconfig is JudgeKconfig for all architectures, in statements alone.
func (c *Cache) Kconfig(ctx context.Context, s Source) ([]KconfigResult, error) {
	report, err := c.JudgeKconfig(ctx, s, nil)
	return report.Results(), err
}

// JudgeKconfig holds a source's Kconfig files to what they promise of no-IOMMU: the
// statements KC-01 to KC-11, and the support matrix of the documentation. Of a
// source with a series it says what the series changes, too. Nothing is built
// or booted; it takes seconds. No architectures are all. Kconfig files that
// cannot be read are a *fault.Kernel; a source that does not exist, a series
// that does not apply and an unknown architecture are *fault.Usage. What does
// not hold is no error.
func (c *Cache) JudgeKconfig(ctx context.Context, s Source, archs []string) (KconfigReport, error) {
	if err := gate.CheckArchitectures(archs); err != nil {
		return KconfigReport{}, err
	}
	report, err := c.kconfig(ctx, s, archs)
	if err != nil {
		return report, fmt.Errorf("judge Kconfig: %w", err)
	}
	return report, nil
}

func (c *Cache) kconfig(ctx context.Context, s Source, archs []string) (KconfigReport, error) {
	if err := os.MkdirAll(c.Dir, 0o755); err != nil {
		return KconfigReport{}, err
	}
	if _, err := build.FindToolchain(ctx, ""); err != nil {
		return KconfigReport{}, err
	}
	tree, err := c.tree(ctx, s, func(Progress) {})
	if err != nil {
		return KconfigReport{}, err
	}
	if err := c.sweep(); err != nil {
		return KconfigReport{}, err
	}
	name := "kconfig-" + tree.ID
	release, err := lock.Take(ctx, c.path("locks", name), func() {
		c.log("another farm is judging the Kconfig files of %s: waiting for it", tree.Origin)
	})
	if err != nil {
		return KconfigReport{}, err
	}
	defer release()
	// The lock says that whoever worked here before is dead.
	work := c.path("tmp", name)
	if err := os.RemoveAll(work); err != nil {
		return KconfigReport{}, err
	}
	defer os.RemoveAll(work)
	if err := os.MkdirAll(work, 0o755); err != nil {
		return KconfigReport{}, err
	}
	without := tree.ID
	if tree.Base != "" {
		without = tree.Base
	}
	job := gate.Job{Tree: tree.Dir, Version: tree.Version, Work: work, Jobs: c.Jobs, Archs: archs, Kept: c.path("sources", without, "kconfig")}
	if tree.Base != "" {
		job.Base, job.Touched = c.path("sources", tree.Base, "tree"), tree.Series.Touched()
	}
	report, err := gate.Run(ctx, job)
	if err != nil && ctx.Err() == nil {
		// What was kept may have been damaged. Only without it is it the kernel.
		job.Kept = ""
		if err := errors.Join(os.RemoveAll(c.path("sources", without, "kconfig")), os.RemoveAll(work), os.MkdirAll(work, 0o755)); err != nil {
			return report, err
		}
		return gate.Run(ctx, job)
	}
	return report, err
}

// KconfigStatements are the statements of the suite KC, in order.
func KconfigStatements() []gate.Statement { return gate.Statements() }
