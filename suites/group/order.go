// SPDX-License-Identifier: Apache-2.0

package group

import (
	"golang.org/x/sys/unix"

	"noiommu-farm/suites/lab"
	"noiommu-farm/suites/leak"
)

// rounds are as many as show what is lost in each of them.
const rounds = 32

// GR-20: the files can be closed in any order; the device keeps what it needs.
func closeInAnyOrder(t *lab.T) {
	t.NoWarning()
	const container, group, device = 0, 1, 2
	names := []string{"container", "group", "device"}
	d := t.Devices[0]
	for _, kind := range kinds(t) {
		for _, order := range [][]int{{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}} {
			g, c := kind.ready(t, d)
			dev, err := g.DeviceFd(d)
			t.Must(err, "%s: VFIO_GROUP_GET_DEVICE_FD", kind.name)
			deviceOpen, groupOpen := true, true
			for _, next := range order {
				switch next {
				case container:
					t.Must(c.Close(), "close the container")
				case group:
					t.Must(g.Close(), "close the group")
					groupOpen = false
				case device:
					t.Must(dev.Close(), "close the device")
					deviceOpen = false
				}
				if deviceOpen {
					_, err := dev.Info()
					t.OK(err, "%s, order %v: VFIO_DEVICE_GET_INFO after the %s was closed", kind.name, order, names[next])
				}
				// A device of a native container holds the group open.
				if groupOpen || deviceOpen && kind.native {
					_, err := t.TryOpenGroup(d)
					t.Fails(err, unix.EBUSY, "%s, order %v: open the group after the %s was closed", kind.name, order, names[next])
				} else {
					t.Must(t.OpenGroup(d).Close(), "close the reopened group")
				}
			}
		}
	}
	for _, kind := range kinds(t) {
		nothingKept(t, d, kind)
	}
	t.Must(t.Unbind(d), "unbind %s", d.BDF)
	t.Must(t.Bind(d), "bind %s", d.BDF)
}

// nothingKept asserts that a container is let go however a group leaves it, and
// that a refused open of a device loses nothing.
func nothingKept(t *lab.T, d *lab.Device, kind kind) {
	slab := leak.CountSlab(t)
	for range slab.Rounds(rounds) {
		g, left, held := t.OpenGroup(d), kind.open(), kind.open()
		_, err := g.DeviceFd(d)
		t.Fails(err, unix.EINVAL, "%s: VFIO_GROUP_GET_DEVICE_FD without a container", kind.name)
		t.Must(g.SetContainer(left.Fd()), "%s: VFIO_GROUP_SET_CONTAINER", kind.name)
		t.Must(g.UnsetContainer(), "%s: VFIO_GROUP_UNSET_CONTAINER", kind.name)
		t.Must(g.SetContainer(held.Fd()), "%s: VFIO_GROUP_SET_CONTAINER of another", kind.name)
		t.Must(g.Close(), "close the group")
		t.Must(left.Close(), "close the container that was left")
		t.Must(held.Close(), "close the container that the group was closed in")
	}
	slab.Flat(rounds*3/4, kind.name+": after containers were left")
}
