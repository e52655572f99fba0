// SPDX-License-Identifier: Apache-2.0

package kernels

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"noiommu-farm/kernels/kconfig"
)

// Made is a build that the cache has, as far as its record alone tells it.
type Made struct {
	Source      string // as a user asks for it; "" where that is not known
	Config      string // the name of the configuration
	Compiler    string // gcc or clang
	Series      bool   // there are patches on the source
	Took        time.Duration
	FromNothing bool // not from another build

	version string
	options []string
}

// Made lists the builds of the cache. It reads their records and nothing else.
func (c *Cache) Made() ([]Made, error) {
	entries, err := os.ReadDir(c.path("builds"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list builds: %w", err)
	}
	var all []Made
	for _, e := range entries {
		r, err := readRecord(c.path("builds", e.Name()))
		if err != nil {
			continue // whoever wants that build will say so
		}
		m := Made{
			Config: r.Configuration, Series: len(r.Series) > 0, Took: time.Duration(r.Seconds * float64(time.Second)),
			FromNothing: r.Neighbour == "", version: r.Version, options: r.Options,
		}
		m.Compiler, _, _ = strings.Cut(r.Compiler, " ")
		if rest, ok := strings.CutPrefix(r.Origin, "linux-source-"); ok {
			version, _, _ := strings.Cut(rest, " ")
			m.Source = "debian:" + version
		}
		all = append(all, m)
	}
	return all, nil
}

// Of says whether this is the build of a configuration as it is now, with the
// compiler of that name, of its own source without a series.
func (m Made) Of(c Configuration, compiler string) bool {
	if m.Series || c.Base() != "" || m.Compiler != compiler {
		return false
	}
	var options []string
	for _, o := range kconfig.Merge(c.fragments, m.version) {
		options = append(options, o.Name+"="+o.Value)
	}
	return slices.Equal(options, m.options)
}
