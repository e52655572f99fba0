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
	None  Topology = "none"  // nothing: DMA reaches physical memory
	Intel Topology = "intel" // VT-d with interrupt remapping, all devices behind it
)

// Topologies are all topologies, in the order of reports.
func Topologies() []Topology { return []Topology{None, Intel} }

// ParseTopology returns the topology of that name, or a *fault.Usage.
func ParseTopology(name string) (Topology, error) {
	return parse("topology", name, Topologies())
}

// IOMMU says whether the devices are behind an IOMMU.
func (t Topology) IOMMU() bool { return t == Intel }

// args come before those of every device: QEMU resolves a device's DMA address
// space when it is created.
func (t Topology) args() []string {
	if t == Intel {
		return []string{"-device", "intel-iommu,intremap=on"}
	}
	return nil
}

func (t Topology) kernelArgs() []string {
	if t == Intel {
		return []string{"intel_iommu=on"}
	}
	return nil
}

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
	return []string{"-accel", "tcg,thread=multi", "-cpu", "max"}
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
