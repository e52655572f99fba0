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
				_, err := p.Do(puppet.Call{Name: "unshare", Nr: unix.SYS_UNSHARE, Args: [6]uintptr{unix.CLONE_NEWUSER}})
				t.Must(err, "unshare the user namespace")
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
