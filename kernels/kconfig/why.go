// SPDX-License-Identifier: Apache-2.0

package kconfig

import "strings"

// Why says what gave an option, which nobody asked for, its value in a .config:
// what selects it, what it depends on in vain, or its own default. s may be
// nil: the kernel has no such option.
func (s *Symbol) Why(config map[string]string) string {
	if s == nil || len(s.Definitions) == 0 {
		return "this kernel has no such option"
	}
	if value := config[s.Name]; value != "" && value != "n" {
		var by []string
		for _, sel := range s.SelectedBy(config) {
			by = append(by, sel.By)
		}
		switch {
		case len(by) > 0:
			return "selected by " + strings.Join(by, ", ")
		case prompted(s):
			return "its default"
		}
		return "computed: it has no prompt"
	}
	var missing []string
	for _, d := range s.Definitions {
		m := unmet(d.Depends, config)
		if len(m) == 0 {
			if prompted(s) {
				return "its default"
			}
			return s.selectors(config)
		}
		missing = append(missing, strings.Join(m, " and "))
	}
	return "depends on " + strings.Join(missing, "; or on ")
}
