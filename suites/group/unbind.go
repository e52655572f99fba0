// SPDX-License-Identifier: Apache-2.0

package group

import (
	"fmt"

	"golang.org/x/sys/unix"

	"noiommu-farm/suites/lab"
)

// unbindInUse is the part of GR-17 about an unbind: it too waits for the last
// descriptor, and nobody gets another one meanwhile.
func unbindInUse(t *lab.T, d *lab.Device, k kind, who string) {
	group, container := k.ready(t, d)
	var devs []*lab.Cdev
	for range 2 {
		dev, err := group.DeviceFd(d)
		t.Must(err, "%s: VFIO_GROUP_GET_DEVICE_FD", who)
		devs = append(devs, dev)
	}
	log := t.KernelLog()
	unbinding := t.StartUnbind(d)
	messages := log.Await(d.BDF, "No device request channel registered, blocked until released by user")
	another, err := group.DeviceFd(d)
	t.Fails(err, unix.ENODEV, "%s: VFIO_GROUP_GET_DEVICE_FD while the unbind waits", who)
	if err == nil {
		t.Must(another.Close(), "close the device")
	}
	// What the kernel says when it waits no more.
	expect := func(want int, when string) {
		messages = append(messages, log.Messages()...)
		lab.Equal(t, lab.Count(messages, d.BDF, "Removing from iommu group"), want, "%s: messages that the device leaves its group, %s", who, when)
	}
	for i, dev := range devs {
		_, err := dev.Info()
		t.OK(err, "%s: VFIO_DEVICE_GET_INFO while the unbind waits", who)
		lab.Equal(t, unbinding.Waits(), true, "%s: the unbind waits while the device is open", who)
		expect(0, fmt.Sprintf("with %d open", len(devs)-i))
		t.Must(dev.Close(), "close the device")
	}
	t.Must(unbinding.Wait(), "%s: unbind, after the device was closed", who)
	expect(1, "unbound")

	// The open group has lost its device for good. The unbind took it out of a
	// native container, an iommufd it can leave; and none takes it again.
	_, err = group.Status()
	t.Fails(err, unix.ENODEV, "%s: VFIO_GROUP_GET_STATUS after the unbind", who)
	_, err = group.DeviceFd(d)
	t.Fails(err, unix.ENODEV, "%s: VFIO_GROUP_GET_DEVICE_FD after the unbind", who)
	var left unix.Errno
	if k.native {
		left = unix.EINVAL
	}
	t.Fails(group.UnsetContainer(), left, "%s: VFIO_GROUP_UNSET_CONTAINER after the unbind", who)
	t.Fails(group.SetContainer(container.Fd()), unix.ENODEV, "%s: VFIO_GROUP_SET_CONTAINER after the unbind", who)
	t.Must(group.Close(), "close the group")
	t.Must(t.Bind(d), "bind %s", d.BDF)
}
