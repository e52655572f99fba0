// SPDX-License-Identifier: Apache-2.0

package group

import (
	"golang.org/x/sys/unix"

	"noiommu-farm/suites/lab"
)

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
	t.Must(t.Unbind(d), "unbind %s", d.BDF)
	t.Must(t.Bind(d), "bind %s", d.BDF)
}
