// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"noiommu-farm/guestagent/wire"
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
		"sys/bus/pci/devices/0000:00:00.0/config":                    configSpace(0),
		"sys/bus/pci/devices/0000:00:10.0/config":                    configSpace(1, capMSI),
		"sys/bus/pci/devices/0000:01:00.0/config":                    configSpace(1, capPM, capMSI, capMSIX, capExpress),
		"sys/bus/pci/slots/1/address":                                "0000:01:00\n",
		"sys/bus/pci/slots/2/address":                                "0000:02:00\n",
		"sys/kernel/irq/4/chip_name":                                 "IO-APIC\n",
		"sys/kernel/irq/24/chip_name":                                "PCI-MSIX-0000:00:0a.0\n",
		"proc/cmdline":                                               "console=ttyS0\n",
		"proc/sys/kernel/osrelease":                                  "7.3.4\n",
		"proc/sys/kernel/cap_last_cap":                               "40\n",
		"proc/self/status":                                           "Name:\tsuites\nUid:\t0\t0\t0\t0\nCapEff:\t000001ffffffffff\n",
		"proc/self/uid_map":                                          "         0          0 4294967295\n",
		"proc/zoneinfo":                                              "Node 0, zone    DMA32\n        managed  127\nNode 0, zone   Normal\n        managed  0\n",
	}
	for _, bdf := range []string{"0000:00:10.0", "0000:01:00.0"} {
		if driver != "" {
			files["sys/bus/pci/devices/"+bdf+"/driver"] = "->../../../bus/pci/drivers/" + driver
			files["sys/bus/pci/devices/"+bdf+"/iommu_group"] = "->../../../../kernel/iommu_groups/0"
		}
		if iommu {
			files["sys/class/iommu/dmar0"] = "->../../devices/virtual/iommu/dmar0"
			files["sys/kernel/iommu_groups/7/type"] = "DMA-FQ\n"
			files["sys/bus/pci/devices/"+bdf+"/iommu"] = "->../../virtual/iommu/dmar0"
			files["sys/bus/pci/devices/"+bdf+"/iommu_group"] = "->../../../../kernel/iommu_groups/7"
		}
	}
	return files
}

// configSpace is a configuration space with that interrupt pin and those
// capabilities; an Express one can do a function level reset.
func configSpace(pin byte, capabilities ...byte) string {
	space := make([]byte, 256)
	space[pciInterruptPin] = pin
	next := &space[pciCapabilities]
	for i, id := range capabilities {
		at := 0x40 + 0x10*i
		space[pciStatus] = pciStatusCaps
		*next = byte(at)
		space[at] = id
		next = &space[at+1]
		if id == capExpress {
			binary.LittleEndian.PutUint32(space[at+expressDevCap:], devCapFLR)
		}
	}
	return string(space)
}

// What the kernel's builder says of it counts, not its number.
func TestGetPA(t *testing.T) {
	for _, c := range []struct {
		release, said string
		want          bool
	}{
		{"7.3.4\n", "", true},
		{"7.2.0-rc5+\n", "", false},
		{"7.2.0-rc5+\n", "true", true},
		{"7.3.4\n", "false", false},
	} {
		files := machine("", false)
		files["proc/sys/kernel/osrelease"] = c.release
		t.Setenv(wire.GetPAEnv, c.said)
		facts, err := FindFacts(fakeRoot(t, files), nil)
		if err != nil || facts.GetPA != c.want {
			t.Errorf("release %q, said %q: %v, %v", c.release, c.said, facts.GetPA, err)
		}
	}
	t.Setenv(wire.GetPAEnv, "maybe")
	if _, err := FindFacts(fakeRoot(t, machine("", false)), nil); err == nil {
		t.Error("maybe is an answer")
	}
}

func TestFindFacts(t *testing.T) {
	want := contract.Facts{
		Config: contract.Config{
			Group: true, Container: true, Cdev: true, IOMMUFD: true, Noiommu: true, NoiommuCdev: true,
			UserNS: true, HotplugPCIPCIe: true,
		},
		GetPA: true, UnsafeMode: true, Hugepages: 64, Hugepages1G: 1, Privileges: contract.Root,
		Devices: []contract.Device{
			{Model: "edu", Functions: 1, INTx: true, MSI: true},
			{Model: "igb", Functions: 1, INTx: true, MSI: true, MSIX: true, FLR: true, Port: true},
		},
	}
	behind := func(_ map[string]string, want *contract.Facts) {
		want.IOMMU.Kind = contract.Intel
		want.Devices[0].Behind, want.Devices[1].Behind = true, true
	}
	for _, c := range []struct {
		name   string
		driver string
		iommu  bool
		spoil  func(files map[string]string, want *contract.Facts)
	}{
		{"unbound", "", false, nil},
		{"bound", "vfio-pci", false, nil},
		{"behind an IOMMU, unbound", "", true, behind},
		{"behind an IOMMU, bound", "vfio-pci", true, behind},
		{"behind an AMD IOMMU with identity mappings", "vfio-pci", true, func(files map[string]string, want *contract.Facts) {
			behind(files, want)
			delete(files, "sys/class/iommu/dmar0")
			files["sys/class/iommu/ivhd0"] = ""
			files["sys/kernel/iommu_groups/7/type"] = "identity\n"
			want.IOMMU = contract.IOMMUFacts{Kind: contract.AMD, Passthrough: true}
		}},
		{"behind a virtio-iommu", "", true, func(files map[string]string, want *contract.Facts) {
			behind(files, want)
			delete(files, "sys/class/iommu/dmar0")
			files["sys/class/iommu/0000:00:01.0"] = ""
			want.IOMMU.Kind = contract.Virtio
		}},
		{"remapped interrupts", "", true, func(files map[string]string, want *contract.Facts) {
			behind(files, want)
			files["sys/kernel/irq/24/chip_name"] = "IR-PCI-MSIX-0000:00:0a.0\n"
			want.IOMMU.IntRemap = true
		}},
		{"one behind, one beside", "", true, func(files map[string]string, want *contract.Facts) {
			delete(files, "sys/bus/pci/devices/0000:01:00.0/iommu")
			delete(files, "sys/bus/pci/devices/0000:01:00.0/iommu_group")
			want.IOMMU.Kind = contract.Intel
			want.Devices[0].Behind = true
		}},
		{"an IOMMU switched off", "", false, func(files map[string]string, want *contract.Facts) {
			files["sys/firmware/acpi/tables/DMAR"] = ""
			files["proc/cmdline"] = "console=ttyS0 intel_iommu=off\n"
			want.IOMMU.Off = true
		}},
		{"an IOMMU that the kernel does not know", "", false, func(files map[string]string, _ *contract.Facts) {
			files["sys/firmware/acpi/tables/DMAR"] = ""
		}},
		{"memory above 4 GiB", "", false, func(files map[string]string, want *contract.Facts) {
			files["proc/zoneinfo"] = "Node 0, zone    DMA32\n        managed  127\nNode 0, zone   Normal\n  pages free     1\n        managed  5\n"
			want.MemoryAbove4G = true
		}},
		{"an older kernel", "", false, func(files map[string]string, want *contract.Facts) {
			files["proc/sys/kernel/osrelease"] = "7.2.11\n"
			want.GetPA = false
		}},
		{"two functions of one slot", "", false, func(files map[string]string, want *contract.Facts) {
			for name, text := range files {
				if file, ok := strings.CutPrefix(name, "sys/bus/pci/devices/0000:00:10.0/"); ok {
					files["sys/bus/pci/devices/0000:00:10.1/"+file] = text
				}
			}
			want.Devices[0].Functions = 2
			want.Devices = []contract.Device{want.Devices[0], want.Devices[0], want.Devices[1]}
		}},
		{"no right to read all of a configuration space", "", false, func(files map[string]string, want *contract.Facts) {
			files["proc/self/status"] = "Uid:\t1000\t1000\t1000\t1000\nCapEff:\t0000000000000000\n"
			files["sys/bus/pci/devices/0000:01:00.0/config"] = configSpace(1, capMSI)[:64]
			want.Privileges = contract.Unprivileged
			want.Devices[1].MSI, want.Devices[1].MSIX, want.Devices[1].FLR = false, false, false
		}},
		{"a circle of capabilities", "", false, func(files map[string]string, want *contract.Facts) {
			space := []byte(configSpace(0, capMSI))
			space[0x41] = 0x40
			files["sys/bus/pci/devices/0000:00:10.0/config"] = string(space)
			want.Devices[0].INTx = false
		}},
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
			want.Devices = slices.Clone(want.Devices)
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

func TestFindFactsUnknown(t *testing.T) {
	for name, spoil := range map[string]func(files map[string]string){
		"another IOMMU": func(files map[string]string) { files["sys/class/iommu/smmu3.0"] = "" },
		"other privileges": func(files map[string]string) {
			files["proc/self/status"] = "Uid:\t0\t0\t0\t0\nCapEff:\t0000000000000001\n"
		},
		"no configuration space": func(files map[string]string) { delete(files, "sys/bus/pci/devices/0000:00:10.0/config") },
	} {
		files := machine("", false)
		spoil(files)
		root := fakeRoot(t, files)
		devices, err := FindDevices(root, nil)
		if err == nil {
			_, err = FindFacts(root, devices)
		}
		if err == nil {
			t.Errorf("%s: there are facts", name)
		}
	}
}

func TestPrivileges(t *testing.T) {
	const full, first = "000001ffffffffff", "         0          0 4294967295\n"
	for _, c := range []struct {
		uid, caps, users string
		memlock          uint64
		want             contract.Privileges
	}{
		{"0", full, first, 1 << 30, contract.Root},
		{"0", full, "", contract.MemlockLimit, contract.Root},
		{"0", full, "         0       1000          1\n", 1 << 30, contract.UserNamespace},
		{"0", "000001fffffdffff", first, 1 << 30, contract.NoRawIO},
		{"0", "000001fffffdffff", "0 1000 1\n", 1 << 30, ""},
		{"0", "000001ffffffbfff", first, contract.MemlockLimit, contract.LowMemlock},
		{"0", "000001ffffffbfff", first, 1 << 30, ""},
		{"1000", "0000000000000000", first, contract.MemlockLimit, contract.Unprivileged},
		{"1000", full, first, 1 << 30, ""},
		{"1000", "0000000000000000", "0 1000 1\n", 1 << 30, ""},
	} {
		status := "Name:\tsuites\nUid:\t7\t" + c.uid + "\t7\t7\nCapPrm:\t" + full + "\nCapEff:\t" + c.caps + "\n"
		got, err := privilegesOf(status, c.users, 40, c.memlock)
		if got != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%+v: %q, %v", c, got, err)
		}
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
