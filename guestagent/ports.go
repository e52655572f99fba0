// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// port is one open virtio-serial port. Reads and writes wait in Go's poller,
// not in the kernel, so that deadlines work and a blocked port holds no thread.
type port struct {
	*os.File
	patience time.Duration // how long a host that went away may take to come back
}

// openPort waits for the port called name and opens it. A port opens only
// once at a time (drivers/char/virtio_console.c, port_fops_open: EBUSY).
func openPort(root, name string, within time.Duration) (*port, error) {
	deadline := time.Now().Add(within)
	for pause := backoff(time.Millisecond); ; pause.wait() {
		dev, err := findPort(root, name)
		if err == nil {
			f, err := os.OpenFile(filepath.Join(root, "dev", dev), os.O_RDWR, 0)
			if err != nil {
				return nil, fmt.Errorf("open port %s: %w", name, err)
			}
			return &port{f, hostWithin}, nil
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("open port %s: %w after %v", name, err, within)
		}
	}
}

// findPort finds the device name (vport0p1) of the port called name. The name
// comes from QEMU after the port itself, so a port without one is no error.
func findPort(root, name string) (string, error) {
	class := filepath.Join(root, "sys/class/virtio-ports")
	ports, err := os.ReadDir(class)
	if err != nil {
		return "", err
	}
	for _, p := range ports {
		got, err := readText(filepath.Join(class, p.Name(), "name"))
		if err == nil && strings.TrimSpace(got) == name {
			return p.Name(), nil
		}
	}
	return "", fmt.Errorf("none of %d ports has this name: %w", len(ports), os.ErrNotExist)
}

// Read reads from the host. A port whose host end is not open reads as ended
// (port_fops_read returns 0); Read waits for the host to come back as long as
// the port's patience lasts, and only then returns io.EOF. A guest that was
// saved and restored may see such a gap.
func (p *port) Read(b []byte) (int, error) {
	deadline := time.Now().Add(p.patience)
	for pause := backoff(time.Millisecond); ; pause.wait() {
		n, err := p.File.Read(b)
		if err != io.EOF || time.Now().After(deadline) {
			return n, err
		}
	}
}

// backoff is a pause that doubles up to 50 ms, for what the kernel gives no
// event for.
type backoff time.Duration

func (b *backoff) wait() {
	time.Sleep(time.Duration(*b))
	*b = min(2*(*b), backoff(50*time.Millisecond))
}
