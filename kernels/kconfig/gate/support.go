// SPDX-License-Identifier: Apache-2.0

package gate

import (
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strings"
)

// Support is the support matrix of the documentation, beside what Kconfig
// gives.
type Support struct {
	Archs []SupportArch
	Cases []SupportCase
	Wrong []string // where the two differ
}

// A SupportArch is a column.
type SupportArch struct {
	Name    string
	Generic bool // it has GENERIC_ATOMIC64
}

// A SupportCase is a row.
type SupportCase struct {
	Case                   string
	Group, Container, Cdev string // y, n; - is either
	Documented             string // yes, no
	Footnote               bool   // the cdev needs GENERIC_ATOMIC64=n
	Given                  []string
}

// What Kconfig gives in a case: VFIO_NOIOMMU can be chosen in all
// configurations, in none, in some; or there is no such configuration.
const (
	givenYes       = "yes"
	givenGroupOnly = "group" // yes, but no cdev: IOMMUFD_NOIOMMU is off
	givenNo        = "no"
	givenSome      = "some"
	givenNever     = "none such"
)

var supportRow = regexp.MustCompile(`^\|\s*([0-9]+)\s*\|\s*([yn-])\s*\|\s*([yn-])\s*\|\s*([yn-])\s*\|\s*(yes|no)\s*\|([^|]*)\|`)

// support holds the matrix to what was observed. It is nil when the
// documentation has none.
func support(tree fs.FS, observed []observation) (*Support, error) {
	text, err := fs.ReadFile(tree, manual)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("kconfig: %w", err)
	}
	var s Support
	for line := range strings.Lines(string(text)) {
		if m := supportRow.FindStringSubmatch(line); m != nil {
			s.Cases = append(s.Cases, SupportCase{
				Case: m[1], Group: m[2], Container: m[3], Cdev: m[4], Documented: m[5],
				Footnote: strings.Contains(m[6], "[#cdev]_"),
			})
		}
	}
	if len(s.Cases) == 0 {
		return nil, nil
	}
	for _, o := range observed {
		s.Archs = append(s.Archs, SupportArch{o.arch.name, o.generic})
		for i := range s.Cases {
			c := &s.Cases[i]
			given := c.given(o)
			c.Given = append(c.Given, given)
			if want := c.wants(o.generic); !slices.Contains(want, given) {
				s.Wrong = append(s.Wrong, fmt.Sprintf("case %s on %s: Kconfig gives %q where the documentation promises %q", c.Case, o.arch.name, given, want[0]))
			}
		}
	}
	return &s, nil
}

// wants is what the documentation promises of the case.
func (c SupportCase) wants(generic bool) []string {
	switch {
	case c.Documented == "no":
		return []string{givenNo, givenNever} // no access path: Kconfig forces one
	case c.Footnote && generic && c.Group == "n":
		return []string{givenNo}
	case c.Footnote && generic, c.Cdev == "n":
		return []string{givenGroupOnly}
	}
	return []string{givenYes}
}

// given looks at the configurations that came out as the case says, of those
// that asked for VFIO_NOIOMMU.
func (c SupportCase) given(o observation) string {
	found := map[string]bool{}
	for i, r := range o.requests {
		if !r.noiommu || r.more != nil {
			continue
		}
		out := o.outcomes[i]
		is := func(option string) string {
			if out.value(option) == "n" {
				return "n"
			}
			return "y"
		}
		box := "n"
		if is("VFIO_CONTAINER") == "y" || is("IOMMUFD_VFIO_CONTAINER") == "y" {
			box = "y"
		}
		same := func(want, got string) bool { return want == "-" || want == got }
		if is("VFIO") == "n" || !same(c.Group, is("VFIO_GROUP")) || !same(c.Container, box) || !same(c.Cdev, is("VFIO_DEVICE_CDEV")) {
			continue
		}
		switch {
		case is("VFIO_NOIOMMU") == "n":
			found[givenNo] = true
		case is("IOMMUFD_NOIOMMU") == "n":
			found[givenGroupOnly] = true
		default:
			found[givenYes] = true
		}
	}
	switch len(found) {
	case 0:
		return givenNever
	case 1:
		for given := range found {
			return given
		}
	}
	return givenSome
}
