// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// suites maps the prefix of an id to the suite that proves it.
var suites = map[string]string{
	"ND": "nodes", "GR": "group", "CD": "cdev", "IA": "ioas", "PA": "get_pa", "DM": "dma", "IR": "interrupts",
	"PE": "permission", "LC": "lifecycle", "CX": "coexistence", "IP": "iommu_present", "TL": "taint", "ST": "stress",
}

var (
	idPattern       = regexp.MustCompile(`^[A-Z]{2}-[0-9]{2}$`)
	sourcePattern   = regexp.MustCompile(`^[a-z_]+(/[a-z_0-9]+)+\.[ch](:[0-9]+(-[0-9]+)?)?$`)
	evidencePattern = regexp.MustCompile(`^([A-Z]+_[A-Z0-9_]+|[a-z][a-z0-9_-]*(\.[a-z][a-z0-9_-]*)*)(:E[A-Z0-9]+)?$`)
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
			if !slices.Contains(Requirements(), r) {
				t.Errorf("%s requires %q", s.ID, r)
			}
			if slices.Contains(s.Requires[:i], r) {
				t.Errorf("%s requires %q twice", s.ID, r)
			}
		}
		for _, never := range [][2]Requirement{
			{IOMMU, NoIOMMU}, {Mixed, IOMMU}, {Mixed, NoIOMMU}, {EduEachSide, IOMMU}, {EduEachSide, NoIOMMU},
			{Group, NoGroup}, {Lockdep, NoLockdep}, {Cdev, NoCdev}, {Noiommu, NoNoiommu}, {NoiommuCdev, NoNoiommuCdev}, {GetPA, NoGetPA},
			{Translation, Passthrough}, {IntRemap, NoIntRemap}, {IntRemap, Unremapped}, {UnsafeMode, NoNoiommu},
		} {
			if slices.Contains(s.Requires, never[0]) && slices.Contains(s.Requires, never[1]) {
				t.Errorf("%s requires %s and %s, of which one excludes the other", s.ID, never[0], never[1])
			}
		}
		for i, p := range s.Privileges {
			if !slices.Contains(AllPrivileges, p) || slices.Contains(s.Privileges[:i], p) {
				t.Errorf("%s has the privileges %q", s.ID, s.Privileges)
			}
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
		needs := func(key string, oneOf ...Requirement) {
			required := func(r Requirement) bool { return slices.Contains(s.Requires, r) }
			if slices.Contains(s.Evidence, key) && !slices.ContainsFunc(oneOf, required) {
				t.Errorf("%s: evidence %s without requiring any of %s", s.ID, key, oneOf)
			}
		}
		needs("dma.bytes", Edu, EduPort, EduEachSide, IGB)
		needs("IOMMU_IOAS_NOIOMMU_GET_PA", NoIOMMU, Mixed)
		needs("IOMMU_IOAS_NOIOMMU_GET_PA", NoiommuCdev)
		needs("VFIO_DEVICE_BIND_IOMMUFD", NoiommuCdev, Cdev)
		needs("VFIO_GROUP_SET_CONTAINER", Group)
		needs("leak.checks", LeakCheck)
	}
}

// TestConditions: exactly the requirements that a fact is about change with it.
func TestConditions(t *testing.T) {
	device := func(d Device) func(*Facts) { return func(f *Facts) { f.Devices = []Device{d} } }
	covered := map[Requirement]bool{}
	for _, c := range []struct {
		change func(*Facts)
		met    []Requirement // that were not
		lost   []Requirement // that were met
	}{
		{func(f *Facts) { f.Config.Group = true }, []Requirement{Group}, []Requirement{NoGroup}},
		{func(f *Facts) { f.Config.Container = true }, []Requirement{NativeContainer}, nil},
		{func(f *Facts) { f.Config.CompatContainer = true }, []Requirement{CompatContainer}, nil},
		{func(f *Facts) { f.Config.IOMMUFD = true }, []Requirement{IOMMUFD}, nil},
		{func(f *Facts) { f.Config.Cdev = true }, []Requirement{Cdev}, []Requirement{NoCdev}},
		{func(f *Facts) { f.Config.Noiommu = true }, []Requirement{Noiommu}, []Requirement{NoNoiommu}},
		{func(f *Facts) { f.Config.NoiommuCdev = true }, []Requirement{NoiommuCdev}, []Requirement{NoNoiommuCdev}},
		{func(f *Facts) { f.GetPA = true }, []Requirement{GetPA}, []Requirement{NoGetPA}},
		{func(f *Facts) { f.UnsafeMode = true }, []Requirement{UnsafeMode}, nil},
		{func(f *Facts) { f.SRIOV = true }, []Requirement{SRIOV}, nil},
		{func(f *Facts) { f.Config.Modules = true }, []Requirement{Modules}, nil},
		{func(f *Facts) { f.IOMMU.Kind = Intel }, []Requirement{IOMMUIntel, Translation, NoIntRemap}, nil},
		{func(f *Facts) { f.IOMMU = IOMMUFacts{Kind: AMD, Passthrough: true} }, []Requirement{IOMMUAMD, Passthrough, NoIntRemap}, nil},
		{func(f *Facts) { f.IOMMU = IOMMUFacts{Kind: Virtio, IntRemap: true} }, []Requirement{IOMMUVirtio, Translation, IntRemap}, []Requirement{Unremapped}},
		{func(f *Facts) { f.IOMMU = IOMMUFacts{Passthrough: true, IntRemap: true} }, nil, []Requirement{Unremapped}},
		{func(f *Facts) { f.IOMMU.Off = true }, []Requirement{IOMMUOff}, nil},
		{func(f *Facts) { f.Hugepages = MinHugepages }, []Requirement{Hugepages}, nil},
		{func(f *Facts) { f.Hugepages = MinHugepages - 1 }, nil, nil},
		{func(f *Facts) { f.Hugepages1G = 1 }, []Requirement{Hugepages1G}, nil},
		{func(f *Facts) { f.MemoryAbove4G = true }, []Requirement{MemoryAbove4G}, nil},
		{func(f *Facts) { f.Host = true }, []Requirement{Host}, nil},
		{device(Device{Model: "virtio"}), []Requirement{NoIOMMU}, nil},
		{device(Device{Model: "virtio", Behind: true}), []Requirement{IOMMU}, nil},
		{device(Device{Model: "edu"}), []Requirement{NoIOMMU, Edu}, nil},
		{device(Device{Model: "edu", Port: true}), []Requirement{NoIOMMU, Edu, EduPort}, nil},
		{device(Device{Model: "igb"}), []Requirement{NoIOMMU, IGB}, nil},
		{device(Device{Model: "e1000e"}), []Requirement{NoIOMMU, E1000E}, nil},
		{device(Device{Model: "nvme"}), []Requirement{NoIOMMU, NVMe}, nil},
		{device(Device{FLR: true}), []Requirement{NoIOMMU, FLR, Reset}, nil},
		{device(Device{Port: true, Functions: 1}), []Requirement{NoIOMMU, Reset}, nil},
		{device(Device{INTx: true}), []Requirement{NoIOMMU, INTx}, nil},
		{device(Device{MSI: true}), []Requirement{NoIOMMU, MSI}, nil},
		{device(Device{MSIX: true}), []Requirement{NoIOMMU, MSIX}, nil},
		{device(Device{Functions: 1}), []Requirement{NoIOMMU}, nil},
		{device(Device{Functions: 2}), []Requirement{NoIOMMU, Multifunction}, nil},
		{func(f *Facts) { f.Devices = []Device{{}, {}} }, []Requirement{NoIOMMU, TwoDevices}, nil},
		{func(f *Facts) { f.Devices = []Device{{Model: "edu"}, {Behind: true}} }, []Requirement{NoIOMMU, IOMMU, Mixed, Edu, TwoDevices}, nil},
		{func(f *Facts) { f.Devices = []Device{{Model: "edu"}, {Model: "edu", Behind: true}} }, []Requirement{NoIOMMU, IOMMU, Mixed, Edu, EduEachSide, TwoDevices}, nil},
		{func(f *Facts) { f.Host = true; f.Devices = []Device{{Port: true}} }, []Requirement{NoIOMMU, Host, HotPlug}, nil},
		{func(f *Facts) { f.Config.KASAN = true }, []Requirement{KASAN}, []Requirement{LeakCheck}},
		{func(f *Facts) { f.Config.KASAN, f.Config.DebugKmemleak = true, true }, []Requirement{KASAN, Kmemleak}, nil},
		{func(f *Facts) { f.Config.ProveLocking = true }, []Requirement{Lockdep}, []Requirement{NoLockdep}},
		{func(f *Facts) { f.Config.DebugKmemleak = true }, []Requirement{Kmemleak}, nil},
		{func(f *Facts) { f.Config.Failslab = true }, nil, nil},
		{func(f *Facts) { f.Config.Failslab, f.Config.FaultInjectionDebugFS = true, true }, nil, nil},
		{func(f *Facts) {
			f.Config.Failslab, f.Config.FaultInjectionDebugFS, f.Config.FaultInjectionFilter = true, true, true
		}, []Requirement{Failslab}, nil},
		{func(f *Facts) { f.Config.Memcg, f.Config.MemcgV1 = true, true }, []Requirement{Memcg}, nil},
		{func(f *Facts) { f.Config.UserNS = true }, []Requirement{UserNamespaces}, nil},
		{func(f *Facts) { f.Config.SampleVFIOMdevMtty = true }, []Requirement{Mtty}, nil},
		{func(f *Facts) { f.Config.KVM = true }, nil, nil},
		{func(f *Facts) { f.Config.KVM, f.Config.KVMVFIO = true, true }, []Requirement{KVMDevice}, nil},
		{func(f *Facts) { f.Config.PCIP2PDMA, f.Config.DMASharedBuffer = true, true }, []Requirement{P2PDMA}, nil},
		{func(f *Facts) { f.Config.IA32Emulation = true }, []Requirement{IA32}, nil},
		{func(f *Facts) { f.Config.SecurityLockdownLSM = true }, []Requirement{Lockdown}, nil},
		{func(f *Facts) { f.Config.PM = true }, []Requirement{PM}, nil},
	} {
		var before, after Facts
		c.change(&after)
		var met, lost []Requirement
		for _, r := range Requirements() {
			switch {
			case after.Meets(r) && !before.Meets(r):
				met = append(met, r)
				covered[r] = true
			case before.Meets(r) && !after.Meets(r):
				lost = append(lost, r)
				covered[r] = true
			}
		}
		slices.Sort(c.met)
		if !slices.Equal(met, c.met) || !slices.Equal(lost, c.lost) {
			t.Errorf("%+v: now met %q and lost %q, want %q and %q", after, met, lost, c.met, c.lost)
		}
	}
	for _, r := range Requirements() {
		if !covered[r] {
			t.Errorf("%s is not tested", r)
		}
	}
}

// What a statement requires of devices, those of its side must have.
func TestSides(t *testing.T) {
	facts := Facts{Host: true, Devices: []Device{
		{Model: "edu", Behind: true, MSI: true},
		{Model: "igb", Port: true, FLR: true},
	}}
	for _, c := range []struct{ requires, unmet []Requirement }{
		{[]Requirement{Edu, IGB, TwoDevices, MSI, FLR, HotPlug}, nil},
		{[]Requirement{Mixed, Edu, IGB, TwoDevices}, nil},
		{[]Requirement{NoIOMMU, IGB, FLR, HotPlug}, nil},
		{[]Requirement{NoIOMMU, Edu, TwoDevices, MSI}, []Requirement{Edu, TwoDevices, MSI}},
		{[]Requirement{IOMMU, Edu, MSI}, nil},
		{[]Requirement{IGB, FLR, HotPlug, IOMMU}, []Requirement{IGB, FLR, HotPlug}},
	} {
		if unmet := facts.Unmet(c.requires); !slices.Equal(unmet, c.unmet) {
			t.Errorf("%q: unmet %q, want %q", c.requires, unmet, c.unmet)
		}
	}
	if len(facts.Devices) != 2 || facts.Devices[0].Model != "edu" {
		t.Errorf("the facts changed: %+v", facts.Devices)
	}
	if got := SkipReason([]Requirement{UnsafeMode, NoIOMMU}); got != "requires unsafe-mode,no-iommu" {
		t.Errorf("SkipReason = %q", got)
	}
}

func TestPrivileges(t *testing.T) {
	anyone := Statement{Privileges: []Privileges{NoRawIO, Unprivileged}, Requires: []Requirement{Host}}
	for _, c := range []struct {
		statement Statement
		cell      Privileges
		reason    string
	}{
		{Statement{}, "", ""},
		{Statement{}, Root, ""},
		{Statement{}, NoRawIO, "requires root"},
		{Statement{Privileges: []Privileges{Root, UserNamespace}}, UserNamespace, ""},
		{anyone, Unprivileged, "requires host"},
		{anyone, "", "requires no-rawio|unprivileged"},
	} {
		unmet := c.statement.Unmet(Facts{Privileges: c.cell})
		if reason := SkipReason(unmet); reason != c.reason && (len(unmet) > 0 || c.reason != "") {
			t.Errorf("%v under %q: %q, want %q", c.statement.Privileges, c.cell, reason, c.reason)
		}
	}
}

// Under other privileges other things are evident.
func TestUnder(t *testing.T) {
	s := Statement{Requires: []Requirement{Host}, Evidence: []string{"open"}, Under: openRefused}
	for p, evidence := range map[Privileges]string{"": "open", Root: "open", NoRawIO: "open:EPERM", Unprivileged: "open:EACCES"} {
		f := Facts{Privileges: p, Host: true}
		if got := s.EvidenceIn(f); len(got) != 1 || got[0] != evidence || len(s.Unmet(f)) > 0 {
			t.Errorf("%q: evidence %q, unmet %q", p, got, s.Unmet(f))
		}
	}
	if got := SkipReason(s.Unmet(Facts{Privileges: LowMemlock})); got != "requires root|no-rawio|unprivileged|user-namespace" {
		t.Errorf("%s", got)
	}
	for _, s := range Statements {
		for p, evidence := range s.Under {
			if p == Root || !slices.Contains(AllPrivileges, p) || slices.Contains(s.Privileges, p) || len(evidence) == 0 {
				t.Errorf("%s under %q: %q", s.ID, p, evidence)
			}
			for _, key := range evidence {
				if !evidencePattern.MatchString(key) {
					t.Errorf("%s: %q is no evidence", s.ID, key)
				}
			}
		}
	}
}

func TestCore(t *testing.T) {
	for i, id := range coreIDs {
		if !idPattern.MatchString(id) || slices.Contains(coreIDs[:i], id) || suites[id[:2]] == "" && id[:2] != "KC" {
			t.Errorf("core statement %q", id)
		}
	}
	if !(Statement{ID: "PA-02"}).Core() || (Statement{ID: "PA-17"}).Core() {
		t.Error("PA-02 is core and PA-17 is not")
	}
}

func TestHasGetPA(t *testing.T) {
	for release, want := range map[string]bool{
		"7.3.4": true, "7.3.0-rc1+": true, "7.10.1": true, "8.0.0": true, "10.1": true,
		"7.2.9": false, "6.12.90+deb13": false, "6.30": false, "": false, "seven": false, "7": false, "99999999999999999999.3": false,
	} {
		if got := HasGetPA(release); got != want {
			t.Errorf("%q: %v", release, got)
		}
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
	if !ParseConfig("CONFIG_VFIO=m\n").Modules || ParseConfig("CONFIG_VFIO=y\n").Modules {
		t.Error("Modules is for VFIO=m")
	}
}

// Every fact has a symbol of its own.
func TestParseConfigFields(t *testing.T) {
	symbols := map[string]string{"VFIO": "m"}
	for _, s := range []string{
		"VFIO_GROUP", "VFIO_CONTAINER", "IOMMUFD_VFIO_CONTAINER", "VFIO_DEVICE_CDEV", "IOMMUFD", "VFIO_NOIOMMU", "IOMMUFD_NOIOMMU",
		"IOMMUFD_TEST", "KASAN", "PROVE_LOCKING", "DEBUG_KMEMLEAK", "FAULT_INJECTION", "FAULT_INJECTION_DEBUG_FS", "FAULT_INJECTION_STACKTRACE_FILTER", "FAILSLAB", "MEMCG", "MEMCG_V1",
		"USER_NS", "SAMPLE_VFIO_MDEV_MTTY", "KVM", "KVM_VFIO", "PCI_P2PDMA", "DMA_SHARED_BUFFER", "IA32_EMULATION",
		"SECURITY_LOCKDOWN_LSM", "PM", "HOTPLUG_PCI_PCIE", "IOMMU_DEFAULT_PASSTHROUGH",
	} {
		symbols[s] = "y"
	}
	set := make(map[string]string)
	for symbol, value := range symbols {
		config := reflect.ValueOf(ParseConfig("CONFIG_" + symbol + "=" + value + "\n"))
		for i := range config.NumField() {
			if name := config.Type().Field(i).Name; config.Field(i).Bool() {
				if set[name] != "" {
					t.Errorf("%s is set by %s and by %s", name, set[name], symbol)
				}
				set[name] = symbol
			}
		}
	}
	if want := reflect.TypeFor[Config]().NumField(); len(set) != want || len(symbols) != want {
		t.Errorf("%d symbols set %d fields of %d", len(symbols), len(set), want)
	}
}
