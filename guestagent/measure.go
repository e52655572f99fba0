// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"io/fs"
	"strconv"
	"strings"
	"time"

	"noiommu-farm/guestagent/wire"
)

// Files of counters, and of kmemleak's control.
const (
	vmstat      = "proc/vmstat"
	statRefresh = "proc/sys/vm/stat_refresh"
	meminfo     = "proc/meminfo"
	kmemleak    = "sys/kernel/debug/kmemleak"
)

// kmemleakAge is how old an object must be to be reported lost
// (MSECS_MIN_AGE of mm/kmemleak.c), and a little more.
const kmemleakAge = 6 * time.Second

// maxLeaks bounds what is told of kmemleak's report, in bytes.
const maxLeaks = 128 << 10

// measure reads the counters by which leaks are seen. With forget, what
// kmemleak has to report until now is forgotten; with find, it looks for what
// was lost since, which takes time.
func (g guest) measure(m *wire.Measure) (*wire.Measured, error) {
	out := &wire.Measured{Counters: make(map[string]int64)}
	_, err := readText(g.path(kmemleak))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	checks := err == nil
	if m.Forget && checks {
		if err := g.kmemleak("scan", "clear"); err != nil {
			return nil, err
		}
	}
	if m.Find && checks {
		// The first scan finds what is lost and still young or on its way;
		// the second one, when it is old enough, is believed.
		if err := g.kmemleak("scan"); err != nil {
			return nil, err
		}
		time.Sleep(kmemleakAge)
		if err := g.kmemleak("scan"); err != nil {
			return nil, err
		}
		out.Looked = true
		if out.Leaks, err = readText(g.path(kmemleak)); err != nil {
			return nil, err
		}
		out.Leaks = strings.ToValidUTF8(out.Leaks[:min(len(out.Leaks), maxLeaks)], "?")
	}
	// Each processor keeps counts of its own until it is told.
	if err := writeText(g.path(statRefresh), "1"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, c := range []struct{ file, prefix string }{{vmstat, "vmstat."}, {meminfo, "meminfo."}} {
		text, err := readText(g.path(c.file))
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(text) {
			fields := strings.Fields(line)
			if len(fields) < 2 {
				continue
			}
			name := c.prefix + strings.TrimSuffix(fields[0], ":")
			if n, err := strconv.ParseInt(fields[1], 10, 64); err == nil && wire.Counts(name) {
				out.Counters[name] = n
			}
		}
	}
	return out, nil
}

// kmemleak writes commands to kmemleak (Documentation/dev-tools/kmemleak.rst).
func (g guest) kmemleak(commands ...string) error {
	for _, c := range commands {
		if err := writeText(g.path(kmemleak), c); err != nil {
			return err
		}
	}
	return nil
}
