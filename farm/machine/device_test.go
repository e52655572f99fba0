// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"testing"
)

// pciDevice is PciDeviceInfo of qapi/pci.json in QEMU's source.
type pciDevice struct {
	Bus, Slot, Function int
	QdevID              string `json:"qdev_id"`
	Regions             []struct {
		BAR  int
		Size int64
	}
	Bridge struct{ Devices []pciDevice } `json:"pci_bridge"`
}

// ecam is where both firmwares put the PCI Express configuration space of q35.
const ecam = 0xb0000000

// configSpace reads the configuration space of a function, from outside the
// guest.
func configSpace(t *testing.T, g *Guest, bdf string) []byte {
	t.Helper()
	var bus, slot, function uint64
	if _, err := fmt.Sscanf(bdf, "0000:%x:%x.%x", &bus, &slot, &function); err != nil {
		t.Fatal(err)
	}
	config, err := g.ReadPhysical(t.Context(), ecam+bus<<20+slot<<15+function<<12, 4096)
	if err != nil {
		t.Fatal(err)
	}
	return config
}

// capability finds a capability by its id (PCI_CAP_ID_* of
// include/uapi/linux/pci_regs.h); nil is none.
func capability(config []byte, id byte) []byte {
	for at := int(config[0x34]); at >= 0x40 && at < 0xfc; at = int(config[at+1]) {
		if config[at] == id {
			return config[at:]
		}
	}
	return nil
}

// virtualFunctions is TotalVFs of the SR-IOV capability.
func virtualFunctions(config []byte) int {
	const sriov = 0x10 // PCI_EXT_CAP_ID_SRIOV
	for at := 0x100; at >= 0x100 && at < 4096-64; {
		header := binary.LittleEndian.Uint32(config[at:])
		if header&0xffff == sriov {
			return int(binary.LittleEndian.Uint16(config[at+0x0e:]))
		}
		at = int(header >> 20)
	}
	return 0
}

// declared is what the configuration space shows of a model's capabilities.
func declared(config []byte) Capabilities {
	found := Capabilities{
		Vendor: binary.LittleEndian.Uint16(config[0x00:]),
		Device: binary.LittleEndian.Uint16(config[0x02:]),
		INTx:   config[0x3d] != 0,
	}
	if msi := capability(config, 0x05); msi != nil {
		found.MSI = 1 << (msi[2] >> 1 & 7)
	}
	if msix := capability(config, 0x11); msix != nil {
		found.MSIX = 1 + int(binary.LittleEndian.Uint16(msix[2:])&0x7ff)
	}
	if express := capability(config, 0x10); express != nil {
		found.FLR = express[7]&0x10 != 0 // PCI_EXP_DEVCAP_FLR
		found.VFs = virtualFunctions(config)
	}
	return found
}

// What a model declares is what QEMU has, at the address that was promised,
// under both firmwares and beside an IOMMU that takes a slot for itself.
func TestDevicesAreWhereTheyShouldBe(t *testing.T) {
	for _, topology := range []Topology{None, AMD, Virtio, Bypass} {
		t.Run(string(topology), func(t *testing.T) {
			m := helloMachine(t)
			m.Topology = topology
			m.Devices = []Device{IGB, EduMultifunction, Edu, NVMe, IGB, EduPort, Edu, E1000E}
			g := boot(t, m)
			// Once the kernel speaks, the firmware has numbered the buses.
			if _, err := bufio.NewReader(g.Console()).ReadString('\n'); err != nil {
				t.Fatal(err)
			}
			found := queryPCI(t, g)
			for i, f := range m.Functions() {
				d, ok := found[f.BDF]
				if !ok {
					t.Errorf("nothing at %s, want %s", f.BDF, f.Device)
					continue
				}
				if want := functionIDs(m)[i]; d.QdevID != want {
					t.Errorf("%s is at %s, want %s", d.QdevID, f.BDF, want)
				}
				got := declared(configSpace(t, g, f.BDF))
				for _, region := range d.Regions {
					got.BARs[region.BAR] = region.Size
				}
				if got != f.Device.Capabilities() {
					t.Errorf("%s has %+v, want %+v", f.Device, got, f.Device.Capabilities())
				}
			}
		})
	}
}

// functionIDs is what QEMU calls each of m.Functions.
func functionIDs(m Machine) []string {
	var ids []string
	for _, p := range m.places() {
		for f := range p.device.Functions() {
			ids = append(ids, p.id(f))
		}
	}
	return ids
}

// queryPCI is what QEMU says of its PCI functions, by BDF.
func queryPCI(t *testing.T, g *Guest) map[string]pciDevice {
	t.Helper()
	var buses []struct{ Devices []pciDevice }
	if err := g.Monitor.Execute(t.Context(), "query-pci", nil, &buses); err != nil {
		t.Fatal(err)
	}
	found := make(map[string]pciDevice)
	for _, bus := range buses {
		for _, d := range bus.Devices {
			for _, one := range append(d.Bridge.Devices, d) {
				found[fmt.Sprintf("0000:%02x:%02x.%x", one.Bus, one.Slot, one.Function)] = one
			}
		}
	}
	return found
}
