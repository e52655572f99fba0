// SPDX-License-Identifier: Apache-2.0

package kernels

import (
	"context"
	"fmt"
	"io"
	"regexp"

	"noiommu-farm/kernels/kconfig"
)

var buildKey = regexp.MustCompile(`^[0-9a-f]{40}$`)

// Open finds a build by its key, with every artefact checked. A build that is
// not there, or is damaged, is an error.
func (c *Cache) Open(ctx context.Context, key string) (*Build, error) {
	if !buildKey.MatchString(key) {
		return nil, fmt.Errorf("open build: %.60q is no key of a build", key)
	}
	b, err := open(ctx, c.path("builds", key))
	if err != nil {
		return nil, fmt.Errorf("open build %s: %w", key, err)
	}
	b.Cached = true
	return b, nil
}

// SourceDir is the tree of a source's hash, to be read: the cache owns it. It
// may have been removed.
func (c *Cache) SourceDir(id string) string { return c.path("sources", id, "tree") }

// ReadConfig reads the options of a .config.
func ReadConfig(r io.Reader) (map[string]string, error) { return kconfig.ReadConfig(r) }

// SourceID is the hash of a source's content, with its series applied. A source
// that does not exist and a series that does not apply are *fault.Usage.
func (c *Cache) SourceID(ctx context.Context, s Source) (string, error) {
	tree, err := c.tree(ctx, s, func(Progress) {})
	return tree.ID, err
}
