// SPDX-License-Identifier: Apache-2.0

package machine

import "fmt"

// Device is the model of one emulated PCI function under test.
type Device string

const (
	// Edu is QEMU's educational device: DMA of up to 4 KiB at a time to and
	// from a buffer of its own, and interrupts on demand. Conventional PCI,
	// on the root bus. See docs/specs/edu.rst in QEMU's source.
	Edu Device = "edu"
	// IGB is an Intel 82576 network adapter behind a PCI Express root port
	// of its own, which its SR-IOV needs for ARI. It has no network.
	IGB Device = "igb"
)

// Devices are all models.
func Devices() []Device { return []Device{Edu, IGB} }

// ParseDevice returns the model of that name, or a *fault.Usage.
func ParseDevice(name string) (Device, error) { return parse("device", name, Devices()) }

// Capabilities is what a guest finds in the configuration space of a model.
type Capabilities struct {
	Vendor, Device uint16   // PCI ids
	FLR            bool     // PCI Express function level reset
	INTx           bool     // has an interrupt pin
	MSI            int      // vectors; 0 is none
	MSIX           int      // vectors; 0 is none
	BARs           [6]int64 // sizes in bytes; 0 is none
	VFs            int      // SR-IOV virtual functions; 0 is none
}

// Capabilities are as of QEMU 10.0: hw/misc/edu.c, hw/net/igb.c.
func (d Device) Capabilities() Capabilities {
	switch d {
	case Edu:
		return Capabilities{Vendor: 0x1234, Device: 0x11e8, INTx: true, MSI: 1, BARs: [6]int64{0: 1 << 20}}
	case IGB:
		return Capabilities{Vendor: 0x8086, Device: 0x10c9, FLR: true, INTx: true, MSI: 1, MSIX: 10,
			BARs: [6]int64{0: 128 << 10, 1: 128 << 10, 2: 32, 3: 16 << 10}, VFs: 8}
	}
	panic(fmt.Sprintf("machine: unknown device %q", string(d)))
}

// Slots of the root bus. Each model has its own range, so that one more
// device moves no other.
const (
	serialSlot = 0x01
	eduSlot    = 0x02 // and upwards
	igbSlot    = 0x17 // and downwards: qboot numbers the buses from the last slot
	perModel   = 8    // devices of one model
)

// BDF is where a kernel that was booted with a PVH entry finds the n-th device
// of its model, counted from 0.
func (d Device) BDF(n int) string {
	if d == IGB {
		return fmt.Sprintf("0000:%02x:00.0", n+1)
	}
	return fmt.Sprintf("0000:00:%02x.0", eduSlot+n)
}

// args renders the n-th device of its model, counted from 0.
func (d Device) args(n int) []string {
	switch d {
	case Edu:
		// The default DMA mask has 28 bits: memory above 256 MiB would
		// be out of reach.
		return []string{"-device", fmt.Sprintf("edu,id=edu%d,bus=pcie.0,addr=%#x,dma_mask=0xffffffffffffffff", n, eduSlot+n)}
	case IGB:
		return []string{
			"-device", fmt.Sprintf("pcie-root-port,id=port%d,bus=pcie.0,addr=%#x,chassis=%d,slot=%d", n, igbSlot-n, n+1, n+1),
			"-device", fmt.Sprintf("igb,id=igb%d,bus=port%d,addr=0x0,mac=52:54:00:00:00:%02x,romfile=", n, n, n+1),
		}
	}
	panic(fmt.Sprintf("machine: unknown device %q", string(d)))
}
