// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"

	"noiommu-farm/internal/fault"
)

// rootPort plays the part of the guest's driver (pciehp) for one slot, by
// registers of PCI_CAP_ID_EXP in include/uapi/linux/pci_regs.h.
type rootPort struct {
	t    *testing.T
	g    *Guest
	slot int // of the port, on the root bus
}

const (
	slotControl = 0x18   // PCI_EXP_SLTCTL
	slotStatus  = 0x1a   // PCI_EXP_SLTSTA
	button      = 0x0001 // PCI_EXP_SLTSTA_ABP
	powerOn     = 0x0100 // PCI_EXP_SLTCTL_PWR_IND_ON
	powerOff    = 0x0700 // PCI_EXP_SLTCTL_PWR_OFF, PCI_EXP_SLTCTL_PWR_IND_OFF
)

func (p rootPort) express() (config []byte, at int) {
	p.t.Helper()
	config = configSpace(p.t, p.g, fmt.Sprintf("0000:00:%02x.0", p.slot))
	express := capability(config, 0x10)
	if express == nil {
		p.t.Fatalf("no root port in slot %#x", p.slot)
	}
	return config, len(config) - len(express)
}

// pressed waits until the attention button of the slot was pressed.
func (p rootPort) pressed() {
	p.t.Helper()
	for {
		config, at := p.express()
		if binary.LittleEndian.Uint16(config[at+slotStatus:])&button != 0 {
			return
		}
	}
}

// control writes the slot control register by the ports of the PCI host
// bridge.
func (p rootPort) control(value int) {
	p.t.Helper()
	_, at := p.express()
	register := at + slotControl
	for _, line := range []string{
		fmt.Sprintf("o /w 0xcf8 %#x", 1<<31|p.slot<<11|register),
		fmt.Sprintf("o /h %#x %#x", 0xcfc+register&3, value),
	} {
		if err := p.g.Monitor.Execute(p.t.Context(), "human-monitor-command", map[string]any{"command-line": line}, nil); err != nil {
			p.t.Fatal(err)
		}
	}
}

// properties are those that the machine gives a device's functions, as QEMU
// has them.
func properties(t *testing.T, g *Guest, p place) map[string]string {
	t.Helper()
	found := make(map[string]string)
	for i, one := range p.functions() {
		id := p.id(p.device.Functions() - 1 - i)
		for _, property := range one.properties {
			if property.name == "id" || property.name == "bus" {
				continue // not properties to QEMU
			}
			var value json.RawMessage
			if err := g.Monitor.Execute(t.Context(), "qom-get", map[string]any{
				"path": "/machine/peripheral/" + id, "property": property.name,
			}, &value); err != nil {
				t.Fatal(err)
			}
			found[id+"."+property.name] = string(value)
		}
	}
	return found
}

// A device goes when the guest lets it go, and comes back as it was.
func TestHotplug(t *testing.T) {
	for _, d := range Devices()[1:] {
		t.Run(string(d), func(t *testing.T) {
			m := helloMachine(t)
			m.Devices = []Device{d, Edu, d}
			g := boot(t, m)
			if _, err := bufio.NewReader(g.Console()).ReadString('\n'); err != nil {
				t.Fatal(err)
			}
			all, last := queryPCI(t, g), m.places()[2]
			asBooted := properties(t, g, last)
			port := rootPort{t, g, portSlot - 1}

			unplugged := make(chan error, 1)
			go func() { unplugged <- g.Unplug(t.Context(), d, 1) }()
			port.pressed()
			if got := queryPCI(t, g); !slices.Equal(addresses(got), addresses(all)) {
				t.Errorf("before the guest let go: %v, want %v", addresses(got), addresses(all))
			}
			port.control(powerOff)
			if err := <-unplugged; err != nil {
				t.Fatal(err)
			}
			fewer := maps.Clone(all)
			for f := range d.Functions() {
				delete(fewer, last.bdf(None, f))
			}
			if got := queryPCI(t, g); !slices.Equal(addresses(got), addresses(fewer)) {
				t.Errorf("unplugged: %v, want %v", addresses(got), addresses(fewer))
			}

			if err := g.Plug(t.Context(), d, 1); err != nil {
				t.Fatal(err)
			}
			port.control(powerOn)
			if got := queryPCI(t, g); !slices.Equal(addresses(got), addresses(all)) {
				t.Errorf("plugged: %v, want %v", addresses(got), addresses(all))
			}
			if got := properties(t, g, last); !maps.Equal(got, asBooted) {
				t.Errorf("plugged: %v, want %v", got, asBooted)
			}
			for f := range d.Functions() {
				got, want := declared(configSpace(t, g, last.bdf(None, f))), d.Capabilities()
				if got.BARs = want.BARs; got != want {
					t.Errorf("plugged: function %d has %+v, want %+v", f, got, want)
				}
			}
			if err := g.Plug(t.Context(), d, 1); err == nil {
				t.Error("plugged twice")
			}
		})
	}
}

// addresses are those of the devices that a machine gave to QEMU, and not of the
// virtual functions that come and go with igb.
func addresses(found map[string]pciDevice) []string {
	var all []string
	for bdf, d := range found {
		if d.QdevID != "" {
			all = append(all, bdf)
		}
	}
	slices.Sort(all)
	return all
}

// A guest that does not let go, a wrong device and a dead guest are errors.
func TestHotplugRefuses(t *testing.T) {
	m := helloMachine(t)
	m.Devices = []Device{Edu, EduPort}
	g := boot(t, m)
	if _, err := bufio.NewReader(g.Console()).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []struct {
		device Device
		n      int
	}{{Edu, 0}, {EduPort, 1}, {EduPort, -1}, {IGB, 0}, {"bogus", 0}} {
		for name, do := range map[string]func(context.Context, Device, int) error{"plug": g.Plug, "unplug": g.Unplug} {
			var usage *fault.Usage
			if err := do(t.Context(), bad.device, bad.n); !errors.As(err, &usage) || usage.Key != "device" {
				t.Errorf("%s %s %d: %v", name, bad.device, bad.n, err)
			}
		}
	}

	ctx, cancel := context.WithCancel(t.Context())
	unplugged := make(chan error, 1)
	go func() { unplugged <- g.Unplug(ctx, EduPort, 0) }()
	rootPort{t, g, portSlot}.pressed()
	cancel()
	if err := <-unplugged; !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if err := g.Kill(); err != nil {
		t.Fatal(err)
	}
	<-g.Monitor.Done()
	if err := g.Unplug(t.Context(), EduPort, 0); err == nil {
		t.Error("unplugged from a dead guest")
	}
}
