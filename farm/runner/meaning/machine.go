// SPDX-License-Identifier: Apache-2.0

package meaning

import (
	"errors"
	"fmt"

	"noiommu-farm/farm/machine"
	"noiommu-farm/farm/matrix"
	"noiommu-farm/guestagent/wire"
	"noiommu-farm/internal/fault"
)

// systemMiB is what the guest needs beside hugepages: kernel, initramfs, agent
// and test programs, the largest of which map 64 MiB.
const systemMiB = 256

// Machine is the machine of a cell, without accelerator, kernel and initramfs.
// What cannot be one is a *fault.Usage.
func Machine(c matrix.Cell) (machine.Machine, error) {
	m := machine.Machine{
		CPUs:        c.CPUs,
		MemoryMiB:   c.MemoryMiB,
		Hugepages1G: c.Hugepages1G,
		Accel:       machine.TCG,
		Append:      c.Append,
		ControlPort: wire.ControlPort,
		OutputPort:  wire.OutputPort,
	}
	var err error
	if m.Topology, err = machine.ParseTopology(c.Topology); err != nil {
		return m, err
	}
	if len(c.Devices) == 0 {
		return m, &fault.Usage{Key: "--device", Err: errors.New("at least one device is needed")}
	}
	for _, name := range c.Devices {
		d, err := machine.ParseDevice(name)
		if err != nil {
			return m, err
		}
		m.Devices = append(m.Devices, d)
	}
	if err := m.Validate(); err != nil {
		return m, err
	}
	if most := (c.MemoryMiB - 1024*c.Hugepages1G - systemMiB) / 2; c.Hugepages < 0 || c.Hugepages > max(most, 0) {
		return m, &fault.Usage{Key: "--hugepages", Value: fmt.Sprint(c.Hugepages), Err: fmt.Errorf(
			"at most %d fit into %d MiB of memory beside the system", max(most, 0), c.MemoryMiB)}
	}
	return m, nil
}
