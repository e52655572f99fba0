// SPDX-License-Identifier: Apache-2.0

// Package gate judges a series of patches: one verdict for the base, one for
// every patch. Each state that can show in what is tested must build, boot and
// pass; where nothing is booted, nothing has passed.
//
// In come a base and a series; out goes a [Report], with every difference
// confirmed by repetition, and text made of it: a table, Markdown, a mail to
// the author. What a patch touches decides what is built and booted for it, and
// the report says what was not, and why. It never blames a patch for what the
// base does, and never drops a result because it does not repeat.
package gate

import (
	"fmt"

	"noiommu-farm/internal/fault"
)

// Level is how much a gate does.
type Level string

const (
	Quick Level = "quick" // one configuration, without and with an IOMMU: an answer while one waits
	Core  Level = "core"  // every profile and machine on which the touched files can show
	Full  Level = "full"  // the same with sanitizers, stress, and everything that is only for the night
)

// Levels are all levels.
func Levels() []Level { return []Level{Quick, Core, Full} }

// ParseLevel returns the level of that name, or a *fault.Usage.
func ParseLevel(name string) (Level, error) {
	var allowed []string
	for _, l := range Levels() {
		if string(l) == name {
			return l, nil
		}
		allowed = append(allowed, string(l))
	}
	return "", &fault.Usage{Key: "--plan", Value: name, Allowed: allowed, Err: fmt.Errorf("there is no such plan")}
}
