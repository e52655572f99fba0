// SPDX-License-Identifier: Apache-2.0

package kernels

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"noiommu-farm/internal/fault"
	"noiommu-farm/kernels/series"
)

var place = regexp.MustCompile(`(?m)^([^\s:]+):[0-9]+`)

// blame adds to a kernel that does not build which patches of its series touch
// the file of the first error, if any does.
func blame(err error, s series.Series) error {
	var kernel *fault.Kernel
	if !errors.As(err, &kernel) {
		return err
	}
	m := place.FindStringSubmatch(kernel.Err.Error())
	if m == nil {
		return err
	}
	var names []string
	for i, p := range s.Patches {
		if slices.Contains(p.Touched(), m[1]) {
			names = append(names, fmt.Sprintf("%d/%d %q", i+1, len(s.Patches), p.Subject))
		}
	}
	if len(names) == 0 {
		return err
	}
	what := "patch"
	if len(names) > 1 {
		what = "patches"
	}
	kernel.Err = fmt.Errorf("%w\n%s is touched by %s %s", kernel.Err, m[1], what, strings.Join(names, ", "))
	return err
}
