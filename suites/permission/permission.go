// SPDX-License-Identifier: Apache-2.0

// Package permission proves what CAP_SYS_RAWIO guards, and that nothing else
// does.
package permission

import (
	"golang.org/x/sys/unix"

	"noiommu-farm/suites/contract"
	"noiommu-farm/suites/lab"
	"noiommu-farm/suites/leak"
	"noiommu-farm/suites/uapi"
)

// Tests are the suite's tests.
var Tests = []lab.Test{
	{ID: "PE-01", Run: openCdev},
	{ID: "PE-02", Run: openGroup},
	{ID: "PE-03", Run: container},
	{ID: "PE-04", Run: compatContainer},
	{ID: "PE-05", Run: openFiles},
	{ID: "PE-06", Run: getPA},
	{ID: "PE-07", Run: userNamespace},
	{ID: "PE-08", Run: behindIOMMU},
	{ID: "PE-09", Run: fileModes},
	{ID: "PE-10", Run: lockedMemory},
	{ID: "PE-11", Run: lockdown},
	{ID: "PE-12", Run: containerInNamespace},
	{ID: "PE-13", Run: compatInNamespace},
	{ID: "PE-14", Run: refusedLosesNothing},
}

const iova = 0x40000000 // where the tests map

// opens tries to open a node of d, and keeps nothing open: what a kernel gives
// away must not be in the way of what comes next.
func opens(t *lab.T, path string, d *lab.Device) error {
	dev, err := t.TryOpen(path, d)
	if err == nil {
		t.Must(dev.Close(), "close the cdev")
	}
	return err
}

// PE-01: the capability decides, not the user.
func openCdev(t *lab.T) {
	if refused(t, func(d *lab.Device) error { return opens(t, t.CdevPath(d), d) }) {
		return
	}
	for _, d := range t.Devices {
		path := t.CdevPath(d)
		for _, c := range []struct {
			name string
			keep lab.Caps
			want unix.Errno
		}{
			{"every capability but CAP_SYS_RAWIO", lab.AllCaps &^ lab.RawIO, unix.EPERM},
			{"no capability", 0, unix.EPERM},
			{"CAP_SYS_RAWIO alone", lab.RawIO, 0},
			{"every capability", lab.AllCaps, 0},
		} {
			t.WithCaps(c.keep, func() {
				for range 3 {
					t.Fails(opens(t, path, d), c.want, "%s: open with %s", d.Model, c.name)
				}
			})
		}
		// The open that was refused holds nothing: the device can go.
		t.Must(t.Unbind(d), "%s: unbind after the refused opens", d.Model)
		t.Must(t.Bind(d), "%s: bind again", d.Model)

		dev := t.Open(d)
		dev.Bind(t.IOMMUFD())
		t.Must(dev.Close(), "close the cdev")
	}
}

// PE-14: what is refused costs the kernel nothing.
func refusedLosesNothing(t *lab.T) {
	const rounds = 64
	leak.Forget(t)
	for _, d := range t.Devices {
		path, slab := t.CdevPath(d), leak.CountSlab(t)
		t.WithCaps(lab.AllCaps&^lab.RawIO, func() {
			for range slab.Rounds(rounds) {
				if !t.Fails(opens(t, path, d), unix.EPERM, "%s: open without CAP_SYS_RAWIO", d.Model) {
					return
				}
			}
		})
		slab.Flat(rounds*3/4, d.Model+": after the refused opens")
	}
	leak.None(t, "after the refused opens")
}

// refused asserts, where the program has fewer privileges than root, how an
// open is refused, and says whether it has.
func refused(t *lab.T, open func(d *lab.Device) error) bool {
	want := unix.EPERM
	switch t.Facts.Privileges {
	case contract.Root, "":
		return false
	case contract.Unprivileged:
		want = unix.EACCES // by the mode of the node
	}
	for _, d := range t.Devices {
		for range 3 {
			t.Fails(open(d), want, "%s: open as %s", d.Model, t.Facts.Privileges)
		}
	}
	return true
}

// PE-08: the mode does not ask for more where there is an IOMMU.
func behindIOMMU(t *lab.T) {
	lab.Equal(t, t.UnsafeMode(), "Y", "enable_unsafe_noiommu_mode")
	for _, d := range t.Devices {
		for _, keep := range []lab.Caps{lab.AllCaps &^ lab.RawIO, 0} {
			t.WithCaps(keep, func() {
				if t.Facts.Config.Cdev {
					dev, err := t.TryOpen(t.CdevPath(d), d)
					if t.OK(err, "%s: open the cdev without CAP_SYS_RAWIO", d.Model) {
						t.Must(dev.Close(), "close the cdev")
					}
				}
				if t.Facts.Config.Group {
					group, err := t.TryOpenGroup(d)
					if t.OK(err, "%s: open the group without CAP_SYS_RAWIO", d.Model) {
						t.Must(group.Close(), "close the group")
					}
				}
			})
		}
	}
}

// PE-06: the capability is asked for before anything else.
func getPA(t *lab.T) {
	_, ioas := t.ToAttached(t.Devices[0])
	fd := ioas.FD()
	m := t.Hugepages(1)
	ioas.Map(m, iova)
	pa := m.PA(0) // while pagemap still shows it
	good := ioas.GetPAArg(iova, lab.MaxLength)

	type argument = uapi.IOASNoiommuGetPA
	refused := []struct {
		name  string
		spoil func(*argument)
	}{
		{"a good argument", func(*argument) {}},
		{"flags 1", func(a *argument) { a.Flags = 1 }},
		{"reserved 1", func(a *argument) { a.Reserved = 1 }},
		{"length 0", func(a *argument) { a.Length = 0 }},
		{"iova U64_MAX", func(a *argument) { a.IOVA = ^uint64(0) }},
		{"unknown id", func(a *argument) { a.IOASID = 0x7fffffff }},
		{"not mapped", func(a *argument) { a.IOVA = 0 }},
		{"everything wrong", func(a *argument) { *a = argument{Size: a.Size, Flags: 1, Reserved: 1, IOVA: ^uint64(0)} }},
	}
	for _, keep := range []lab.Caps{lab.AllCaps &^ lab.RawIO, 0} {
		t.WithCaps(keep, func() {
			for _, c := range refused {
				arg := good
				c.spoil(&arg)
				fd.ExpectNoPA(arg, unix.EPERM, "get_pa(%s) without CAP_SYS_RAWIO", c.name)
			}
		})
	}
	// With that capability alone the same arguments get past the check.
	t.WithCaps(lab.RawIO, func() {
		arg := good
		arg.Flags = 1
		fd.ExpectNoPA(arg, unix.EOPNOTSUPP, "get_pa(flags 1) with CAP_SYS_RAWIO alone")
		if t.Devices[0].BehindIOMMU {
			fd.ExpectNoPA(good, unix.EOPNOTSUPP, "get_pa(a good argument, behind an IOMMU) with CAP_SYS_RAWIO alone")
		} else {
			ioas.ExpectPA(iova, lab.MaxLength, pa, lab.HugeSize)
		}
	})
}
