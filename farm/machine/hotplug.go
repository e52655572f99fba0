// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"context"
	"errors"
	"fmt"

	"noiommu-farm/farm/qmp"
)

// Refused says whether QEMU understood what was asked of it and said no.
func Refused(err error) bool {
	var no *qmp.Error
	return errors.As(err, &no)
}

// Unplugging is an unplug that was asked for.
type Unplugging struct {
	g       *Guest
	id      string          // of its first function
	waiting map[string]bool // functions that are not deleted yet
	deleted *qmp.Subscription
}

// StartUnplug presses the attention button of the slot of the n-th device of
// its model, counted from 0. Linux (pciehp) lets five seconds pass, then asks
// the driver, and with vfio-pci that waits until user space lets go. It removes
// one device at a time: one that is held keeps the others.
//
// A device that the machine does not have, or that is on the root bus, is a
// *fault.Usage. QEMU refuses (*qmp.Error) while an earlier request is under
// way.
func (g *Guest) StartUnplug(ctx context.Context, d Device, n int) (*Unplugging, error) {
	p, err := g.pluggable(d, n)
	if err != nil {
		return nil, err
	}
	u := &Unplugging{g: g, id: p.id(0), waiting: make(map[string]bool), deleted: g.Monitor.Subscribe("DEVICE_DELETED")}
	for f := range p.device.Functions() {
		u.waiting[p.id(f)] = true
	}
	// The slot is one: the request for one function is for all.
	if err := g.Monitor.Execute(ctx, "device_del", map[string]any{"id": u.id}, nil); err != nil {
		u.deleted.Close()
		return nil, fmt.Errorf("unplug %s: %w", u.id, err)
	}
	return u, nil
}

// Wait waits until QEMU has deleted every function. When ctx ends first, the
// request stands, and Wait can be called again.
func (u *Unplugging) Wait(ctx context.Context) error {
	for len(u.waiting) > 0 {
		select {
		case event, ok := <-u.deleted.Events():
			if !ok {
				return fmt.Errorf("unplug %s: %w", u.id, u.g.Monitor.Err())
			}
			if id, ok := event.Data["device"].(string); ok {
				delete(u.waiting, id)
			}
		case <-ctx.Done():
			return fmt.Errorf("unplug %s: wait for the guest: %w", u.id, ctx.Err())
		}
	}
	return nil
}

// Close ends the watching; the request stands.
func (u *Unplugging) Close() { u.deleted.Close() }

// Unplug is [Guest.StartUnplug] and [Unplugging.Wait] in one.
func (g *Guest) Unplug(ctx context.Context, d Device, n int) error {
	u, err := g.StartUnplug(ctx, d, n)
	if err != nil {
		return err
	}
	defer u.Close()
	return u.Wait(ctx)
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
