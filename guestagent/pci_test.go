// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"noiommu-farm/guestagent/wire"
)

// What is written where; that the kernel then binds is seen in guests.
func TestBind(t *testing.T) {
	m := newGuest(t)
	got := m.bind([]string{"10000:01:00.0", "0000:00:1f.7", "../../devices", "0000:00:02.0 "}, 0)
	want := wire.Bound{
		PCI: []wire.PCI{{BDF: "10000:01:00.0", Vendor: 0x8086, Device: 0x10c9, Driver: "igb", Group: "0"}},
		Failed: map[string]string{
			"0000:00:1f.7":  "find 0000:00:1f.7: no such device (ENODEV)",
			"../../devices": `"../../devices" is not a PCI address`,
			"0000:00:02.0 ": `"0000:00:02.0 " is not a PCI address`,
		},
		Taint: 64,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for name, want := range map[string]string{
		"sys/bus/pci/devices/10000:01:00.0/driver_override": "vfio-pci",
		"sys/bus/pci/drivers/igb/unbind":                    "10000:01:00.0",
		"sys/bus/pci/drivers/vfio-pci/bind":                 "10000:01:00.0",
		"sys/bus/pci/devices/0000:00:02.0/driver_override":  "(null)\n",
	} {
		if got := m.text(t, name); !strings.HasPrefix(got, want) {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

func TestBindAgain(t *testing.T) {
	m := newGuest(t)
	if err := os.Symlink("../../../bus/pci/drivers/vfio-pci", filepath.Join(m.pciPath("devices", "0000:00:02.0"), "driver")); err != nil {
		t.Fatal(err)
	}
	got := m.bind([]string{"0000:00:02.0"}, 0)
	if len(got.Failed) != 0 || len(got.PCI) != 1 || got.PCI[0].Driver != vfioPCI {
		t.Errorf("%+v", got)
	}
	if text := m.text(t, "sys/bus/pci/drivers/vfio-pci/bind"); text != "" {
		t.Errorf("bound again: %q", text)
	}
}

func TestBindWithoutDriver(t *testing.T) {
	m := newGuest(t)
	if err := os.RemoveAll(m.pciPath("drivers", vfioPCI)); err != nil {
		t.Fatal(err)
	}
	got := m.bind([]string{"0000:00:02.0"}, 0).Failed["0000:00:02.0"]
	if !strings.HasPrefix(got, "bind to vfio-pci: ") || !strings.HasSuffix(got, "(ENOENT)") {
		t.Errorf("%q", got)
	}
}
