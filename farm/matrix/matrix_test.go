// SPDX-License-Identifier: Apache-2.0

package matrix

import (
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"noiommu-farm/internal/fault"
	"noiommu-farm/suites/contract"
)

func TestProduct(t *testing.T) {
	plan, err := Product(Axes{
		Sources:    []string{"debian:7.3", "tree:/home/u/linux@v7.3"},
		Configs:    []string{"noiommu", "noiommu,./my.config"},
		Topologies: []string{"none", "intel"},
		Guest:      Guest{CPUs: 2, Devices: []string{"edu"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, c := range plan.Cells {
		names = append(names, c.Name)
		if c.CPUs != 2 || len(c.Devices) != 1 {
			t.Errorf("%s lost its guest: %+v", c.Name, c.Guest)
		}
	}
	want := []string{
		"debian-7.3_noiommu_none", "debian-7.3_noiommu_intel",
		"debian-7.3_noiommu,.-my.config_none", "debian-7.3_noiommu,.-my.config_intel",
		"tree-home-u-linux-v7.3_noiommu_none", "tree-home-u-linux-v7.3_noiommu_intel",
		"tree-home-u-linux-v7.3_noiommu,.-my.config_none", "tree-home-u-linux-v7.3_noiommu,.-my.config_intel",
	}
	if !slices.Equal(names, want) {
		t.Errorf("cells:\n%s\nwant:\n%s", strings.Join(names, "\n"), strings.Join(want, "\n"))
	}
}

// A cell's name is a folder's name, whatever the axes say, and no two are
// equal.
func TestNames(t *testing.T) {
	value := rapid.StringMatching(`[a-z:/.@~ _*-]{1,12}`)
	rapid.Check(t, func(r *rapid.T) {
		a := Axes{
			Sources:    rapid.SliceOfNDistinct(value, 1, 4, rapid.ID).Draw(r, "sources"),
			Configs:    rapid.SliceOfNDistinct(value, 1, 3, rapid.ID).Draw(r, "configs"),
			Topologies: rapid.SliceOfNDistinct(value, 1, 3, rapid.ID).Draw(r, "topologies"),
		}
		plan, err := Product(a)
		if err != nil {
			r.Fatal(err)
		}
		if n := len(a.Sources) * len(a.Configs) * len(a.Topologies); len(plan.Cells) != n {
			r.Fatalf("%d cells, want %d", len(plan.Cells), n)
		}
		seen := make(map[string]bool)
		for _, c := range plan.Cells {
			if seen[c.Name] {
				r.Fatalf("two cells are called %q", c.Name)
			}
			seen[c.Name] = true
			if c.Name != filepath.Base(c.Name) || !filepath.IsLocal(c.Name) {
				r.Fatalf("%q is no name for a folder", c.Name)
			}
		}
	})
}

func TestRefused(t *testing.T) {
	good := Axes{Sources: []string{"s"}, Configs: []string{"c"}, Topologies: []string{"none"}}
	for key, spoil := range map[string]func(*Axes){
		"--kernel":     func(a *Axes) { a.Sources = nil },
		"--config":     func(a *Axes) { a.Configs = []string{"x", "y", "x"} },
		"--topology":   func(a *Axes) { a.Topologies = []string{"none", "none"} },
		"--suite":      func(a *Axes) { a.Select.Suites = []string{"vfoi"} },
		"--privileges": func(a *Axes) { a.Privileges = []string{"root", "admin"} },
		"--nightly":    func(a *Axes) { a.Select.Nightly, a.Select.Core = true, true },
		"--test":       func(a *Axes) { a.Select.Tests = []string{"PA-02", "pa-02"} },
	} {
		a := good
		spoil(&a)
		_, err := Product(a)
		var usage *fault.Usage
		if !errors.As(err, &usage) || usage.Key != key {
			t.Errorf("%s: got %v", key, err)
		}
	}
	for _, suite := range []string{"vfio", "vfio/anything", "iommu", "get_pa"} {
		a := good
		a.Select.Suites = []string{suite}
		if _, err := Product(a); err != nil {
			t.Errorf("%s: %v", suite, err)
		}
	}
}

// Privileges are an axis, and part of a cell's name where they are not root's.
func TestPrivileges(t *testing.T) {
	plan, err := Product(Axes{Sources: []string{"s"}, Configs: []string{"c"}, Topologies: []string{"none"}, Privileges: allPrivileges()})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for i, c := range plan.Cells {
		names = append(names, c.Name)
		if f := c.Facts(true, contract.Config{}, Hardware{}); f.Privileges != contract.AllPrivileges[i] {
			t.Errorf("%s: facts say %s", c.Name, f.Privileges)
		}
	}
	if got := strings.Join(names, " "); got != "s_c_none s_c_none_no-rawio s_c_none_user-namespace s_c_none_unprivileged s_c_none_low-memlock" {
		t.Errorf("cells %s", got)
	}
}

// A statement for the night runs when it, or its suite, is asked for.
func TestNightly(t *testing.T) {
	i := slices.IndexFunc(contract.Statements, func(s contract.Statement) bool { return s.Nightly })
	if i < 0 {
		t.Fatal("there is no statement for the night")
	}
	night := contract.Statements[i]
	for _, c := range []struct {
		selection Selection
		runs      bool
	}{
		{Selection{}, false},
		{Selection{Nightly: true}, true},
		{Selection{Tests: []string{night.ID}}, true},
		{Selection{Suites: []string{night.Suite}}, true},
		{Selection{Core: true}, night.Core()},
	} {
		chosen := c.selection.Statements()
		if got := slices.ContainsFunc(chosen, func(s contract.Statement) bool { return s.ID == night.ID }); got != c.runs {
			t.Errorf("%+v: %s runs %v, want %v", c.selection, night.ID, got, c.runs)
		}
	}
}

func ids(statements []contract.Statement) string {
	var list []string
	for _, s := range statements {
		list = append(list, s.ID)
	}
	return strings.Join(list, " ")
}

func TestSelection(t *testing.T) {
	program := []Program{{Path: "/x"}}
	byDay := ids(slices.DeleteFunc(slices.Clone(contract.Statements), func(s contract.Statement) bool { return s.Nightly }))
	core := ids(slices.DeleteFunc(slices.Clone(contract.Statements), func(s contract.Statement) bool { return !s.Core() }))
	for _, c := range []struct {
		name       string
		selection  Selection
		statements string
		kselftest  bool // vfio/a runs
		byName     bool
	}{
		{"what is on by default", Selection{}, byDay, true, false},
		{"everything", Selection{Nightly: true}, ids(contract.Statements), true, true},
		{"the core", Selection{Core: true}, core, false, false},
		{"a statement", Selection{Tests: []string{"DM-01"}}, "DM-01", false, false},
		{"statements come in their own order", Selection{Tests: []string{"TL-05", "TL-01"}}, "TL-01 TL-05", false, false},
		{"a suite", Selection{Suites: []string{"iommu_present"}}, "", false, false},
		{"kselftests", Selection{Suites: []string{"vfio"}}, "", true, false},
		{"one kselftest", Selection{Suites: []string{"vfio/a"}}, "", true, true},
		{"another kselftest", Selection{Suites: []string{"vfio/b"}}, "", false, false},
		{"the user's program alone", Selection{Programs: program}, "", false, false},
		{"the user's program too", Selection{Programs: program, Tests: []string{"PA-02"}}, "PA-02", false, false},
	} {
		got := ids(c.selection.Statements())
		if c.name == "a suite" {
			if !strings.HasPrefix(got, "IP-") || strings.Contains(got, "PA-") {
				t.Errorf("%s: statements %q", c.name, got)
			}
		} else if got != c.statements {
			t.Errorf("%s: statements %q, want %q", c.name, got, c.statements)
		}
		if run, byName := c.selection.Kselftest("vfio", "a"); run != c.kselftest || byName != c.byName {
			t.Errorf("%s: vfio/a runs %v by name %v, want %v %v", c.name, run, byName, c.kselftest, c.byName)
		}
	}
}

func TestFacts(t *testing.T) {
	c := Cell{Guest: Guest{Hugepages: 8, Hugepages1G: 1}}
	hw := Hardware{
		IOMMU:         contract.IOMMUFacts{Kind: contract.Intel, IntRemap: true},
		Devices:       []contract.Device{{Model: "edu"}, {Model: "igb", Behind: true}},
		MemoryAbove4G: true,
	}
	f := c.Facts(true, contract.Config{Noiommu: true}, hw)
	if !f.UnsafeMode || !f.SRIOV || !f.GetPA || f.Hugepages != 8 || f.Hugepages1G != 1 || len(f.Devices) != 2 ||
		f.IOMMU != hw.IOMMU || !f.MemoryAbove4G {
		t.Errorf("%+v", f)
	}
	f = c.Facts(false, contract.Config{}, Hardware{Devices: []contract.Device{{Model: "edu"}}})
	if f.UnsafeMode || f.SRIOV || f.GetPA || f.IOMMU.Kind != "" || f.MemoryAbove4G {
		t.Errorf("%+v", f)
	}
}

// A series is part of what a cell is called, by its file's name.
func TestSeriesNamesCells(t *testing.T) {
	for series, want := range map[string]string{
		"":                                   "debian-7.3_noiommu_none",
		"/home/ada/v5 of it.mbox":            "debian-7.3+v5-of-it_noiommu_none",
		"../x/0001-vfio.patch":               "debian-7.3+0001-vfio_noiommu_none",
		"linux@v7.3..HEAD":                   "debian-7.3+linux-v7.3..HEAD_noiommu_none",
		"/" + strings.Repeat("x", 99) + "/.": "debian-7.3+" + strings.Repeat("x", 60) + "_noiommu_none",
	} {
		plan, err := Product(Axes{Sources: []string{"debian:7.3"}, Series: series, Configs: []string{"noiommu"}, Topologies: []string{"none"}})
		if err != nil || plan.Cells[0].Name != want || plan.Cells[0].Series != series {
			t.Errorf("%s: %v, %+v", series, err, plan)
		}
	}
}
