// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"encoding/binary"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"noiommu-farm/suites/uapi"
)

// Interrupt is an eventfd that a device's interrupt signals.
type Interrupt struct {
	fd int
	t  *T
}

// interrupt connects vector 0 of an interrupt index to a new eventfd.
func (c *Cdev) interrupt(index uint32) *Interrupt {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	c.t.Must(err, "eventfd")
	c.t.Cleanup(func() { c.t.OK(unix.Close(fd), "cleanup: close eventfd") })
	arg := uapi.IRQSetEventfd{
		Argsz: size[uapi.IRQSetEventfd](),
		Flags: uapi.VFIO_IRQ_SET_DATA_EVENTFD | uapi.VFIO_IRQ_SET_ACTION_TRIGGER,
		Index: index,
		Count: 1,
		Fd:    int32(fd),
	}
	_, err = c.Ioctl(uapi.VFIO_DEVICE_SET_IRQS, unsafe.Pointer(&arg))
	c.t.Must(err, "VFIO_DEVICE_SET_IRQS(index %d)", index)
	return &Interrupt{fd, c.t}
}

// Wait waits at most limit for the interrupt and returns how many came since
// the last wait, 0 when none did. They are counted as "dma.interrupts".
func (i *Interrupt) Wait(limit time.Duration) uint64 {
	deadline := time.Now().Add(limit)
	for {
		left := time.Until(deadline)
		if left < 0 {
			left = 0
		}
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(i.fd), Events: unix.POLLIN}}, int(left.Milliseconds()))
		if err == unix.EINTR {
			continue
		}
		i.t.Must(err, "poll eventfd")
		if n == 0 {
			return 0
		}
		var counter [8]byte
		_, err = unix.Read(i.fd, counter[:])
		i.t.Must(err, "read eventfd")
		count := binary.NativeEndian.Uint64(counter[:])
		i.t.Tally.Add("dma.interrupts", count)
		return count
	}
}
