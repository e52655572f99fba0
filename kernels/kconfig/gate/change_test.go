// SPDX-License-Identifier: Apache-2.0

package gate

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"noiommu-farm/internal/fault"
	"noiommu-farm/kernels/kconfig"
)

// Series that touch Kconfig files, and what is told of them.
func TestChange(t *testing.T) {
	base := kernelTree(t)
	tree := copyKconfig(t, base)
	j := Job{Tree: tree, Base: base, Version: "7.3.4", Jobs: 2}
	conf := program{tree: base, conf: t.TempDir()}
	if err := j.buildConf(t.Context(), conf.tree, conf.conf); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, file, old, new string
		arch                 string
		want                 Difference
		unmet                string // in the finding
	}{{
		name: "a select that no longer looks", arch: "m68k", file: vfio,
		old: contract[2], new: "\tselect IOMMUFD_NOIOMMU if VFIO_DEVICE_CDEV\n",
		want: Difference{
			Options: []string{"IOMMUFD_NOIOMMU", "VFIO_NOIOMMU"}, Judged: 73, All: true,
			Flips: []Flip{{Option: "IOMMUFD_NOIOMMU", Before: "n", After: "y", Archs: []string{"m68k"}, Cases: 4, Request: "IOMMUFD=y VFIO=y VFIO_GROUP=y VFIO_CONTAINER=y IOMMUFD_VFIO_CONTAINER=n VFIO_DEVICE_CDEV=y VFIO_NOIOMMU=y"}},
		},
		unmet: `drivers/vfio/Kconfig:66: IOMMUFD_NOIOMMU is y, want n: unmet direct dependencies: Depends on [n]: IOMMU_SUPPORT [=y] && IOMMUFD [=y] && !GENERIC_ATOMIC64 [=y] Selected by [y]: - VFIO_NOIOMMU [=y]`,
	}, {
		// What a reviewer found by eye: a new option selects one whose own
		// dependency it does not repeat.
		name: "a new option with such a select", arch: "riscv32", file: vfio,
		old: "config VFIO_VIRQFD\n", new: "config VFIO_CDEV_NOIOMMU\n\tbool \"VFIO cdev No-IOMMU support\"\n\tdepends on VFIO_DEVICE_CDEV\n\tselect IOMMUFD_NOIOMMU\n\nconfig VFIO_VIRQFD\n",
		want: Difference{
			Options: []string{"IOMMUFD_NOIOMMU", "VFIO_CDEV_NOIOMMU"}, Varied: []string{"VFIO_CDEV_NOIOMMU"}, Judged: 145, All: true,
			Appeared: []string{"VFIO_CDEV_NOIOMMU"},
			Flips:    []Flip{{Option: "IOMMUFD_NOIOMMU", Before: "n", After: "y", Archs: []string{"riscv32"}, Cases: 36, Request: "IOMMUFD=y VFIO=y VFIO_GROUP=y VFIO_CONTAINER=y IOMMUFD_VFIO_CONTAINER=n VFIO_DEVICE_CDEV=y VFIO_NOIOMMU=y VFIO_CDEV_NOIOMMU=y"}},
		},
		unmet: `VFIO_CDEV_NOIOMMU selects IOMMUFD_NOIOMMU without looking at "!GENERIC_ATOMIC64": put it behind the "if" of the select at drivers/vfio/Kconfig:82, or make VFIO_CDEV_NOIOMMU depend on it`,
	}, {
		name: "another default", arch: "x86_64", file: vfio,
		old: "\tdefault !VFIO_GROUP\n", new: "\tdefault y\n",
		want: Difference{Options: []string{"VFIO_DEVICE_CDEV"}, Varied: []string{"SPAPR_TCE_IOMMU"}, Judged: 145, All: true},
	}, {
		name: "an option gone", arch: "x86_64", file: vfio,
		old: "config VFIO_DEBUGFS\n", new: "config VFIO_TRACEFS\n",
		want: Difference{
			Options: []string{"VFIO_DEBUGFS", "VFIO_TRACEFS"}, Varied: []string{"VFIO_DEBUGFS", "VFIO_TRACEFS"}, Judged: 289, All: true,
			Appeared: []string{"VFIO_TRACEFS"}, Vanished: []string{"VFIO_DEBUGFS"},
		},
	}, {
		name: "words", arch: "x86_64", file: vfio,
		old: "If you don't know what to do here, say N.\n\nif VFIO", new: "If in doubt, say N.\n\nif VFIO",
	}} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(tree, c.file)
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if strings.Count(string(text), c.old) != 1 {
				t.Fatalf("%q is not in %s once", c.old, c.file)
			}
			if err := os.WriteFile(path, []byte(strings.Replace(string(text), c.old, c.new, 1)), 0o644); err != nil {
				t.Fatal(err)
			}
			defer os.WriteFile(path, text, 0o644)
			j := j
			j.Work, j.Touched = t.TempDir(), []string{c.file, "drivers/vfio/vfio_main.c"}
			archs, err := architecturesOf([]string{c.arch})
			if err != nil {
				t.Fatal(err)
			}
			change, err := j.change(archs)
			if err != nil {
				t.Fatal(err)
			}
			report, err := j.judge(t.Context(), archs, change, program{tree: tree, conf: conf.conf}, conf)
			if err != nil {
				t.Fatal(err)
			}
			got := *report.Difference
			if (c.unmet != "") != (len(got.Unmet) == 1) || c.unmet != "" && !strings.Contains(got.Unmet[0].String(), c.unmet) {
				t.Errorf("unmet: %v", got.Unmet)
			}
			if c.unmet != "" && !report.Failed() {
				t.Error("not failed")
			}
			got.Unmet = nil
			c.want.Files = []string{c.file}
			for i := range got.Flips { // some go with others, as IOMMU_PT with IOMMUFD_NOIOMMU
				if strings.HasPrefix(got.Flips[i].Option, "IOMMU_PT") || strings.HasPrefix(got.Flips[i].Option, "GENERIC_PT") {
					t.Logf("%v", got.Flips[i])
				}
			}
			got.Flips = slices.DeleteFunc(got.Flips, func(f Flip) bool {
				return strings.HasPrefix(f.Option, "IOMMU_PT") || strings.HasPrefix(f.Option, "GENERIC_PT")
			})
			if len(got.Flips) == 0 {
				got.Flips = nil
			}
			if len(got.Options) == 0 {
				got.Options, c.want.Options = nil, nil
			}
			if d := cmp.Diff(empty(c.want), empty(got)); d != "" {
				t.Error(d)
			}
		})
	}
	t.Run("no Kconfig file", func(t *testing.T) {
		j.Touched = []string{"drivers/vfio/vfio_main.c"}
		change, err := j.change(architectures)
		if err != nil || len(change.Files) > 0 || len(change.Options) > 0 {
			t.Errorf("%v, %+v", err, change)
		}
	})
	t.Run("beyond the part", func(t *testing.T) {
		path := filepath.Join(tree, "drivers/misc/Kconfig")
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		write(t, tree, "drivers/misc/Kconfig", strings.Replace(string(text), "menu \"Misc devices\"\n", "menu \"Misc devices\"\n\nconfig FARM\n\ttristate \"Farm\"\n\tdepends on PCI\n\tselect EDU_HELPER\n\nconfig EDU_HELPER\n\tbool\n\tdepends on !PCI\n", 1))
		j.Work, j.Touched = t.TempDir(), []string{"drivers/misc/Kconfig"}
		archs, _ := architecturesOf([]string{"x86_64"})
		change, err := j.change(archs)
		if err != nil {
			t.Fatal(err)
		}
		if !change.whole || !slices.Contains(change.Options, "FARM") || !slices.Contains(change.Varied, "PCI") {
			t.Errorf("%+v", change)
		}
		report, err := j.judge(t.Context(), archs, change, program{tree: tree, conf: conf.conf}, conf)
		if err != nil {
			t.Fatal(err)
		}
		d := report.Difference
		if len(d.Unmet) != 1 || d.Unmet[0].Option != "EDU_HELPER" || !strings.Contains(d.Unmet[0].Change, `without looking at "!PCI"`) || d.All {
			t.Errorf("%+v", d)
		}
	})
}

// empty makes lists of nothing equal.
func empty(d Difference) Difference {
	for _, l := range []*[]string{&d.Options, &d.Varied, &d.Mended, &d.Appeared, &d.Vanished} {
		if len(*l) == 0 {
			*l = nil
		}
	}
	return d
}

func TestArchitectures(t *testing.T) {
	all, err := architecturesOf(nil)
	if err != nil || len(all) != len(Architectures()) {
		t.Errorf("%v, %v", err, all)
	}
	two, err := architecturesOf([]string{"mips", "arm", "mips"})
	if err != nil || len(two) != 2 || two[0].name != "mips" {
		t.Errorf("%v, %v", err, two)
	}
	if _, err := architecturesOf([]string{"vax"}); fault.ExitCode(err) != fault.ExitUsage || !strings.Contains(err.Error(), "allowed: x86_64, arm64, arm, m68k, riscv32, mips") {
		t.Error(err)
	}
}

// A documentation that promises something else, or nothing.
func TestSupport(t *testing.T) {
	o := observation{
		arch: architecture{name: "x86_64"},
		requests: []request{
			{group: true, container: native, cdev: true, iommufd: "y", noiommu: true},
			{group: true, container: compat, cdev: true, iommufd: "y", noiommu: true},
			{group: true, container: compat, cdev: true, iommufd: "y", noiommu: true, more: []string{"X=y"}},
			{group: true, container: none, cdev: true, iommufd: "y"},
		},
		outcomes: []outcome{
			{Config: map[string]string{"VFIO": "y", "VFIO_GROUP": "y", "VFIO_CONTAINER": "y", "VFIO_DEVICE_CDEV": "y", "VFIO_NOIOMMU": "y", "IOMMUFD_NOIOMMU": "y"}},
			{Config: map[string]string{"VFIO": "y", "VFIO_GROUP": "y", "IOMMUFD_VFIO_CONTAINER": "y", "VFIO_DEVICE_CDEV": "y", "VFIO_NOIOMMU": "y", "IOMMUFD_NOIOMMU": "y"}},
			{}, {},
		},
	}
	row := func(text string) *Support {
		t.Helper()
		s, err := support(fstest.MapFS{manual: {Data: []byte(text)}}, []observation{o})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	if s := row("|  3   |   y   |     y     |  y   |   yes   | Both paths work [#cdev]_  |\n"); len(s.Wrong) > 0 || s.Cases[0].Given[0] != "yes" || !s.Cases[0].Footnote {
		t.Errorf("%+v", s)
	}
	s := row("|  3   |   y   |     y     |  y   |   no    | Blocked |\n|  4   |   y   |     n     |  y   |   yes   | |\n")
	if d := cmp.Diff([]string{
		`case 3 on x86_64: Kconfig gives "yes" where the documentation promises "no"`,
		`case 4 on x86_64: Kconfig gives "none such" where the documentation promises "yes"`,
	}, s.Wrong); d != "" {
		t.Error(d)
	}
	o.outcomes[1].Config["VFIO_NOIOMMU"] = "n"
	if s := row("|  3   |   y   |     y     |  y   |   yes   | |\n"); s.Cases[0].Given[0] != "some" || len(s.Wrong) != 1 {
		t.Errorf("%+v", s)
	}
	if s := row("No matrix.\n"); s != nil {
		t.Errorf("%+v", s)
	}
	if s, err := support(fstest.MapFS{}, nil); s != nil || err != nil {
		t.Errorf("%+v, %v", s, err)
	}
}

// A report says all that is wrong as results too.
func TestReportResults(t *testing.T) {
	bad := Report{
		Statements: []Result{{ID: "KC-01", Verdict: Pass}},
		Support:    &Support{Wrong: []string{"case 1"}},
		Difference: &Difference{Options: []string{"X"}, Unmet: []Finding{{Option: "X"}}},
	}
	var failed []string
	for _, r := range bad.Results() {
		if r.Verdict == Fail {
			failed = append(failed, r.ID)
		}
	}
	if d := cmp.Diff([]string{"matrix", "unmet"}, failed); d != "" || !bad.Failed() {
		t.Error(d)
	}
	good := Report{Statements: bad.Statements, Support: &Support{}, Difference: &Difference{}}
	if good.Failed() || len(good.Results()) != 2 {
		t.Errorf("%+v", good.Results())
	}
}

// Names of options in expressions.
func TestRelated(t *testing.T) {
	if d := cmp.Diff([]string{"VFIO_GROUP", "GENERIC_ATOMIC64"}, kconfig.Names("VFIO_GROUP || !GENERIC_ATOMIC64", "VFIO_GROUP=y")); d != "" {
		t.Error(d)
	}
}
