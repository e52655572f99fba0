// SPDX-License-Identifier: Apache-2.0

// Package stress proves that many users at once get no answer that a single
// one could not get.
package stress

import (
	"runtime"
	"sync"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"noiommu-farm/suites/contract"
	"noiommu-farm/suites/lab"
	"noiommu-farm/suites/uapi"
)

// Tests are the suite's tests.
var Tests = []lab.Test{
	{ID: "ST-01", Run: mapAgainstGetPA},
	{ID: "ST-02", Run: attachAgainstGetPA},
	{ID: "ST-03", Run: oneOwner},
	{ID: "ST-04", Run: faultSweep},
	{ID: "ST-05", Run: memoryLimit},
	{ID: "ST-06", Run: modeAgainstBind},
	{ID: "ST-07", Run: unbindAgainstOpen},
	{ID: "ST-08", Run: manyBinds},
	{ID: "ST-09", Run: randomCalls},
	{ID: "ST-10", Run: compat32},
}

const iova = 0x40000000 // where the tests map

// answer is what GET_PA said.
type answer struct {
	pa, length uint64
	errno      string
}

// asker asks for the address at iova again and again.
type asker struct {
	ioas *lab.IOAS
	met  sync.Map // errno names that were answered
}

// ask asks at least n times and until done is closed, and counts the different
// answers.
func (a *asker) ask(n int, done <-chan struct{}) map[answer]int {
	seen := make(map[answer]int)
	for i := 0; ; i++ {
		if i >= n {
			select {
			case <-done:
				return seen
			default:
			}
		}
		pa, length, err := a.ioas.GetPA(iova, lab.MaxLength)
		got := answer{errno: uapi.ErrnoName(err)}
		if err == nil {
			got.pa, got.length = pa, length
		}
		if seen[got]++; seen[got] == 1 {
			a.met.Store(got.errno, true)
		}
	}
}

// against runs the asking, n times at least, beside the rounds of f: at least
// so many, and on until the asker has met both an address and the errno, for
// which f gives it a chance each time it calls pause. On one processor it could
// miss either by chance.
func against(ioas *lab.IOAS, n, rounds int, errno string, f func(pause func())) map[answer]int {
	const patience = 50 // times the rounds
	a := &asker{ioas: ioas}
	done := make(chan struct{})
	result := make(chan map[answer]int)
	go func() { result <- a.ask(n, done) }()
	defer func() {
		select {
		case <-done:
		default:
			close(done)
			<-result
		}
	}()
	metBoth := func() bool {
		_, worked := a.met.Load("0")
		_, failed := a.met.Load(errno)
		return worked && failed
	}
	for round := 0; round < rounds || !metBoth() && round < patience*rounds; round++ {
		f(func() {
			if round >= rounds {
				runtime.Gosched()
			}
		})
	}
	close(done)
	return <-result
}

// expect asserts that only these answers were given.
func expect(t *lab.T, seen map[answer]int, want ...answer) {
	total := 0
	for a, n := range seen {
		total += n
		known := false
		for _, w := range want {
			known = known || a == w
		}
		lab.Equal(t, known, true, "get_pa, %d times: errno %s, pa %#x, length %#x: an answer that can be", n, a.errno, a.pa, a.length)
	}
	lab.Above(t, total, 0, "answers")
}

// ST-01: an address is that of one mapping or of the other, never of a mixture.
func mapAgainstGetPA(t *lab.T) {
	const page = lab.PageSize
	_, ioas := t.ToAttached(t.Devices[0])
	m := t.Hugepages(1)
	first, second := m.Part(0, 16*page), m.Part(64*page, 5*page)
	pa := m.PA(0)
	seen := against(ioas, 20000, 1000, "ENOENT", func(pause func()) {
		for _, part := range []*lab.Memory{first, second} {
			ioas.Map(part, iova)
			pause()
			_, err := ioas.Unmap(iova, uint64(len(part.Bytes)))
			t.Must(err, "unmap")
			pause()
		}
	})
	expect(t, seen,
		answer{pa, 16 * page, "0"},
		answer{pa + 64*page, 5 * page, "0"},
		answer{errno: "ENOENT"},
	)
}

// ST-02: while the device moves, there is the address or none.
func attachAgainstGetPA(t *lab.T) {
	const page = lab.PageSize
	dev := t.Open(t.Devices[0])
	fd := t.IOMMUFD()
	dev.Bind(fd)
	ioas, other := fd.IOAS(), fd.IOAS()
	m := t.Hugepages(1)
	ioas.Map(m.Part(0, 16*page), iova)
	pa := m.PA(0)
	seen := against(ioas, 2000, 200, "EOPNOTSUPP", func(pause func()) {
		dev.Attach(ioas)
		pause()
		t.Must(dev.Detach(), "detach")
		pause()
		dev.Attach(ioas)
		dev.Attach(other) // replaces
		pause()
		t.Must(dev.Detach(), "detach")
	})
	expect(t, seen, answer{pa, 16 * page, "0"}, answer{errno: "EOPNOTSUPP"})
}

// ST-03: of all who try at once, one has the device.
func oneOwner(t *lab.T) {
	t.NoWarning()
	// On one processor either side may find the other there each time, so both
	// go on until they had it once. A count that was lost ends that too.
	const users, rounds, patience = 4, 50, 100000
	d := t.Devices[0]
	withGroup := t.Facts.Meets(contract.Group)
	cdev, group := t.CdevPath(d), ""
	if withGroup {
		group = "/dev/vfio/" + t.GroupName(d)
	}
	var owners, most, bound, opened atomic.Int32
	owns := func() {
		n := owners.Add(1)
		for was := most.Load(); n > was && !most.CompareAndSwap(was, n); was = most.Load() {
		}
	}
	wrong := make(chan string, 4*users*rounds)
	var all sync.WaitGroup
	for range users {
		all.Go(func() {
			for i := 0; i < rounds || bound.Load() == 0 && i < patience; i++ {
				dev, err := uapi.Open(t.Tally, cdev, unix.O_RDWR)
				if err != nil {
					wrong <- "open the cdev: " + uapi.ErrnoName(err)
					return
				}
				fd, err := uapi.Open(t.Tally, "/dev/iommu", unix.O_RDWR)
				if err != nil {
					wrong <- "open /dev/iommu: " + uapi.ErrnoName(err)
					dev.Close()
					return
				}
				arg := uapi.DeviceBindIOMMUFD{Argsz: uint32(unsafe.Sizeof(uapi.DeviceBindIOMMUFD{})), IOMMUFD: int32(fd.Fd())}
				_, err = dev.Ioctl(uapi.VFIO_DEVICE_BIND_IOMMUFD, unsafe.Pointer(&arg))
				switch err {
				case nil:
					owns()
					bound.Add(1)
					info := uapi.DeviceInfo{Argsz: uint32(unsafe.Sizeof(uapi.DeviceInfo{}))}
					if _, err := dev.Ioctl(uapi.VFIO_DEVICE_GET_INFO, unsafe.Pointer(&info)); err != nil {
						wrong <- "VFIO_DEVICE_GET_INFO: " + uapi.ErrnoName(err)
					}
					owners.Add(-1)
				case unix.EINVAL, unix.EBUSY:
				default:
					wrong <- "bind: " + uapi.ErrnoName(err)
				}
				dev.Close()
				fd.Close()
				if i >= rounds {
					runtime.Gosched()
				}
			}
		})
		if !withGroup {
			continue
		}
		all.Go(func() {
			for i := 0; i < rounds || opened.Load() == 0 && i < patience; i++ {
				f, err := uapi.Open(t.Tally, group, unix.O_RDWR)
				switch err {
				case nil:
					owns()
					opened.Add(1)
					status := uapi.GroupStatus{Argsz: uint32(unsafe.Sizeof(uapi.GroupStatus{}))}
					if _, err := f.Ioctl(uapi.VFIO_GROUP_GET_STATUS, unsafe.Pointer(&status)); err != nil {
						wrong <- "VFIO_GROUP_GET_STATUS: " + uapi.ErrnoName(err)
					}
					owners.Add(-1)
					f.Close()
				case unix.EBUSY:
				default:
					wrong <- "open the group: " + uapi.ErrnoName(err)
					return
				}
				if i >= rounds {
					runtime.Gosched()
				}
			}
		})
	}
	all.Wait()
	close(wrong)
	for what := range wrong {
		lab.Equal(t, what, "", "an answer that cannot be")
	}
	lab.Equal(t, most.Load(), 1, "owners at once")
	lab.Above(t, bound.Load(), 0, "binds that worked")
	if withGroup {
		lab.Above(t, opened.Load(), 0, "opens of the group that worked")
		// No count was lost on the way.
		t.Must(t.OpenGroup(d).Close(), "close the group")
	}
	dev, _ := t.ToAttached(d)
	t.Must(dev.Close(), "close the cdev")
	t.Must(t.Unbind(d), "unbind %s", d.BDF)
	t.Must(t.Bind(d), "bind %s", d.BDF)
}
