// SPDX-License-Identifier: Apache-2.0

package machine

import "fmt"

// Device is the model of what is in one PCI slot under test: one emulated PCI
// function, or several.
type Device string

const (
	// Edu is QEMU's educational device: DMA of up to 4 KiB at a time to and
	// from a buffer of its own, and interrupts on demand. Conventional PCI,
	// on the root bus. See docs/specs/edu.rst in QEMU's source.
	Edu Device = "edu"
	// EduPort is the same device behind a PCI Express root port of its own,
	// as all that follow are: there it can be reset by its bus, and
	// unplugged.
	EduPort Device = "edu-port"
	// EduMultifunction is two of it, which are the functions 0 and 1 of one
	// slot: a reset of the bus is a reset of both.
	EduMultifunction Device = "edu-multifunction"
	// IGB is an Intel 82576 network adapter. The root port is what its
	// SR-IOV needs for ARI. It has no network.
	IGB Device = "igb"
	// E1000E is an Intel 82574L network adapter. It has no network.
	E1000E Device = "e1000e"
	// NVMe is an NVM Express controller. It has no namespace, and so no
	// file.
	NVMe Device = "nvme"
)

// Devices are all models.
func Devices() []Device { return []Device{Edu, EduPort, EduMultifunction, IGB, E1000E, NVMe} }

// ParseDevice returns the model of that name, or a *fault.Usage.
func ParseDevice(name string) (Device, error) { return parse("device", name, Devices()) }

// Capabilities is what a guest finds in the configuration space of each
// function of a model.
type Capabilities struct {
	Vendor, Device uint16   // PCI ids
	FLR            bool     // PCI Express function level reset
	INTx           bool     // has an interrupt pin
	MSI            int      // vectors; 0 is none
	MSIX           int      // vectors; 0 is none
	BARs           [6]int64 // sizes in bytes; 0 is none
	VFs            int      // SR-IOV virtual functions; 0 is none
}

// Capabilities are as of QEMU 10.0: hw/misc/edu.c, hw/net/igb.c,
// hw/net/e1000e.c, hw/nvme/ctrl.c.
func (d Device) Capabilities() Capabilities {
	switch d {
	case Edu, EduPort, EduMultifunction:
		return Capabilities{Vendor: 0x1234, Device: 0x11e8, INTx: true, MSI: 1, BARs: [6]int64{0: 1 << 20}}
	case IGB:
		return Capabilities{Vendor: 0x8086, Device: 0x10c9, FLR: true, INTx: true, MSI: 1, MSIX: 10,
			BARs: [6]int64{0: 128 << 10, 1: 128 << 10, 2: 32, 3: 16 << 10}, VFs: 8}
	case E1000E:
		return Capabilities{Vendor: 0x8086, Device: 0x10d3, INTx: true, MSI: 1, MSIX: 5,
			BARs: [6]int64{0: 128 << 10, 1: 128 << 10, 2: 32, 3: 16 << 10}}
	case NVMe:
		return Capabilities{Vendor: 0x1b36, Device: 0x0010, FLR: true, INTx: true, MSIX: 65,
			BARs: [6]int64{0: 16 << 10}}
	}
	panic(fmt.Sprintf("machine: unknown device %q", string(d)))
}

// Functions is how many functions the device has. They are numbered from 0.
func (d Device) Functions() int {
	if d == EduMultifunction {
		return 2
	}
	return 1
}

// RootPort says whether the device is behind a PCI Express root port of its
// own. Only such a device can be unplugged.
func (d Device) RootPort() bool { return d != Edu }

// driver is QEMU's name of the model.
func (d Device) driver() string {
	switch d {
	case EduPort, EduMultifunction:
		return string(Edu)
	}
	return string(d)
}

// Slots of the root bus. Devices on it and root ports have their own ranges,
// so that neither moves the other.
const (
	iommuSlot  = 0x01 // the first: see Topology.parts
	eduSlot    = 0x02 // and upwards
	serialSlot = 0x0a
	portSlot   = 0x17 // and downwards: qboot numbers the buses from the last slot
	bypassSlot = 0x18

	perPlace = 8 // devices on the root bus, and devices behind root ports
)

// bypassBus is the number of the root bus of the second host bridge. SeaBIOS,
// which is used with it, numbers the buses behind it from its first slot.
const bypassBus = 0x40

// Function is one PCI function under test.
type Function struct {
	Device Device
	N      int    // of the device, counted from 0 among those of its model
	BDF    string // where a kernel that was booted with a PVH entry finds it
	Behind bool   // its DMA goes through an IOMMU; see [Topology.Behind]
}

// Functions are the functions under test in the order of m.Devices. A function
// keeps its address when more devices are put behind it in the list.
func (m Machine) Functions() []Function {
	var all []Function
	for _, p := range m.places() {
		for f := range p.device.Functions() {
			all = append(all, Function{p.device, p.n, p.bdf(m.Topology, f), m.Topology.Behind(p.device)})
		}
	}
	return all
}

// place is where a device is in the machine.
type place struct {
	device Device
	n      int // counted from 0 among the devices of its model
	at     int // counted from 0 among those on the root bus, or among those behind root ports
}

func (m Machine) places() []place {
	var all []place
	ofModel, at := make(map[Device]int), make(map[bool]int)
	for _, d := range m.Devices {
		all = append(all, place{d, ofModel[d], at[d.RootPort()]})
		ofModel[d]++
		at[d.RootPort()]++
	}
	return all
}

func (p place) bdf(t Topology, function int) string {
	switch {
	case !p.device.RootPort():
		return fmt.Sprintf("0000:00:%02x.%x", eduSlot+p.at, function)
	case t == Bypass:
		return fmt.Sprintf("0000:%02x:00.%x", bypassBus+1+p.at, function)
	}
	return fmt.Sprintf("0000:%02x:00.%x", 1+p.at, function)
}

// id is what QEMU calls a function of the device.
func (p place) id(function int) string {
	if p.device.Functions() > 1 {
		return fmt.Sprintf("%s%d.%d", p.device, p.n, function)
	}
	return fmt.Sprintf("%s%d", p.device, p.n)
}

// port is the root port of the device, if it has one.
func (p place) port(t Topology) []part {
	if !p.device.RootPort() {
		return nil
	}
	bus, addr := "pcie.0", portSlot-p.at
	if t == Bypass {
		bus, addr = "bypass", p.at
	}
	return []part{{"pcie-root-port", []property{
		{"id", fmt.Sprintf("port%d", p.at)}, {"bus", bus}, {"addr", hex(addr)}, {"chassis", p.at + 1}, {"slot", p.at + 1},
	}}}
}

// functions are the functions of the device, the first one last: a slot is
// there for the guest when its function 0 is.
func (p place) functions() []part {
	bus, addr := "pcie.0", eduSlot+p.at
	if p.device.RootPort() {
		bus, addr = fmt.Sprintf("port%d", p.at), 0
	}
	var all []part
	for f := p.device.Functions() - 1; f >= 0; f-- {
		properties := []property{{"id", p.id(f)}, {"bus", bus}}
		if p.device.Functions() > 1 {
			properties = append(properties, property{"addr", fmt.Sprintf("%#x.%d", addr, f)}, property{"multifunction", true})
		} else {
			properties = append(properties, property{"addr", hex(addr)})
		}
		all = append(all, part{p.device.driver(), append(properties, p.own()...)})
	}
	return all
}

// own are the properties that only this model has.
func (p place) own() []property {
	switch p.device {
	case Edu, EduPort, EduMultifunction:
		// The default DMA mask has 28 bits: memory above 256 MiB would
		// be out of reach.
		return []property{{"dma_mask", uint64(1<<64 - 1)}}
	case IGB:
		return []property{{"mac", fmt.Sprintf("52:54:00:00:00:%02x", p.n+1)}, {"romfile", ""}}
	case E1000E:
		return []property{{"mac", fmt.Sprintf("52:54:00:00:01:%02x", p.n+1)}, {"romfile", ""}}
	case NVMe:
		return []property{{"serial", p.id(0)}}
	}
	panic(fmt.Sprintf("machine: unknown device %q", string(p.device)))
}
