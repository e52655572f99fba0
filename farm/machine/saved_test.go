// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// scribblerCode is a kernel that counts at counterAddress, and that overwrites
// all of its memory by DMA when the power button is pressed: one command to
// QEMU's fw_cfg device (docs/specs/fw_cfg.rst) is enough.
var scribblerCode = []byte{
	0xfa,                   // cli
	0x66, 0xba, 0x02, 0x06, // movw $0x602, %dx: PM1a_EN, where the firmware puts it
	0x66, 0xb8, 0x00, 0x01, // movw $0x100, %ax: PWRBTN_EN
	0x66, 0xef, // outw %ax, %dx
	// loop:
	0xff, 0x05, 0x00, 0x00, 0x20, 0x00, // incl 0x200000
	0x66, 0xba, 0x00, 0x06, // movw $0x600, %dx: PM1a_STS
	0x66, 0xed, // inw %dx, %ax
	0xf6, 0xc4, 0x01, // testb $1, %ah
	0x74, 0xef, // je loop
	0x66, 0xba, 0x14, 0x05, // movw $0x514, %dx: the high half of the address of the command
	0x31, 0xc0, // xorl %eax, %eax
	0xef,                   // outl %eax, %dx
	0x66, 0xba, 0x18, 0x05, // movw $0x518, %dx: the low half, which starts it
	0xb8, 0x00, 0x10, 0x10, 0x00, // movl $0x101000, %eax
	0x0f, 0xc8, // bswap %eax
	0xef,       // outl %eax, %dx
	0xeb, 0xfe, // jmp .
}

const (
	counterAddress = 0x200000
	commandAddress = 0x101000
)

// scribblerMachine has that kernel.
func scribblerMachine(t *testing.T) Machine {
	t.Helper()
	m := tinyMachine(t, filepath.Join(t.TempDir(), "vmlinux"))
	image := append(bytes.Clone(scribblerCode), make([]byte, commandAddress-loadAddress-len(scribblerCode))...)
	image = binary.BigEndian.AppendUint32(image, 1<<3|1<<1) // select item 0 and read it: zeros follow its end
	image = binary.BigEndian.AppendUint32(image, uint32(m.MemoryMiB)<<20)
	image = binary.BigEndian.AppendUint64(image, 0)
	if err := os.WriteFile(m.Kernel, kernelImage(image), 0o600); err != nil {
		t.Fatal(err)
	}
	return m
}

// count is how far a guest has counted.
func count(t *testing.T, g *Guest) uint32 {
	t.Helper()
	b, err := g.ReadPhysical(t.Context(), counterAddress, 4)
	if err != nil {
		t.Fatal(err)
	}
	return binary.LittleEndian.Uint32(b)
}

// counts waits until a guest has counted beyond n.
func counts(t *testing.T, g *Guest, n uint32) {
	t.Helper()
	for count(t, g) <= n {
		if g.ExitState() != nil || t.Context().Err() != nil {
			t.Fatalf("the guest does not go on: %s", g.Stderr())
		}
	}
}

func savable(t *testing.T, m Machine) *Guest {
	t.Helper()
	g, err := Boot(t.Context(), m, BootOptions{Savable: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.Close() })
	return g
}

func save(t *testing.T, g *Guest) *Saved {
	t.Helper()
	s, err := g.Save(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func restore(t *testing.T, s *Saved) *Guest {
	t.Helper()
	waiting, err := s.Standby(t.Context(), BootOptions{})
	if err != nil {
		t.Fatal(err)
	}
	g, err := waiting.Restore(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.Close() })
	return g
}

// counted is how far a guest had counted when it was saved.
func (s *Saved) counted(t *testing.T) uint32 {
	t.Helper()
	var b [4]byte
	if _, err := s.memory.ReadAt(b[:], counterAddress); err != nil {
		t.Fatal(err)
	}
	return binary.LittleEndian.Uint32(b[:])
}

func (s *Saved) sum(t *testing.T) (sum [sha256.Size]byte) {
	t.Helper()
	h := sha256.New()
	for _, f := range []*os.File{s.memory, s.state} {
		info, err := f.Stat()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(h, io.NewSectionReader(f, 0, info.Size())); err != nil {
			t.Fatal(err)
		}
	}
	return [sha256.Size]byte(h.Sum(nil))
}

// A guest that was saved goes on, and so does every guest that is restored, in
// every topology that QEMU can save.
func TestSave(t *testing.T) {
	for _, topology := range []Topology{None, Intel, Virtio, Bypass} {
		t.Run(string(topology), func(t *testing.T) {
			m := scribblerMachine(t)
			m.Topology = topology
			m.Devices = []Device{Edu, EduPort, IGB, E1000E}
			first := savable(t, m)
			counts(t, first, 0)
			one := save(t, first)
			counts(t, first, one.counted(t))
			two := save(t, first)
			if one.counted(t) >= two.counted(t) {
				t.Errorf("saved at %d and then at %d", one.counted(t), two.counted(t))
			}
			first.Close()
			was := one.sum(t)
			var guests sync.WaitGroup
			for _, s := range []*Saved{one, two, one} {
				guests.Go(func() { counts(t, restore(t, s), s.counted(t)) })
			}
			guests.Wait()
			if one.sum(t) != was {
				t.Error("a guest that was restored changed what was saved")
			}
		})
	}
}

// A guest that overwrites all of its memory by DMA changes nothing for those
// that go on from the same saved guest, before it, beside it and after it.
func TestScribble(t *testing.T) {
	m := scribblerMachine(t)
	first := savable(t, m)
	counts(t, first, 0)
	s := save(t, first)
	was := s.sum(t)
	beside, bad := restore(t, s), restore(t, s)
	counts(t, bad, s.counted(t))
	if err := bad.Monitor.Execute(t.Context(), "system_powerdown", nil, nil); err != nil {
		t.Fatal(err)
	}
	zero := func(addr uint64, n int) bool {
		b, err := bad.ReadPhysical(t.Context(), addr, n)
		if err != nil {
			t.Fatal(err)
		}
		return bytes.Equal(b, make([]byte, n))
	}
	for !zero(loadAddress, len(scribblerCode)) {
		if bad.ExitState() != nil || t.Context().Err() != nil {
			t.Fatal("the guest did not overwrite its memory")
		}
	}
	if !zero(counterAddress, 4) {
		t.Error("the counter is still there")
	}
	if s.sum(t) != was {
		t.Error("what was saved has changed")
	}
	after := restore(t, s)
	for _, g := range []*Guest{beside, after} {
		counts(t, g, s.counted(t))
		code, err := g.ReadPhysical(t.Context(), loadAddress, len(scribblerCode))
		if err != nil || !bytes.Equal(code, scribblerCode) {
			t.Errorf("the kernel is %x, %v", code, err)
		}
	}
}

// What QEMU cannot save it says, and the guest goes on.
func TestNotSavable(t *testing.T) {
	for _, c := range []struct {
		topology Topology
		device   Device
	}{{AMD, Edu}, {None, NVMe}} {
		t.Run(string(c.topology)+"-"+string(c.device), func(t *testing.T) {
			m := scribblerMachine(t)
			m.Topology, m.Devices = c.topology, []Device{c.device}
			g := savable(t, m)
			counts(t, g, 0)
			s, err := g.Save(t.Context())
			var not *NotSavableError
			if !errors.As(err, &not) {
				t.Fatalf("%v, %v", s, err)
			}
			t.Log(not.Reason)
			counts(t, g, count(t, g))
		})
	}
}

func TestSaveRefuses(t *testing.T) {
	g := boot(t, scribblerMachine(t))
	if _, err := g.Save(t.Context()); err == nil {
		t.Error("a guest was saved that was not booted for it")
	}
	first := savable(t, scribblerMachine(t))
	counts(t, first, 0)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := first.Save(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// Neither saving nor restoring leaves a descriptor or a process behind, also of
// a QEMU that waited and was not needed.
func TestSavedLeavesNothing(t *testing.T) {
	m := scribblerMachine(t)
	descriptors := func() int {
		names, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(names)
	}
	once := func() {
		first, err := Boot(t.Context(), m, BootOptions{Savable: true})
		if err != nil {
			t.Fatal(err)
		}
		s, err := first.Save(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		first.Close()
		var all []*Guest
		for range 2 {
			waiting, err := s.Standby(t.Context(), BootOptions{})
			if err != nil {
				t.Fatal(err)
			}
			g, err := waiting.Restore(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, g)
		}
		waiting, err := s.Standby(t.Context(), BootOptions{})
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, waiting.guest)
		waiting.Close()
		s.Close()
		for _, g := range all {
			g.Close()
			gone(t, g)
		}
		gone(t, first)
	}
	once()
	before := descriptors()
	for range 3 {
		once()
	}
	if after := descriptors(); after > before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
}

// The rate of the time stamp counter is the same every time.
func TestTSC(t *testing.T) {
	first := TSCKHz()
	if first == 0 {
		t.Skip("no steady time stamp counter")
	}
	if again := tscRate(); again < first-1500 || again > first+1500 {
		t.Errorf("%d kHz, and then %d", first, again)
	}
}
