// SPDX-License-Identifier: Apache-2.0

package gate

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// The configurations and topologies that a gate knows, as the other rooms call
// them.
const (
	all    = "noiommu"
	cdev   = "k-cdev"
	compat = "k-compat"
	group  = "k-grp"
	off    = "k-off"
	mod    = "k-mod"
	debug  = "k-dbg"

	none     = "none"
	intel    = "intel"
	bypass   = "bypass"
	amd      = "amd"
	virtio   = "virtio"
	intelOff = "intel-off"
)

// A Point is a configuration on a topology.
type Point struct {
	Config   string `json:"config"`
	Topology string `json:"topology"`
}

func (p Point) String() string { return p.Config + " on " + p.Topology }

// Omitted is what is not run, and why.
type Omitted struct {
	What string `json:"what"`
	Why  string `json:"why"`
}

// What is omitted beside points.
const (
	kernelSelftests   = "the kernel's own selftests"
	kconfigStatements = "the Kconfig statements"
)

// A Plan is what is done for one patch.
type Plan struct {
	Points []Point `json:"points"`
	// Selftests are those of the kernel's own test programs that run, as
	// "vfio/NAME"; "vfio" is all of its directory.
	Selftests []string  `json:"selftests"`
	Kconfig   bool      `json:"kconfig"` // hold its Kconfig files to what they promise
	Omitted   []Omitted `json:"omitted"`
}

// points are all that a level knows, in the order in which they run.
func points(l Level) []Point {
	quick := []Point{{all, none}, {all, intel}}
	core := slices.Concat(quick, []Point{
		{cdev, none}, {compat, none}, {group, none}, {off, none}, {mod, none},
		{all, bypass}, {all, intelOff}, {all, virtio}, {all, amd},
	})
	switch l {
	case Quick:
		return quick
	case Full:
		return append(core, Point{debug, none})
	}
	return core
}

// A rule says where a change of some files can show: on which configurations
// (those that compile them), on which topologies (those that execute them).
// Nil is all, an empty list is none.
type rule struct {
	files      []string // each a path, or a directory with a slash at its end
	configs    []string
	topologies []string
	because    string // why not on the others
}

var (
	withGroup = []string{all, compat, group, off, mod, debug}
	withCdev  = []string{all, cdev, compat, off, mod, debug}
	nothing   = []string{}
)

// selftestHarness is what every selftest includes or is built by.
var selftestHarness = []string{
	"tools/testing/selftests/lib.mk", "tools/testing/selftests/kselftest.h", "tools/testing/selftests/kselftest_harness.h",
}

// rules are looked through in order; the first that has the file is the one.
var rules = []rule{
	{[]string{"Documentation/", "MAINTAINERS", "CREDITS", ".mailmap", "LICENSES/", "samples/"}, nothing, nothing, "no kernel has it"},
	{[]string{"tools/testing/selftests/vfio/", "tools/testing/selftests/iommu/"}, []string{all}, []string{intel}, "only the selftest changes"},
	{selftestHarness, []string{all}, []string{intel}, "only selftests have it"},
	// kbuild makes objtool of these, and runs it on every object; the selftests include some.
	{[]string{"tools/objtool/", "tools/lib/", "tools/build/", "tools/scripts/", "tools/include/", "tools/arch/"}, nil, nil, ""},
	{[]string{"tools/"}, nothing, nothing, "no kernel and no test of the farm has it"},
	{[]string{"drivers/vfio/group.c"}, withGroup, nil, "built only with VFIO_GROUP"},
	{[]string{"drivers/vfio/container.c"}, []string{all, group, off, mod, debug}, nil, "built only with VFIO_CONTAINER"},
	{[]string{"drivers/vfio/vfio_iommu_type1.c"}, []string{all, group, off, mod, debug}, []string{intel, bypass, virtio, amd}, "the type 1 container, which needs an IOMMU"},
	{[]string{"drivers/vfio/device_cdev.c"}, withCdev, nil, "built only with VFIO_DEVICE_CDEV"},
	{[]string{"drivers/iommu/iommufd/vfio_compat.c"}, []string{all, compat, debug}, []string{none, intel, bypass}, "the compat container"},
	{[]string{"drivers/iommu/iommufd/hwpt_noiommu.c"}, []string{all, cdev, compat, mod, debug}, []string{none, bypass, intelOff}, "built only with IOMMUFD_NOIOMMU, and for devices without an IOMMU"},
	{[]string{"drivers/iommu/iommufd/selftest.c", "drivers/iommu/iommufd/iommufd_test.h"}, nothing, nothing, "built only with IOMMUFD_TEST"},
	{[]string{"drivers/iommu/iommufd/viommu.c", "drivers/iommu/iommufd/eventq.c", "drivers/iommu/iommufd/driver.c"}, withCdev, []string{none, intel, bypass}, "not reached there"},
	{[]string{"drivers/iommu/iommufd/"}, withCdev, []string{none, intel, bypass, virtio}, "nothing of iommufd behaves otherwise there"},
	{[]string{"drivers/iommu/generic_pt/"}, withCdev, []string{none, intel, bypass, amd}, "no page table of this kind is used there"},
	{[]string{"drivers/iommu/intel/"}, []string{all, debug}, []string{intel, bypass, intelOff}, "Intel's IOMMU alone"},
	{[]string{"drivers/iommu/amd/"}, []string{all, debug}, []string{amd}, "AMD's IOMMU alone"},
	{[]string{"drivers/iommu/virtio-iommu.c"}, []string{all, debug}, []string{virtio}, "the virtio IOMMU alone"},
	{[]string{"arch/arm/", "arch/arm64/", "arch/riscv/", "arch/mips/", "arch/powerpc/", "arch/s390/", "arch/loongarch/", "arch/m68k/", "arch/sparc/", "arch/parisc/", "arch/alpha/", "arch/arc/", "arch/sh/", "arch/um/", "arch/xtensa/", "arch/hexagon/", "arch/csky/", "arch/openrisc/", "arch/microblaze/", "arch/nios2/",
		"drivers/iommu/arm/", "drivers/iommu/riscv/"}, nothing, nothing, "not of this architecture"},
}

// ruleOf is the rule for a file; one that no rule has can show everywhere.
func ruleOf(file string) rule {
	for _, r := range rules {
		for _, f := range r.files {
			if file == f || strings.HasSuffix(f, "/") && strings.HasPrefix(file, f) {
				return r
			}
		}
	}
	return rule{}
}

func (r rule) shows(p Point) bool {
	return (r.configs == nil || slices.Contains(r.configs, p.Config)) &&
		(r.topologies == nil || slices.Contains(r.topologies, p.Topology))
}

// PlanFor derives from the files that a patch touches what is done for it.
func PlanFor(touched []string, l Level) Plan {
	plan := Plan{Kconfig: slices.ContainsFunc(touched, isKconfig)}
	for _, p := range points(l) {
		if slices.ContainsFunc(touched, func(f string) bool { return ruleOf(f).shows(p) }) {
			plan.Points = append(plan.Points, p)
			continue
		}
		plan.Omitted = append(plan.Omitted, Omitted{p.String(), whyNot(touched)})
	}
	for _, p := range points(Full) {
		if !slices.Contains(points(l), p) {
			plan.Omitted = append(plan.Omitted, Omitted{p.String(), fmt.Sprintf("not in plan %s", l)})
		}
	}
	plan.Selftests = selftests(touched, l, plan.Points)
	if len(plan.Selftests) == 0 {
		why := fmt.Sprintf("not in plan %s, and no selftest is touched", l)
		if !slices.Contains(plan.Points, Point{all, intel}) {
			why = "they need an IOMMU, where nothing can show"
		}
		plan.Omitted = append(plan.Omitted, Omitted{kernelSelftests, why})
	}
	if !plan.Kconfig {
		plan.Omitted = append(plan.Omitted, Omitted{kconfigStatements, "no Kconfig file is touched"})
	}
	switch l {
	case Quick, Core:
		plan.Omitted = append(plan.Omitted, Omitted{"statements that are not in the core", "not in plan " + string(l)})
	}
	return plan
}

// whyNot says why nothing of a patch can show at a point that no rule of its
// files has.
func whyNot(touched []string) string {
	var reasons []string
	for _, f := range touched {
		if why := path.Base(f) + ": " + ruleOf(f).because; !slices.Contains(reasons, why) {
			reasons = append(reasons, why)
		}
	}
	const enough = 3
	if len(reasons) > enough {
		reasons = append(reasons[:enough], fmt.Sprintf("and %d more files", len(reasons)-enough))
	}
	if len(reasons) == 0 {
		return "no file is touched"
	}
	return strings.Join(reasons, "; ")
}

func isKconfig(file string) bool {
	base := path.Base(file)
	return base == "Kconfig" || strings.HasPrefix(base, "Kconfig.") || strings.HasPrefix(file, "scripts/kconfig/")
}

// selftests are the kernel's own tests that run: those that the patch touches
// always, all of VFIO's from core on where the patch can show.
func selftests(touched []string, l Level, at []Point) []string {
	if !slices.Contains(at, Point{all, intel}) {
		return nil
	}
	var some []string
	whole := l != Quick
	for _, f := range touched {
		if slices.Contains(selftestHarness, f) {
			whole = true
			continue
		}
		rest, ok := strings.CutPrefix(f, "tools/testing/selftests/vfio/")
		if !ok {
			continue
		}
		if name := selftestOf(rest); name != "" {
			some = append(some, "vfio/"+name)
		} else {
			whole = true
		}
	}
	if whole {
		// Those that the patch touches run even if they are off by default.
		return append([]string{"vfio"}, some...)
	}
	return some
}

// selftestOf is the selftest that a file, below their directory, is the source
// of; "" for the library and the makefile: it can be any of them.
func selftestOf(file string) string {
	name, isC := strings.CutSuffix(file, ".c")
	if !isC || strings.Contains(name, "/") {
		return ""
	}
	return name
}

// changesTest says whether files that a patch touches are of one of the kernel's
// own test programs.
func changesTest(touched []string, program string) bool {
	dir, name, _ := strings.Cut(program, "/")
	return strings.Contains(program, "/") && slices.ContainsFunc(touched, func(f string) bool {
		rest, ok := strings.CutPrefix(f, "tools/testing/selftests/"+dir+"/")
		one := selftestOf(rest)
		return ok && (one == "" || one == name) || slices.Contains(selftestHarness, f)
	})
}

// union is what is done for all of a list of plans: for the base, which each
// of them is compared with.
func union(plans []Plan, l Level) Plan {
	var u Plan
	for _, p := range points(l) {
		if slices.ContainsFunc(plans, func(one Plan) bool { return slices.Contains(one.Points, p) }) {
			u.Points = append(u.Points, p)
		}
	}
	for _, p := range plans {
		u.Kconfig = u.Kconfig || p.Kconfig
		for _, s := range p.Selftests {
			if !slices.Contains(u.Selftests, s) {
				u.Selftests = append(u.Selftests, s)
			}
		}
	}
	return u
}
