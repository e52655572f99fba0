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
	names := touching(s, m[1])
	if len(names) == 0 {
		return err
	}
	kernel.Err = fmt.Errorf("%w\n%s is touched by %s", kernel.Err, m[1], strings.Join(names, ", "))
	return err
}

// touching names the patches of a series that touch a file.
func touching(s series.Series, file string) []string {
	var names []string
	for i := range s.Patches {
		if slices.Contains(s.Patches[i].Touched(), file) {
			names = append(names, s.Patches[i].Name())
		}
	}
	return names
}
