// SPDX-License-Identifier: Apache-2.0

package meaning

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"noiommu-farm/farm/machine"
	"noiommu-farm/farm/matrix"
	"noiommu-farm/guestagent/wire"
	"noiommu-farm/internal/fault"
	"noiommu-farm/kernels"
	"noiommu-farm/results"
	"noiommu-farm/suites/contract"
)

var (
	kAll  = contract.Config{Group: true, Container: true, Cdev: true, IOMMUFD: true, Noiommu: true, NoiommuCdev: true, HotplugPCIPCIe: true}
	built = []kernels.Selftest{
		{Suite: "vfio", Name: "vfio_pci_device_test"},
		{Suite: "vfio", Name: "vfio_dma_mapping_test"},
		{Suite: "vfio", Name: "vfio_pci_driver_test"},
		{Suite: "vfio", Name: "vfio_iommufd_noiommu_test"}, // one that a series adds
	}
)

func cellOf(selection matrix.Selection) (matrix.Cell, contract.Facts, contract.Facts) {
	c := matrix.Cell{Guest: matrix.Guest{Hugepages: 64}, Selection: selection}
	none := machine.Machine{Topology: machine.None, Devices: []machine.Device{machine.Edu, machine.IGB}, MemoryMiB: 512}
	intel := none
	intel.Topology = machine.Intel
	return c, c.Facts(true, kAll, Hardware(none, kAll)), c.Facts(true, kAll, Hardware(intel, kAll))
}

func own(d time.Duration) time.Duration { return d }

func TestPrograms(t *testing.T) {
	c, none, intel := cellOf(matrix.Selection{})
	for _, facts := range []contract.Facts{none, intel} {
		ph, absent := Programs(c, facts, built, own)
		where := make(map[string]string)
		var ids []uint32
		expected := make(map[string]string)
		for _, p := range ph.All() {
			where[p.Name] = strings.Join(p.Argv, " ")
			ids = append(ids, p.ID)
			for _, e := range p.Tests {
				if _, twice := expected[e.Name]; twice {
					t.Errorf("%s is planned twice", e.Name)
				}
				expected[e.Name] = e.Skip
				if e.Skip == "" && len(e.Evidence) == 0 {
					t.Errorf("%s may pass without evidence", e.Name)
				}
			}
		}
		for _, a := range absent {
			where[a.Name] = "absent: " + a.Reason
		}
		if want := len(c.Selection.Statements()); len(expected) != want || want == 0 {
			t.Errorf("%d statements are planned, %d are selected", len(expected), want)
		}
		seen := make(map[uint32]bool)
		for _, id := range ids {
			if id == 0 || seen[id] {
				t.Errorf("program ids %v", ids)
			}
			seen[id] = true
		}

		want := map[string]string{
			"vfio/vfio_pci_device_test":      "/kselftest/vfio/vfio_pci_device_test {igb@iommu}",
			"vfio/vfio_pci_driver_test":      "absent: off by default",
			"vfio/vfio_iommufd_noiommu_test": "/kselftest/vfio/vfio_iommufd_noiommu_test {igb@",
		}
		skips := map[string]string{"get_pa.PA-02": "requires no-iommu", "iommu_present.IP-01": ""}
		if facts.IOMMU.Kind == "" {
			want["vfio/vfio_pci_device_test"] = "absent: requires iommu"
			want["vfio/vfio_pci_driver_test"] = "absent: requires iommu"
			skips = map[string]string{"get_pa.PA-02": "", "iommu_present.IP-01": "requires iommu"}
		}
		for name, text := range want {
			if !strings.HasPrefix(where[name], text) {
				t.Errorf("iommu %q: %s is %q, want %q", facts.IOMMU.Kind, name, where[name], text)
			}
		}
		for name, skip := range skips {
			if got, ok := expected[name]; !ok || got != skip {
				t.Errorf("iommu %q: %s must skip for %q, want %q", facts.IOMMU.Kind, name, got, skip)
			}
		}
	}
}

// The order is part of the meaning: before any bind, bound, at the end.
func TestPhases(t *testing.T) {
	c, none, _ := cellOf(matrix.Selection{Tests: []string{"TL-05", "TL-01", "CD-01"}, Programs: []matrix.Program{{Path: "/x/mine", Args: []string{"-v", "{igb}"}}}})
	ph, _ := Programs(c, none, built, func(time.Duration) time.Duration { return time.Minute })
	var names []string
	for _, p := range ph.All() {
		names = append(names, p.Name)
		if p.Timeout != time.Minute {
			t.Errorf("%s may take %s", p.Name, p.Timeout)
		}
	}
	if got := strings.Join(names, " "); got != "taint@boot cdev program/mine taint@end" {
		t.Errorf("programs are %q", got)
	}
	if len(ph.Unbound) != 1 || len(ph.AtEnd) != 1 {
		t.Errorf("%d programs before the bind, %d at the end", len(ph.Unbound), len(ph.AtEnd))
	}
}

func TestSelftestThatTheTreeHasNot(t *testing.T) {
	c, _, _ := cellOf(matrix.Selection{Suites: []string{"vfio/nosuch"}})
	var usage *fault.Usage
	if err := CheckKselftests(c, &kernels.Build{Selftests: built}); !errors.As(err, &usage) || !strings.Contains(err.Error(), "vfio/vfio_pci_device_test") {
		t.Errorf("got %v", err)
	}
}

// A suite of the kernel's own that does not compile is broken where one of its
// programs would run that is not there, and nowhere else.
func TestBrokenSelftests(t *testing.T) {
	vfio := []kernels.Unbuilt{{Suite: "vfio", Err: "x.c:1: error"}}
	_, none, intel := cellOf(matrix.Selection{})
	for name, c := range map[string]struct {
		chosen    matrix.Selection
		facts     contract.Facts
		selftests []kernels.Selftest
		want      bool
	}{
		"it would run":             {matrix.Selection{}, intel, nil, true},
		"by name":                  {matrix.Selection{Suites: []string{"vfio/vfio_pci_device_test"}}, intel, nil, true},
		"there is no IOMMU":        {matrix.Selection{}, none, nil, false},
		"another was chosen":       {matrix.Selection{Suites: []string{"cdev"}}, intel, nil, false},
		"what was chosen is there": {matrix.Selection{Suites: []string{"vfio/vfio_pci_device_test"}}, intel, []kernels.Selftest{{Suite: "vfio", Name: "vfio_pci_device_test"}}, false},
	} {
		cell, _, _ := cellOf(c.chosen)
		b := &kernels.Build{Selftests: c.selftests, Unbuilt: vfio}
		if err := CheckKselftests(cell, b); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		got, absent := Broken(cell, c.facts, b)
		if (len(got) == 1) != c.want || (len(absent) > 0) != c.want {
			t.Errorf("%s: %v, absent %v", name, got, absent)
		}
		if !c.want {
			continue
		}
		if one := got[0]; one.Name != "vfio/build" || one.Err != "x.c:1: error" || !slices.Contains(one.Missing, "vfio_pci_device_test") || len(one.Missing) < len(absent) {
			t.Errorf("%s: %v", name, one)
		}
		if !slices.Contains(absent, results.Absent{Name: "vfio/vfio_pci_device_test", Reason: "vfio/build failed"}) {
			t.Errorf("%s: absent: %v", name, absent)
		}
	}
}

// With fewer privileges nothing runs that needs more, and the rest is started
// with exactly these.
func TestPrivileges(t *testing.T) {
	c, _, intel := cellOf(matrix.Selection{})
	intel.Privileges = contract.NoRawIO
	ph, absent := Programs(c, intel, built, own)
	for _, p := range ph.All() {
		if p.Privileges != contract.NoRawIO {
			t.Errorf("%s is started with privileges %q", p.Name, p.Privileges)
		}
		for _, e := range p.Tests {
			s, _ := contract.ByID(e.Name[strings.LastIndex(e.Name, ".")+1:])
			if allowed := slices.Contains(s.Privileges, contract.NoRawIO) || s.Under[contract.NoRawIO] != nil; !allowed && e.Skip == "" {
				t.Errorf("%s runs, which needs root", e.Name)
			}
		}
	}
	if len(absent) != len(built) || !slices.ContainsFunc(absent, func(a results.Absent) bool { return a.Reason == "requires root" }) {
		t.Errorf("absent: %+v", absent)
	}
	if wire.MemlockLimit != contract.MemlockLimit {
		t.Errorf("the agent sets a limit of %d, the contract says %d", wire.MemlockLimit, contract.MemlockLimit)
	}
	for _, p := range contract.AllPrivileges {
		if !slices.Contains([]string{wire.Root, wire.NoRawIO, wire.UserNamespace, wire.Unprivileged, wire.LowMemlock}, string(p)) {
			t.Errorf("the agent does not know the privileges %s", p)
		}
	}
}
