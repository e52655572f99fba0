// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"noiommu-farm/guestagent/wire"
)

func TestFacts(t *testing.T) {
	m := newGuest(t)
	got, err := m.facts([]string{"vfio/enable_unsafe_noiommu_mode", "vfio/no_such", "nosuch/param"})
	if err != nil {
		t.Fatal(err)
	}
	want := &wire.Facts{
		Release:     "7.3.4",
		Cmdline:     "console=ttyS0 quiet",
		CPUs:        4,
		MemTotalKiB: 506096,
		Hugepages:   3,
		IOMMUGroups: 1,
		IOMMUs:      []string{"dmar0", "dmar1"},
		Params:      map[string]string{"vfio/enable_unsafe_noiommu_mode": "Y"},
		Taint:       64,
		PCI: []wire.PCI{
			{BDF: "0000:00:02.0", Vendor: 0x1234, Device: 0x11e8},
			{BDF: "10000:01:00.0", Vendor: 0x8086, Device: 0x10c9, Driver: "igb", Group: "0"},
		},
		ConfigGz: []byte("\x1f\x8b\x08\x00"),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// A kernel without IOMMU, PCI, hugepages and /proc/config.gz has facts too.
func TestFactsOfLittle(t *testing.T) {
	m := newGuest(t)
	for _, name := range []string{"sys/class/iommu", "sys/kernel/iommu_groups", "sys/bus/pci", "sys/kernel/mm", "proc/config.gz"} {
		if err := os.RemoveAll(m.path(name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := m.reserveHugepages(8); err != nil {
		t.Error(err)
	}
	got, err := m.facts(nil)
	if err != nil {
		t.Fatal(err)
	}
	want := &wire.Facts{
		Release: "7.3.4", Cmdline: "console=ttyS0 quiet", CPUs: 4, MemTotalKiB: 506096,
		IOMMUs: []string{}, Params: map[string]string{}, Taint: 64,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// Every file that a guest always has must be there; nothing is made up.
func TestFactsMissing(t *testing.T) {
	for _, name := range []string{"proc/sys/kernel/osrelease", "proc/cmdline", "proc/meminfo", "sys/devices/system/cpu/online"} {
		m := newGuest(t)
		if err := os.Remove(m.path(name)); err != nil {
			t.Fatal(err)
		}
		if f, err := m.facts(nil); err == nil {
			t.Errorf("without %s: %+v", name, f)
		}
	}
	m := newGuest(t)
	if err := os.Remove(m.path("proc/sys/kernel/tainted")); err != nil {
		t.Fatal(err)
	}
	if got := m.taint(); got != -1 {
		t.Errorf("unreadable taint is %d", got)
	}
}

func TestParamRefused(t *testing.T) {
	m := newGuest(t)
	for _, name := range []string{"", "vfio", "vfio/", "/vfio", "../vfio/x", "vfio/..", "vfio/a/b", "vfio/../../../../proc/cmdline", "./x"} {
		if value, ok, err := m.param(name); err == nil {
			t.Errorf("%q: %q, %v", name, value, ok)
		}
	}
}

func TestReserveHugepages(t *testing.T) {
	const file = "sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages"
	tests := []struct {
		ask  int
		want string
	}{
		{0, "3\n"}, // reserved on the command line, and kept
		{3, "3\n"},
		{8, "8\n"},
	}
	for _, test := range tests {
		m := newGuest(t)
		if err := m.reserveHugepages(test.ask); err != nil {
			t.Fatal(err)
		}
		// A plain file keeps what stood behind a shorter write.
		if got := m.text(t, file); got != test.want {
			t.Errorf("asked for %d: %q, want %q", test.ask, got, test.want)
		}
	}
}

func TestCPUs(t *testing.T) {
	tests := []struct {
		list string
		want int // 0 is an error
	}{
		{"0", 1}, {"0-3", 4}, {"0,2,4-7", 6}, {"", 0}, {"x", 0}, {"3-1", 0}, {"0-", 0},
	}
	for _, test := range tests {
		m := newGuest(t)
		if err := os.WriteFile(m.path("sys/devices/system/cpu/online"), []byte(test.list+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		if got, err := m.cpus(); got != test.want || (err == nil) != (test.want > 0) {
			t.Errorf("%q: %d, %v; want %d", test.list, got, err, test.want)
		}
	}
}
