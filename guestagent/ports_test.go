// SPDX-License-Identifier: Apache-2.0

package main

import (
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"noiommu-farm/guestagent/wire"
)

// addPort lays out a port in sysfs, with a FIFO as its device.
func addPort(t *testing.T, m guest, dev, name string) string {
	t.Helper()
	class, device := m.path("sys/class/virtio-ports", dev), m.path("dev", dev)
	for _, dir := range []string{class, filepath.Dir(device)} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(class, "name"), []byte(name+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(device, 0o600); err != nil {
		t.Fatal(err)
	}
	return device
}

func TestOpenPort(t *testing.T) {
	m := guest{root: t.TempDir()}
	if _, err := openPort(m.root, wire.ControlPort, 0); err == nil {
		t.Error("opened a port where there is no such class")
	}
	if err := os.MkdirAll(m.path("sys/class/virtio-ports/vport0p9"), 0o755); err != nil {
		t.Fatal(err) // has no name yet
	}
	addPort(t, m, "vport0p1", "org.example.other")
	if _, err := openPort(m.root, wire.ControlPort, 0); err == nil {
		t.Error("opened a port of another name")
	}
	want := addPort(t, m, "vport0p2", wire.ControlPort)
	p, err := openPort(m.root, wire.ControlPort, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if p.Name() != want {
		t.Errorf("opened %s, want %s", p.Name(), want)
	}
	if err := p.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Errorf("a port that cannot time out: %v", err)
	}
}

// The host may go away and come back, as when a saved guest is restored; a
// reader that waits notices nothing.
func TestPortComesBack(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(fifo, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	p := &port{File: f, patience: time.Minute}
	go func() {
		for range 3 {
			w, err := os.OpenFile(fifo, os.O_WRONLY, 0)
			if err != nil {
				t.Error(err)
				return
			}
			w.WriteString("word")
			w.Close()
		}
	}()
	got := make([]byte, 12)
	if _, err := io.ReadFull(p, got); err != nil || string(got) != "wordwordword" {
		t.Errorf("%q, %v", got, err)
	}
	p.patience = time.Millisecond
	if n, err := p.Read(got); n != 0 || err != io.EOF {
		t.Errorf("host gone for good: %d, %v", n, err)
	}
}
