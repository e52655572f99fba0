// SPDX-License-Identifier: Apache-2.0

package permission

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"noiommu-farm/suites/lab"
	"noiommu-farm/suites/puppet"
	"noiommu-farm/suites/uapi"
)

// nobody is a user without privileges.
const nobody = 65534

// capabilities are those that are effective in the other process.
func capabilities(t *lab.T, p *puppet.Puppet) lab.Caps {
	header, data := puppet.Place[unix.CapUserHeader](p), puppet.Place[[2]unix.CapUserData](p)
	header.Version = unix.LINUX_CAPABILITY_VERSION_3
	_, err := p.Do(puppet.Call{Name: "capget", Nr: unix.SYS_CAPGET, Args: [6]uintptr{address(header), address(data)}})
	t.Must(err, "capget")
	return lab.Caps(data[0].Effective) | lab.Caps(data[1].Effective)<<32
}

// address is where both processes find a value.
func address[V any](value *V) uintptr { return puppet.Ioctl(0, uapi.Ioctl{}, value).Args[2] }

// placed is a value that both processes see.
func placed[V any](p *puppet.Puppet, value V) *V {
	at := puppet.Place[V](p)
	*at = value
	return at
}

// becomeNobody has the other process give up its user and with it every
// capability.
func becomeNobody(t *lab.T, p *puppet.Puppet) {
	for _, c := range []puppet.Call{
		{Name: "setgroups", Nr: unix.SYS_SETGROUPS},
		{Name: "setresgid", Nr: unix.SYS_SETRESGID, Args: [6]uintptr{nobody, nobody, nobody}},
		{Name: "setresuid", Nr: unix.SYS_SETRESUID, Args: [6]uintptr{nobody, nobody, nobody}},
	} {
		_, err := p.Do(c)
		t.Must(err, "%s", c.Name)
	}
	lab.Equal(t, capabilities(t, p), 0, "effective capabilities of user %d", nobody)
}

// ioctlValue is an ioctl with a number, or an address, instead of a pointer.
func ioctlValue(fd int, op uapi.Ioctl, value uintptr) puppet.Call {
	return puppet.Call{Name: op.Name, Nr: unix.SYS_IOCTL, Args: [6]uintptr{uintptr(fd), op.Number, value}}
}

// enterNamespace moves the other process into a user namespace of its own, in
// which it has every capability.
func enterNamespace(t *lab.T, p *puppet.Puppet) {
	_, err := p.Do(puppet.Call{Name: "unshare", Nr: unix.SYS_UNSHARE, Args: [6]uintptr{unix.CLONE_NEWUSER}})
	t.Must(err, "unshare the user namespace")
}

// mapRoot makes a process that is in a new user namespace its root there, as
// unshare -r does.
func mapRoot(t *lab.T, pid int) {
	for _, file := range []struct{ name, text string }{{"setgroups", "deny"}, {"gid_map", "0 0 1"}, {"uid_map", "0 0 1"}} {
		path := fmt.Sprintf("/proc/%d/%s", pid, file.name)
		t.Must(os.WriteFile(path, []byte(file.text), 0), "write %q to %s", file.text, path)
	}
}

// unprivileged is the second part of PE-05: a process of another user, who may
// not even open the device, with files that somebody opened for it.
func unprivileged(t *lab.T, d *lab.Device) {
	m := t.SharedPages(1)
	p := puppet.New(t)
	dev, iommufd := t.Open(d), t.IOMMUFD()
	device, fd := p.Take(dev.File), p.Take(iommufd.File)
	becomeNobody(t, p)
	_, err := p.Open(t.CdevPath(d))
	t.Fails(err, unix.EACCES, "%s: open by user %d", d.Model, nobody)

	p.Bind(device, fd)
	ioas := p.IOAS(fd)
	p.Attach(device, ioas)
	area := placed(p, uapi.IOASMap{
		Size: 40, IOASID: ioas, UserVA: uint64(m.VA()), Length: lab.PageSize, IOVA: iova,
		Flags: uapi.IOMMU_IOAS_MAP_FIXED_IOVA | uapi.IOMMU_IOAS_MAP_READABLE | uapi.IOMMU_IOAS_MAP_WRITEABLE,
	})
	_, err = p.Do(puppet.Ioctl(fd, uapi.IOMMU_IOAS_MAP, area))
	t.Must(err, "%s: map by user %d", d.Model, nobody)

	const untouched = 0xdeadbeefcafef00d
	ask := uapi.IOASNoiommuGetPA{Size: 40, IOASID: ioas, IOVA: iova, Length: lab.MaxLength, OutPhys: untouched}
	theirs := placed(p, ask)
	_, err = p.Do(puppet.Ioctl(fd, uapi.IOMMU_IOAS_NOIOMMU_GET_PA, theirs))
	t.Fails(err, unix.EPERM, "%s: get_pa by user %d", d.Model, nobody)
	lab.Equal(t, *theirs, ask, "%s: argument of get_pa by user %d after the failure", d.Model, nobody)
	ours := ask
	t.OK(iommufd.GetPA(&ours), "%s: get_pa by root of what user %d mapped", d.Model, nobody)
	lab.Equal(t, ours.OutPhys, m.PA(0), "%s: out_phys of what user %d mapped", d.Model, nobody)
	lab.Equal(t, ours.Length, lab.PageSize, "%s: length of what user %d mapped", d.Model, nobody)

	unmap := placed(p, uapi.IOASUnmap{Size: 24, IOASID: ioas, IOVA: iova, Length: lab.PageSize})
	_, err = p.Do(puppet.Ioctl(fd, uapi.IOMMU_IOAS_UNMAP, unmap))
	t.OK(err, "%s: unmap by user %d", d.Model, nobody)
	lab.Equal(t, unmap.Length, lab.PageSize, "%s: bytes unmapped by user %d", d.Model, nobody)
	detach := placed(p, uapi.DeviceDetachIOMMUFDPT{Argsz: 12})
	_, err = p.Do(puppet.Ioctl(device, uapi.VFIO_DEVICE_DETACH_IOMMUFD_PT, detach))
	t.OK(err, "%s: detach by user %d", d.Model, nobody)
	p.Kill()
	t.Must(dev.Close(), "close the cdev")
}
