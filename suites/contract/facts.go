// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"cmp"
	"regexp"
	"strconv"
	"strings"
)

// Facts is what is known of a cell. The host derives it from the built .config
// and the machine; in the guest the suites find it out for themselves.
type Facts struct {
	Config        Config     `json:"config"`
	GetPA         bool       `json:"get_pa"`      // the kernel knows IOMMU_IOAS_NOIOMMU_GET_PA
	UnsafeMode    bool       `json:"unsafe_mode"` // the module parameter
	SRIOV         bool       `json:"sriov"`       // vfio_pci.enable_sriov
	IOMMU         IOMMUFacts `json:"iommu"`
	Hugepages     int        `json:"hugepages"`    // of 2 MiB
	Hugepages1G   int        `json:"hugepages_1g"` // of 1 GiB
	MemoryAbove4G bool       `json:"memory_above_4g"`
	Host          bool       `json:"host"`       // a host answers requests
	Privileges    Privileges `json:"privileges"` // of the test programs; "" is [Root]
	Devices       []Device   `json:"devices"`    // the functions under test, in BDF order
}

// FactsLine begins the line on which the suites print the facts that they
// found, as JSON.
const FactsLine = "# facts "

func (f Facts) privileges() Privileges { return cmp.Or(f.Privileges, Root) }

// IOMMUFacts is what is known of the IOMMU of a machine.
type IOMMUFacts struct {
	Kind        IOMMUKind `json:"kind,omitempty"`
	Passthrough bool      `json:"passthrough,omitempty"` // identity mappings for the kernel's own drivers
	IntRemap    bool      `json:"int_remap,omitempty"`   // it remaps interrupts
	Off         bool      `json:"off,omitempty"`         // it is there, and the command line switches it off
}

// IOMMUKind is which IOMMU the kernel drives; "" is none.
type IOMMUKind string

const (
	Intel  IOMMUKind = "intel"
	AMD    IOMMUKind = "amd"
	Virtio IOMMUKind = "virtio"
)

// Device is one PCI function under test.
type Device struct {
	Model     string `json:"model"`               // "edu", "igb", "e1000e", "nvme"
	Behind    bool   `json:"behind,omitempty"`    // an IOMMU that the kernel drives translates for it
	Port      bool   `json:"port,omitempty"`      // its slot is that of a root port with hotplug
	Functions int    `json:"functions,omitempty"` // in its slot
	FLR       bool   `json:"flr,omitempty"`       // function level reset
	INTx      bool   `json:"intx,omitempty"`      // an interrupt pin
	MSI       bool   `json:"msi,omitempty"`
	MSIX      bool   `json:"msix,omitempty"`
}

var releasePattern = regexp.MustCompile(`^([0-9]+)\.([0-9]+)`)

// HasGetPA guesses from the release (uname -r) whether a kernel knows
// IOMMU_IOAS_NOIOMMU_GET_PA, which came with Linux 7.3. It is for where the
// source is not at hand: a tree on the way to 7.3 has it, and a backport.
func HasGetPA(release string) bool {
	m := releasePattern.FindStringSubmatch(release)
	if m == nil {
		return false
	}
	major, errMajor := strconv.Atoi(m[1])
	minor, errMinor := strconv.Atoi(m[2])
	return errMajor == nil && errMinor == nil && (major > 7 || major == 7 && minor >= 3)
}

// Config is the part of a built .config that decides what noiommu promises and
// what can be tested of it. A field is true for y and for m.
type Config struct {
	Group           bool `json:"group"`            // VFIO_GROUP
	Container       bool `json:"container"`        // VFIO_CONTAINER
	CompatContainer bool `json:"compat_container"` // IOMMUFD_VFIO_CONTAINER
	Cdev            bool `json:"cdev"`             // VFIO_DEVICE_CDEV
	IOMMUFD         bool `json:"iommufd"`          // IOMMUFD
	Noiommu         bool `json:"noiommu"`          // VFIO_NOIOMMU
	NoiommuCdev     bool `json:"noiommu_cdev"`     // IOMMUFD_NOIOMMU
	IOMMUFDTest     bool `json:"iommufd_test"`     // IOMMUFD_TEST
	Modules         bool `json:"modules"`          // VFIO=m

	KASAN                 bool `json:"kasan"`                    // KASAN
	ProveLocking          bool `json:"prove_locking"`            // PROVE_LOCKING
	DebugKmemleak         bool `json:"debug_kmemleak"`           // DEBUG_KMEMLEAK
	FaultInjection        bool `json:"fault_injection"`          // FAULT_INJECTION
	FaultInjectionDebugFS bool `json:"fault_injection_debug_fs"` // FAULT_INJECTION_DEBUG_FS
	FaultInjectionFilter  bool `json:"fault_injection_filter"`   // FAULT_INJECTION_STACKTRACE_FILTER
	Failslab              bool `json:"failslab"`                 // FAILSLAB
	Memcg                 bool `json:"memcg"`                    // MEMCG
	MemcgV1               bool `json:"memcg_v1"`                 // MEMCG_V1
	UserNS                bool `json:"user_ns"`                  // USER_NS
	SampleVFIOMdevMtty    bool `json:"sample_vfio_mdev_mtty"`    // SAMPLE_VFIO_MDEV_MTTY
	KVM                   bool `json:"kvm"`                      // KVM
	KVMVFIO               bool `json:"kvm_vfio"`                 // KVM_VFIO
	PCIP2PDMA             bool `json:"pci_p2pdma"`               // PCI_P2PDMA
	DMASharedBuffer       bool `json:"dma_shared_buffer"`        // DMA_SHARED_BUFFER
	IA32Emulation         bool `json:"ia32_emulation"`           // IA32_EMULATION
	SecurityLockdownLSM   bool `json:"security_lockdown_lsm"`    // SECURITY_LOCKDOWN_LSM
	PM                    bool `json:"pm"`                       // PM
	HotplugPCIPCIe        bool `json:"hotplug_pci_pcie"`         // HOTPLUG_PCI_PCIE
	IOMMUPassthrough      bool `json:"iommu_passthrough"`        // IOMMU_DEFAULT_PASSTHROUGH
}

// ParseConfig reads the facts from the text of a .config.
func ParseConfig(text string) Config {
	set, modules := make(map[string]bool), make(map[string]bool)
	for line := range strings.Lines(text) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), "=")
		name, config := strings.CutPrefix(name, "CONFIG_")
		if ok && config && (value == "y" || value == "m") {
			set[name] = true
			modules[name] = value == "m"
		}
	}
	return Config{
		Group:           set["VFIO_GROUP"],
		Container:       set["VFIO_CONTAINER"],
		CompatContainer: set["IOMMUFD_VFIO_CONTAINER"],
		Cdev:            set["VFIO_DEVICE_CDEV"],
		IOMMUFD:         set["IOMMUFD"],
		Noiommu:         set["VFIO_NOIOMMU"],
		NoiommuCdev:     set["IOMMUFD_NOIOMMU"],
		IOMMUFDTest:     set["IOMMUFD_TEST"],
		Modules:         modules["VFIO"],

		KASAN:                 set["KASAN"],
		ProveLocking:          set["PROVE_LOCKING"],
		DebugKmemleak:         set["DEBUG_KMEMLEAK"],
		FaultInjection:        set["FAULT_INJECTION"],
		FaultInjectionDebugFS: set["FAULT_INJECTION_DEBUG_FS"],
		FaultInjectionFilter:  set["FAULT_INJECTION_STACKTRACE_FILTER"],
		Failslab:              set["FAILSLAB"],
		Memcg:                 set["MEMCG"],
		MemcgV1:               set["MEMCG_V1"],
		UserNS:                set["USER_NS"],
		SampleVFIOMdevMtty:    set["SAMPLE_VFIO_MDEV_MTTY"],
		KVM:                   set["KVM"],
		KVMVFIO:               set["KVM_VFIO"],
		PCIP2PDMA:             set["PCI_P2PDMA"],
		DMASharedBuffer:       set["DMA_SHARED_BUFFER"],
		IA32Emulation:         set["IA32_EMULATION"],
		SecurityLockdownLSM:   set["SECURITY_LOCKDOWN_LSM"],
		PM:                    set["PM"],
		HotplugPCIPCIe:        set["HOTPLUG_PCI_PCIE"],
		IOMMUPassthrough:      set["IOMMU_DEFAULT_PASSTHROUGH"],
	}
}
