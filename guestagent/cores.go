// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"noiommu-farm/guestagent/wire"
)

// keepCores makes the kernel leave core files of up to limit bytes in dir, a
// file system of their own, so that many of them cannot fill the guest's
// memory. A kernel without core dumps leaves none, which is a fact.
func (g guest) keepCores(dir string, limit int64) error {
	rlimit := unix.Rlimit{Cur: uint64(limit), Max: uint64(limit)}
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &rlimit); err != nil {
		return fmt.Errorf("limit core files to %d bytes: %w", limit, err)
	}
	if limit == 0 {
		return nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	_ = unix.Unmount(dir, unix.MNT_DETACH) // of an earlier call
	// Twice, because the program's child may have crashed too.
	data := fmt.Sprintf("mode=0700,size=%d", 2*limit)
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, data); err != nil {
		return fmt.Errorf("mount tmpfs on %s: %w", dir, err)
	}
	err := writeText(g.path("proc/sys/kernel/core_pattern"), coreFile(dir, "%p"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func coreFile(dir, pid string) string { return filepath.Join(dir, "core."+pid) }

// sendCore sends the core file that the kernel left for pid. There is none
// when core files are not kept.
func (p *programs) sendCore(id uint32, pid int, limit int64) (int64, error) {
	// The program was root: what is there may be anything.
	name := coreFile(p.cores, fmt.Sprint(pid))
	f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return 0, nil
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return 0, nil
	}
	s := newStream(p.output, wire.Core, nil)
	s.belongs(id)
	s.send(io.LimitReader(f, limit))
	return s.sent, s.err
}

func (p *programs) removeCores() {
	files, _ := os.ReadDir(p.cores)
	for _, f := range files {
		_ = os.RemoveAll(filepath.Join(p.cores, f.Name()))
	}
}
