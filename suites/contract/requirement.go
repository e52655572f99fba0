// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"fmt"
	"maps"
	"slices"
)

// Requirement is one condition on a cell. Its text is the typed reason of a
// skip, so it never changes meaning.
type Requirement string

// MinHugepages is how many free 2 MiB pages the statements that need
// hugepages may use at once.
const MinHugepages = 4

// The kernel and its parameters.
const (
	Group           Requirement = "group"            // CONFIG_VFIO_GROUP
	NoGroup         Requirement = "no-group"         // not CONFIG_VFIO_GROUP
	NativeContainer Requirement = "native-container" // CONFIG_VFIO_CONTAINER
	CompatContainer Requirement = "compat-container" // CONFIG_IOMMUFD_VFIO_CONTAINER: /dev/vfio/vfio is iommufd's
	IOMMUFD         Requirement = "iommufd"          // CONFIG_IOMMUFD
	Cdev            Requirement = "cdev"             // CONFIG_VFIO_DEVICE_CDEV
	NoCdev          Requirement = "no-cdev"          // not CONFIG_VFIO_DEVICE_CDEV
	Noiommu         Requirement = "noiommu"          // CONFIG_VFIO_NOIOMMU
	NoNoiommu       Requirement = "no-noiommu"       // not CONFIG_VFIO_NOIOMMU
	NoiommuCdev     Requirement = "noiommu-cdev"     // CONFIG_IOMMUFD_NOIOMMU: no-IOMMU through the cdev
	NoNoiommuCdev   Requirement = "no-noiommu-cdev"  // not CONFIG_IOMMUFD_NOIOMMU
	GetPA           Requirement = "get-pa"           // the kernel knows IOMMU_IOAS_NOIOMMU_GET_PA
	NoGetPA         Requirement = "no-get-pa"        // the kernel is older than IOMMU_IOAS_NOIOMMU_GET_PA
	UnsafeMode      Requirement = "unsafe-mode"      // vfio.enable_unsafe_noiommu_mode=Y
	SRIOV           Requirement = "sriov"            // vfio_pci.enable_sriov=1
	Modules         Requirement = "modules"          // CONFIG_VFIO=m
)

// What stands between devices and memory.
const (
	NoIOMMU     Requirement = "no-iommu"               // a device under test is not behind an IOMMU
	IOMMU       Requirement = "iommu"                  // a device under test is behind an IOMMU
	Mixed       Requirement = "mixed"                  // both kinds are under test
	Translation Requirement = "translation"            // the IOMMU translates for the kernel's own drivers too
	Passthrough Requirement = "passthrough"            // iommu=pt: the kernel's own drivers get identity mappings
	IntRemap    Requirement = "interrupt-remapping"    // the IOMMU remaps interrupts
	NoIntRemap  Requirement = "no-interrupt-remapping" // there is an IOMMU, which does not remap interrupts
	// Nothing remaps interrupts. Where something does, x86 has no MSI for a
	// device that is not behind it (map_dev_to_ir in drivers/iommu/intel).
	Unremapped  Requirement = "unremapped-interrupts"
	IOMMUIntel  Requirement = "iommu-intel"  // the kernel drives Intel's VT-d
	IOMMUAMD    Requirement = "iommu-amd"    // the kernel drives AMD-Vi
	IOMMUVirtio Requirement = "iommu-virtio" // the kernel drives a virtio-iommu
	IOMMUOff    Requirement = "iommu-off"    // the machine has an IOMMU, which the command line switches off
)

// The machine besides.
const (
	Hugepages     Requirement = "hugepages"       // at least MinHugepages pages of 2 MiB
	Hugepages1G   Requirement = "hugepages-1g"    // at least one page of 1 GiB
	MemoryAbove4G Requirement = "memory-above-4g" // there is memory above 4 GiB
	Host          Requirement = "host"            // a host answers requests: unplug, plug, read memory, inject an NMI
)

// The devices of the statement's side.
const (
	Edu           Requirement = "edu"           // an edu
	EduPort       Requirement = "edu-port"      // an edu behind a root port of its own
	EduEachSide   Requirement = "edu-each-side" // an edu that is behind an IOMMU and one that is not
	IGB           Requirement = "igb"           // an igb
	E1000E        Requirement = "e1000e"        // an e1000e
	NVMe          Requirement = "nvme"          // an nvme
	TwoDevices    Requirement = "two-devices"   // two functions
	Multifunction Requirement = "multifunction" // two functions of one slot
	FLR           Requirement = "flr"           // a function level reset
	Reset         Requirement = "reset"         // a reset of its own, or of a bus that it has alone
	INTx          Requirement = "intx"          // an interrupt pin
	MSI           Requirement = "msi"           // MSI
	MSIX          Requirement = "msi-x"         // MSI-X
	HotPlug       Requirement = "hot-plug"      // a slot that the host can unplug and plug
)

// Checkers and other parts of the kernel.
const (
	KASAN          Requirement = "kasan"           // CONFIG_KASAN
	Lockdep        Requirement = "lockdep"         // CONFIG_PROVE_LOCKING
	NoLockdep      Requirement = "no-lockdep"      // not CONFIG_PROVE_LOCKING
	Kmemleak       Requirement = "kmemleak"        // CONFIG_DEBUG_KMEMLEAK
	LeakCheck      Requirement = "leak-check"      // what is lost shows: CONFIG_DEBUG_KMEMLEAK, or counts of objects that KASAN does not hold back
	Failslab       Requirement = "failslab"        // CONFIG_FAILSLAB, FAULT_INJECTION_DEBUG_FS and FAULT_INJECTION_STACKTRACE_FILTER
	Memcg          Requirement = "memcg"           // CONFIG_MEMCG with the interface of version 1 (MEMCG_V1)
	UserNamespaces Requirement = "user-namespaces" // CONFIG_USER_NS
	Mtty           Requirement = "mtty"            // CONFIG_SAMPLE_VFIO_MDEV_MTTY
	KVMDevice      Requirement = "kvm-device"      // CONFIG_KVM with its glue to VFIO
	P2PDMA         Requirement = "p2pdma"          // CONFIG_PCI_P2PDMA and DMA_SHARED_BUFFER
	IA32           Requirement = "ia32"            // CONFIG_IA32_EMULATION
	Lockdown       Requirement = "lockdown"        // CONFIG_SECURITY_LOCKDOWN_LSM
	PM             Requirement = "pm"              // CONFIG_PM
)

// conditions are what the requirements mean.
var conditions = map[Requirement]func(f Facts) bool{
	Group:           func(f Facts) bool { return f.Config.Group },
	NoGroup:         func(f Facts) bool { return !f.Config.Group },
	NativeContainer: func(f Facts) bool { return f.Config.Container },
	CompatContainer: func(f Facts) bool { return f.Config.CompatContainer },
	IOMMUFD:         func(f Facts) bool { return f.Config.IOMMUFD },
	Cdev:            func(f Facts) bool { return f.Config.Cdev },
	NoCdev:          func(f Facts) bool { return !f.Config.Cdev },
	Noiommu:         func(f Facts) bool { return f.Config.Noiommu },
	NoNoiommu:       func(f Facts) bool { return !f.Config.Noiommu },
	NoiommuCdev:     func(f Facts) bool { return f.Config.NoiommuCdev },
	NoNoiommuCdev:   func(f Facts) bool { return !f.Config.NoiommuCdev },
	GetPA:           func(f Facts) bool { return f.GetPA },
	NoGetPA:         func(f Facts) bool { return !f.GetPA },
	UnsafeMode:      func(f Facts) bool { return f.UnsafeMode },
	SRIOV:           func(f Facts) bool { return f.SRIOV },
	Modules:         func(f Facts) bool { return f.Config.Modules },
	NoIOMMU:         func(f Facts) bool { return f.has(func(d Device) bool { return !d.Behind }) },
	IOMMU:           func(f Facts) bool { return f.has(func(d Device) bool { return d.Behind }) },
	Mixed: func(f Facts) bool {
		return f.has(func(d Device) bool { return d.Behind }) && f.has(func(d Device) bool { return !d.Behind })
	},
	Translation:   func(f Facts) bool { return f.IOMMU.Kind != "" && !f.IOMMU.Passthrough },
	Passthrough:   func(f Facts) bool { return f.IOMMU.Kind != "" && f.IOMMU.Passthrough },
	IntRemap:      func(f Facts) bool { return f.IOMMU.Kind != "" && f.IOMMU.IntRemap },
	NoIntRemap:    func(f Facts) bool { return f.IOMMU.Kind != "" && !f.IOMMU.IntRemap },
	Unremapped:    func(f Facts) bool { return !f.IOMMU.IntRemap },
	IOMMUIntel:    func(f Facts) bool { return f.IOMMU.Kind == Intel },
	IOMMUAMD:      func(f Facts) bool { return f.IOMMU.Kind == AMD },
	IOMMUVirtio:   func(f Facts) bool { return f.IOMMU.Kind == Virtio },
	IOMMUOff:      func(f Facts) bool { return f.IOMMU.Off },
	Hugepages:     func(f Facts) bool { return f.Hugepages >= MinHugepages },
	Hugepages1G:   func(f Facts) bool { return f.Hugepages1G > 0 },
	MemoryAbove4G: func(f Facts) bool { return f.MemoryAbove4G },
	Host:          func(f Facts) bool { return f.Host },
	Edu:           func(f Facts) bool { return f.has(func(d Device) bool { return d.Model == "edu" }) },
	EduPort:       func(f Facts) bool { return f.has(func(d Device) bool { return d.Model == "edu" && d.Port }) },
	EduEachSide: func(f Facts) bool {
		return f.has(func(d Device) bool { return d.Model == "edu" && d.Behind }) && f.has(func(d Device) bool { return d.Model == "edu" && !d.Behind })
	},
	IGB:           func(f Facts) bool { return f.has(func(d Device) bool { return d.Model == "igb" }) },
	E1000E:        func(f Facts) bool { return f.has(func(d Device) bool { return d.Model == "e1000e" }) },
	NVMe:          func(f Facts) bool { return f.has(func(d Device) bool { return d.Model == "nvme" }) },
	TwoDevices:    func(f Facts) bool { return len(f.Devices) >= 2 },
	Multifunction: func(f Facts) bool { return f.has(func(d Device) bool { return d.Functions >= 2 }) },
	FLR:           func(f Facts) bool { return f.has(func(d Device) bool { return d.FLR }) },
	Reset:         func(f Facts) bool { return f.has(func(d Device) bool { return d.FLR || d.Port && d.Functions == 1 }) },
	INTx:          func(f Facts) bool { return f.has(func(d Device) bool { return d.INTx }) },
	MSI:           func(f Facts) bool { return f.has(func(d Device) bool { return d.MSI }) },
	MSIX:          func(f Facts) bool { return f.has(func(d Device) bool { return d.MSIX }) },
	HotPlug:       func(f Facts) bool { return f.Host && f.has(func(d Device) bool { return d.Port }) },
	KASAN:         func(f Facts) bool { return f.Config.KASAN },
	Lockdep:       func(f Facts) bool { return f.Config.ProveLocking },
	NoLockdep:     func(f Facts) bool { return !f.Config.ProveLocking },
	Kmemleak:      func(f Facts) bool { return f.Config.DebugKmemleak },
	LeakCheck:     func(f Facts) bool { return f.Config.DebugKmemleak || !f.Config.KASAN },
	Failslab: func(f Facts) bool {
		return f.Config.Failslab && f.Config.FaultInjectionDebugFS && f.Config.FaultInjectionFilter
	},
	Memcg:          func(f Facts) bool { return f.Config.Memcg && f.Config.MemcgV1 },
	UserNamespaces: func(f Facts) bool { return f.Config.UserNS },
	Mtty:           func(f Facts) bool { return f.Config.SampleVFIOMdevMtty },
	KVMDevice:      func(f Facts) bool { return f.Config.KVM && f.Config.KVMVFIO },
	P2PDMA:         func(f Facts) bool { return f.Config.PCIP2PDMA && f.Config.DMASharedBuffer },
	IA32:           func(f Facts) bool { return f.Config.IA32Emulation },
	Lockdown:       func(f Facts) bool { return f.Config.SecurityLockdownLSM },
	PM:             func(f Facts) bool { return f.Config.PM },
}

// Requirements are all there are, sorted.
func Requirements() []Requirement { return slices.Sorted(maps.Keys(conditions)) }

// Sees says whether a statement with these requirements is about devices of
// that side of the IOMMU: with [NoIOMMU] about those that are not behind it,
// with [IOMMU] about those that are, without either about all.
func Sees(rs []Requirement, behind bool) bool {
	if behind {
		return !slices.Contains(rs, NoIOMMU)
	}
	return !slices.Contains(rs, IOMMU)
}

// Unmet lists the requirements that the cell does not fulfil, in order. What
// they require of devices, the devices of their side must have; see [Sees].
// An unknown requirement is a programming error.
func (f Facts) Unmet(rs []Requirement) []Requirement {
	f.Devices = slices.DeleteFunc(slices.Clone(f.Devices), func(d Device) bool { return !Sees(rs, d.Behind) })
	var unmet []Requirement
	for _, r := range rs {
		met, known := conditions[r]
		if !known {
			panic(fmt.Sprintf("contract: unknown requirement %q", r))
		}
		if !met(f) {
			unmet = append(unmet, r)
		}
	}
	return unmet
}

// Meets says whether the cell fulfils r.
func (f Facts) Meets(r Requirement) bool { return len(f.Unmet([]Requirement{r})) == 0 }

func (f Facts) has(what func(Device) bool) bool { return slices.ContainsFunc(f.Devices, what) }

// OfKernel says whether r is a condition on the kernel, its configuration or
// its version, rather than on the machine.
func OfKernel(r Requirement) bool {
	switch r {
	case Group, NoGroup, NativeContainer, CompatContainer, IOMMUFD, Cdev, NoCdev, Noiommu, NoNoiommu,
		NoiommuCdev, NoNoiommuCdev, GetPA, NoGetPA, UnsafeMode, Modules,
		KASAN, Lockdep, NoLockdep, Kmemleak, LeakCheck, Failslab, Memcg, UserNamespaces, Mtty, KVMDevice, P2PDMA, IA32, Lockdown, PM:
		return true
	}
	return false
}
