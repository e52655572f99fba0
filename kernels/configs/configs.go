// SPDX-License-Identifier: Apache-2.0

// Package configs holds the farm's Kconfig fragments, one idea a file, and
// the configurations that are lists of them.
//
// In comes a name, out goes text. It never parses a fragment.
package configs

import (
	"embed"
	"maps"
	"slices"
	"strings"
)

//go:embed *.config
var files embed.FS

// all is every interface of VFIO, with and without an IOMMU.
// What costs a guest next to nothing is in all of them: with the same options
// in the structures that every file includes, one is built from another in
// seconds.
var all = []string{
	"base", "memcg", "ia32", "sysctl", "sysctl-old", "console", "guest",
	"pci", "p2pdma", "pm", "fault-injection", "iommu", "vfio", "vfio-noiommu",
}

// configurations are whole kernels. A name that is not here is a fragment to
// add to one. The k- names are the profiles that the contract speaks of;
// noiommu is k-all for people.
var configurations = map[string][]string{
	"noiommu":  all,
	"k-all":    all,
	"k-compat": with("vfio-compat"),
	"k-cdev":   with("vfio-no-group"),
	"k-grp":    with("vfio-no-cdev"),
	"k-off":    with("vfio-no-noiommu"),
	"k-mod":    with("vfio-modules"),
	"k-dbg":    with("debug"),
	// What needs a kernel of its own: no modules, another host of guests.
	"k-more": with("mtty", "dma-buf", "kvm", "lockdown"),
}

// with is all and fragments that change it.
func with(fragments ...string) []string { return slices.Concat(all, fragments) }

// Fragments is the list of fragments that a name stands for: those of a
// configuration, or the one of that name.
func Fragments(name string) (names []string, ok bool) {
	if list, ok := configurations[name]; ok {
		return list, true
	}
	if _, err := Text(name); err != nil {
		return nil, false
	}
	return []string{name}, true
}

// Text is the content of a fragment.
func Text(fragment string) ([]byte, error) {
	return files.ReadFile(fragment + ".config")
}

// Names lists the configurations, then the fragments.
func Names() []string { return append(Wholes(), Parts()...) }

// Wholes lists the configurations.
func Wholes() []string { return slices.Sorted(maps.Keys(configurations)) }

// Parts lists the fragments.
func Parts() []string {
	var parts []string
	entries, _ := files.ReadDir(".")
	for _, e := range entries {
		parts = append(parts, strings.TrimSuffix(e.Name(), ".config"))
	}
	return parts
}
