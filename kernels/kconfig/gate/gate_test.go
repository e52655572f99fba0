// SPDX-License-Identifier: Apache-2.0

package gate

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"noiommu-farm/internal/fault"
)

// contract is what tells a tree whose no-IOMMU options are those of 7.3.4.
var contract = []string{
	"\tdepends on VFIO_GROUP || (VFIO_DEVICE_CDEV && !GENERIC_ATOMIC64)\n",
	"\tdepends on !VFIO_GROUP || VFIO_CONTAINER || IOMMUFD_VFIO_CONTAINER\n",
	"\tselect IOMMUFD_NOIOMMU if VFIO_DEVICE_CDEV && !GENERIC_ATOMIC64\n",
}

// kernelTree copies what the gate reads of a 7.3 kernel in the user's cache;
// absent on a machine that built none yet.
func kernelTree(t *testing.T) string {
	t.Helper()
	dir, err := os.UserCacheDir()
	if err != nil {
		t.Skipf("no cache on this machine: %v", err)
	}
	files, _ := filepath.Glob(filepath.Join(dir, "noiommu-farm/sources/*/tree/drivers/vfio/Kconfig"))
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err == nil && !slices.ContainsFunc(contract, func(line string) bool { return !strings.Contains(string(text), line) }) {
			return copyKconfig(t, filepath.Join(filepath.Dir(f), "../.."))
		}
	}
	t.Skip("no kernel source in the cache of this machine")
	return ""
}

func copyKconfig(t *testing.T, from string) string {
	t.Helper()
	to := t.TempDir()
	err := filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		read := strings.HasPrefix(d.Name(), "Kconfig") || strings.HasPrefix(name, "scripts/") ||
			strings.HasPrefix(name, "tools/scripts/") || strings.HasPrefix(name, "arch/x86/Makefile") ||
			name == "Makefile" || name == "Kbuild" || name == "include/uapi/linux/iommufd.h" || name == manual
		if !d.Type().IsRegular() || !read {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		fi, err := d.Info()
		if err != nil {
			return err
		}
		if err := os.MkdirAll(filepath.Dir(filepath.Join(to, name)), 0o755); err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, name), text, fi.Mode().Perm()|0o200)
	})
	if err != nil {
		t.Fatal(err)
	}
	return to
}

func failing(results []Result) []string {
	var ids []string
	for _, r := range results {
		if r.Verdict == Fail {
			ids = append(ids, r.ID)
		}
	}
	return ids
}

func describe(results []Result) string {
	var b strings.Builder
	for _, r := range results {
		for _, f := range r.Findings {
			fmt.Fprintf(&b, "%s %v\n", r.ID, f)
		}
	}
	return b.String()
}

// A mutant is a defect of the Kconfig files and the statements it breaks.
type mutant struct {
	name     string
	file     string
	old, new string
	arch     string // that shows it; "" is x86_64
	broken   []string
	says     []string // of the findings
}

func (m mutant) shownBy() string {
	if m.arch == "" {
		return "x86_64"
	}
	return m.arch
}

var mutants = []mutant{{
	name: "a select that ignores GENERIC_ATOMIC64", file: vfio,
	old: contract[2], new: "\tselect IOMMUFD_NOIOMMU if VFIO_DEVICE_CDEV\n", arch: "m68k",
	broken: []string{"KC-09"},
	says: []string{
		"KC-09 drivers/vfio/Kconfig:66: IOMMUFD_NOIOMMU is y, want n: unmet direct dependencies: ",
		"!GENERIC_ATOMIC64 [=y]", "Selected by [y]: - VFIO_NOIOMMU [=y]", "(m68k: IOMMUFD=y VFIO=y ",
	},
}, {
	name: "no container needed", file: vfio,
	old: contract[1], new: "",
	broken: []string{"KC-03", "KC-04"},
	says:   []string{"drivers/vfio/Kconfig:62: VFIO_NOIOMMU is y, want n: it is y, and all that it depends on holds: (VFIO) && (VFIO_GROUP || "},
}, {
	name: "one kind of container forgotten", file: vfio,
	old: contract[1], new: "\tdepends on !VFIO_GROUP || VFIO_CONTAINER\n",
	broken: []string{"KC-02", "KC-05", "KC-08"},
	says:   []string{"VFIO_NOIOMMU is n, want y: it is n: it depends on !VFIO_GROUP || VFIO_CONTAINER [VFIO_GROUP=y, VFIO_CONTAINER=n]"},
}, {
	name: "only for groups", file: vfio,
	old: contract[0], new: "\tdepends on VFIO_GROUP\n",
	broken: []string{"KC-06", "KC-08"},
	says:   []string{"drivers/vfio/Kconfig:62: VFIO_NOIOMMU is n, want y: it is n: it depends on VFIO_GROUP [=n]"},
}, {
	name: "the cdev alone on any machine", file: vfio,
	old: contract[0], new: "\tdepends on VFIO_GROUP || VFIO_DEVICE_CDEV\n", arch: "riscv32",
	broken: []string{"KC-10"},
	says:   []string{"VFIO_NOIOMMU is y, want n", "(riscv32: "},
}, {
	name: "nothing selected", file: vfio,
	old: contract[2], new: "",
	broken: []string{"KC-05", "KC-06", "KC-08"},
	says:   []string{"drivers/iommu/iommufd/Kconfig:19: IOMMUFD_NOIOMMU is n, want y: it is n: it has no prompt, and nothing selects it"},
}, {
	name: "selected for groups alone", file: vfio,
	old: contract[2], new: "\tselect IOMMUFD_NOIOMMU if VFIO_GROUP && VFIO_DEVICE_CDEV && !GENERIC_ATOMIC64\n",
	broken: []string{"KC-06", "KC-08"},
	says:   []string{"it is n: it has no prompt, and would be selected by VFIO_NOIOMMU [=y] if VFIO_GROUP [=n]"},
}, {
	name: "selected without a cdev", file: vfio,
	old: contract[2], new: "\tselect IOMMUFD_NOIOMMU if IOMMUFD && !GENERIC_ATOMIC64\n",
	broken: []string{"KC-01", "KC-02"},
	says:   []string{"drivers/vfio/Kconfig:66: IOMMUFD_NOIOMMU is y, want n: it is y: selected by VFIO_NOIOMMU"},
}, {
	name: "on by default", file: vfio,
	old: "\tbool \"VFIO No-IOMMU support\"\n", new: "\tbool \"VFIO No-IOMMU support\"\n\tdefault y\n",
	broken: []string{"KC-11"},
	says:   []string{"drivers/vfio/Kconfig:62: VFIO_NOIOMMU is y, want n"},
}, {
	name: "no way to a device without groups", file: vfio,
	old: "\tselect VFIO_DEVICE_CDEV if !VFIO_GROUP\n", new: "",
	broken: []string{"KC-06", "KC-07", "KC-08"},
	says:   []string{"VFIO_DEVICE_CDEV is n, want y"},
}, {
	name: "no way to a device without iommufd", file: vfio,
	old: "\tselect VFIO_CONTAINER if IOMMUFD=n\n", new: "",
	broken: []string{"KC-07"},
	says:   []string{"VFIO_CONTAINER is n, want y"},
}, {
	name: "a prompt", file: iommufd,
	old: "config IOMMUFD_NOIOMMU\n\tbool\n", new: "config IOMMUFD_NOIOMMU\n\tbool \"No-IOMMU\"\n",
	broken: []string{"KC-11"},
	says: []string{
		"drivers/iommu/iommufd/Kconfig:19: IOMMUFD_NOIOMMU is y, want n",
		"drivers/iommu/iommufd/Kconfig:19: IOMMUFD_NOIOMMU is with a prompt, want without",
	},
}, {
	name: "a prompt that these configurations do not show", file: iommufd,
	old: "config IOMMUFD_NOIOMMU\n\tbool\n", new: "config IOMMUFD_NOIOMMU\n\tbool \"No-IOMMU\" if COMPILE_TEST\n",
	broken: []string{"KC-11"},
	says:   []string{"drivers/iommu/iommufd/Kconfig:19: IOMMUFD_NOIOMMU is with a prompt, want without"},
}, {
	name: "on with iommufd", file: iommufd,
	old: "config IOMMUFD_NOIOMMU\n\tbool\n", new: "config IOMMUFD_NOIOMMU\n\tdef_bool y\n",
	broken: []string{"KC-01", "KC-02", "KC-03", "KC-04", "KC-11"},
	says:   []string{"it has no prompt, Kconfig computes it"},
}, {
	name: "a page table that is not built", file: iommufd,
	old: "\tselect IOMMU_PT_AMDV1\n", new: "",
	broken: []string{"KC-05", "KC-06", "KC-08"},
	says:   []string{"IOMMU_PT_AMDV1 is n, want y"},
}, {
	name: "a tristate", file: iommufd,
	old: "config IOMMUFD_NOIOMMU\n\tbool\n", new: "config IOMMUFD_NOIOMMU\n\ttristate\n",
	broken: []string{"KC-08"},
	says:   []string{"IOMMUFD_NOIOMMU is m, want y"},
}, {
	name: "the option gone", file: iommufd,
	old: "config IOMMUFD_NOIOMMU\n", new: "config IOMMUFD_NOIOMMU_TABLE\n",
	broken: []string{"KC-05", "KC-06", "KC-08"},
	says:   []string{"IOMMUFD_NOIOMMU is n, want y: this kernel has no such option"},
}, {
	name: "a dependency said twice is no defect", file: vfio,
	old: contract[2], new: contract[2] + "\tdepends on VFIO\n",
}}

func TestMutants(t *testing.T) {
	j := Job{Tree: kernelTree(t), Version: "7.3.4", Work: t.TempDir(), Jobs: 2}
	report, err := Run(t.Context(), j)
	if err != nil {
		t.Fatal(err)
	}
	results := report.Statements
	if got := describe(results); got != "" {
		t.Fatalf("the kernel itself:\n%s", got)
	}
	for _, r := range results {
		if r.Verdict != Pass || r.Judged == 0 {
			t.Errorf("%s: %s, %d configurations", r.ID, r.Verdict, r.Judged)
		}
	}
	if d := cmp.Diff(supportOf73, report.Support); d != "" {
		t.Error(d)
	}
	conf := filepath.Join(j.Work, "conf")
	for _, m := range mutants {
		t.Run(m.name, func(t *testing.T) {
			path := filepath.Join(j.Tree, m.file)
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if strings.Count(string(text), m.old) != 1 {
				t.Fatalf("%q is not in %s once", m.old, m.file)
			}
			if err := os.WriteFile(path, []byte(strings.Replace(string(text), m.old, m.new, 1)), 0o644); err != nil {
				t.Fatal(err)
			}
			defer os.WriteFile(path, text, 0o644)
			archs := slices.DeleteFunc(slices.Clone(architectures), func(a architecture) bool { return a.name != m.shownBy() })
			j.Work = t.TempDir()
			report, err := j.judge(t.Context(), archs, nil, program{tree: j.Tree, conf: conf}, program{})
			if err != nil {
				t.Fatal(err)
			}
			results := report.Statements
			found := describe(results)
			t.Log("\n" + found)
			if d := cmp.Diff(m.broken, failing(results)); d != "" {
				t.Error(d)
			}
			for _, want := range m.says {
				if !strings.Contains(found, want) {
					t.Errorf("nothing says %q", want)
				}
			}
		})
	}
}

// The part of the Kconfig files that is read gives what all of them give.
func TestPart(t *testing.T) {
	j := Job{Tree: kernelTree(t), Version: "7.3.4", Work: t.TempDir()}
	p := program{tree: j.Tree, conf: t.TempDir()}
	if err := j.buildConf(t.Context(), p.tree, p.conf); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(j.Tree, "Kconfig"))
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range architectures {
		fragments := map[string]string{}
		for name, r := range map[string]request{
			"both": {group: true, container: compat, cdev: true, iommufd: "m", noiommu: true},
			"cdev": {cdev: true, container: none, iommufd: "y", noiommu: true},
		} {
			fragments[name+"."+allNo] = a.fragment(r)
		}
		got, err := j.configure(t.Context(), p, filepath.Join(j.Work, "part", a.name), a, part, fragments)
		if err != nil {
			t.Fatal(err)
		}
		want, err := j.configure(t.Context(), p, filepath.Join(j.Work, "whole", a.name), a, string(text), fragments)
		if err != nil {
			t.Fatal(err)
		}
		for name := range fragments {
			if d := cmp.Diff(ours(want[name].Config), ours(got[name].Config)); d != "" {
				t.Errorf("%s, %s:\n%s", a.name, name, d)
			}
			if len(want[name].Unmet) > 0 {
				t.Errorf("%s, %s: %q", a.name, name, want[name].Unmet)
			}
		}
	}
}

// ours is the options that the statements speak of, and what they depend on.
func ours(config map[string]string) map[string]string {
	ours := maps.Clone(config)
	maps.DeleteFunc(ours, func(name, _ string) bool {
		return !strings.HasPrefix(name, "VFIO") && !strings.HasPrefix(name, "IOMMU") && name != "GENERIC_ATOMIC64" && name != "MODULES" && name != "GENERIC_PT"
	})
	return ours
}

func TestSyntaxError(t *testing.T) {
	j := Job{Tree: kernelTree(t), Version: "7.3.4", Work: t.TempDir(), Jobs: 2}
	if err := os.WriteFile(filepath.Join(j.Tree, vfio), []byte("config VFIO\n\tbool \"VFIO\"\n\tdepend on IOMMUFD_NOIOMMU\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	_, err := Run(t.Context(), j)
	if fault.ExitCode(err) != fault.ExitKernel || !strings.Contains(err.Error(), "drivers/vfio/Kconfig:3: ") {
		t.Error(err)
	}
}

// supportOf73 is the matrix of Linux 7.3.4.
var supportOf73 = &Support{
	Archs: []SupportArch{{"x86_64", false}, {"arm64", false}, {"arm", false}, {"m68k", true}, {"riscv32", true}, {"mips", true}},
	Cases: []SupportCase{
		{"1", "y", "y", "n", "yes", false, []string{"group", "group", "group", "group", "group", "group"}},
		{"2", "y", "n", "n", "no", false, []string{"no", "no", "no", "no", "no", "no"}},
		{"3", "y", "y", "y", "yes", true, []string{"yes", "yes", "yes", "group", "group", "group"}},
		{"4", "y", "n", "y", "no", false, []string{"no", "no", "no", "no", "no", "no"}},
		{"5", "n", "-", "y", "yes", true, []string{"yes", "yes", "yes", "no", "no", "no"}},
		{"6", "n", "-", "n", "no", false, []string{"none such", "none such", "none such", "none such", "none such", "none such"}},
	},
}
