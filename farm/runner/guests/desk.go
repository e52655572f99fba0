// SPDX-License-Identifier: Apache-2.0

package guests

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"noiommu-farm/farm/machine"
	"noiommu-farm/farm/runner/agent"
	"noiommu-farm/guestagent/wire"
	"noiommu-farm/internal/fault"
)

// unplugPatience bounds the wait for a guest to let go of a device, before it
// is scaled: pciehp alone lets five seconds pass.
const unplugPatience = 30 * time.Second

// desk answers what test programs ask of the host, about one guest and its
// devices under test. It answers one question at a time.
type desk struct {
	guest    *machine.Guest
	slots    map[string]slot // by the BDF of each function in it
	patience time.Duration   // see unplugPatience

	going map[slot]*machine.Unplugging // asked for, and not known to be gone
	gone  map[slot]bool
}

// slot is where a device is: the n-th of its model.
type slot struct {
	device machine.Device
	n      int
}

func newDesk(guest *machine.Guest, m machine.Machine, patience time.Duration) *desk {
	d := &desk{
		guest: guest, slots: make(map[string]slot), patience: patience,
		going: make(map[slot]*machine.Unplugging), gone: make(map[slot]bool),
	}
	for _, f := range m.Functions() {
		d.slots[f.BDF] = slot{f.Device, f.N}
	}
	return d
}

// answer carries out a request. What the guest must not have, or does not do
// its part of, is in the reply; the error is the farm's.
func (d *desk) answer(ctx context.Context, r wire.Request) (wire.Reply, error) {
	data, err := d.carryOut(ctx, r)
	var usage *fault.Usage
	switch {
	case err == nil:
		return wire.Reply{Data: data}, nil
	case errors.Is(err, errNotNow), errors.As(err, &usage), machine.Refused(err), errors.Is(err, context.DeadlineExceeded):
		return wire.Reply{Err: err.Error()}, nil
	}
	return wire.Reply{}, fmt.Errorf("%s for a test: %w", r.Do, err)
}

// errNotNow is in the refusal of what does not fit the state of a slot.
var errNotNow = errors.New("not now")

func (d *desk) carryOut(ctx context.Context, r wire.Request) ([]byte, error) {
	switch r.Do {
	case wire.ReadMemory:
		return d.guest.ReadPhysical(ctx, r.Address, r.Length)
	case wire.InjectNMI:
		return nil, d.guest.InjectNMI(ctx)
	}
	s, known := d.slots[r.BDF]
	if !known {
		return nil, fmt.Errorf("%w: no device under test is at %q", errNotNow, r.BDF)
	}
	switch r.Do {
	case wire.Unplug:
		if d.gone[s] || d.going[s] != nil {
			return nil, fmt.Errorf("%w: %s was unplugged before", errNotNow, r.BDF)
		}
		u, err := d.guest.StartUnplug(ctx, s.device, s.n)
		if err == nil {
			d.going[s] = u
		}
		return nil, err
	case wire.Unplugged:
		return nil, d.wait(ctx, s)
	case wire.Plug:
		return nil, d.plug(ctx, s)
	}
	return nil, fmt.Errorf("%w: %q is nothing that can be asked for", errNotNow, r.Do)
}

// wait waits until the guest has let go of what was unplugged.
func (d *desk) wait(ctx context.Context, s slot) error {
	u := d.going[s]
	if u == nil {
		if !d.gone[s] {
			return fmt.Errorf("%w: nobody unplugged the %s", errNotNow, s.device)
		}
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, d.patience)
	defer cancel()
	if err := u.Wait(ctx); err != nil {
		return err
	}
	u.Close()
	delete(d.going, s)
	d.gone[s] = true
	return nil
}

func (d *desk) plug(ctx context.Context, s slot) error {
	if !d.gone[s] {
		return fmt.Errorf("%w: the guest still has the %s", errNotNow, s.device)
	}
	if err := d.guest.Plug(ctx, s.device, s.n); err != nil {
		return err
	}
	delete(d.gone, s)
	return nil
}

// away lists the addresses of what was unplugged and not plugged again, sorted.
func (d *desk) away() []string {
	var all []string
	for bdf, s := range d.slots {
		if d.gone[s] || d.going[s] != nil {
			all = append(all, bdf)
		}
	}
	slices.Sort(all)
	return all
}

// restore plugs everything that is away. A guest that does not let go of what
// was unplugged is hung.
func (d *desk) restore(ctx context.Context) error {
	for _, bdf := range d.away() {
		s := d.slots[bdf]
		if !d.gone[s] && d.going[s] == nil {
			continue // another function of a slot that is full again
		}
		err := d.wait(ctx, s)
		if errors.Is(err, context.DeadlineExceeded) {
			return &agent.HungError{Doing: "the guest to let go of " + bdf}
		}
		if err == nil {
			err = d.plug(ctx, s)
		}
		if err != nil {
			return fmt.Errorf("put %s back: %w", bdf, err)
		}
	}
	return nil
}

// close ends the watching of what is still under way.
func (d *desk) close() {
	for _, u := range d.going {
		u.Close()
	}
}
