// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

// requirements are all there are.
var requirements = []Requirement{
	Group, NativeContainer, IOMMUFD, Cdev, Noiommu, NoiommuCdev, UnsafeMode, NoIOMMU, IOMMU,
	Hugepages, Hugepages1G, Edu, IGB, TwoDevices, SRIOV,
}

// suites maps the prefix of an id to the suite that proves it.
var suites = map[string]string{
	"ND": "nodes", "GR": "group", "CD": "cdev", "IA": "ioas", "PA": "get_pa", "DM": "dma", "IR": "interrupts",
	"PE": "permission", "LC": "lifecycle", "CX": "coexistence", "IP": "iommu_present", "TL": "taint", "ST": "stress",
}

var (
	idPattern       = regexp.MustCompile(`^[A-Z]{2}-[0-9]{2}$`)
	sourcePattern   = regexp.MustCompile(`^[a-z_]+(/[a-z_0-9]+)+\.[ch](:[0-9]+(-[0-9]+)?)?$`)
	evidencePattern = regexp.MustCompile(`^(VFIO_[A-Z0-9_]+|IOMMU_[A-Z0-9_]+|open|stat|mmap|pread|pwrite|capset|pci\.(bind|unbind))(:E[A-Z0-9]+)?$|^(sysfs|proc|pagemap|kmsg)\.reads$|^sysfs\.writes(:E[A-Z0-9]+)?$|^(dma\.bytes|irq\.events)$`)
)

func TestStatements(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range Statements {
		if !idPattern.MatchString(s.ID) {
			t.Errorf("%q is not an id", s.ID)
			continue
		}
		if seen[s.ID] {
			t.Errorf("%s is there twice", s.ID)
		}
		seen[s.ID] = true
		if want := suites[s.ID[:2]]; s.Suite != want {
			t.Errorf("%s is in suite %q, want %q", s.ID, s.Suite, want)
		}
		if s.Name() != s.Suite+"."+s.ID {
			t.Errorf("%s has the name %q", s.ID, s.Name())
		}
		if !strings.HasSuffix(s.Promise, ".") || strings.Contains(s.Promise, "\n") || len(s.Promise) < 40 {
			t.Errorf("%s: %q is not a sentence", s.ID, s.Promise)
		}
		if len(s.Source) == 0 {
			t.Errorf("%s has no source", s.ID)
		}
		for _, line := range s.Source {
			if !sourcePattern.MatchString(line) {
				t.Errorf("%s: %q is not a source line", s.ID, line)
			}
		}
		if len(s.Evidence) == 0 {
			t.Errorf("%s needs no evidence", s.ID)
		}
		for i, key := range s.Evidence {
			if !evidencePattern.MatchString(key) {
				t.Errorf("%s: %q is no evidence", s.ID, key)
			}
			if slices.Contains(s.Evidence[:i], key) {
				t.Errorf("%s: evidence %q twice", s.ID, key)
			}
		}
		for i, r := range s.Requires {
			if !slices.Contains(requirements, r) {
				t.Errorf("%s requires %q", s.ID, r)
			}
			if slices.Contains(s.Requires[:i], r) {
				t.Errorf("%s requires %q twice", s.ID, r)
			}
		}
		if slices.Contains(s.Requires, IOMMU) && slices.Contains(s.Requires, NoIOMMU) {
			t.Errorf("%s can never apply", s.ID)
		}
		if got, ok := ByID(s.ID); !ok || got.ID != s.ID {
			t.Errorf("ByID(%s) = %v, %v", s.ID, got.ID, ok)
		}
	}
	if _, ok := ByID("XX-00"); ok {
		t.Error("ByID finds what is not there")
	}
}

// TestEvidenceIsPossible: a statement whose evidence is a
// physical address or a transfer must not apply without what it needs.
func TestEvidenceIsPossible(t *testing.T) {
	for _, s := range Statements {
		needs := func(key string, r Requirement) {
			if slices.Contains(s.Evidence, key) && !slices.Contains(s.Requires, r) {
				t.Errorf("%s: evidence %s without requiring %s", s.ID, key, r)
			}
		}
		needs("dma.bytes", Edu)
		needs("IOMMU_IOAS_NOIOMMU_GET_PA", NoIOMMU)
		needs("IOMMU_IOAS_NOIOMMU_GET_PA", Hugepages)
		needs("IOMMU_IOAS_NOIOMMU_GET_PA", NoiommuCdev)
		needs("VFIO_DEVICE_BIND_IOMMUFD", NoiommuCdev)
		needs("VFIO_GROUP_SET_CONTAINER", Group)
	}
}

// TestMeets: exactly the requirement that a fact is about changes with it.
func TestMeets(t *testing.T) {
	for r, change := range map[Requirement]func(*Facts){
		Group:           func(f *Facts) { f.Config.Group = true },
		NativeContainer: func(f *Facts) { f.Config.Container = true },
		IOMMUFD:         func(f *Facts) { f.Config.IOMMUFD = true },
		Cdev:            func(f *Facts) { f.Config.Cdev = true },
		Noiommu:         func(f *Facts) { f.Config.Noiommu = true },
		NoiommuCdev:     func(f *Facts) { f.Config.NoiommuCdev = true },
		UnsafeMode:      func(f *Facts) { f.UnsafeMode = true },
		Hugepages:       func(f *Facts) { f.Hugepages = MinHugepages },
		Hugepages1G:     func(f *Facts) { f.Hugepages1G = 1 },
		Edu:             func(f *Facts) { f.Devices = []string{"edu"} },
		IGB:             func(f *Facts) { f.Devices = []string{"igb"} },
		TwoDevices:      func(f *Facts) { f.Devices = []string{"nvme", "nvme"} },
		SRIOV:           func(f *Facts) { f.SRIOV = true },
	} {
		var facts Facts
		change(&facts)
		unmet := facts.Unmet(requirements)
		want := slices.DeleteFunc(slices.Clone(requirements), func(other Requirement) bool { return other == r || other == NoIOMMU })
		if !slices.Equal(unmet, want) {
			t.Errorf("%s: unmet %v, want %v", r, unmet, want)
		}
	}
	if unmet := (Facts{IOMMU: true}).Unmet([]Requirement{NoIOMMU, IOMMU}); !slices.Equal(unmet, []Requirement{NoIOMMU}) {
		t.Errorf("behind an IOMMU: unmet %v", unmet)
	}
	if got := SkipReason([]Requirement{UnsafeMode, NoIOMMU}); got != "requires unsafe-mode,no-iommu" {
		t.Errorf("SkipReason = %q", got)
	}
}

func TestParseConfig(t *testing.T) {
	got := ParseConfig(`#
CONFIG_VFIO_GROUP=y
CONFIG_VFIO_CONTAINER=m
# CONFIG_VFIO_DEVICE_CDEV is not set
CONFIG_IOMMUFD=n
CONFIG_VFIO_NOIOMMU_SUFFIX=y
CONFIG_LOCALVERSION="CONFIG_IOMMUFD_TEST=y"
`)
	if want := (Config{Group: true, Container: true}); got != want {
		t.Errorf("ParseConfig = %+v, want %+v", got, want)
	}
}
