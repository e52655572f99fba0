// SPDX-License-Identifier: Apache-2.0

package stress

import (
	"sync"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"noiommu-farm/suites/contract"
	"noiommu-farm/suites/edu"
	"noiommu-farm/suites/lab"
	"noiommu-farm/suites/uapi"
)

// ST-07: the device goes while others come.
func unbindAgainstOpen(t *lab.T) {
	t.NoWarning()
	// At least rounds, and on until each side has met the other: an open that
	// found no device, and a bind to an iommufd that worked.
	const users, rounds, mostRounds = 3, 60, 2000
	d := edu.Find(t)
	paths := []string{t.CdevPath(d)}
	if t.Facts.Meets(contract.Group) {
		paths = append(paths, "/dev/vfio/"+t.GroupName(d))
	}
	var missed, bound atomic.Int32
	var stop atomic.Bool
	wrong := make(chan string, users)
	var all sync.WaitGroup
	for user := range users {
		all.Go(func() {
			for i := user; !stop.Load(); i++ {
				if what := useOnce(t, paths[i%len(paths)], i%len(paths) == 0, &missed, &bound); what != "" {
					wrong <- what
					return
				}
			}
		})
	}
	finish := sync.OnceFunc(func() {
		stop.Store(true)
		all.Wait()
		close(wrong)
		for what := range wrong {
			lab.Equal(t, what, "", "an answer that cannot be")
		}
	})
	t.Cleanup(finish)
	for round := range mostRounds {
		if round >= rounds && missed.Load() > 0 && bound.Load() > 0 {
			break
		}
		t.Must(t.Unbind(d), "round %d: unbind", round)
		lab.Equal(t, d.Driver(), "", "round %d: driver after the unbind", round)
		t.Must(t.Bind(d), "round %d: bind", round)
	}
	finish()
	lab.Above(t, missed.Load(), 0, "opens that found no device")
	lab.Above(t, bound.Load(), 0, "binds to an iommufd that worked")
	lab.Equal(t, t.CdevPath(d), paths[0], "cdev after the rounds")
	dev, _ := t.ToAttached(d)
	t.Must(dev.Close(), "close the cdev")
	t.Must(t.Unbind(d), "unbind after the rounds")
	t.Must(t.Bind(d), "bind after the rounds")
}

// useOnce opens a node, binds it to an iommufd if it is a cdev, and closes it.
// It says what was wrong with an answer.
func useOnce(t *lab.T, path string, isCdev bool, missed, bound *atomic.Int32) (wrong string) {
	f, err := uapi.Open(t.Tally, path, unix.O_RDWR)
	switch err {
	case nil:
		defer f.Close()
	case unix.ENOENT, unix.ENODEV, unix.ENXIO:
		missed.Add(1)
		return ""
	case unix.EBUSY: // a group that another has open, or whose cdev is bound
		if !isCdev {
			return ""
		}
		fallthrough
	default:
		return "open " + path + ": " + uapi.ErrnoName(err)
	}
	if !isCdev {
		status := uapi.GroupStatus{Argsz: uint32(unsafe.Sizeof(uapi.GroupStatus{}))}
		switch _, err := f.Ioctl(uapi.VFIO_GROUP_GET_STATUS, unsafe.Pointer(&status)); err {
		case nil, unix.ENODEV: // the device is gone, the group is open still
			return ""
		default:
			return "VFIO_GROUP_GET_STATUS: " + uapi.ErrnoName(err)
		}
	}
	return bindWhile(t, f, func() string { bound.Add(1); return "" })
}
