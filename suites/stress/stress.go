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
	const mostTimes = 50 // the rounds
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
	for round := 0; round < rounds || !metBoth() && round < mostTimes*rounds; round++ {
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
	const users, rounds, mostRounds = 4, 50, 100000
	d := t.Devices[0]
	o := &owners{t: t, cdev: t.CdevPath(d)}
	withGroup := t.Facts.Meets(contract.Group)
	if withGroup {
		o.group = "/dev/vfio/" + t.GroupName(d)
	}
	wrong := make(chan string, 2*users) // each user ends with its first
	var all sync.WaitGroup
	user := func(try func() (wrong string), had *atomic.Int32) {
		for i := 0; i < rounds || had.Load() == 0 && i < mostRounds; i++ {
			if what := try(); what != "" {
				wrong <- what
				return
			}
			if i >= rounds {
				runtime.Gosched()
			}
		}
	}
	for range users {
		all.Go(func() { user(o.bindOnce, &o.bound) })
		if withGroup {
			all.Go(func() { user(o.openOnce, &o.opened) })
		}
	}
	all.Wait()
	close(wrong)
	for what := range wrong {
		lab.Equal(t, what, "", "an answer that cannot be")
	}
	lab.Equal(t, o.most.Load(), 1, "owners at once")
	lab.Above(t, o.bound.Load(), 0, "binds that worked")
	if withGroup {
		lab.Above(t, o.opened.Load(), 0, "opens of the group that worked")
		// No count was lost on the way.
		t.Must(t.OpenGroup(d).Close(), "close the group")
	}
	dev, _ := t.ToAttached(d)
	t.Must(dev.Close(), "close the cdev")
	t.Must(t.Unbind(d), "unbind %s", d.BDF)
	t.Must(t.Bind(d), "bind %s", d.BDF)
}

// owners are those who want one device, and how many had it.
type owners struct {
	t           *lab.T
	cdev, group string // paths

	now, most     atomic.Int32 // owners at once
	bound, opened atomic.Int32 // times
}

// owns calls use with the device owned, and counts it in times.
func (o *owners) owns(times *atomic.Int32, use func() error) error {
	n := o.now.Add(1)
	for was := o.most.Load(); n > was && !o.most.CompareAndSwap(was, n); was = o.most.Load() {
	}
	times.Add(1)
	err := use()
	o.now.Add(-1)
	return err
}

// bindOnce opens the cdev, binds it to an iommufd if it can, and closes both.
// It says what was wrong with an answer.
func (o *owners) bindOnce() (wrong string) {
	dev, err := uapi.Open(o.t.Tally, o.cdev, unix.O_RDWR)
	if err != nil {
		return "open the cdev: " + uapi.ErrnoName(err)
	}
	defer dev.Close()
	return bindWhile(o.t, dev, func() (wrong string) {
		info := uapi.DeviceInfo{Argsz: uint32(unsafe.Sizeof(uapi.DeviceInfo{}))}
		if err := o.owns(&o.bound, func() error {
			_, err := dev.Ioctl(uapi.VFIO_DEVICE_GET_INFO, unsafe.Pointer(&info))
			return err
		}); err != nil {
			return "VFIO_DEVICE_GET_INFO: " + uapi.ErrnoName(err)
		}
		return ""
	})
}

// bindWhile binds an open cdev to a new iommufd, which stays open while use
// runs, unless another has the device. It says what was wrong with an answer.
func bindWhile(t *lab.T, dev *uapi.File, use func() (wrong string)) (wrong string) {
	fd, err := uapi.Open(t.Tally, "/dev/iommu", unix.O_RDWR)
	if err != nil {
		return "open /dev/iommu: " + uapi.ErrnoName(err)
	}
	defer fd.Close()
	arg := uapi.DeviceBindIOMMUFD{Argsz: uint32(unsafe.Sizeof(uapi.DeviceBindIOMMUFD{})), IOMMUFD: int32(fd.Fd())}
	switch _, err := dev.Ioctl(uapi.VFIO_DEVICE_BIND_IOMMUFD, unsafe.Pointer(&arg)); err {
	case nil:
		return use()
	case unix.EINVAL, unix.EBUSY: // another has it, by its cdev or by its group
		return ""
	default:
		return "VFIO_DEVICE_BIND_IOMMUFD: " + uapi.ErrnoName(err)
	}
}

// openOnce opens the group if it can, and closes it. It says what was wrong
// with an answer.
func (o *owners) openOnce() (wrong string) {
	f, err := uapi.Open(o.t.Tally, o.group, unix.O_RDWR)
	switch err {
	case nil:
		defer f.Close()
	case unix.EBUSY: // another has it
		return ""
	default:
		return "open the group: " + uapi.ErrnoName(err)
	}
	status := uapi.GroupStatus{Argsz: uint32(unsafe.Sizeof(uapi.GroupStatus{}))}
	if err := o.owns(&o.opened, func() error {
		_, err := f.Ioctl(uapi.VFIO_GROUP_GET_STATUS, unsafe.Pointer(&status))
		return err
	}); err != nil {
		return "VFIO_GROUP_GET_STATUS: " + uapi.ErrnoName(err)
	}
	return ""
}
