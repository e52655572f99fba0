// SPDX-License-Identifier: Apache-2.0

package present

import (
	"bytes"
	"fmt"
	"strings"
	"time"

	"noiommu-farm/suites/edu"
	"noiommu-farm/suites/lab"
)

// IP-05: the device uses the IOVA; the physical address is a fault.
func translated(t *lab.T) { expectTranslation(t, edu.Find(t)) }

// IP-07: identity mappings are for the kernel's own drivers; a device that is
// given away has the ordinary ones.
func passthrough(t *lab.T) {
	for _, d := range t.Devices {
		lab.Equal(t, t.ReadFile("/sys/kernel/iommu_groups/"+t.GroupID(d)+"/type"), "identity", "%s: type of the IOMMU group", d.Model)
	}
	rebindOrdinary(t)
	expectTranslation(t, edu.Find(t))
}

// patience is how long to wait until the kernel logs a fault.
const patience = 20 * time.Second

// expectTranslation asserts that VT-d lets a device reach memory by its IOVA
// alone: a physical address is a fault that the kernel logs, no byte is
// written and none is read.
func expectTranslation(t *lab.T, d *lab.Device) {
	const (
		iova    = 1 << 36 // where no memory is
		source  = 0
		target  = lab.HugeSize / 2
		secret  = lab.HugeSize - edu.BufferSize
		fetched = target + edu.BufferSize
	)
	dev, ioas := t.ToAttached(d)
	m := t.Hugepages(1)
	ioas.Map(m, iova)
	device := edu.New(dev)
	pa := m.PA(0)
	at := func(offset int) []byte { return m.Bytes[offset : offset+edu.BufferSize] }
	log := t.KernelLog()
	// The kernel tells of a few faults in five seconds and not of more
	// (dmar_fault in drivers/iommu/intel/dmar.c), so a transfer that it keeps
	// silent about is done again.
	fault := func(kind string, address uint64, transfer func(uint64, int)) {
		for deadline := time.Now().Add(lab.Patience(patience)); ; {
			transfer(address, edu.BufferSize)
			// Linux 6.12 leaves out the domain.
			if lab.Count(log.Messages(), kind+" NO_PASID", strings.TrimPrefix(d.BDF, "0000:")+"] ", fmt.Sprintf("fault addr %#x ", address)) > 0 {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s at %#x: the kernel logs no fault", kind, address)
			}
		}
	}

	// What it has, it does not write to a physical address.
	device.Fetch(iova+source, edu.BufferSize)
	want := bytes.Clone(m.Bytes)
	fault("DMA Write", pa+target, device.Store)
	lab.Equal(t, edu.FirstDifference(m.Bytes, want), -1, "first byte changed by a write to the physical address")

	// To the IOVA it does.
	copy(want[target:], at(source))
	device.Store(iova+target, edu.BufferSize)
	device.Moved(at(target), want[target:target+edu.BufferSize], "bytes written to the IOVA")
	lab.Equal(t, edu.FirstDifference(m.Bytes, want), -1, "first wrong byte of the hugepage")

	// And it learns nothing from a physical address.
	fault("DMA Read", pa+secret, device.Fetch)
	device.Store(iova+fetched, edu.BufferSize)
	lab.Differ(t, edu.FirstDifference(at(fetched), at(secret)), -1, "first byte that was not read from the physical address")
	device.Fetch(iova+secret, edu.BufferSize)
	device.Store(iova+fetched, edu.BufferSize)
	device.Moved(at(fetched), at(secret), "bytes read from the IOVA")
	t.Must(dev.Close(), "close the cdev")
}
