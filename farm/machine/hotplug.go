// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"context"
	"fmt"
)

// Unplug takes the n-th device of its model out of the guest, counted from 0:
// it presses the attention button of the device's slot and waits until QEMU has
// deleted every function. Linux (pciehp) lets five seconds pass, then asks the
// driver, and with vfio-pci that waits until user space lets go. It removes one
// device at a time: one that is held keeps the others.
//
// ctx bounds the waiting. When it ends first, the request stands, and the guest
// may let go later.
//
// A device that the machine does not have, or that is on the root bus, is a
// *fault.Usage.
func (g *Guest) Unplug(ctx context.Context, d Device, n int) error {
	p, err := g.pluggable(d, n)
	if err != nil {
		return err
	}
	deleted := g.Monitor.Subscribe("DEVICE_DELETED")
	defer deleted.Close()
	// The slot is one: the request for one function is for all.
	if err := g.Monitor.Execute(ctx, "device_del", map[string]any{"id": p.id(0)}, nil); err != nil {
		return fmt.Errorf("unplug %s: %w", p.id(0), err)
	}
	waiting := make(map[string]bool)
	for f := range p.device.Functions() {
		waiting[p.id(f)] = true
	}
	for len(waiting) > 0 {
		select {
		case event, ok := <-deleted.Events():
			if !ok {
				return fmt.Errorf("unplug %s: %w", p.id(0), g.Monitor.Err())
			}
			if id, ok := event.Data["device"].(string); ok {
				delete(waiting, id)
			}
		case <-ctx.Done():
			return fmt.Errorf("unplug %s: wait for the guest: %w", p.id(0), ctx.Err())
		}
	}
	return nil
}

// Plug puts the n-th device of its model, counted from 0, back into its slot,
// the same as it was at boot. It returns when QEMU has it; the guest finds it a
// moment later.
//
// Errors are as those of [Guest.Unplug]; a device that is still there is
// QEMU's refusal.
func (g *Guest) Plug(ctx context.Context, d Device, n int) error {
	p, err := g.pluggable(d, n)
	if err != nil {
		return err
	}
	for _, one := range p.functions() {
		if err := g.Monitor.Execute(ctx, "device_add", one.plug(), nil); err != nil {
			return fmt.Errorf("plug %s: %w", p.id(0), err)
		}
	}
	return nil
}

// pluggable finds a device that can be unplugged.
func (g *Guest) pluggable(d Device, n int) (place, error) {
	for _, p := range g.machine.places() {
		if p.device != d || p.n != n {
			continue
		}
		if !d.RootPort() {
			return place{}, usage("device", p.id(0), "on the root bus, where nothing can be unplugged")
		}
		return p, nil
	}
	return place{}, usage("device", fmt.Sprintf("%s%d", d, n), "the machine has no such device")
}
