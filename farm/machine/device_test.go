// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"bufio"
	"fmt"
	"testing"
)

// pciDevice is PciDeviceInfo of qapi/pci.json in QEMU's source.
type pciDevice struct {
	Bus, Slot, Function int
	QdevID              string `json:"qdev_id"`
	ID                  struct{ Vendor, Device uint16 }
	IRQPin              int `json:"irq_pin"`
	Regions             []struct {
		BAR  int
		Size int64
	}
	Bridge struct{ Devices []pciDevice } `json:"pci_bridge"`
}

// What a model declares is what QEMU has, at the address that was promised.
func TestDevicesAreWhereTheyShouldBe(t *testing.T) {
	m := helloMachine(t)
	m.Devices = []Device{IGB, Edu, IGB, Edu, IGB}
	g := boot(t, m)
	// Once the kernel speaks, the firmware has numbered the buses.
	if _, err := bufio.NewReader(g.Console()).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	var buses []struct{ Devices []pciDevice }
	if err := g.Monitor.Execute(t.Context(), "query-pci", nil, &buses); err != nil {
		t.Fatal(err)
	}
	found := make(map[string]pciDevice)
	for _, bus := range buses {
		for _, d := range bus.Devices {
			found[d.QdevID] = d
			for _, behind := range d.Bridge.Devices {
				found[behind.QdevID] = behind
			}
		}
	}
	count := make(map[Device]int)
	for _, model := range m.Devices {
		n := count[model]
		count[model]++
		id := fmt.Sprintf("%s%d", model, n)
		d, ok := found[id]
		if !ok {
			t.Errorf("QEMU has no %s", id)
			continue
		}
		if bdf := fmt.Sprintf("0000:%02x:%02x.%x", d.Bus, d.Slot, d.Function); bdf != model.BDF(n) {
			t.Errorf("%s is at %s, want %s", id, bdf, model.BDF(n))
		}
		has := model.Capabilities()
		if d.ID.Vendor != has.Vendor || d.ID.Device != has.Device {
			t.Errorf("%s is %04x:%04x, want %04x:%04x", id, d.ID.Vendor, d.ID.Device, has.Vendor, has.Device)
		}
		if (d.IRQPin > 0) != has.INTx {
			t.Errorf("%s has interrupt pin %d", id, d.IRQPin)
		}
		var bars [6]int64
		for _, region := range d.Regions {
			bars[region.BAR] = region.Size
		}
		if bars != has.BARs {
			t.Errorf("%s has BARs %v, want %v", id, bars, has.BARs)
		}
	}
}
