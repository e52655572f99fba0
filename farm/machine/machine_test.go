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

func TestArgs(t *testing.T) {
	tests := []struct {
		name    string
		bzImage bool
		change  func(*Machine)
	}{
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
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			m := valid()
			test.change(&m)
			if err := m.Validate(); err != nil {
				t.Fatal(err)
			}
			got := strings.Join(m.Args(Wiring{QMP: 3, Control: 4, Output: 5, Console: 6, PVH: !test.bzImage}), "\n") + "\n"
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
		{"8 devices of both models", "", func(m *Machine) {
			m.Devices = slices.Concat(slices.Repeat([]Device{Edu}, 8), slices.Repeat([]Device{IGB}, 8))
		}},
		{"9 devices of a model", "device", func(m *Machine) { m.Devices = slices.Repeat([]Device{Edu}, 9) }},
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
	if got, err := ParseTopology("intel"); got != Intel || err != nil {
		t.Errorf("intel: %q, %v", got, err)
	}
	if got, err := ParseDevice("igb"); got != IGB || err != nil {
		t.Errorf("igb: %q, %v", got, err)
	}
	if got, err := ParseAccel("tcg"); got != TCG || err != nil {
		t.Errorf("tcg: %q, %v", got, err)
	}
	_, err := ParseTopology("bogus")
	var usage *fault.Usage
	if !errors.As(err, &usage) || usage.Key != "topology" || !slices.Equal(usage.Allowed, []string{"none", "intel"}) {
		t.Errorf("bogus: %#v", err)
	}
}

// A device keeps its place when another one comes.
func TestAddressesAreStable(t *testing.T) {
	seen := make(map[string]bool)
	for _, d := range Devices() {
		for n := range perModel {
			bdf := d.BDF(n)
			if seen[bdf] {
				t.Errorf("two devices at %s", bdf)
			}
			seen[bdf] = true
		}
	}
	alone, together := valid(), valid()
	together.Devices = []Device{IGB, Edu, Edu, IGB}
	find := func(m Machine) string {
		for _, arg := range m.Args(Wiring{}) {
			if strings.HasPrefix(arg, "edu,id=edu0,") {
				return arg
			}
		}
		return ""
	}
	if a, b := find(alone), find(together); a == "" || a != b {
		t.Errorf("alone %q, together %q", a, b)
	}
}
