// SPDX-License-Identifier: Apache-2.0

package permission

import (
	"golang.org/x/sys/unix"

	"noiommu-farm/suites/lab"
	"noiommu-farm/suites/uapi"
)

// PE-02: the group asks for the capability as the cdev does.
func openGroup(t *lab.T) {
	if refused(t, func(d *lab.Device) error { _, err := t.TryOpenGroup(d); return err }) {
		return
	}
	for _, d := range t.Devices {
		for _, c := range []struct {
			name string
			keep lab.Caps
			want unix.Errno
		}{
			{"every capability but CAP_SYS_RAWIO", lab.AllCaps &^ lab.RawIO, unix.EPERM},
			{"no capability", 0, unix.EPERM},
			{"CAP_SYS_RAWIO alone", lab.RawIO, 0},
		} {
			t.WithCaps(c.keep, func() {
				group, err := t.TryOpenGroup(d)
				t.Fails(err, c.want, "%s: open the group with %s", d.Model, c.name)
				if err == nil {
					t.Must(group.Close(), "close the group")
				}
			})
		}
		// Of two reasons to refuse, this one comes first.
		if t.Facts.Config.NoiommuCdev {
			dev, fd := t.Open(d), t.IOMMUFD()
			dev.Bind(fd)
			t.WithCaps(0, func() {
				_, err := t.TryOpenGroup(d)
				t.Fails(err, unix.EPERM, "%s: open the group of a device that is bound through its cdev, with no capability", d.Model)
			})
			t.Must(dev.Close(), "close the cdev")
			t.Must(fd.Close(), "close the iommufd")
		}
		t.OpenGroup(d)
		t.WithCaps(0, func() {
			_, err := t.TryOpenGroup(d)
			t.Fails(err, unix.EPERM, "%s: open a group that is open, with no capability", d.Model)
		})
	}
}

// PE-03: every step of the native container asks again.
func container(t *lab.T) {
	for _, d := range t.Devices {
		group, container := t.OpenGroup(d), t.OpenContainer()
		for _, step := range []struct {
			name string
			do   func() error
		}{
			{"VFIO_GROUP_SET_CONTAINER", func() error { return group.SetContainer(container.Fd()) }},
			{"VFIO_SET_IOMMU", func() error { return container.SetIOMMU(uapi.VFIO_NOIOMMU_IOMMU) }},
			{"VFIO_GROUP_GET_DEVICE_FD", func() error { _, err := group.DeviceFd(d); return err }},
		} {
			t.WithCaps(lab.AllCaps&^lab.RawIO, func() {
				t.Fails(step.do(), unix.EPERM, "%s: %s without CAP_SYS_RAWIO", d.Model, step.name)
			})
			t.WithCaps(lab.RawIO, func() {
				t.Must(step.do(), "%s: %s with CAP_SYS_RAWIO alone", d.Model, step.name)
			})
		}
	}
}

// PE-04: the compat container asks later than the native one.
func compatContainer(t *lab.T) {
	everyCompat(t, func(d *lab.Device, container *lab.Container) {
		group := t.OpenGroup(d)
		t.WithCaps(lab.AllCaps&^lab.RawIO, func() {
			t.OK(group.SetContainer(container.Fd()), "%s: VFIO_GROUP_SET_CONTAINER without CAP_SYS_RAWIO", d.Model)
			t.Fails(container.SetIOMMU(uapi.VFIO_NOIOMMU_IOMMU), unix.EPERM, "%s: VFIO_SET_IOMMU without CAP_SYS_RAWIO", d.Model)
			_, err := group.DeviceFd(d)
			t.Fails(err, unix.EPERM, "%s: VFIO_GROUP_GET_DEVICE_FD without CAP_SYS_RAWIO", d.Model)
		})
		t.WithCaps(lab.RawIO, func() {
			t.OK(container.SetIOMMU(uapi.VFIO_NOIOMMU_IOMMU), "%s: VFIO_SET_IOMMU with CAP_SYS_RAWIO alone", d.Model)
			dev, err := group.DeviceFd(d)
			t.Must(err, "%s: VFIO_GROUP_GET_DEVICE_FD with CAP_SYS_RAWIO alone", d.Model)
			t.Must(dev.Close(), "close the device")
		})
		t.Must(group.Close(), "close the group")
	})
}

// everyCompat runs f for each device and a compat container by each way that
// the kernel has.
func everyCompat(t *lab.T, f func(d *lab.Device, container *lab.Container)) {
	for _, d := range t.Devices {
		f(d, t.IOMMUFD().Container())
		if t.Facts.Config.CompatContainer {
			f(d, t.OpenContainer())
		}
	}
}

// PE-05: who was given open files needs no capability to use them.
func openFiles(t *lab.T) {
	dev := t.Open(t.Devices[0])
	fd := t.IOMMUFD()
	m := t.Hugepages(1)
	t.WithCaps(0, func() {
		lab.Equal(t, dev.Bind(fd), 1, "bind without capabilities: out_devid")
		ioas := fd.IOAS()
		dev.Attach(ioas)
		// Locked memory is limited without CAP_IPC_LOCK; one page is little.
		ioas.Map(m.Part(0, lab.PageSize), iova)
		ioas.ExpectNoPA(iova, lab.MaxLength, unix.EPERM)
		n, err := ioas.Unmap(iova, lab.PageSize)
		t.OK(err, "unmap without capabilities")
		lab.Equal(t, n, lab.PageSize, "bytes unmapped")
		t.OK(dev.Detach(), "detach without capabilities")
		t.OK(fd.Destroy(ioas.ID), "IOMMU_DESTROY(ioas) without capabilities")
	})
	t.Must(dev.Close(), "close the cdev")
	unprivileged(t, t.Devices[0])
}
