// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Descriptors in the QEMU of a guest that can be saved, or was.
const (
	savedMemoryDescriptor = 8
	stateDescriptor       = 9
)

// saveTimeout bounds each time that QEMU is waited for: to save a guest, to let
// it go on, to restore it. Each takes far less than a second; a QEMU that does
// not answer any more must not hold its place for ever.
const saveTimeout = 60 * time.Second

// rest is what a guest gets, before it is saved, to finish what it was just
// asked to do: threads that look once more for work, work that the kernel put off
// for a moment or, after booting, for a second. What is left, each guest that goes
// on from there does again, before it comes to its test.
const rest = 300 * time.Millisecond

// Saved is a guest as it was at one moment. Any number of guests can go on from
// there at the same time: each sees that memory, and keeps what it writes to
// itself.
type Saved struct {
	machine Machine
	pvh     bool     // see Wiring
	memory  *os.File // as long as the guest's memory; sealed
	state   *os.File // of its devices, as QEMU migrates it; sealed
}

// NotSavableError says that QEMU cannot save this machine, and why.
type NotSavableError struct{ Reason string }

func (e *NotSavableError) Error() string { return "save guest: " + e.Reason }

// Save saves the guest as soon as it has come to rest, and lets it go on. It must
// have been booted with BootOptions.Savable, and nobody may be in the middle of
// a frame to or from it.
//
// A machine that cannot be saved (QEMU does not know how to migrate one of its
// devices) is a *NotSavableError, and the guest goes on too.
func (g *Guest) Save(ctx context.Context) (_ *Saved, err error) {
	if g.ram == nil {
		return nil, errors.New("save guest: it was not booted to be saved")
	}
	select {
	case <-time.After(rest):
	case <-ctx.Done():
		return nil, fmt.Errorf("save guest: %w", context.Cause(ctx))
	}
	limited, cancel := context.WithTimeout(ctx, saveTimeout)
	defer cancel()
	if err := g.Monitor.Execute(limited, "stop", nil, nil); err != nil {
		return nil, fmt.Errorf("save guest: %w", err)
	}
	defer func() {
		// Not within what is left for the saving: the guest goes on also when
		// that took too long.
		limited, cancel := context.WithTimeout(ctx, saveTimeout)
		defer cancel()
		contErr := g.finalized(limited)
		if contErr == nil {
			contErr = g.Monitor.Execute(limited, "cont", nil, nil)
		}
		if contErr != nil {
			err = errors.Join(err, fmt.Errorf("save guest: go on: %w", contErr))
		}
	}()
	if err := g.migrate(limited, "migrate"); err != nil {
		if Refused(err) || errors.Is(err, errMigration) {
			return nil, &NotSavableError{err.Error()}
		}
		return nil, fmt.Errorf("save guest: %w", err)
	}
	s := &Saved{machine: g.machine, pvh: g.pvh}
	for _, one := range []struct {
		into **os.File
		name string
		from *os.File
	}{{&s.memory, "saved-memory", g.ram}, {&s.state, "saved-state", g.state}} {
		if *one.into, err = sealedCopy(one.name, one.from); err != nil {
			s.Close()
			return nil, fmt.Errorf("save guest: %w", err)
		}
	}
	return s, nil
}

// Size is how much memory of the host the saved guest takes up, in bytes: what
// it had written until then, and the state of its devices.
func (s *Saved) Size() int64 {
	var size int64
	for _, f := range []*os.File{s.memory, s.state} {
		var st unix.Stat_t
		if unix.Fstat(int(f.Fd()), &st) == nil {
			size += st.Blocks * 512
		}
	}
	return size
}

// Close gives back what the saved guest takes up. Guests that go on from it
// are not touched.
func (s *Saved) Close() {
	for _, f := range []*os.File{s.memory, s.state} {
		if f != nil {
			f.Close()
		}
	}
}

// Standby is a QEMU that waits for a saved guest to go on in it.
type Standby struct{ guest *Guest }

// Standby starts a QEMU in which the saved guest can go on. Starting it takes
// longer than the restoring, and can be done before. The caller must either
// Restore or Close it.
func (s *Saved) Standby(ctx context.Context, options BootOptions) (*Standby, error) {
	guest, err := start(ctx, s.machine.QEMU, func(w Wiring) []string {
		w.PVH, w.Restored = s.pvh, true
		return s.machine.Args(w)
	}, options, s.memory, s.state)
	if err != nil {
		return nil, err
	}
	guest.machine, guest.pvh = s.machine, s.pvh
	return &Standby{guest}, nil
}

// Restore lets the saved guest go on. The agent in it knows nothing of that
// before it is told. The Guest is the caller's, as that of [Boot]; after an
// error there is none.
func (s *Standby) Restore(ctx context.Context) (*Guest, error) {
	ctx, cancel := context.WithTimeout(ctx, saveTimeout)
	defer cancel()
	g := s.guest
	err := g.migrate(ctx, "migrate-incoming")
	if err == nil {
		err = g.Monitor.Execute(ctx, "cont", nil, nil)
	}
	if err != nil {
		stderr := g.Stderr()
		g.Close()
		return nil, fmt.Errorf("restore guest: %w; stderr: %q", err, stderr)
	}
	return g, nil
}

// Close ends a QEMU that is not needed.
func (s *Standby) Close() error { return s.guest.Close() }

// errMigration is in the error of a migration that QEMU began and gave up.
var errMigration = errors.New("migration failed")

// migrate carries the state of the guest's devices to or from its file, and
// waits until that is done. What is in shared memory is not carried (the
// capability x-ignore-shared).
func (g *Guest) migrate(ctx context.Context, command string) error {
	capabilities := []map[string]any{
		{"capability": "x-ignore-shared", "state": true},
		{"capability": "events", "state": true},
	}
	if err := g.Monitor.Execute(ctx, "migrate-set-capabilities", map[string]any{"capabilities": capabilities}, nil); err != nil {
		return err
	}
	told := g.Monitor.Subscribe("MIGRATION")
	defer told.Close()
	uri := map[string]any{"uri": "file:" + descriptorPath(stateDescriptor)}
	if err := g.Monitor.Execute(ctx, command, uri, nil); err != nil {
		return err
	}
	for {
		select {
		case event, ok := <-told.Events():
			if !ok {
				return g.Monitor.Err()
			}
			switch event.Data["status"] {
			case "completed":
				return nil
			case "failed", "cancelled":
				return fmt.Errorf("%s: %w", command, errMigration)
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// finalized waits until QEMU lets a guest go on that was saved. It says that the
// saving is completed a moment before, from another thread, and has no event
// for this; the main loop, which is what is waited for, answers each question.
func (g *Guest) finalized(ctx context.Context) error {
	for {
		var now struct {
			Status string `json:"status"`
		}
		if err := g.Monitor.Execute(ctx, "query-status", nil, &now); err != nil {
			return err
		}
		if now.Status != "finish-migrate" {
			return nil
		}
	}
}

// memfd makes a file in memory that has no name in any file system.
func memfd(name string) (*os.File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, fmt.Errorf("make a file in memory: %w", err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

// sealedCopy copies what is in a file in memory into another, which nobody can
// change afterwards. Holes stay holes.
func sealedCopy(name string, from *os.File) (_ *os.File, err error) {
	to, err := memfd(name)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			to.Close()
		}
	}()
	info, err := from.Stat()
	if err != nil {
		return nil, err
	}
	if err := to.Truncate(info.Size()); err != nil {
		return nil, err
	}
	if err := copyData(to, from, info.Size()); err != nil {
		return nil, fmt.Errorf("copy %s: %w", name, err)
	}
	const seals = unix.F_SEAL_WRITE | unix.F_SEAL_GROW | unix.F_SEAL_SHRINK | unix.F_SEAL_SEAL
	if _, err := unix.FcntlInt(to.Fd(), unix.F_ADD_SEALS, seals); err != nil {
		return nil, fmt.Errorf("seal %s: %w", name, err)
	}
	return to, nil
}

// copyData copies the parts of a file that are no holes.
func copyData(to io.WriterAt, from *os.File, size int64) error {
	for at := int64(0); at < size; {
		data, err := unix.Seek(int(from.Fd()), at, unix.SEEK_DATA)
		if err == unix.ENXIO {
			return nil // nothing but a hole is left
		}
		if err != nil {
			return err
		}
		hole, err := unix.Seek(int(from.Fd()), data, unix.SEEK_HOLE)
		if err != nil {
			return err
		}
		if _, err := io.Copy(io.NewOffsetWriter(to, data), io.NewSectionReader(from, data, hole-data)); err != nil {
			return err
		}
		at = hole
	}
	return nil
}
