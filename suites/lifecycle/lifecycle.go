// SPDX-License-Identifier: Apache-2.0

// Package lifecycle proves how devices go while they are in use, and that
// nothing is left of what was done with them.
package lifecycle

import (
	"fmt"

	"golang.org/x/sys/unix"

	"noiommu-farm/suites/lab"
	"noiommu-farm/suites/puppet"
	"noiommu-farm/suites/uapi"
)

// Tests are the suite's tests.
var Tests = []lab.Test{
	{ID: "LC-01", Run: unbindWaits},
	{ID: "LC-02", Run: requestIsRelayed},
	{ID: "LC-03", Run: unplugInUse},
	{ID: "LC-04", Run: plugAgain},
	{ID: "LC-05", Run: rebind},
	{ID: "LC-06", Run: modules},
	{ID: "LC-07", Run: killed},
	{ID: "LC-08", Run: nothingLeaks},
	{ID: "LC-09", Run: failedBind},
	{ID: "LC-10", Run: tablePages},
	{ID: "LC-11", Run: runtimePM},
}

const iova = 0x40000000 // where the tests map

// LC-01: an unbind waits for whoever has the cdev open, bound or not.
func unbindWaits(t *lab.T) {
	for _, d := range t.Devices {
		for _, bound := range []bool{true, false} {
			path := t.CdevPath(d)
			dev := t.Open(d)
			if bound {
				dev.Bind(t.IOMMUFD())
			}
			log := t.KernelLog()
			unbinding := t.StartUnbind(d)
			log.Await(d.BDF, "No device request channel registered, blocked until released by user")
			_, err := t.TryOpen(path, d)
			t.Fails(err, unix.ENOENT, "%s: open the cdev while the unbind waits", d.Model)
			_, err = dev.Info()
			if bound {
				t.OK(err, "%s: VFIO_DEVICE_GET_INFO while the unbind waits", d.Model)
			} else {
				t.Fails(err, unix.EINVAL, "%s: VFIO_DEVICE_GET_INFO of the open cdev", d.Model)
			}
			lab.Equal(t, unbinding.Waits(), true, "%s: the unbind waits while the cdev is open", d.Model)
			t.Must(dev.Close(), "close the cdev")
			t.Must(unbinding.Wait(), "%s: unbind, after the cdev was closed", d.Model)
			lab.Equal(t, d.Driver(), "", "%s: driver after the unbind", d.Model)
			t.Must(t.Bind(d), "bind %s", d.BDF)
		}
	}
	killedUnbind(t, t.Devices[0])
}

// killedUnbind is the part of LC-01 about a process that unbinds and is killed:
// it waits all the same.
func killedUnbind(t *lab.T, d *lab.Device) {
	p := puppet.New(t) // first, to be ended last: it cannot end while the cdev is open
	dev, event := t.Open(d), t.Event()
	dev.Bind(t.IOMMUFD())
	t.Must(dev.Arm(uapi.VFIO_PCI_REQ_IRQ_INDEX, event), "%s: arm REQ", d.Model)
	at := unix.AT_FDCWD
	unbind, err := p.Do(puppet.Call{Nr: unix.SYS_OPENAT, Args: [6]uintptr{uintptr(at), p.Text(d.Sysfs("driver/unbind")), unix.O_WRONLY}})
	t.Must(err, "open the driver's unbind")
	log := t.KernelLog()
	p.Repeat(puppet.Call{Nr: unix.SYS_WRITE, Args: [6]uintptr{unbind, p.Text(d.BDF), uintptr(len(d.BDF))}})
	event.ExpectAny("%s: request", d.Model) // which is repeated every ten seconds
	t.Must(unix.Kill(p.PID(), unix.SIGKILL), "kill the process that unbinds")
	log.Await(d.BDF, "Device is currently in use, task", fmt.Sprintf("(%d) blocked until device is released", p.PID()))
	// Whoever waits on asks once more. Whoever gave up does not.
	event.ExpectAny("%s: request of the killed unbind", d.Model)
	_, err = dev.Info()
	t.OK(err, "%s: VFIO_DEVICE_GET_INFO while the killed unbind waits", d.Model)
	t.Must(dev.Close(), "close the cdev")
	p.Kill()
	lab.Equal(t, d.Driver(), "", "%s: driver after the killed unbind", d.Model)
	t.Must(t.Bind(d), "bind %s", d.BDF)
}

// LC-02: the user is asked to let go.
func requestIsRelayed(t *lab.T) {
	const waiting = "blocked until released by user"
	for _, d := range t.Devices {
		dev := t.Open(d)
		dev.Bind(t.IOMMUFD())
		event := t.Event()
		t.Must(dev.Arm(uapi.VFIO_PCI_REQ_IRQ_INDEX, event), "%s: arm REQ", d.Model)
		log := t.KernelLog()
		unbinding := t.StartUnbind(d)
		event.ExpectAny("%s: request", d.Model)
		lab.Equal(t, unbinding.Waits(), true, "%s: the unbind waits while the cdev is open", d.Model)
		messages := log.Await(d.BDF, "Relaying device request to user (#0)")
		lab.Equal(t, lab.Count(messages, d.BDF, waiting), 0, "%s: messages %q", d.Model, waiting)
		t.Must(dev.Close(), "close the cdev")
		t.Must(unbinding.Wait(), "%s: unbind, after the cdev was closed", d.Model)
		lab.Equal(t, lab.Count(log.Messages(), "Relaying device request"), 0, "%s: further requests", d.Model)
		t.Must(t.Bind(d), "bind %s", d.BDF)
	}
}
