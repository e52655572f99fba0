// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"noiommu-farm/suites/contract"
)

// Device is one PCI function under test.
type Device struct {
	BDF         string          // 0000:00:10.0
	Model       string          // "edu", "igb", or vendor:device of one without a name
	BehindIOMMU bool            // a real IOMMU translates for it
	Has         contract.Device // the same, and its capabilities

	dir   string // its directory in sysfs
	away  bool   // the host has unplugged it, or is about to
	stuck bool   // a bind or an unbind did not come back; the kernel holds its lock
}

// models are the emulated functions with a name.
var models = map[string]string{"1234:11e8": "edu", "8086:10c9": "igb", "8086:10d3": "e1000e", "1b36:0010": "nvme"}

var bdfPattern = regexp.MustCompile(`^[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]$`)

// FindDevices finds the functions with these BDFs; without any, those bound to
// vfio-pci; and when there are none, those of a known model. root is "/", or a
// directory that stands for it.
func FindDevices(root string, bdfs []string) ([]*Device, error) {
	if len(bdfs) > 0 {
		var found []*Device
		for _, bdf := range slices.Sorted(slices.Values(bdfs)) {
			if !bdfPattern.MatchString(bdf) {
				return nil, fmt.Errorf("find devices: %q is not a BDF such as 0000:00:10.0", bdf)
			}
			d, err := findDevice(root, bdf)
			if err != nil {
				return nil, fmt.Errorf("find devices: %w", err)
			}
			found = append(found, d)
		}
		return found, nil
	}
	entries, err := os.ReadDir(filepath.Join(root, "sys/bus/pci/devices"))
	if err != nil {
		return nil, fmt.Errorf("find devices: %w", err)
	}
	var bound, known []*Device
	for _, entry := range entries {
		d, err := findDevice(root, entry.Name())
		if err != nil {
			return nil, fmt.Errorf("find devices: %w", err)
		}
		if d.Driver() == "vfio-pci" {
			bound = append(bound, d)
		}
		if !strings.Contains(d.Model, ":") {
			known = append(known, d)
		}
	}
	if len(bound) > 0 {
		return bound, nil
	}
	return known, nil
}

func findDevice(root, bdf string) (*Device, error) {
	d := &Device{BDF: bdf, dir: filepath.Join(root, "sys/bus/pci/devices", bdf)}
	var ids [2]string
	for i, file := range []string{"vendor", "device"} {
		text, err := os.ReadFile(filepath.Join(d.dir, file))
		if err != nil {
			return nil, err
		}
		ids[i] = strings.TrimPrefix(strings.TrimSpace(string(text)), "0x")
	}
	id := ids[0] + ":" + ids[1]
	if d.Model = models[id]; d.Model == "" {
		d.Model = id
	}
	// The link is made when an IOMMU driver takes the device. Its group would
	// prove nothing: VFIO makes one for a device without an IOMMU too.
	_, err := os.Lstat(filepath.Join(d.dir, "iommu"))
	d.BehindIOMMU = err == nil
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if d.Has, err = findCapabilities(root, bdf); err != nil {
		return nil, err
	}
	d.Has.Model, d.Has.Behind = d.Model, d.BehindIOMMU
	return d, nil
}

// Driver is the name of the driver it is bound to, "" for none.
func (d *Device) Driver() string {
	target, err := os.Readlink(filepath.Join(d.dir, "driver"))
	if err != nil {
		return ""
	}
	return filepath.Base(target)
}

// bindLimit bounds a bind and an unbind. The kernel waits in an unbind for
// every open file of the device, and in a bind for an unbind, so one that takes
// longer waits for a file that is not there.
const bindLimit = 3 * time.Second

// errStuck is the answer for a device that must not be touched any more: every
// write to it would wait with the first one.
var errStuck = errors.New("an earlier bind or unbind still waits for a file that nobody has open")

// Bind binds the function to vfio-pci as a user does: driver_override and the
// driver's bind file. When the test ends, every function under test is bound
// or not bound as it was when the test began.
func (t *T) Bind(d *Device) error {
	t.moved = true
	return t.bind(d)
}

// Unbind unbinds the function from vfio-pci.
func (t *T) Unbind(d *Device) error {
	t.moved = true
	return t.unbind(d)
}

// StartUnbind begins to unbind the function, which may have to wait for open
// files.
func (t *T) StartUnbind(d *Device) *Unbinding {
	t.moved = true
	return t.startUnbind(d)
}

// Unbinding is an unbind that has begun.
type Unbinding struct {
	t    *T
	d    *Device
	done chan error
}

// Waits says whether it has not ended. It sleeps first: an unbind that nothing
// holds up must get its turn to end, on one processor too.
func (u *Unbinding) Waits() bool {
	time.Sleep(Patience(turn))
	return len(u.done) == 0
}

// turn is long for an unbind of a device that nobody has open.
const turn = 20 * time.Millisecond

// Wait waits for its end, for as long as [T.Unbind] does.
func (u *Unbinding) Wait() error {
	err := u.d.await(u.done, "unbound")
	u.t.Tally.Did("pci.unbind", err)
	return err
}

// start runs a write that the kernel may hold up for ever, and which no signal
// ends then: on a thread of its own.
func (d *Device) start(write func() error) chan error {
	done := make(chan error, 1)
	if d.stuck {
		done <- errStuck
	} else {
		go func() { done <- write() }()
	}
	return done
}

// await waits for the end of such a write, after which the device is what it
// says.
func (d *Device) await(done chan error, what string) error {
	select {
	case err := <-done:
		return err
	case <-time.After(Patience(bindLimit)):
		d.stuck = true
		return fmt.Errorf("not %s after %v: the kernel waits for a file that nobody has open", what, Patience(bindLimit))
	}
}

func (t *T) bind(d *Device) error {
	err := d.await(d.start(func() error {
		if err := writeFile(d.dir+"/driver_override", "vfio-pci"); err != nil {
			return err
		}
		return writeFile("/sys/bus/pci/drivers/vfio-pci/bind", d.BDF)
	}), "bound")
	t.Tally.Did("pci.bind", err)
	return err
}

func (t *T) unbind(d *Device) error { return t.startUnbind(d).Wait() }

func (t *T) startUnbind(d *Device) *Unbinding {
	return &Unbinding{t, d, d.start(func() error { return writeFile(d.dir+"/driver/unbind", d.BDF) })}
}

// restoreDrivers has the bindings of now put back when the test ends, in BDF
// order so that the nodes get their names back too. It comes before all that
// the test does, so that it is undone last: with everything closed, or a bind
// would wait for an unbind, and that for a file of the test.
func (t *T) restoreDrivers() {
	wasBound := make(map[*Device]bool)
	for _, d := range t.all {
		wasBound[d] = d.Driver() == "vfio-pci"
	}
	t.Cleanup(func() {
		if !t.moved {
			return
		}
		for _, d := range t.all {
			if d.Driver() != "" && !d.stuck {
				t.OK(t.unbind(d), "cleanup: unbind %s", d.BDF)
			}
		}
		for _, d := range t.all {
			if d.stuck {
				continue
			}
			if wasBound[d] {
				t.OK(t.bind(d), "cleanup: bind %s", d.BDF)
			} else {
				t.OK(writeFile(d.dir+"/driver_override", "\n"), "cleanup: driver_override of %s", d.BDF)
			}
		}
	})
	for _, d := range t.all {
		t.Cleanup(func() {
			if d.away {
				h := t.Host()
				(&Unplugging{h, d}).Wait()
				h.Plug(d)
			}
		})
	}
}

// SetUnsafeMode writes the module parameter. It is put back when the test ends.
func (t *T) SetUnsafeMode(on bool) {
	was := t.ReadFile("/" + unsafeMode)
	t.Cleanup(func() { t.OK(writeFile("/"+unsafeMode, was), "cleanup: unsafe mode") })
	value := "N"
	if on {
		value = "Y"
	}
	t.Must(writeFile("/"+unsafeMode, value), "write %s to enable_unsafe_noiommu_mode", value)
	Equal(t, t.ReadFile("/"+unsafeMode), value, "enable_unsafe_noiommu_mode")
}

// UnsafeMode is the module parameter as it reads now.
func (t *T) UnsafeMode() string { return t.ReadFile("/" + unsafeMode) }

// WriteFile writes text to a file of /sys in one write and counts it as
// "sysfs.writes".
func (t *T) WriteFile(path, text string) error {
	err := writeFile(path, text)
	t.Tally.Did("sysfs.writes", err)
	return err
}

// writeFile writes to an existing file in one write, as sysfs wants it. The
// error is an unwrapped [unix.Errno].
func writeFile(path, text string) error {
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	_, err = unix.Write(fd, []byte(text))
	return err
}
