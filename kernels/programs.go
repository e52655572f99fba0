// SPDX-License-Identifier: Apache-2.0

package kernels

import (
	"path"
	"path/filepath"
	"strings"

	"noiommu-farm/kernels/source"
)

// programs are the selftests of a neighbour that a new build would make in the
// same way, by suite: they are made of tools/, the uapi headers and what those
// include, and of no option. A suite of which a program is damaged is none.
func (r record) programs(near neighbour) map[string][]string {
	for _, c := range near.changed {
		if !besideSelftests(c) {
			return nil
		}
	}
	suites := map[string][]string{}
	damaged := map[string]bool{}
	for _, t := range r.Selftests {
		name := path.Join("selftests", t.Suite, t.Name)
		file := filepath.Join(near.dir, name)
		if sum, err := hashFile(file); err != nil || sum != r.Artefacts[name] || !filepath.IsLocal(name) {
			damaged[t.Suite] = true
		}
		suites[t.Suite] = append(suites[t.Suite], file)
	}
	for s := range damaged {
		delete(suites, s)
	}
	return suites
}

// besideSelftests says whether no selftest can be made of a changed file: C
// code of the kernel itself. They do include headers of drivers.
func besideSelftests(c source.Change) bool {
	top, _, _ := strings.Cut(c.Path, "/")
	switch top {
	case "tools", "scripts", "usr", "include":
		return false
	}
	return path.Ext(c.Path) == ".c"
}
