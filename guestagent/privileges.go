// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"

	"noiommu-farm/guestagent/wire"
)

// nobody is the user and the group of an unprivileged program.
const nobody = 65534

// launchWord, as the first argument, makes this program a launcher: it gives up
// what the second one says and becomes the program behind it.
const launchWord = "launch"

// restrict makes the attributes and the arguments of a program those of one
// with such privileges.
func restrict(privileges string, argv []string, attr *syscall.ProcAttr) ([]string, error) {
	switch privileges {
	case "", wire.Root:
		return argv, nil
	case wire.NoRawIO, wire.LowMemlock:
		// What a process gives up of its bounding set before it executes a
		// program, no fork can do for it.
		return append([]string{"/proc/self/exe", launchWord, privileges}, argv...), nil
	case wire.UserNamespace:
		own := []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 1}}
		attr.Sys.Cloneflags = unix.CLONE_NEWUSER
		attr.Sys.UidMappings, attr.Sys.GidMappings = own, own
		return argv, nil
	case wire.Unprivileged:
		attr.Sys.Credential = &syscall.Credential{Uid: nobody, Gid: nobody}
		return argv, os.Chown(attr.Dir, nobody, nobody)
	}
	return nil, fmt.Errorf("privileges %.40q: there are no such", privileges)
}

// launch becomes the program argv[1] with the privileges argv[0].
func launch(argv []string) error {
	if len(argv) < 2 {
		return errors.New("launch: privileges and a program are needed")
	}
	// Capabilities belong to a thread, and this one executes the program.
	runtime.LockOSThread()
	var capability uintptr
	switch argv[0] {
	case wire.NoRawIO:
		capability = unix.CAP_SYS_RAWIO
	case wire.LowMemlock:
		capability = unix.CAP_IPC_LOCK
		limit := unix.Rlimit{Cur: wire.MemlockLimit, Max: wire.MemlockLimit}
		if err := unix.Setrlimit(unix.RLIMIT_MEMLOCK, &limit); err != nil {
			return fmt.Errorf("launch: RLIMIT_MEMLOCK: %w", err)
		}
	default:
		return fmt.Errorf("launch: privileges %.40q: there are no such", argv[0])
	}
	if err := unix.Prctl(unix.PR_CAPBSET_DROP, capability, 0, 0, 0); err != nil {
		return fmt.Errorf("launch: give up capability %d: %w", capability, err)
	}
	return fmt.Errorf("launch %s: %w", argv[1], syscall.Exec(argv[1], argv[1:], os.Environ()))
}
