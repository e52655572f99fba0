// SPDX-License-Identifier: Apache-2.0

package guests

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"noiommu-farm/farm/machine"
	"noiommu-farm/farm/runner/agent"
	"noiommu-farm/guestagent/wire"
	"noiommu-farm/results"
	"noiommu-farm/results/verdict"
)

// lives are those of a cell's guests.
type lives struct {
	Cell
	record *results.CellWriter // of the whole cell

	guests errgroup.Group // all but the first; their errors say that the record is not whole
	number atomic.Uint32  // of the last one

	mu   sync.Mutex
	open map[uint32]int // parts of a program that are not over
}

// alone says whether one guest is enough.
func (l *lives) alone() bool {
	switch l.Planned.Isolation {
	case results.PerCell, "":
		return true
	}
	return len(l.parts(false))+len(l.parts(true)) < 2
}

// parts are what has a guest of its own before any device is bound, or when all
// are. What comes at the end of a cell stays with the first guest.
func (l *lives) parts(unbound bool) []part {
	programs := l.Phases.Bound
	if unbound {
		programs = l.Phases.Unbound
	}
	return parts(programs, l.Planned.Isolation)
}

// first boots the first guest of the cell. Without a guest the error is that of
// the record; what went wrong is an event.
func (l *lives) first(ctx context.Context, savable bool) (s *session, release func(), err error) {
	if release, err = l.Take(ctx, l.Machine.CPUs, l.Machine.MemoryMiB); err == nil {
		s, err = l.boot(ctx, l.record.First(), savable)
		if err != nil {
			release()
		}
	}
	if err != nil {
		return nil, nil, l.record.Event(results.Event{Infra: &results.Infra{Err: err.Error()}})
	}
	if err := writeScript(filepath.Join(l.Dir, "qemu.sh"), s.guest.CommandLine()); err != nil {
		release()
		return nil, nil, errors.Join(err, s.end(ctx, err, 0))
	}
	if l.Booted != nil {
		l.Booted()
	}
	return s, release, nil
}

// boot starts a guest and begins to record it.
func (l *lives) boot(ctx context.Context, rec *results.GuestWriter, savable bool) (*session, error) {
	guest, err := machine.Boot(ctx, l.Machine, machine.BootOptions{Savable: savable})
	if err != nil {
		return nil, err
	}
	if err := rec.Event(results.Event{Booted: &results.Booted{Command: guest.CommandLine()}}); err != nil {
		guest.Close()
		return nil, err
	}
	return l.begin(guest, rec), nil
}

// together runs all programs in one guest.
func (l *lives) together(ctx context.Context) error {
	s, release, err := l.first(ctx, false)
	if s == nil {
		return err
	}
	defer release()
	return s.end(ctx, s.wholeCell(ctx), 0)
}

func (s *session) wholeCell(ctx context.Context) error {
	err := s.prepare(ctx)
	if err == nil {
		err = s.each(ctx, s.Phases.Unbound)
	}
	if err == nil {
		err = s.bind(ctx)
	}
	if err == nil {
		err = s.each(ctx, s.Phases.Bound)
	}
	return s.lastly(ctx, err)
}

// lastly does what comes at the end of a guest in which all went well.
func (s *session) lastly(ctx context.Context, err error) error {
	if err == nil {
		err = s.each(ctx, s.Phases.AtEnd)
	}
	if err == nil {
		err = s.settled(ctx)
	}
	return err
}

// apart gives every part a guest of its own: one that goes on from the first
// one, as that was before anything was tested.
func (l *lives) apart(ctx context.Context) error {
	l.open = make(map[uint32]int)
	for _, p := range slices.Concat(l.parts(true), l.parts(false)) {
		l.open[p.program.ID]++
	}
	s, release, err := l.first(ctx, true)
	if s == nil {
		return err
	}
	how := s.prepare(ctx)
	if how == nil {
		how = s.saveFor(ctx, true)
	}
	if how == nil {
		how = s.bind(ctx)
	}
	if how == nil {
		how = s.saveFor(ctx, false)
	}
	err = s.end(ctx, s.lastly(ctx, how), 0)
	release()
	return errors.Join(err, l.guests.Wait())
}

// saveFor saves the guest, and has all parts that go on from there begin.
func (s *session) saveFor(ctx context.Context, unbound bool) error {
	all := s.parts(unbound)
	if len(all) == 0 {
		return nil
	}
	longestFirst(all, s.walls())
	before := s.before
	if s.Planned.Measured {
		var err error
		if before, err = s.talk.Measure(ctx, wire.Measure{}); err != nil {
			return err
		}
	}
	warm := false
	if i := slices.IndexFunc(all, func(p part) bool { return p.warm() }); i >= 0 {
		err := s.talk.Warm(ctx, wire.Warm{
			Argv: append([]string{s.Suites}, s.all...), Env: all[i].program.Env, Host: true,
		})
		// Suites that do not get ready have met a bad kernel, perhaps. They say
		// so themselves when they are run in the ordinary way.
		var not *agent.RefusedError
		if err != nil && !errors.As(err, &not) {
			return err
		}
		warm = err == nil
	}
	saved, err := s.guest.Save(ctx)
	var not *machine.NotSavableError
	switch {
	case errors.As(err, &not):
		if err := s.rec.Event(results.Event{Saved: &results.Saved{Err: not.Reason}}); err != nil {
			return err
		}
		s.guests.Go(func() error { return s.bootEach(ctx, unbound) })
		return nil
	case err != nil:
		return err
	}
	if err := s.rec.Event(results.Event{Saved: &results.Saved{}}); err != nil {
		saved.Close()
		return err
	}
	s.saves++
	from := &origin{session: s, saved: saved, before: before, n: s.saves, warm: warm}
	s.guests.Go(func() error { return s.restoreEach(ctx, all, from) })
	return nil
}

// origin is the first guest as it was when it was saved.
type origin struct {
	*session
	saved  *machine.Saved
	before wire.Measured
	n      int  // counts the saves from 1
	warm   bool // the suites wait in it
}

// restoreEach restores a guest for each part, as many at a time as the machine
// allows.
func (l *lives) restoreEach(ctx context.Context, all []part, from *origin) error {
	// A QEMU is started while the guests before it are still busy.
	ready := make(chan standby)
	stop := make(chan struct{})
	go func() {
		defer close(ready)
		for range all {
			select {
			case <-stop:
				return
			default:
			}
			var one standby
			one.Standby, one.err = from.saved.Standby(ctx, machine.BootOptions{})
			select {
			case ready <- one:
			case <-stop:
				one.close()
				return
			}
		}
	}()
	// When one cannot be recorded any more, the others need not begin.
	guests, whole := errgroup.WithContext(ctx)
	var err error
	for _, p := range all {
		var release func()
		if release, err = l.Take(whole, l.Machine.CPUs, l.Machine.MemoryMiB); err != nil {
			// What has not begun is not recorded as begun.
			err = l.record.Event(results.Event{Infra: &results.Infra{Err: err.Error()}})
			break
		}
		one := <-ready
		guests.Go(func() error {
			defer release()
			return l.restored(whole, p, one, from)
		})
	}
	close(stop)
	err = errors.Join(err, guests.Wait())
	for one := range ready {
		one.close()
	}
	from.saved.Close()
	return err
}

// standby is a QEMU that waits, or why there is none.
type standby struct {
	*machine.Standby
	err error
}

func (s standby) close() {
	if s.err == nil {
		s.Close()
	}
}

// assigned begins to record another guest.
func (l *lives) assigned(p part, restored int) (uint32, *results.GuestWriter, error) {
	n := l.number.Add(1)
	rec, err := l.record.Guest(n, results.Assigned{Program: p.program.ID, Tests: p.tests, Restored: restored})
	return n, rec, err
}

// done notes that a part is over.
func (l *lives) done(p part) {
	l.mu.Lock()
	l.open[p.program.ID]--
	last := l.open[p.program.ID] == 0
	l.mu.Unlock()
	if last {
		l.Tell(News{Program: p.program.Name, Over: true})
	}
}

// restored is the life of a guest that goes on from another.
func (l *lives) restored(ctx context.Context, p part, in standby, from *origin) error {
	defer l.done(p)
	n, rec, err := l.assigned(p, from.n)
	if err != nil {
		in.close()
		return err
	}
	var guest *machine.Guest
	if err = in.err; err == nil {
		guest, err = in.Restore(ctx)
	}
	if err != nil {
		return errors.Join(rec.Event(results.Event{Infra: &results.Infra{Err: err.Error()}}), rec.Close())
	}
	l.Tell(News{Program: p.program.Name})
	s := l.begin(guest, rec)
	s.before, s.bdfs, s.all, s.single = from.before, from.bdfs, from.all, verdict.Single(p.tests)
	how := s.talk.Resume(ctx, n)
	if how == nil {
		how = s.talk.Run(ctx, p.program, fillIn(p.program.Argv, s.bdfs, s.all), from.warm && p.warm())
	}
	if how == nil {
		_, how = s.left(p.program.ID)
	}
	if how == nil {
		how = s.settled(ctx)
	}
	thrown := p.program.ID
	if l.Checked {
		thrown = 0 // the kernel may have more to say
	}
	return errors.Join(s.end(ctx, how, thrown), rec.Close())
}

// bootEach boots a guest for each program: one that cannot be saved.
func (l *lives) bootEach(ctx context.Context, unbound bool) error {
	programs := l.Phases.Bound
	if unbound {
		programs = l.Phases.Unbound
	}
	all := parts(programs, results.PerSuite)
	longestFirst(all, l.walls())
	guests, whole := errgroup.WithContext(ctx)
	for _, p := range all {
		release, err := l.Take(whole, l.Machine.CPUs, l.Machine.MemoryMiB)
		if err != nil {
			return errors.Join(l.record.Event(results.Event{Infra: &results.Infra{Err: err.Error()}}), guests.Wait())
		}
		guests.Go(func() error {
			defer release()
			return l.another(whole, p, unbound)
		})
	}
	return guests.Wait()
}

// another is the life of a guest that is booted for one program.
func (l *lives) another(ctx context.Context, p part, unbound bool) error {
	_, rec, err := l.assigned(p, 0)
	if err != nil {
		return err
	}
	s, err := l.boot(ctx, rec, false)
	if err != nil {
		return errors.Join(rec.Event(results.Event{Infra: &results.Infra{Err: err.Error()}}), rec.Close())
	}
	how := s.prepare(ctx)
	if how == nil && !unbound {
		how = s.bind(ctx)
	}
	if how == nil {
		how = s.each(ctx, []results.Program{p.program})
	}
	if how == nil {
		how = s.settled(ctx)
	}
	return errors.Join(s.end(ctx, how, 0), rec.Close())
}
