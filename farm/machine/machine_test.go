// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"noiommu-farm/internal/fault"
)

var update = flag.Bool("update", false, "rewrite testdata")

// valid is a machine that tests change in one place.
func valid() Machine {
	return Machine{
		Topology: None, Devices: []Device{Edu}, CPUs: 2, MemoryMiB: 512, Accel: TCG,
		QEMU: "/usr/bin/qemu-system-x86_64", Kernel: "/k/vmlinux", Initrd: "/i/initrd.cpio",
		ControlPort: "org.example.control", OutputPort: "org.example.output",
	}
}

type argsTest struct {
	name    string
	bzImage bool
	wiring  Wiring // beside the usual
	change  func(*Machine)
}

func TestArgs(t *testing.T) {
	tests := []argsTest{
		{name: "none-edu", change: func(m *Machine) {}},
		{name: "none-bare", change: func(m *Machine) { m.Devices, m.Initrd, m.CPUs = nil, "", 1 }},
		{name: "none-append", change: func(m *Machine) {
			m.Append = []string{"vfio.enable_unsafe_noiommu_mode=1", "loglevel=7"}
		}},
		{name: "none-bzimage", bzImage: true, change: func(m *Machine) { m.Kernel = "/k/bzImage" }},
		{name: "none-several", change: func(m *Machine) { m.Devices = []Device{IGB, Edu, IGB, Edu} }},
		{name: "intel-igb", change: func(m *Machine) {
			m.Topology, m.Devices, m.MemoryMiB, m.Hugepages1G = Intel, []Device{IGB}, 3072, 1
		}},
		{name: "intel-kvm", change: func(m *Machine) { m.Topology, m.Accel = Intel, KVM }},
		{name: "none-kvm", change: func(m *Machine) { m.Accel = KVM }},
		{name: "none-tsc", change: func(m *Machine) { m.TSCKHz = 2600000 }},
		{name: "intel-savable", wiring: Wiring{Memory: 8, State: 9}, change: func(m *Machine) { m.Topology = Intel }},
		{name: "intel-restored", wiring: Wiring{Memory: 8, State: 9, Restored: true}, change: func(m *Machine) { m.Topology = Intel }},
		{name: "none-5g", change: func(m *Machine) { m.MemoryMiB = 5120 }},
	}
	for _, topology := range Topologies() {
		tests = append(tests, argsTest{name: string(topology) + "-edu-edu-port", change: func(m *Machine) {
			m.Topology, m.Devices = topology, []Device{Edu, EduPort}
		}})
	}
	for _, d := range Devices() {
		tests = append(tests, argsTest{name: "none-2-" + string(d), change: func(m *Machine) { m.Devices = []Device{d, d} }})
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			m := valid()
			test.change(&m)
			if err := m.Validate(); err != nil {
				t.Fatal(err)
			}
			w := test.wiring
			w.QMP, w.Control, w.Output, w.Console, w.PVH = 3, 4, 5, 6, !test.bzImage
			got := strings.Join(m.Args(w), "\n") + "\n"
			golden := filepath.Join("testdata", test.name+".args")
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("arguments differ from %s (-want +got):\n%s", golden, diff)
			}
		})
	}
}

func TestValidate(t *testing.T) {
	tests := []struct {
		name, key string // key: of the usage error, or "" when the machine is valid
		change    func(*Machine)
	}{
		{"as it is", "", func(m *Machine) {}},
		{"topology", "topology", func(m *Machine) { m.Topology = "bogus" }},
		{"no topology", "topology", func(m *Machine) { m.Topology = "" }},
		{"accelerator", "accel", func(m *Machine) { m.Accel = "hvf" }},
		{"device", "device", func(m *Machine) { m.Devices = []Device{"edu,romfile=/etc/passwd"} }},
		{"8 devices in both places", "", func(m *Machine) {
			m.Devices = slices.Concat(slices.Repeat([]Device{Edu}, 8), slices.Repeat([]Device{IGB, EduPort}, 4))
		}},
		{"9 devices on the root bus", "device", func(m *Machine) { m.Devices = slices.Repeat([]Device{Edu}, 9) }},
		{"9 devices behind root ports", "device", func(m *Machine) { m.Devices = append(slices.Repeat([]Device{IGB, NVMe}, 4), E1000E) }},
		{"no CPU", "cpus", func(m *Machine) { m.CPUs = 0 }},
		{"most CPUs", "", func(m *Machine) { m.CPUs = MaxCPUs }},
		{"too many CPUs", "cpus", func(m *Machine) { m.CPUs = MaxCPUs + 1 }},
		{"least memory", "", func(m *Machine) { m.MemoryMiB = MinMemoryMiB }},
		{"too little memory", "memory", func(m *Machine) { m.MemoryMiB = MinMemoryMiB - 1 }},
		{"too much memory", "memory", func(m *Machine) { m.MemoryMiB = MaxMemoryMiB + 1 }},
		{"negative hugepages", "hugepages_1g", func(m *Machine) { m.Hugepages1G = -1 }},
		{"hugepages that overflow", "hugepages_1g", func(m *Machine) { m.Hugepages1G = 1 << 62 }},
		{"memory for a hugepage", "", func(m *Machine) { m.Hugepages1G, m.MemoryMiB = 1, 1024+512 }},
		{"no memory for a hugepage", "memory", func(m *Machine) { m.Hugepages1G, m.MemoryMiB = 1, 1024+511 }},
		{"port name with an option", "port", func(m *Machine) { m.ControlPort = "a,b=c" }},
		{"no port name", "port", func(m *Machine) { m.OutputPort = "" }},
		{"one port name for both", "port", func(m *Machine) { m.OutputPort = m.ControlPort }},
		{"line break in an argument", "append", func(m *Machine) { m.Append = []string{"a\nb"} }},
		{"longest command line", "", func(m *Machine) { m.Append = []string{filler(*m)} }},
		{"too long a command line", "append", func(m *Machine) { m.Append = []string{filler(*m) + "x"} }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			m := valid()
			test.change(&m)
			err := m.Validate()
			if test.key == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			var usage *fault.Usage
			if !errors.As(err, &usage) || usage.Key != test.key {
				t.Errorf("err = %v, want a usage error of %q", err, test.key)
			}
		})
	}
}

// filler is an argument that makes the command line as long as it may be: one
// byte less than the kernel's buffer, which ends with a zero.
func filler(m Machine) string {
	return strings.Repeat("x", maxCommandLine-1-len(strings.Join(m.KernelArgs(), " "))-1)
}

func TestParse(t *testing.T) {
	for _, want := range Topologies() {
		if got, err := ParseTopology(string(want)); got != want || err != nil {
			t.Errorf("%s: %q, %v", want, got, err)
		}
	}
	for _, want := range Devices() {
		if got, err := ParseDevice(string(want)); got != want || err != nil {
			t.Errorf("%s: %q, %v", want, got, err)
		}
	}
	if got, err := ParseAccel("tcg"); got != TCG || err != nil {
		t.Errorf("tcg: %q, %v", got, err)
	}
	_, err := ParseTopology("bogus")
	var usage *fault.Usage
	if !errors.As(err, &usage) || usage.Key != "topology" || !slices.Equal(usage.Allowed,
		[]string{"none", "intel", "intel-pt", "intel-off", "intel-nointremap", "amd", "virtio", "bypass"}) {
		t.Errorf("bogus: %#v", err)
	}
	_, err = ParseDevice("pci-testdev")
	if !errors.As(err, &usage) || usage.Key != "device" || !slices.Equal(usage.Allowed,
		[]string{"edu", "edu-port", "edu-multifunction", "igb", "e1000e", "nvme"}) {
		t.Errorf("pci-testdev: %#v", err)
	}
}

// What each topology promises of a guest, as V0 to V4 of the contract.
func TestTopologies(t *testing.T) {
	type promise struct{ iommu, edu, port, intremap bool }
	want := map[Topology]promise{
		None:            {},
		Intel:           {iommu: true, edu: true, port: true, intremap: true},
		IntelPT:         {iommu: true, edu: true, port: true, intremap: true},
		IntelOff:        {},
		IntelNoIntremap: {iommu: true, edu: true, port: true},
		AMD:             {iommu: true, edu: true, port: true},
		Virtio:          {iommu: true, edu: true, port: true},
		Bypass:          {iommu: true, edu: true},
	}
	for _, topology := range Topologies() {
		got := promise{topology.IOMMU(), topology.Behind(Edu), topology.Behind(EduPort), topology.InterruptRemapping()}
		if got != want[topology] {
			t.Errorf("%s promises %+v, want %+v", topology, got, want[topology])
		}
	}
}

// A function keeps its address when devices come after it, and no two have
// the same.
func TestAddressesAreStable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := valid()
		m.Topology = rapid.SampledFrom(Topologies()).Draw(t, "topology")
		m.Devices = rapid.SliceOfN(rapid.SampledFrom(Devices()), 0, 8).Draw(t, "devices")
		all := m.Functions()
		seen := make(map[string]bool)
		for _, f := range all {
			if seen[f.BDF] {
				t.Errorf("two functions at %s", f.BDF)
			}
			seen[f.BDF] = true
		}
		for n := range m.Devices {
			fewer := m
			fewer.Devices = m.Devices[:n]
			if first := fewer.Functions(); !slices.Equal(first, all[:len(first)]) {
				t.Errorf("alone %v, together %v", first, all)
			}
		}
	})
}

func TestFunctions(t *testing.T) {
	m := valid()
	m.Topology, m.Devices = Bypass, []Device{EduPort, Edu, EduMultifunction, Edu}
	want := []Function{
		{EduPort, 0, "0000:41:00.0", false},
		{Edu, 0, "0000:00:02.0", true},
		{EduMultifunction, 0, "0000:42:00.0", false},
		{EduMultifunction, 0, "0000:42:00.1", false},
		{Edu, 1, "0000:00:03.0", true},
	}
	if diff := cmp.Diff(want, m.Functions()); diff != "" {
		t.Errorf("functions differ (-want +got):\n%s", diff)
	}
	m.Topology, m.Devices = None, []Device{IGB, EduPort}
	want = []Function{{IGB, 0, "0000:01:00.0", false}, {EduPort, 0, "0000:02:00.0", false}}
	if diff := cmp.Diff(want, m.Functions()); diff != "" {
		t.Errorf("functions differ (-want +got):\n%s", diff)
	}
}
