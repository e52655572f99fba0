// SPDX-License-Identifier: Apache-2.0

package gate

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"noiommu-farm/results/verdict"
)

// A build that an earlier patch broke does not keep a later one from booting
// with what does build; one that the patch itself breaks does.
func TestAfterBuild(t *testing.T) {
	good, bad := func(c string) Build { return Build{Config: c} }, func(c string) Build { return Build{Config: c, Error: "x"} }
	points := at("noiommu@none", "noiommu@intel", "k-cdev@none")
	for name, c := range map[string]struct {
		before [][]Build
		builds []Build
		boots  bool
		left   []Point
	}{
		"all build":               {[][]Build{{good(all), good(cdev)}}, []Build{good(all), good(cdev)}, true, points},
		"breaks one":              {[][]Build{{good(all), good(cdev)}}, []Build{good(all), bad(cdev)}, false, points},
		"one was broken":          {[][]Build{{good(all), good(cdev)}, {good(all), bad(cdev)}}, []Build{good(all), bad(cdev)}, true, at("noiommu@none", "noiommu@intel")},
		"not built in between":    {[][]Build{{good(all), good(cdev)}, {bad(cdev)}, {good(all)}}, []Build{good(all), bad(cdev)}, true, at("noiommu@none", "noiommu@intel")},
		"mended, broken again":    {[][]Build{{good(all), good(cdev)}, {bad(cdev)}, {good(cdev)}}, []Build{good(all), bad(cdev)}, false, points},
		"one was, breaks another": {[][]Build{{good(all), good(cdev)}, {good(all), bad(cdev)}}, []Build{bad(all), bad(cdev)}, false, at("noiommu@none", "noiommu@intel")},
		"all were broken":         {[][]Build{{good(all), good(cdev)}, {bad(all), bad(cdev)}}, []Build{bad(all), bad(cdev)}, false, nil},
	} {
		t.Run(name, func(t *testing.T) {
			var before []*State
			for i, b := range c.before {
				before = append(before, &State{Index: i, Builds: b})
			}
			s := &State{Index: len(before), Builds: c.builds, Plan: Plan{Points: points}}
			s.afterBuild(before)
			if diff := cmp.Diff(c.left, s.Plan.Points); diff != "" {
				t.Errorf("points (-want +got)\n%s", diff)
			}
			if s.Boots != c.boots {
				t.Errorf("boots: %v", s.Boots)
			}
			if got := len(s.Plan.Omitted) + len(s.Plan.Points); got != len(points) {
				t.Errorf("%d points are run or omitted, want %d", got, len(points))
			}
		})
	}
	if points[2].Config != cdev {
		t.Error("the plan of another state was changed")
	}
}

// A patch that still does not build, so that no guest ran, has not passed.
func TestNotBooted(t *testing.T) {
	g := &gate{report: &Report{}}
	h := newHistory()
	for i, want := range []verdict.Verdict{verdict.Pass, verdict.Fail, verdict.Skip} {
		s := &State{Index: i, Builds: []Build{{Config: all}}}
		if i > 0 {
			s.Builds[0].Error = "x"
		}
		if err := g.judge(t.Context(), h, s); err != nil {
			t.Fatal(err)
		}
		if s.Verdict != want {
			t.Errorf("state %d: %s, want %s", i, s.Verdict, want)
		}
		if i == 2 && (s.word() != "not booted" || len(s.Inherited) != 1) {
			t.Errorf("%q, still broken: %v", s.word(), s.Inherited)
		}
	}
}
