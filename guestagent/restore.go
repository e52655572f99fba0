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
func (g guest) restored(r *wire.Restore) error {
	if err := r.Check(); err != nil {
		return err
	}
	if err := setClock(time.Unix(0, r.UnixNS)); err != nil {
		return fmt.Errorf("set the clock: %w", err)
	}
	if err := reseed(g.path("dev/urandom"), r.Seed); err != nil {
		return fmt.Errorf("seed randomness: %w", err)
	}
	return nil
}

func setClock(now time.Time) error {
	ts := unix.NsecToTimespec(now.UnixNano())
	return unix.ClockSettime(unix.CLOCK_REALTIME, &ts)
}

// reseed gives the kernel's generator a seed that counts as entropy, and has it
// used at once (random(4), RNDADDENTROPY and RNDRESEEDCRNG).
func reseed(device string, seed []byte) error {
	f, err := os.OpenFile(device, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	// struct rand_pool_info of include/uapi/linux/random.h
	pool := binary.NativeEndian.AppendUint32(nil, uint32(8*len(seed))) // bits
	pool = binary.NativeEndian.AppendUint32(pool, uint32(len(seed)))
	pool = append(pool, seed...)
	for _, call := range []struct {
		request uintptr
		arg     unsafe.Pointer
	}{{unix.RNDADDENTROPY, unsafe.Pointer(&pool[0])}, {unix.RNDRESEEDCRNG, nil}} {
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), call.request, uintptr(call.arg)); errno != 0 {
			return errno
		}
	}
	return nil
}

var errRestoredTwice = errors.New("a second restore from the host")
