// SPDX-License-Identifier: Apache-2.0

package gate

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"reflect"
	"slices"
	"strings"

	"noiommu-farm/internal/fault"
	"noiommu-farm/kernels/kconfig"
)

// A Difference is what a series changes in what the Kconfig files give.
type Difference struct {
	Files    []string  // Kconfig files that it touches
	Options  []string  // that it defines, removes, or defines otherwise
	Varied   []string  // options that were set beside VFIO's own, because those depend on them
	Judged   int       // configurations that were compared, of all architectures
	All      bool      // they are all combinations, not a choice of them
	Unmet    []Finding // direct dependencies that were met, or not asked for, before
	Mended   []string  // options whose unmet dependencies are gone
	Appeared []string
	Vanished []string
	Flips    []Flip
}

// A Flip is an option that the same request gives another value.
type Flip struct {
	Option        string
	Before, After string
	Archs         []string
	Request       string // the first that shows it
	Cases         int
}

func (f Flip) String() string {
	return fmt.Sprintf("%s: %s becomes %s in %d configurations of %s, as in %s", f.Option, f.Before, f.After, f.Cases, strings.Join(f.Archs, ", "), f.Request)
}

// A change is what a series does to the Kconfig files, before conf has run.
type change struct {
	Difference
	whole bool // it reaches beyond the part
	// vary are options that can be set, beside those of every request, and
	// their types.
	vary   []string
	types  map[string]string
	ground []string // must be y for the others to be seen
}

// maxVaried is how many options are tried in all combinations beside VFIO's
// own. Each doubles the time.
const maxVaried = 2

// family are the options that every request is about.
var family = []string{"IOMMUFD", "VFIO", "VFIO_GROUP", "VFIO_CONTAINER", "IOMMUFD_VFIO_CONTAINER", "VFIO_DEVICE_CDEV", "VFIO_NOIOMMU"}

func isKconfig(name string) bool {
	return strings.HasPrefix(path.Base(name), "Kconfig") || strings.HasPrefix(name, "scripts/kconfig/")
}

// change reads the Kconfig files of both trees. It returns nil when there is
// no series.
func (j Job) change(archs []architecture) (*change, error) {
	if j.Base == "" {
		return nil, nil
	}
	c := &change{types: map[string]string{}}
	for _, name := range j.Touched {
		if isKconfig(name) {
			c.Files = append(c.Files, name)
		}
	}
	if len(c.Files) == 0 {
		return c, nil
	}
	before, after := os.DirFS(j.Base), os.DirFS(j.Tree)
	pairs, known, err := readBoth(before, after, archs, func(tree fs.FS, a architecture) (kconfig.Symbols, error) {
		return kconfig.ReadPart(tree, part, a.source)
	})
	if err != nil {
		return nil, err
	}
	if slices.ContainsFunc(c.Files, func(name string) bool { return !known[name] }) {
		c.whole = true
		if pairs, _, err = readBoth(before, after, archs, func(tree fs.FS, a architecture) (kconfig.Symbols, error) {
			return kconfig.ReadSymbols(tree, a.source)
		}); err != nil {
			return nil, err
		}
	}
	touched, err := stanzasDiffer(before, after, c.Files)
	if err != nil {
		return nil, err
	}
	appeared, vanished := map[string]bool{}, map[string]bool{}
	for _, p := range pairs {
		for name := range unionOf(p[0], p[1]) {
			b, a := p[0][name], p[1][name]
			if !defined(b) && !defined(a) {
				continue
			}
			if !defined(b) {
				appeared[name] = true
			}
			if !defined(a) {
				vanished[name] = true
			}
			if !reflect.DeepEqual(shape(b), shape(a)) {
				touched[name] = true
			}
		}
	}
	c.Options = slices.Sorted(maps.Keys(touched))
	c.Appeared, c.Vanished = slices.Sorted(maps.Keys(appeared)), slices.Sorted(maps.Keys(vanished))
	if len(c.Options) > 0 {
		c.plan(pairs)
	}
	return c, nil
}

// readBoth reads the symbols of both trees for every architecture, and says
// which Kconfig files define any. Files that cannot be read are the kernel's.
func readBoth(before, after fs.FS, archs []architecture, read func(fs.FS, architecture) (kconfig.Symbols, error)) ([][2]kconfig.Symbols, map[string]bool, error) {
	known := map[string]bool{}
	var pairs [][2]kconfig.Symbols
	for _, a := range archs {
		var pair [2]kconfig.Symbols
		for i, tree := range []fs.FS{before, after} {
			symbols, err := read(tree, a)
			if err != nil {
				return nil, nil, &fault.Kernel{Stage: "kconfig " + a.name, Err: err}
			}
			for _, s := range symbols {
				for _, d := range s.Definitions {
					known[d.File] = true
				}
			}
			pair[i] = symbols
		}
		pairs = append(pairs, pair)
	}
	return pairs, known, nil
}

func defined(s *kconfig.Symbol) bool { return s != nil && len(s.Definitions) > 0 }

func unionOf(a, b kconfig.Symbols) map[string]bool {
	names := map[string]bool{}
	for _, m := range []kconfig.Symbols{a, b} {
		for name := range m {
			names[name] = true
		}
	}
	return names
}

// shape is a symbol without the lines that it stands at.
func shape(s *kconfig.Symbol) kconfig.Symbol {
	if s == nil {
		return kconfig.Symbol{}
	}
	c := kconfig.Symbol{Name: s.Name, Type: s.Type}
	for _, d := range s.Definitions {
		d.Line = 0
		if d.Choice != "" {
			d.Choice = "choice"
		}
		c.Definitions = append(c.Definitions, d)
	}
	for _, sel := range s.Selects {
		sel.Line = 0
		c.Selects = append(c.Selects, sel)
	}
	return c
}

// attributes are the words that start a line of an option's definition.
var attributes = []string{"bool", "tristate", "string", "int", "hex", "def_bool", "def_tristate", "prompt", "default", "depends", "select", "imply", "range", "visible", "modules", "optional", "transitional"}

// stanzasDiffer compares the text of definitions: a default is in no symbol.
func stanzasDiffer(before, after fs.FS, files []string) (map[string]bool, error) {
	touched := map[string]bool{}
	for _, name := range files {
		var stanzas [2]map[string]string
		for i, tree := range []fs.FS{before, after} {
			text, err := fs.ReadFile(tree, name)
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, fmt.Errorf("kconfig: %w", err)
			}
			stanzas[i] = map[string]string{}
			option := ""
			for line := range strings.Lines(string(text)) {
				word, rest, _ := strings.Cut(strings.Join(strings.Fields(line), " "), " ")
				if line[0] != ' ' && line[0] != '\t' && line[0] != '\n' && line[0] != '#' {
					if option = ""; word == "config" || word == "menuconfig" {
						option = rest
					}
				} else if option != "" && slices.Contains(attributes, word) {
					stanzas[i][option] += word + " " + rest + "\n"
				}
			}
		}
		for option := range maps.Keys(stanzas[0]) {
			touched[option] = touched[option] || stanzas[0][option] != stanzas[1][option]
		}
		for option := range maps.Keys(stanzas[1]) {
			touched[option] = touched[option] || stanzas[0][option] != stanzas[1][option]
		}
	}
	maps.DeleteFunc(touched, func(_ string, differs bool) bool { return !differs })
	return touched, nil
}

// plan finds the options to set: those that the series touches and that can be
// set, those that they depend on, and those that select them.
func (c *change) plan(pairs [][2]kconfig.Symbols) {
	settable := func(name string) bool {
		for _, p := range pairs {
			for _, symbols := range p {
				s := symbols[name]
				if defined(s) && (s.Type == "bool" || s.Type == "tristate") && slices.ContainsFunc(s.Definitions, func(d kconfig.Definition) bool { return d.Prompt }) {
					c.types[name] = s.Type
					return true
				}
			}
		}
		return false
	}
	related := func(name string) []string {
		var names []string
		for _, p := range pairs {
			for _, symbols := range p {
				s := symbols[name]
				if s == nil {
					continue
				}
				for _, d := range s.Definitions {
					names = append(names, kconfig.Names(d.Depends...)...)
				}
				for _, sel := range s.Selects {
					if slices.Contains(c.Options, name) && len(s.Definitions) > 0 && len(s.Selects) <= 4 {
						names = append(names, append(kconfig.Names(sel.If...), sel.By)...)
					}
				}
			}
		}
		return names
	}
	near := slices.Clone(c.Options)
	for _, name := range c.Options {
		near = append(near, related(name)...)
	}
	seen := map[string]bool{"MODULES": true, "IOMMU_SUPPORT": true} // every request has them
	for _, name := range family {
		seen[name] = true
	}
	c.All = !c.whole
	for _, name := range near {
		switch {
		case seen[name] || !settable(name):
		case len(c.vary) == maxVaried:
			c.ground = append(c.ground, name)
			c.All = false
		default:
			c.vary = append(c.vary, name)
		}
		seen[name] = true
	}
	// What those depend on in their turn.
	for i := 0; c.whole && i < len(near) && len(near) < 200; i++ {
		for _, name := range related(near[i]) {
			if !seen[name] {
				seen[name] = true
				near = append(near, name)
				if settable(name) {
					c.ground = append(c.ground, name)
				}
			}
		}
	}
	c.Varied = slices.Sorted(slices.Values(slices.Concat(c.vary, c.ground)))
}

// requests are those of the statements, and each of them with what the series
// touches switched on in every combination. Beyond the part, where conf takes
// ten times as long, they are two, with the same.
func (c *change) requests() []request {
	base := requests()
	if c.whole {
		base = slices.DeleteFunc(base, func(r request) bool {
			return !r.group || r.container != native || !r.cdev || r.iommufd == "n" || !r.noiommu || r.defaults
		})
	}
	all := slices.Clone(base)
	for set := 1; set < 1<<len(c.vary); set++ {
		for _, r := range base {
			if r.defaults {
				continue
			}
			value := func(name string) string {
				if c.types[name] == "tristate" && r.iommufd == "m" {
					return name + "=m"
				}
				return name + "=y"
			}
			for i, name := range c.vary {
				if set&(1<<i) != 0 {
					r.more = append(slices.Clone(r.more), value(name))
				}
			}
			for _, name := range c.ground {
				r.more = append(r.more, value(name))
			}
			all = append(all, r)
		}
	}
	return all
}

// compare finds what conf made of the same requests before and after.
func (c *change) compare(before, after []observation) {
	mended := map[string]bool{}
	for i := range after {
		b, a := before[i], after[i]
		was, is := unmets(b), unmets(a)
		for u := range was {
			if !is[u] && !optionIn(is, unmetOption(u)) {
				mended[unmetOption(u)] = true
			}
		}
		for k, request := range a.requests {
			c.Judged++
			for _, u := range a.outcomes[k].Unmet {
				if !was[u] {
					c.unmet(a, request, a.outcomes[k], u)
				}
			}
			c.flips(a.arch.name, request, b.outcomes[k], a.outcomes[k])
		}
	}
	c.Mended = slices.Sorted(maps.Keys(mended))
	slices.SortFunc(c.Flips, func(x, y Flip) int { return strings.Compare(x.Option+x.Before+x.After, y.Option+y.Before+y.After) })
}

// unmets are the complaints of all outcomes.
func unmets(o observation) map[string]bool {
	all := map[string]bool{}
	for _, out := range o.outcomes {
		for _, u := range out.Unmet {
			all[u] = true
		}
	}
	return all
}

func optionIn(all map[string]bool, option string) bool {
	for u := range all {
		if unmetOption(u) == option {
			return true
		}
	}
	return false
}

func (c *change) unmet(o observation, r request, out outcome, text string) {
	f := unmetFinding(text, out, o.symbols)
	f.Arch, f.Request, f.Cases = o.arch.name, r.String(), 1
	for i := range c.Unmet { // once for all architectures: it is one line to change
		g := &c.Unmet[i]
		if g.Option == f.Option && g.Got == f.Got && g.Place == f.Place && g.Change == f.Change {
			if g.Cases++; !slices.Contains(strings.Split(g.Arch, ", "), f.Arch) {
				g.Arch += ", " + f.Arch
			}
			return
		}
	}
	c.Unmet = append(c.Unmet, f)
}

func (c *change) flips(arch string, r request, before, after outcome) {
	names := map[string]bool{}
	for _, config := range []map[string]string{before.Config, after.Config} {
		for name := range config {
			names[name] = true
		}
	}
	for name := range names {
		was, is := before.value(name), after.value(name)
		if was == is || slices.Contains(c.Appeared, name) || slices.Contains(c.Vanished, name) {
			continue
		}
		i := slices.IndexFunc(c.Flips, func(f Flip) bool { return f.Option == name && f.Before == was && f.After == is })
		if i < 0 {
			i = len(c.Flips)
			c.Flips = append(c.Flips, Flip{Option: name, Before: was, After: is, Request: r.String()})
		}
		f := &c.Flips[i]
		f.Cases++
		if !slices.Contains(f.Archs, arch) {
			f.Archs = append(f.Archs, arch)
		}
	}
}

func (c *change) difference() *Difference {
	if c == nil {
		return nil
	}
	return &c.Difference
}
