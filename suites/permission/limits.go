// SPDX-License-Identifier: Apache-2.0

package permission

import (
	"golang.org/x/sys/unix"

	"noiommu-farm/suites/lab"
)

// PE-09: who may open what, before any capability is asked for.
func fileModes(t *lab.T) {
	modes := map[string]lab.Mode{
		"/dev/iommu":     0o660,
		"/dev/vfio/vfio": 0o666,
	}
	for _, d := range t.Devices {
		modes[t.CdevPath(d)] = 0o600
		modes["/dev/vfio/"+t.GroupName(d)] = 0o600
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
	const iova = 0x40000000
	dev, ioas := t.ToAttached(t.Devices[0])
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
	t.OK(ioas.TryMap(m.VA(), 4*limit*page, iova), "map more than RLIMIT_MEMLOCK with CAP_IPC_LOCK")
	t.Must(dev.Close(), "close the cdev")
	lab.Equal(t, t.Pinned(), 0, "memory pinned after close, kB")
}
