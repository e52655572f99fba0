// SPDX-License-Identifier: Apache-2.0

package gate

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"noiommu-farm/internal/fault"
)

func at(configTopology ...string) []Point {
	var list []Point
	for _, s := range configTopology {
		c, t, _ := strings.Cut(s, "@")
		list = append(list, Point{c, t})
	}
	return list
}

func TestPlanFor(t *testing.T) {
	everything := points(Core)
	for name, c := range map[string]struct {
		touched   []string
		level     Level
		points    []Point
		selftests []string
		kconfig   bool
		omitted   string // contained in a reason
	}{
		"only text": {[]string{"Documentation/driver-api/vfio.rst"}, Core, nil, nil, false, "vfio.rst: no kernel has it"},
		"quick": {[]string{"drivers/vfio/vfio_main.c"}, Quick, at("noiommu@none", "noiommu@intel"), nil, false,
			"not in plan quick"},
		"the middle of VFIO": {[]string{"drivers/vfio/vfio_main.c"}, Core, everything, []string{"vfio"}, false, "no Kconfig file"},
		"the cdev alone": {[]string{"drivers/vfio/device_cdev.c"}, Core,
			slices.DeleteFunc(slices.Clone(everything), func(p Point) bool { return p.Config == group }), []string{"vfio"}, false,
			"device_cdev.c: built only with VFIO_DEVICE_CDEV"},
		"the group alone": {[]string{"drivers/vfio/group.c"}, Core,
			slices.DeleteFunc(slices.Clone(everything), func(p Point) bool { return p.Config == cdev }), []string{"vfio"}, false,
			"group.c: built only with VFIO_GROUP"},
		"group and cdev": {[]string{"drivers/vfio/group.c", "drivers/vfio/device_cdev.c"}, Core, everything, []string{"vfio"}, false, ""},
		"the domain without an IOMMU": {[]string{"drivers/iommu/iommufd/hwpt_noiommu.c"}, Core,
			at("noiommu@none", "k-cdev@none", "k-compat@none", "k-mod@none", "noiommu@bypass", "noiommu@intel-off"), nil, false,
			"IOMMUFD_NOIOMMU"},
		"Kconfig":           {[]string{"drivers/vfio/Kconfig"}, Quick, at("noiommu@none", "noiommu@intel"), nil, true, ""},
		"another IOMMU":     {[]string{"drivers/iommu/amd/init.c"}, Core, at("noiommu@amd"), nil, false, "need an IOMMU"},
		"another machine":   {[]string{"arch/arm64/kvm/arm.c"}, Core, nil, nil, false, "not of this architecture"},
		"unknown":           {[]string{"mm/gup.c"}, Core, everything, []string{"vfio"}, false, ""},
		"sanitizers":        {[]string{"mm/gup.c"}, Full, points(Full), []string{"vfio"}, false, ""},
		"a selftest":        {[]string{"tools/testing/selftests/vfio/vfio_pci_device_test.c"}, Quick, at("noiommu@intel"), []string{"vfio/vfio_pci_device_test"}, false, "only the selftest"},
		"a new selftest":    {[]string{"tools/testing/selftests/vfio/Makefile", "tools/testing/selftests/vfio/new_test.c"}, Quick, at("noiommu@intel"), []string{"vfio", "vfio/new_test"}, false, ""},
		"their library":     {[]string{"tools/testing/selftests/vfio/lib/libvfio.c"}, Quick, at("noiommu@intel"), []string{"vfio"}, false, ""},
		"all selftests":     {[]string{"tools/testing/selftests/kselftest_harness.h"}, Quick, at("noiommu@intel"), []string{"vfio"}, false, "only selftests"},
		"objtool":           {[]string{"tools/objtool/check.c"}, Quick, at("noiommu@none", "noiommu@intel"), nil, false, ""},
		"another selftest":  {[]string{"tools/testing/selftests/net/x.c"}, Core, nil, nil, false, "no test of the farm"},
		"nothing":           {nil, Core, nil, nil, false, "no file is touched"},
		"a name that lies":  {[]string{"drivers/vfio/group.c.orig"}, Core, everything, []string{"vfio"}, false, ""},
		"text and the code": {[]string{"Documentation/x", "drivers/iommu/virtio-iommu.c"}, Core, at("noiommu@virtio"), nil, false, "virtio-iommu.c: the virtio IOMMU alone"},
	} {
		t.Run(name, func(t *testing.T) {
			plan := PlanFor(c.touched, c.level)
			if diff := cmp.Diff(c.points, plan.Points); diff != "" {
				t.Errorf("points (-want +got)\n%s", diff)
			}
			if diff := cmp.Diff(c.selftests, plan.Selftests); diff != "" {
				t.Errorf("selftests (-want +got)\n%s", diff)
			}
			if plan.Kconfig != c.kconfig {
				t.Errorf("Kconfig is %v", plan.Kconfig)
			}
			if c.omitted != "" && !slices.ContainsFunc(plan.Omitted, func(o Omitted) bool { return strings.Contains(o.Why, c.omitted) }) {
				t.Errorf("no reason has %q: %+v", c.omitted, plan.Omitted)
			}
		})
	}
}

// Whatever a patch touches: every point is run or omitted with a reason, never
// both, and a patch that touches more is never tested less.
func TestPlanIsWhole(t *testing.T) {
	files := []string{"mm/gup.c"}
	for _, r := range rules {
		for _, f := range r.files {
			if strings.HasSuffix(f, "/") {
				f += "x.c"
			}
			files = append(files, f)
		}
	}
	rapid.Check(t, func(r *rapid.T) {
		level := rapid.SampledFrom(Levels()).Draw(r, "level")
		touched := rapid.SliceOfDistinct(rapid.SampledFrom(files), func(f string) string { return f }).Draw(r, "touched")
		plan := PlanFor(touched, level)
		for _, p := range points(Full) {
			run := slices.Contains(plan.Points, p)
			i := slices.IndexFunc(plan.Omitted, func(o Omitted) bool { return o.What == p.String() })
			if run == (i >= 0) {
				r.Fatalf("%s: run %v, omitted %v", p, run, i >= 0)
			}
			if i >= 0 && strings.TrimSpace(plan.Omitted[i].Why) == "" {
				r.Fatalf("%s is omitted for no reason", p)
			}
		}
		more := PlanFor(append(slices.Clone(touched), rapid.SampledFrom(files).Draw(r, "one more")), level)
		for _, p := range plan.Points {
			if !slices.Contains(more.Points, p) {
				r.Fatalf("touching more, %s is run no longer", p)
			}
		}
		if u := union([]Plan{plan, more}, level); !cmp.Equal(u.Points, more.Points) {
			r.Fatalf("union %v, want %v", u.Points, more.Points)
		}
	})
}

func TestParseLevel(t *testing.T) {
	if l, err := ParseLevel("core"); l != Core || err != nil {
		t.Errorf("%q, %v", l, err)
	}
	if _, err := ParseLevel("all"); fault.ExitCode(err) != fault.ExitUsage {
		t.Errorf("got %v", err)
	}
}
