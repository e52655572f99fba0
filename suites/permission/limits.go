// SPDX-License-Identifier: Apache-2.0

package permission

import (
	"golang.org/x/sys/unix"

	"noiommu-farm/suites/lab"
	"noiommu-farm/suites/uapi"
)

// PE-09: who may open what, before any capability is asked for.
func fileModes(t *lab.T) {
	config := t.Facts.Config
	modes := make(map[string]lab.Mode)
	if config.IOMMUFD {
		modes["/dev/iommu"] = 0o660
	}
	if config.Container || config.CompatContainer {
		modes["/dev/vfio/vfio"] = 0o666
	}
	for _, d := range t.Devices {
		if config.NoiommuCdev {
			modes[t.CdevPath(d)] = 0o600
		}
		if config.Group {
			modes["/dev/vfio/"+t.GroupName(d)] = 0o600
		}
	}
	for path, want := range modes {
		node, err := t.Stat(path)
		if t.OK(err, "stat %s", path) {
			lab.Equal(t, node.Mode, unix.S_IFCHR|want, "type and mode of %s", path)
			lab.Equal(t, node.UID, 0, "owner of %s", path)
		}
	}
}

// PE-10: without CAP_IPC_LOCK only so much memory can be pinned.
func lockedMemory(t *lab.T) {
	const page, limit = lab.PageSize, 16 // pages
	dev, fd := t.Open(t.Devices[0]), t.IOMMUFD()
	devid := dev.Bind(fd)
	ioas := fd.IOAS()
	dev.Attach(ioas)
	m := t.Pages(4 * limit)
	t.LimitLockedMemory(limit * page)

	t.WithCaps(lab.AllCaps&^lab.IPCLock, func() {
		t.Fails(ioas.TryMap(m.VA(), 4*limit*page, iova), unix.ENOMEM, "map more than RLIMIT_MEMLOCK")
		t.Fails(ioas.TryMap(m.VA(), (limit+1)*page, iova), unix.ENOMEM, "map a page more than RLIMIT_MEMLOCK")
		ioas.ExpectNoPA(iova, 1, unix.ENOENT)
		lab.Equal(t, t.Pinned(), 0, "memory pinned after the refusals, kB")
		// What was refused is not counted, so the whole limit is left.
		t.OK(ioas.TryMap(m.VA(), limit*page, iova), "map RLIMIT_MEMLOCK")
		lab.Equal(t, t.Pinned(), limit*page/1024, "memory pinned, kB")
		t.Fails(ioas.TryMap(m.VA(), page, 2*iova), unix.ENOMEM, "map another page")
		n, err := ioas.Unmap(iova, limit*page)
		t.OK(err, "unmap")
		lab.Equal(t, n, limit*page, "bytes unmapped")
		t.OK(ioas.TryMap(m.VA(), page, 2*iova), "map another page after the unmap")
	})
	_, err := ioas.Unmap(0, ^uint64(0))
	t.OK(err, "unmap everything")

	// What is mapped without a device is pinned by the attach, which fails in
	// its place and leaves the device where it was.
	other := fd.IOAS()
	own := t.Pages(1)
	ioas.Map(own, iova)
	t.WithCaps(lab.AllCaps&^lab.IPCLock, func() {
		t.OK(other.TryMap(m.VA(), (limit+1)*page, iova), "map a page more than RLIMIT_MEMLOCK without a device")
		for range 2 {
			_, err := dev.TryAttach(other.ID)
			t.Fails(err, unix.ENOMEM, "attach to a page more than RLIMIT_MEMLOCK")
			_, err = fd.AllocHWPT(devid, other, 0, uapi.IOMMU_HWPT_DATA_NONE, nil)
			t.Fails(err, unix.ENOMEM, "IOMMU_HWPT_ALLOC for a page more than RLIMIT_MEMLOCK")
		}
	})
	ioas.ExpectPA(iova, lab.MaxLength, own.PA(0), page)
	other.ExpectNoPA(iova, lab.MaxLength, unix.EOPNOTSUPP)
	_, err = other.Unmap(iova, (limit+1)*page)
	t.OK(err, "unmap a page more than RLIMIT_MEMLOCK")
	t.WithCaps(lab.AllCaps&^lab.IPCLock, func() {
		t.OK(other.TryMap(m.VA(), limit*page, iova), "map RLIMIT_MEMLOCK without a device")
		_, err := dev.TryAttach(other.ID)
		t.OK(err, "attach to RLIMIT_MEMLOCK")
	})
	other.ExpectPA(iova, 1, m.PA(0), 1)
	dev.Attach(ioas)
	_, err = ioas.Unmap(iova, page)
	t.OK(err, "unmap")
	t.OK(ioas.TryMap(m.VA(), 4*limit*page, iova), "map more than RLIMIT_MEMLOCK with CAP_IPC_LOCK")
	t.Must(dev.Close(), "close the cdev")
	lab.Equal(t, t.Pinned(), 0, "memory pinned after close, kB")
}
