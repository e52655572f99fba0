// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"encoding/binary"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"strings"

	"noiommu-farm/suites/contract"
)

// Offsets and ids of configuration space, from include/uapi/linux/pci_regs.h.
const (
	pciStatus       = 0x06
	pciStatusCaps   = 1 << 4 // there is a list of capabilities
	pciCapabilities = 0x34   // offset of the first one
	pciInterruptPin = 0x3d

	capPM      = 0x01
	capMSI     = 0x05
	capExpress = 0x10
	capMSIX    = 0x11

	expressDevCap = 4       // offset in the capability
	devCapFLR     = 1 << 28 // function level reset
)

// maxCapabilities bounds a list of capabilities: it may be a circle.
const maxCapabilities = 48

// findCapabilities finds what a function can do, from its configuration space
// as far as this process may read it: without CAP_SYS_ADMIN 64 bytes, which
// show no capabilities.
func findCapabilities(root, bdf string) (contract.Device, error) {
	var has contract.Device
	config, err := os.ReadFile(filepath.Join(root, "sys/bus/pci/devices", bdf, "config"))
	if err != nil {
		return has, err
	}
	readCapabilities(config, &has)
	// QEMU wires the interrupt pins of a second host bridge to links that
	// Linux has disabled: they reach nobody.
	if path, err := os.Readlink(filepath.Join(root, "sys/bus/pci/devices", bdf)); err == nil {
		has.INTx = has.INTx && strings.Contains(path, "/pci0000:00/")
	}

	slot, _, _ := strings.Cut(bdf, ".") // domain, bus and slot
	functions, err := filepath.Glob(filepath.Join(root, "sys/bus/pci/devices", slot+".?"))
	if err != nil {
		return has, err
	}
	has.Functions = len(functions)

	// The slots that a hotplug driver controls, each with the address of what
	// may be in it.
	addresses, err := filepath.Glob(filepath.Join(root, "sys/bus/pci/slots/*/address"))
	if err != nil {
		return has, err
	}
	for _, file := range addresses {
		text, err := os.ReadFile(file)
		if err != nil {
			return has, fmt.Errorf("find slot: %w", err)
		}
		has.Port = has.Port || strings.TrimSpace(string(text)) == slot
	}
	return has, nil
}

func readCapabilities(config []byte, has *contract.Device) {
	if len(config) > pciInterruptPin {
		has.INTx = config[pciInterruptPin] != 0
	}
	for id, at := range capabilities(config) {
		switch id {
		case capMSI:
			has.MSI = true
		case capMSIX:
			has.MSIX = true
		case capExpress:
			has.FLR = binary.LittleEndian.Uint32(config[at+expressDevCap:])&devCapFLR != 0
		}
	}
}

// capabilities are the ids and the offsets of the list in a configuration
// space. Behind each offset there are 8 bytes at least.
func capabilities(config []byte) iter.Seq2[byte, int] {
	return func(yield func(byte, int) bool) {
		if len(config) <= pciCapabilities || config[pciStatus]&pciStatusCaps == 0 {
			return
		}
		at := int(config[pciCapabilities]) &^ 3
		for range maxCapabilities {
			if at < 0x40 || at+8 > len(config) || !yield(config[at], at) {
				return
			}
			at = int(config[at+1]) &^ 3
		}
	}
}

// PowerStates says whether the function has states of power to be in: the PCI
// power management capability.
func (d *Device) PowerStates(t *T) bool { return d.capable(t, capPM) }

// Express says whether the function is one of PCI Express.
func (d *Device) Express(t *T) bool { return d.capable(t, capExpress) }

func (d *Device) capable(t *T, capability byte) bool {
	for id := range capabilities([]byte(t.ReadFile(d.Sysfs("config")))) {
		if id == capability {
			return true
		}
	}
	return false
}
