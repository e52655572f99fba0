// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"fmt"
	"slices"

	"noiommu-farm/internal/fault"
)

// Topology is what stands between the devices and memory.
type Topology string

const (
	None            Topology = "none"             // nothing: DMA reaches physical memory
	Intel           Topology = "intel"            // VT-d with interrupt remapping, all devices behind it
	IntelPT         Topology = "intel-pt"         // the same, with identity mappings for the kernel's own drivers
	IntelOff        Topology = "intel-off"        // the same hardware, which the kernel is told to leave alone
	IntelNoIntremap Topology = "intel-nointremap" // VT-d without interrupt remapping
	AMD             Topology = "amd"              // AMD-Vi without interrupt remapping
	Virtio          Topology = "virtio"           // virtio-iommu, which has no interrupt remapping
	// Bypass is VT-d, and every root port is on a second host bridge that
	// goes round it: devices on the root bus are behind it, devices behind a
	// root port are not. It has no interrupt remapping: with it, Linux gives
	// no MSI to a device that no VT-d is in charge of (map_dev_to_ir in
	// drivers/iommu/intel/irq_remapping.c), and interrupt pins do not work
	// there either (see [Topology.Pins]), so that the devices would have no
	// interrupts and the root ports no hotplug.
	Bypass Topology = "bypass"
)

// Topologies are all topologies, in the order of reports.
func Topologies() []Topology {
	return []Topology{None, Intel, IntelPT, IntelOff, IntelNoIntremap, AMD, Virtio, Bypass}
}

// ParseTopology returns the topology of that name, or a *fault.Usage.
func ParseTopology(name string) (Topology, error) {
	return parse("topology", name, Topologies())
}

// IOMMU says whether the guest's kernel drives an IOMMU: /sys/class/iommu has
// an entry, and the functions behind the IOMMU are in IOMMU groups before any
// driver is bound to them.
func (t Topology) IOMMU() bool { return t != None && t != IntelOff }

// Behind says whether the DMA of d goes through the IOMMU that the kernel
// drives. If not, d has no IOMMU group until VFIO makes one for it.
func (t Topology) Behind(d Device) bool {
	return t.IOMMU() && !(t == Bypass && d.RootPort())
}

// Pins says whether the interrupt pin of d reaches the guest. QEMU connects
// those behind a second host bridge to PIRQE to PIRQH and tells the guest that
// they are at LNKA to LNKD; Linux disables the links that nothing is said to
// use.
func (t Topology) Pins(d Device) bool { return !(t == Bypass && d.RootPort()) }

// InterruptRemapping says whether the devices behind the IOMMU cannot forge
// interrupts. Without it VFIO_DEVICE_BIND_IOMMUFD of such a device is EPERM
// unless iommufd.allow_unsafe_interrupts=1, and VFIO_SET_IOMMU unless
// vfio_iommu_type1.allow_unsafe_interrupts=1.
func (t Topology) InterruptRemapping() bool {
	return t == Intel || t == IntelPT
}

// Hardware says which IOMMU the machine has, whether or not the kernel is told
// to drive it: "intel", "amd" or "virtio", or "" for none.
func (t Topology) Hardware() string {
	switch t {
	case Intel, IntelPT, IntelOff, IntelNoIntremap, Bypass:
		return "intel"
	case AMD, Virtio:
		return string(t)
	}
	return ""
}

// parts come before those of every device: QEMU resolves a device's DMA address
// space when it is created.
func (t Topology) parts() []part {
	switch t {
	case Intel, IntelPT, IntelOff:
		return []part{{"intel-iommu", []property{{"intremap", true}}}}
	case IntelNoIntremap:
		return []part{{"intel-iommu", []property{{"intremap", false}}}}
	case AMD:
		// It puts its own PCI function into the first free slot, which is
		// iommuSlot. Linux cannot use the remapping that QEMU offers: it
		// looks for a south bridge at 00:14.0, and q35 has none there.
		return []part{{"amd-iommu", []property{{"intremap", false}}}}
	case Virtio:
		return []part{{"virtio-iommu-pci", []property{{"bus", "pcie.0"}, {"addr", hex(iommuSlot)}}}}
	case Bypass:
		return []part{
			{"intel-iommu", []property{{"intremap", false}}},
			{"pxb-pcie", []property{{"id", "bypass"}, {"bus", "pcie.0"}, {"addr", hex(bypassSlot)},
				{"bus_nr", hex(bypassBus)}, {"bypass_iommu", true}}},
		}
	}
	return nil
}

func (t Topology) kernelArgs() []string {
	switch t {
	case Intel, IntelNoIntremap, Bypass:
		return []string{"intel_iommu=on"}
	case IntelPT:
		return []string{"intel_iommu=on", "iommu=pt"}
	case IntelOff:
		return []string{"intel_iommu=off"}
	}
	return nil
}

// splitIRQChip says whether KVM must leave the I/O APIC to QEMU: its interrupts
// are remapped there.
func (t Topology) splitIRQChip() bool { return t.InterruptRemapping() || t == IntelOff }

// qboot says whether the smallest firmware will do. It knows one host bridge;
// what is behind a second one would get no memory windows.
func (t Topology) qboot() bool { return t != Bypass }

// Accel is how QEMU executes the guest's instructions.
type Accel string

const (
	KVM Accel = "kvm" // by the processor; see [ProbeKVM]
	TCG Accel = "tcg" // by translating them
)

// Accels are all accelerators.
func Accels() []Accel { return []Accel{KVM, TCG} }

// ParseAccel returns the accelerator of that name, or a *fault.Usage.
func ParseAccel(name string) (Accel, error) { return parse("accel", name, Accels()) }

func (a Accel) args() []string {
	if a == KVM {
		return []string{"-accel", "kvm", "-cpu", "host"}
	}
	// Without the fast string instructions, which are slow when they are
	// translated: a byte at a time. Linux copies and clears by words then.
	return []string{"-accel", "tcg,thread=multi", "-cpu", "max,erms=off,fsrm=off"}
}

func parse[T ~string](key, name string, all []T) (T, error) {
	if slices.Contains(all, T(name)) {
		return T(name), nil
	}
	var allowed []string
	for _, one := range all {
		allowed = append(allowed, string(one))
	}
	return "", &fault.Usage{Key: key, Value: name, Allowed: allowed, Err: fmt.Errorf("there is no such %s", key)}
}
