// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"encoding/binary"
	"fmt"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"noiommu-farm/suites/uapi"
)

// eventLimit is how long a test waits for what must happen. It is generous: a
// guest on a busy machine stands still for seconds.
const eventLimit = 20 * time.Second

// Event is an eventfd that the kernel signals.
type Event struct {
	*uapi.File
	t *T
}

// Event makes an eventfd that was never signalled.
func (t *T) Event() *Event {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	t.Must(err, "eventfd")
	f := uapi.Adopt(t.Tally, fd)
	t.Cleanup(func() { t.OK(f.Close(), "cleanup: close the eventfd") })
	return &Event{f, t}
}

// Signals is how often it was signalled since the last call. It does not wait.
// The signals are counted as "irq.events".
func (e *Event) Signals() uint64 {
	var count [8]byte
	_, err := unix.Read(e.Fd(), count[:])
	if err == unix.EAGAIN {
		return 0
	}
	e.t.Must(err, "read the eventfd")
	n := binary.NativeEndian.Uint64(count[:])
	e.t.Tally.Add("irq.events", n)
	return n
}

// Signal signals it, as its holder may.
func (e *Event) Signal() {
	_, err := unix.Write(e.Fd(), binary.NativeEndian.AppendUint64(nil, 1))
	e.t.Must(err, "write to the eventfd")
}

// Expect waits for a signal and asserts that there was exactly one.
func (e *Event) Expect(what string, args ...any) {
	readable(e.Fd(), time.Now().Add(Patience(eventLimit)))
	Equal(e.t, e.Signals(), 1, "%s: signals", fmt.Sprintf(what, args...))
}

// ExpectAny waits for a signal and asserts that there was one, or more of what
// the kernel repeats.
func (e *Event) ExpectAny(what string, args ...any) {
	readable(e.Fd(), time.Now().Add(Patience(eventLimit)))
	Above(e.t, e.Signals(), 0, "%s: signals", fmt.Sprintf(what, args...))
}

// readable waits until fd can be read, and says whether it can.
func readable(fd int, deadline time.Time) bool {
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(fds, int(max(0, time.Until(deadline).Milliseconds())))
		if err != unix.EINTR {
			return n == 1
		}
	}
}

// Arm has the interrupts of index, from the first on, signal these eventfds:
// VFIO_DEVICE_SET_IRQS with DATA_EVENTFD|ACTION_TRIGGER.
func (c *Cdev) Arm(index uint32, events ...*Event) error {
	data := make([]byte, 0, 4*len(events))
	for _, e := range events {
		data = binary.NativeEndian.AppendUint32(data, uint32(e.Fd()))
	}
	return c.setIRQs(uapi.VFIO_IRQ_SET_DATA_EVENTFD|uapi.VFIO_IRQ_SET_ACTION_TRIGGER, index, 0, uint32(len(events)), data)
}

// Let takes the eventfd away from one interrupt of index and leaves the others
// as they are.
func (c *Cdev) Let(index, vector uint32) error {
	data := binary.NativeEndian.AppendUint32(nil, ^uint32(0)) // -1: none
	return c.setIRQs(uapi.VFIO_IRQ_SET_DATA_EVENTFD|uapi.VFIO_IRQ_SET_ACTION_TRIGGER, index, vector, 1, data)
}

// Give gives one interrupt of index an eventfd and leaves the others as they
// are.
func (c *Cdev) Give(index, vector uint32, e *Event) error {
	data := binary.NativeEndian.AppendUint32(nil, uint32(e.Fd()))
	return c.setIRQs(uapi.VFIO_IRQ_SET_DATA_EVENTFD|uapi.VFIO_IRQ_SET_ACTION_TRIGGER, index, vector, 1, data)
}

// UnmaskWith has a write to the eventfd unmask the first interrupt of index;
// nil undoes it.
func (c *Cdev) UnmaskWith(index uint32, e *Event) error {
	fd := ^uint32(0)
	if e != nil {
		fd = uint32(e.Fd())
	}
	return c.setIRQs(uapi.VFIO_IRQ_SET_DATA_EVENTFD|uapi.VFIO_IRQ_SET_ACTION_UNMASK, index, 0, 1, binary.NativeEndian.AppendUint32(nil, fd))
}

// Disarm switches the interrupts of index off.
func (c *Cdev) Disarm(index uint32) error {
	return c.setIRQs(uapi.VFIO_IRQ_SET_DATA_NONE|uapi.VFIO_IRQ_SET_ACTION_TRIGGER, index, 0, 0, nil)
}

// Loopback has the kernel signal one armed interrupt as if the device had.
func (c *Cdev) Loopback(index, vector uint32) error {
	return c.setIRQs(uapi.VFIO_IRQ_SET_DATA_NONE|uapi.VFIO_IRQ_SET_ACTION_TRIGGER, index, vector, 1, nil)
}

// Mask masks the first interrupt of index.
func (c *Cdev) Mask(index uint32) error {
	return c.setIRQs(uapi.VFIO_IRQ_SET_DATA_NONE|uapi.VFIO_IRQ_SET_ACTION_MASK, index, 0, 1, nil)
}

// Unmask unmasks the first interrupt of index.
func (c *Cdev) Unmask(index uint32) error {
	return c.setIRQs(uapi.VFIO_IRQ_SET_DATA_NONE|uapi.VFIO_IRQ_SET_ACTION_UNMASK, index, 0, 1, nil)
}

func (c *Cdev) setIRQs(flags, index, start, count uint32, data []byte) error {
	const header = int(unsafe.Sizeof(uapi.IRQSet{}))
	arg := make([]byte, header+len(data))
	*(*uapi.IRQSet)(unsafe.Pointer(&arg[0])) = uapi.IRQSet{Argsz: uint32(len(arg)), Flags: flags, Index: index, Start: start, Count: count}
	copy(arg[header:], data)
	_, err := c.Ioctl(uapi.VFIO_DEVICE_SET_IRQS, unsafe.Pointer(&arg[0]))
	return err
}
