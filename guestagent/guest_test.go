// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"testing"
)

// newGuest lays out proc and sysfs of a small guest: two functions of which
// the second is bound to a network driver, and one IOMMU group.
func newGuest(t *testing.T) guest {
	t.Helper()
	m := guest{root: t.TempDir()}
	for name, text := range map[string]string{
		"proc/sys/kernel/osrelease":      "7.3.4\n",
		"proc/sys/kernel/random/boot_id": "c1bed998-1f7d-4d67-8f59-75eaa95b2528\n",
		"proc/sys/kernel/tainted":        "64\n",
		"proc/cmdline":                   "console=ttyS0 quiet\n",
		"proc/meminfo":                   "MemTotal:         506096 kB\nMemFree:          400000 kB\n",
		"proc/config.gz":                 "\x1f\x8b\x08\x00",
		"sys/devices/system/cpu/online":  "0-2,5\n",
		"sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages":             "3\n",
		"sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages":           "3\n",
		"sys/kernel/iommu_groups/0/name":                                    "vfio-noiommu\n",
		"sys/module/vfio/parameters/enable_unsafe_noiommu_mode":             "Y\n",
		"sys/bus/pci/drivers/vfio-pci/bind":                                 "",
		"sys/bus/pci/drivers/igb/unbind":                                    "",
		"sys/devices/pci0000:00/0000:00:02.0/vendor":                        "0x1234\n",
		"sys/devices/pci0000:00/0000:00:02.0/device":                        "0x11e8\n",
		"sys/devices/pci0000:00/0000:00:02.0/driver_override":               "(null)\n",
		"sys/devices/pci0000:00/0000:00:1c.0/10000:01:00.0/vendor":          "0x8086\n",
		"sys/devices/pci0000:00/0000:00:1c.0/10000:01:00.0/device":          "0x10c9\n",
		"sys/devices/pci0000:00/0000:00:1c.0/10000:01:00.0/driver_override": "(null)\n",
		"sys/class/iommu/dmar1/uevent":                                      "",
		"sys/class/iommu/dmar0/uevent":                                      "",
	} {
		file := m.path(name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for name, target := range map[string]string{
		"sys/bus/pci/devices/0000:00:02.0":                              "../../../devices/pci0000:00/0000:00:02.0",
		"sys/bus/pci/devices/10000:01:00.0":                             "../../../devices/pci0000:00/0000:00:1c.0/10000:01:00.0",
		"sys/devices/pci0000:00/0000:00:1c.0/10000:01:00.0/driver":      "../../../../bus/pci/drivers/igb",
		"sys/devices/pci0000:00/0000:00:1c.0/10000:01:00.0/iommu_group": "../../../../kernel/iommu_groups/0",
	} {
		file := m.path(name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(target, file); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

// text reads a file of the guest.
func (g guest) text(t *testing.T, name string) string {
	t.Helper()
	s, err := readText(g.path(name))
	if err != nil {
		t.Fatal(err)
	}
	return s
}
