// SPDX-License-Identifier: Apache-2.0

package permission

import (
	"golang.org/x/sys/unix"

	"noiommu-farm/suites/lab"
	"noiommu-farm/suites/puppet"
	"noiommu-farm/suites/uapi"
)

// PE-07: it is the first user namespace whose CAP_SYS_RAWIO counts.
func userNamespace(t *lab.T) {
	for _, d := range t.Devices {
		paths := []string{t.CdevPath(d)}
		if t.Facts.Config.Group {
			paths = append(paths, "/dev/vfio/"+t.GroupName(d))
		}
		for _, c := range []struct {
			name          string
			enter, asRoot bool
			want          unix.Errno
		}{
			{"a user namespace without any user", true, false, unix.EPERM},
			{"a user namespace as its root", true, true, unix.EPERM},
			{"the first user namespace", false, false, 0}, // so it is the namespace
		} {
			p := puppet.New(t)
			iommufd := t.IOMMUFD()
			fd := p.Take(iommufd.File)
			if c.enter {
				enterNamespace(t, p)
			}
			if c.asRoot {
				mapRoot(t, p.PID())
			}
			lab.Equal(t, capabilities(t, p)&lab.RawIO, lab.RawIO, "%s: effective CAP_SYS_RAWIO in %s", d.Model, c.name)
			for _, path := range paths {
				opened, err := p.Open(path)
				t.Fails(err, c.want, "%s: open %s in %s", d.Model, path, c.name)
				if err == nil {
					t.Must(p.Close(opened), "close %s", path)
				}
			}

			dev := t.Open(d)
			dev.Bind(iommufd)
			ioas := iommufd.IOAS()
			dev.Attach(ioas)
			m := t.Pages(1)
			ioas.Map(m, iova)
			const offset = 0x123
			good := placed(p, ioas.GetPAArg(iova+offset, lab.MaxLength))
			was := *good
			_, err := p.Do(puppet.Ioctl(fd, uapi.IOMMU_IOAS_NOIOMMU_GET_PA, good))
			t.Fails(err, c.want, "%s: get_pa in %s", d.Model, c.name)
			if err == nil {
				was.OutPhys, was.Length = m.PA(offset), lab.PageSize-offset
			}
			lab.Equal(t, *good, was, "%s: argument of get_pa in %s", d.Model, c.name)

			// Before anything else is looked at.
			bad := placed(p, uapi.IOASNoiommuGetPA{Size: good.Size, Flags: 1, Reserved: 1, IOVA: ^uint64(0)})
			_, err = p.Do(puppet.Ioctl(fd, uapi.IOMMU_IOAS_NOIOMMU_GET_PA, bad))
			want := c.want
			if want == 0 {
				want = unix.EOPNOTSUPP
			}
			t.Fails(err, want, "%s: get_pa with everything wrong in %s", d.Model, c.name)
			p.Kill()
			t.Must(dev.Close(), "close the cdev")
		}
		// The opens that were refused hold nothing: the device can go.
		t.Must(t.Unbind(d), "%s: unbind after the refused opens", d.Model)
		t.Must(t.Bind(d), "%s: bind again", d.Model)
	}
}

// PE-12: a user namespace's CAP_SYS_RAWIO counts for nothing in a native
// container.
func containerInNamespace(t *lab.T) {
	for _, d := range t.Devices {
		stepsInNamespace(t, d, t.OpenContainer(), unix.EPERM)
	}
}

// PE-13: nor in a compat container, which takes the group nevertheless.
func compatInNamespace(t *lab.T) {
	everyCompat(t, func(d *lab.Device, container *lab.Container) { stepsInNamespace(t, d, container, 0) })
}

// stepsInNamespace asserts what each step to a device answers in a user
// namespace; set is that of VFIO_GROUP_SET_CONTAINER.
func stepsInNamespace(t *lab.T, d *lab.Device, container *lab.Container, set unix.Errno) {
	p := puppet.New(t)
	group := t.OpenGroup(d)
	g, c := p.Take(group.File), p.Take(container.File)
	enterNamespace(t, p)
	mapRoot(t, p.PID())
	lab.Equal(t, capabilities(t, p)&lab.RawIO, lab.RawIO, "%s: effective CAP_SYS_RAWIO in a user namespace", d.Model)
	ask := func(call puppet.Call, want unix.Errno) {
		_, err := p.Do(call)
		t.Fails(err, want, "%s: %s in a user namespace", d.Model, call.Name)
	}

	// What is refused is done from outside, through the same files: so the next
	// step is refused for its own sake.
	ask(puppet.Ioctl(g, uapi.VFIO_GROUP_SET_CONTAINER, placed(p, int32(c))), set)
	if set != 0 {
		t.Must(group.SetContainer(container.Fd()), "%s: VFIO_GROUP_SET_CONTAINER from outside", d.Model)
	}
	ask(ioctlValue(c, uapi.VFIO_SET_IOMMU, uapi.VFIO_NOIOMMU_IOMMU), unix.EPERM)
	t.Must(container.SetIOMMU(uapi.VFIO_NOIOMMU_IOMMU), "%s: VFIO_SET_IOMMU from outside", d.Model)
	ask(ioctlValue(g, uapi.VFIO_GROUP_GET_DEVICE_FD, p.Text(d.BDF)), unix.EPERM)
	dev, err := group.DeviceFd(d)
	t.Must(err, "%s: VFIO_GROUP_GET_DEVICE_FD from outside", d.Model)

	p.Kill() // it has the group open too
	t.Must(dev.Close(), "close the device")
	t.Must(group.Close(), "close the group")
}
