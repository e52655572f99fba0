// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"noiommu-farm/guestagent/wire"
)

// restored makes this guest another one than all those that go on from the
// same saved guest: it gets a clock that is right and randomness of its own.
func (r *randomness) restored(to *wire.Restore) error {
	if err := to.Check(); err != nil {
		return err
	}
	if err := setClock(time.Unix(0, to.UnixNS)); err != nil {
		return fmt.Errorf("set the clock: %w", err)
	}
	if err := r.seed(to.Seed); err != nil {
		return fmt.Errorf("seed randomness: %w", err)
	}
	return nil
}

func setClock(now time.Time) error {
	ts := unix.NsecToTimespec(now.UnixNano())
	return unix.ClockSettime(unix.CLOCK_REALTIME, &ts)
}

// randomness is the kernel's generator, opened before the guest is saved: what
// needs not be done after it was restored is not.
type randomness struct {
	fd  int
	err error // it could not be opened
}

func openRandomness(device string) *randomness {
	fd, err := unix.Open(device, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		err = &os.PathError{Op: "open", Path: device, Err: err}
	}
	return &randomness{fd, err}
}

// seed gives the generator a seed that counts as entropy, and has it used at
// once (random(4), RNDADDENTROPY and RNDRESEEDCRNG).
func (r *randomness) seed(seed []byte) error {
	if r.err != nil {
		return r.err
	}
	// struct rand_pool_info of include/uapi/linux/random.h
	pool := make([]byte, 8, 8+len(seed))
	binary.NativeEndian.PutUint32(pool, uint32(8*len(seed))) // bits
	binary.NativeEndian.PutUint32(pool[4:], uint32(len(seed)))
	pool = append(pool, seed...)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(r.fd), unix.RNDADDENTROPY, uintptr(unsafe.Pointer(&pool[0]))); errno != 0 {
		return errno
	}
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(r.fd), unix.RNDRESEEDCRNG, 0); errno != 0 {
		return errno
	}
	return nil
}

var errRestoredTwice = errors.New("a second restore from the host")
