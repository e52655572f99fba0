// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"noiommu-farm/suites/contract"
)

// fakeRoot makes a directory that stands for / from file names and contents; a
// content that begins with "->" is a link.
func fakeRoot(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	config, err := os.ReadFile("testdata/k-all.config.gz")
	if err != nil {
		t.Fatal(err)
	}
	files["proc/config.gz"] = string(config)
	for name, content := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if target, link := strings.CutPrefix(content, "->"); link {
			err = os.Symlink(target, path)
		} else {
			err = os.WriteFile(path, []byte(content), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// machine is what sysfs shows on a machine with edu and igb, bound or not,
// behind an IOMMU or not. A bound device without one has a group all the same.
func machine(driver string, iommu bool) map[string]string {
	files := map[string]string{
		"sys/bus/pci/devices/0000:00:00.0/vendor":                    "0x8086\n",
		"sys/bus/pci/devices/0000:00:00.0/device":                    "0x29c0\n",
		"sys/bus/pci/devices/0000:00:10.0/vendor":                    "0x1234\n",
		"sys/bus/pci/devices/0000:00:10.0/device":                    "0x11e8\n",
		"sys/bus/pci/devices/0000:01:00.0/vendor":                    "0x8086\n",
		"sys/bus/pci/devices/0000:01:00.0/device":                    "0x10c9\n",
		"sys/module/vfio/parameters/enable_unsafe_noiommu_mode":      "Y\n",
		"sys/module/vfio_pci/parameters/enable_sriov":                "N\n",
		"sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages":    "64\n",
		"sys/kernel/mm/hugepages/hugepages-1048576kB/free_hugepages": "1\n",
		"sys/kernel/iommu_groups/0/name":                             "vfio-noiommu\n",
		"sys/bus/pci/drivers/vfio-pci/new_id":                        "",
	}
	for _, bdf := range []string{"0000:00:10.0", "0000:01:00.0"} {
		if driver != "" {
			files["sys/bus/pci/devices/"+bdf+"/driver"] = "->../../../bus/pci/drivers/" + driver
			files["sys/bus/pci/devices/"+bdf+"/iommu_group"] = "->../../../../kernel/iommu_groups/0"
		}
		if iommu {
			files["sys/bus/pci/devices/"+bdf+"/iommu"] = "->../../virtual/iommu/dmar0"
			files["sys/bus/pci/devices/"+bdf+"/iommu_group"] = "->../../../../kernel/iommu_groups/7"
		}
	}
	return files
}

func TestFindFacts(t *testing.T) {
	want := contract.Facts{
		Config: contract.Config{
			Group: true, Container: true, Cdev: true, IOMMUFD: true, Noiommu: true, NoiommuCdev: true,
		},
		UnsafeMode: true, Hugepages: 64, Hugepages1G: 1, Devices: []string{"edu", "igb"},
	}
	for _, c := range []struct {
		name   string
		driver string
		iommu  bool
		spoil  func(files map[string]string, want *contract.Facts)
	}{
		{"unbound", "", false, nil},
		{"bound", "vfio-pci", false, nil},
		{"behind an IOMMU, unbound", "", true, func(_ map[string]string, want *contract.Facts) { want.IOMMU = true }},
		{"behind an IOMMU, bound", "vfio-pci", true, func(_ map[string]string, want *contract.Facts) { want.IOMMU = true }},
		{"mode off", "", false, func(files map[string]string, want *contract.Facts) {
			files["sys/module/vfio/parameters/enable_unsafe_noiommu_mode"] = "N\n"
			want.UnsafeMode = false
		}},
		{"no such parameter", "", false, func(files map[string]string, want *contract.Facts) {
			delete(files, "sys/module/vfio/parameters/enable_unsafe_noiommu_mode")
			want.UnsafeMode = false
		}},
		{"no hugepages", "", false, func(files map[string]string, want *contract.Facts) {
			files["sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages"] = "0\n"
			delete(files, "sys/kernel/mm/hugepages/hugepages-1048576kB/free_hugepages")
			want.Hugepages, want.Hugepages1G = 0, 0
		}},
		{"SR-IOV", "", false, func(files map[string]string, want *contract.Facts) {
			files["sys/module/vfio_pci/parameters/enable_sriov"] = "Y\n"
			want.SRIOV = true
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			files, want := machine(c.driver, c.iommu), want
			if c.spoil != nil {
				c.spoil(files, &want)
			}
			root := fakeRoot(t, files)
			devices, err := FindDevices(root, nil)
			if err != nil {
				t.Fatal(err)
			}
			got, err := FindFacts(root, devices)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("facts (-want +got):\n%s", diff)
			}
		})
	}
}

func TestFindFactsMixed(t *testing.T) {
	files := machine("", false)
	files["sys/bus/pci/devices/0000:01:00.0/iommu"] = "->../../virtual/iommu/dmar0"
	root := fakeRoot(t, files)
	devices, err := FindDevices(root, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := FindFacts(root, devices); err == nil {
		t.Error("devices with and without an IOMMU have common facts")
	}
	if facts, err := FindFacts(root, devices[1:]); err != nil || !facts.IOMMU {
		t.Errorf("igb alone: %+v, %v", facts, err)
	}
}

func TestFindDevices(t *testing.T) {
	for _, c := range []struct {
		name  string
		files map[string]string
		bdfs  []string
		want  string
		fails bool
	}{
		{"known models", machine("", false), nil, "0000:00:10.0=edu 0000:01:00.0=igb", false},
		{"bound ones", machine("vfio-pci", false), nil, "0000:00:10.0=edu 0000:01:00.0=igb", false},
		{"named, in BDF order", machine("", false), []string{"0000:01:00.0", "0000:00:10.0"}, "0000:00:10.0=edu 0000:01:00.0=igb", false},
		{"named, no model", machine("", false), []string{"0000:00:00.0"}, "0000:00:00.0=8086:29c0", false},
		{"not there", machine("", false), []string{"0000:00:1f.0"}, "", true},
		{"no BDF", machine("", false), []string{"../../../etc"}, "", true},
		{"short BDF", machine("", false), []string{"00:10.0"}, "", true},
	} {
		devices, err := FindDevices(fakeRoot(t, c.files), c.bdfs)
		if (err != nil) != c.fails {
			t.Errorf("%s: error %v", c.name, err)
		}
		var got []string
		for _, d := range devices {
			got = append(got, d.BDF+"="+d.Model)
		}
		if diff := cmp.Diff(strings.Fields(c.want), got, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
	files := machine("", false)
	files["sys/bus/pci/devices/0000:00:00.0/driver"] = "->../../../bus/pci/drivers/vfio-pci"
	devices, err := FindDevices(fakeRoot(t, files), nil)
	if err != nil || len(devices) != 1 || devices[0].Model != "8086:29c0" {
		t.Errorf("one bound device of no known model: %v, %v", devices, err)
	}
}
