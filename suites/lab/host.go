// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"noiommu-farm/guestagent/wire"
)

// Host is the farm outside the guest, which does for a test what cannot be done
// inside. Statements that use it require contract.Host.
type Host struct {
	t *T
}

// Host is the host of the machine; the test ends when there is none.
func (t *T) Host() *Host {
	if _, err := hostLine(); err != nil {
		t.Fatalf("%v", err)
	}
	return &Host{t}
}

// hostLine is the socket to the host, which this process inherited.
var hostLine = sync.OnceValues(func() (int, error) {
	text := os.Getenv(wire.HostEnv)
	if text == "" {
		return -1, errors.New("there is no host that answers requests")
	}
	fd, err := strconv.Atoi(text)
	if err != nil || fd < 3 {
		return -1, fmt.Errorf("%s=%q is no descriptor", wire.HostEnv, text)
	}
	unix.CloseOnExec(fd) // programs that a test starts have no business with it
	return fd, nil
})

// asking lets one question at a time be asked, as the protocol wants it.
var asking sync.Mutex

// ask asks the host.
func ask(line int, r wire.Request) ([]byte, error) {
	packet, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	asking.Lock()
	defer asking.Unlock()
	if err := unix.Sendmsg(line, packet, nil, nil, 0); err != nil {
		return nil, fmt.Errorf("ask the host: %w", err)
	}
	answer := make([]byte, wire.MaxReply)
	var n int
	for {
		if n, err = unix.Read(line, answer); err != unix.EINTR {
			break
		}
	}
	if err != nil {
		return nil, fmt.Errorf("the host's answer: %w", err)
	}
	var reply wire.Reply
	if err := json.Unmarshal(answer[:n], &reply); err != nil {
		return nil, fmt.Errorf("the host's answer: %w", err)
	}
	if reply.Err != "" {
		return nil, errors.New(reply.Err)
	}
	return reply.Data, nil
}

// ask asks the host, counts it, and ends the test when the host does not do
// it.
func (h *Host) ask(r wire.Request, what string, args ...any) []byte {
	line, err := hostLine()
	var data []byte
	if err == nil {
		data, err = ask(line, r)
	}
	h.t.asserts++
	if err != nil {
		h.t.Fatalf("%s: %v", fmt.Sprintf(what, args...), err)
	}
	h.t.Tally.Did("host."+string(r.Do), nil)
	return data
}

// Unplugging is an unplug that the host has begun.
type Unplugging struct {
	h *Host
	d *Device
}

// StartUnplug has the attention button of the device's slot pressed. The
// kernel asks the driver after about five seconds, which waits until every
// open file of the device is closed. What is away when the test ends is
// plugged again, and bound as it was.
func (h *Host) StartUnplug(d *Device) *Unplugging {
	h.t.moved = true
	h.ask(wire.Request{Do: wire.Unplug, BDF: d.BDF}, "unplug %s", d.BDF)
	d.away = true
	return &Unplugging{h, d}
}

// Wait waits until the device is gone for the guest and for QEMU.
func (u *Unplugging) Wait() {
	u.h.ask(wire.Request{Do: wire.Unplugged, BDF: u.d.BDF}, "wait until %s is unplugged", u.d.BDF)
	u.h.t.appears(u.d, false)
}

// Unplug is StartUnplug and Wait.
func (h *Host) Unplug(d *Device) { h.StartUnplug(d).Wait() }

// Plug has an unplugged device put back, and waits until the guest sees it. No
// driver has it then.
func (h *Host) Plug(d *Device) {
	h.ask(wire.Request{Do: wire.Plug, BDF: d.BDF}, "plug %s", d.BDF)
	d.away = false
	h.t.appears(d, true)
}

// ReadPhysical reads n bytes of the guest's memory at a physical address, from
// outside.
func (h *Host) ReadPhysical(address uint64, n int) []byte {
	var all []byte
	for len(all) < n {
		length := min(n-len(all), wire.MaxRead)
		all = append(all, h.ask(wire.Request{Do: wire.ReadMemory, Address: address + uint64(len(all)), Length: length},
			"read %d bytes of memory at %#x from outside", length, address+uint64(len(all)))...)
	}
	return all
}

// InjectNMI sends a non-maskable interrupt to every processor. The farm's
// kernels panic over one (unknown_nmi_panic) unless the test has switched that
// off.
func (h *Host) InjectNMI() { h.ask(wire.Request{Do: wire.InjectNMI}, "inject an NMI") }

// appearLimit bounds how long the guest's kernel may take to find a device, or
// its absence, after QEMU has told it.
const appearLimit = 30 * time.Second

// appears waits until the kernel has the device, or has it no more.
func (t *T) appears(d *Device, want bool) {
	t.asserts++
	for deadline := time.Now().Add(Patience(appearLimit)); ; time.Sleep(5 * time.Millisecond) {
		_, err := os.Stat(d.dir + "/vendor")
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("look for %s: %v", d.BDF, err)
		}
		if (err == nil) == want {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: in sysfs %v, want %v", d.BDF, err == nil, want)
		}
	}
}
