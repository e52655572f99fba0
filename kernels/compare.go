// SPDX-License-Identifier: Apache-2.0

package kernels

import (
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"noiommu-farm/kernels/build"
	"noiommu-farm/kernels/kconfig"
	"noiommu-farm/kernels/lock"
)

// A Difference is an option that two configured kernels give different values.
type Difference struct {
	Option     string // without CONFIG_
	A, B       string // its values; "n" when it is not set
	WhyA, WhyB string // what gave it that value: a fragment's line, a select, a dependency, a default
}

// Compare configures two kernels and says where they differ and why, sorted by
// option. Nothing is compiled.
func (c *Cache) Compare(ctx context.Context, a, b Request, progress func(Progress)) ([]Difference, error) {
	if progress == nil {
		progress = func(Progress) {}
	}
	first, err := c.configured(ctx, a, progress)
	if err != nil {
		return nil, fmt.Errorf("configure %s: %w", a.Config, err)
	}
	second, err := c.configured(ctx, b, progress)
	if err != nil {
		return nil, fmt.Errorf("configure %s: %w", b.Config, err)
	}
	names := map[string]bool{}
	for name := range first.config {
		names[name] = true
	}
	for name := range second.config {
		names[name] = true
	}
	var list []Difference
	for _, name := range slices.Sorted(maps.Keys(names)) {
		d := Difference{Option: name, A: first.value(name), B: second.value(name)}
		if d.A == d.B {
			continue
		}
		d.WhyA, d.WhyB = first.why(name), second.why(name)
		list = append(list, d)
	}
	return list, nil
}

// A configured kernel has values for its options, and reasons.
type configured struct {
	asked   map[string]kconfig.Option
	base    string // what was changed; "" is allnoconfig
	config  map[string]string
	symbols kconfig.Symbols
}

func (k configured) value(name string) string {
	if v, ok := k.config[name]; ok {
		return v
	}
	return "n"
}

func (k configured) why(name string) string {
	if o, ok := k.asked[name]; ok {
		return fmt.Sprintf("asked for at %s:%d", o.File, o.Line)
	}
	why := k.symbols[name].Why(k.config)
	if why == "its default" && k.base != "" {
		return why + ", or as " + k.base + " has it"
	}
	return why
}

// configured is the .config of a request, from the cache or from conf.
func (c *Cache) configured(ctx context.Context, r Request, progress func(Progress)) (configured, error) {
	w, err := c.want(ctx, r, progress)
	if err != nil {
		return configured{}, err
	}
	k := configured{asked: map[string]kconfig.Option{}, base: r.Config.Base()}
	for _, o := range w.options {
		k.asked[o.Name] = o
	}
	if k.symbols, err = kconfig.ReadSymbols(os.DirFS(w.tree.Dir), build.SourceArch); err != nil {
		return configured{}, err
	}
	b, err := c.lookup(ctx, w, false)
	if err != nil {
		return configured{}, err
	}
	if b != nil {
		k.config = b.Config
		return k, nil
	}
	name := "configure-" + w.key()
	release, err := lock.Take(ctx, c.path("locks", name), nil)
	if err != nil {
		return configured{}, err
	}
	defer release()
	// The lock says that whoever worked here before is dead.
	work := c.path("tmp", name)
	if err := os.RemoveAll(work); err != nil {
		return configured{}, err
	}
	defer os.RemoveAll(work)
	j := build.Job{
		Tree: w.tree.Dir, Version: w.tree.Version, Base: w.base, Options: w.options, Toolchain: w.tools,
		Objects: filepath.Join(work, objects), Selftests: filepath.Join(work, "selftests"), Modules: filepath.Join(work, "modules"),
		Limits: c.Limits, Log: io.Discard,
		See: func(string, int, int, time.Duration) {},
	}
	for _, d := range []string{j.Objects, j.Selftests, j.Modules} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return configured{}, err
		}
	}
	k.config, err = build.Configure(ctx, j)
	return k, err
}
