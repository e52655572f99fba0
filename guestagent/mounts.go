// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// mount is one file system of the guest.
type mount struct {
	fs, dir, data string
	flags         uintptr
	need          bool // nothing works without it; the others may be absent in this kernel
}

const hardened = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC

// mounts in the order in which they are made.
var mounts = []mount{
	{fs: "proc", dir: "/proc", flags: hardened, need: true},
	{fs: "sysfs", dir: "/sys", flags: hardened, need: true},
	{fs: "devtmpfs", dir: "/dev", flags: unix.MS_NOSUID, data: "mode=0755", need: true},
	{fs: "tmpfs", dir: "/tmp", flags: unix.MS_NOSUID | unix.MS_NODEV, data: "mode=1777", need: true},
	{fs: "tmpfs", dir: "/run", flags: unix.MS_NOSUID | unix.MS_NODEV, data: "mode=0755", need: true},
	{fs: "devpts", dir: "/dev/pts", flags: unix.MS_NOSUID | unix.MS_NOEXEC, data: "ptmxmode=0666,mode=0620"},
	{fs: "tmpfs", dir: "/dev/shm", flags: unix.MS_NOSUID | unix.MS_NODEV, data: "mode=1777"},
	{fs: "hugetlbfs", dir: "/dev/hugepages", flags: unix.MS_NOSUID | unix.MS_NODEV, data: "pagesize=2M"},
	{fs: "debugfs", dir: "/sys/kernel/debug", flags: hardened},
	{fs: "tracefs", dir: "/sys/kernel/tracing", flags: hardened},
	{fs: "securityfs", dir: "/sys/kernel/security", flags: hardened},
	{fs: "cgroup2", dir: "/sys/fs/cgroup", flags: hardened},
}

// mountAll makes the mounts. A file system that this kernel does not have is
// an error only where it is needed.
func mountAll(mounts []mount) error {
	for _, m := range mounts {
		if err := m.make(); err != nil && m.need {
			return err
		}
	}
	return nil
}

func (m mount) make() error {
	// In sysfs directories cannot be made: they are there or the kernel lacks
	// the file system.
	if err := os.MkdirAll(m.dir, 0o755); err != nil {
		return fmt.Errorf("mount %s: %w", m.fs, err)
	}
	err := unix.Mount(m.fs, m.dir, m.fs, m.flags, m.data)
	// CONFIG_DEVTMPFS_MOUNT or the kernel's own initramfs code may have been
	// there first.
	if err != nil && !errors.Is(err, unix.EBUSY) {
		return fmt.Errorf("mount %s on %s: %w", m.fs, m.dir, err)
	}
	return nil
}
