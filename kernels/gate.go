// SPDX-License-Identifier: Apache-2.0

package kernels

import (
	"context"
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

// Kconfig holds a source's Kconfig files to what they promise of no-IOMMU: the
// statements KC-01 to KC-11, in order. Nothing is built or booted; it takes
// seconds. Kconfig files that cannot be read are a *fault.Kernel, a source
// that does not exist a *fault.Usage. A statement that does not hold is no
// error.
func (c *Cache) Kconfig(ctx context.Context, s Source) ([]KconfigResult, error) {
	results, err := c.kconfig(ctx, s)
	if err != nil {
		return nil, fmt.Errorf("judge Kconfig: %w", err)
	}
	return results, nil
}

func (c *Cache) kconfig(ctx context.Context, s Source) ([]KconfigResult, error) {
	if err := os.MkdirAll(c.Dir, 0o755); err != nil {
		return nil, err
	}
	if _, err := build.FindToolchain(ctx, ""); err != nil {
		return nil, err
	}
	tree, err := c.tree(ctx, s, func(Progress) {})
	if err != nil {
		return nil, err
	}
	if err := c.sweep(); err != nil {
		return nil, err
	}
	name := "kconfig-" + tree.ID
	release, err := lock.Take(ctx, c.path("locks", name), func() {
		c.log("another farm is judging the Kconfig files of %s: waiting for it", tree.Origin)
	})
	if err != nil {
		return nil, err
	}
	defer release()
	// The lock says that whoever worked here before is dead.
	work := c.path("tmp", name)
	if err := os.RemoveAll(work); err != nil {
		return nil, err
	}
	defer os.RemoveAll(work)
	if err := os.MkdirAll(work, 0o755); err != nil {
		return nil, err
	}
	return gate.Run(ctx, gate.Job{Tree: tree.Dir, Version: tree.Version, Work: work, Jobs: c.Jobs})
}

// KconfigStatements are the statements of the suite KC, in order.
func KconfigStatements() []gate.Statement { return gate.Statements() }
