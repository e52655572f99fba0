// SPDX-License-Identifier: Apache-2.0

package stress

import (
	"sync"

	"golang.org/x/sys/unix"

	"noiommu-farm/suites/contract"
	"noiommu-farm/suites/edu"
	"noiommu-farm/suites/lab"
)

// ST-06: a bind works as a whole, or not at all.
func modeAgainstBind(t *lab.T) {
	t.NoWarning()
	d := edu.Find(t)
	t.Must(t.Unbind(d), "unbind %s", d.BDF)
	t.SetUnsafeMode(true) // so that it is put back
	stop, stopped := make(chan struct{}), make(chan error, 1)
	go func() {
		values := []string{"N", "Y"}
		var err error
		for i := 0; err == nil; i++ {
			select {
			case <-stop:
				stopped <- nil
				return
			default:
				err = t.WriteFile("/sys/module/vfio/parameters/enable_unsafe_noiommu_mode", values[i%2])
			}
		}
		stopped <- err
	}()
	var once sync.Once
	finish := func() { once.Do(func() { close(stop); t.OK(<-stopped, "switch the mode") }) }
	t.Cleanup(finish)
	// At least rounds, and on until the mode was met on and off.
	const rounds, mostRounds = 100, 5000
	worked, refused := 0, 0
	for round := 0; round < rounds || (worked == 0 || refused == 0) && round < mostRounds; round++ {
		err := t.Bind(d)
		if err != nil {
			refused++
			t.Fails(err, unix.EINVAL, "round %d: bind", round)
			t.Absent(d.Sysfs("vfio-dev"))
			t.Absent(d.Sysfs("iommu_group"))
			lab.Equal(t, d.Driver(), "", "round %d: driver after the failed bind", round)
			continue
		}
		worked++
		// The kernel reads the mode twice, for the name of the cdev and for the
		// group: switched on in between, the cdev has no prefix. Whatever it is
		// called, it is one of a device without an IOMMU.
		path := t.CdevPath(d)
		if t.Facts.Meets(contract.Group) {
			_, err = t.Stat("/dev/vfio/" + t.GroupName(d))
			t.OK(err, "round %d: stat the group", round)
		}
		t.WithCaps(0, func() {
			_, err := t.TryOpen(path, d)
			t.Fails(err, unix.EPERM, "round %d: open %s without capabilities", round, path)
		})
		dev, err := t.TryOpen(path, d)
		t.Must(err, "round %d: open %s", round, path)
		dev.Bind(t.IOMMUFD())
		t.Must(dev.Close(), "round %d: close the cdev", round)
		t.Must(t.Unbind(d), "round %d: unbind", round)
	}
	finish()
	lab.Above(t, worked, 0, "binds that worked")
	lab.Above(t, refused, 0, "binds that were refused")
	t.SetUnsafeMode(true)
	t.Must(t.Bind(d), "bind %s with the mode on", d.BDF)
}
