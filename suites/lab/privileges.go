// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"noiommu-farm/suites/contract"
)

// findPrivileges finds out what this process may do. root is "/", or a
// directory that stands for it.
func findPrivileges(root string) (contract.Privileges, error) {
	status, err := os.ReadFile(filepath.Join(root, "proc/self/status"))
	if err != nil {
		return "", err
	}
	last, err := readCount(filepath.Join(root, "proc/sys/kernel/cap_last_cap"))
	if err != nil {
		return "", err
	}
	// A kernel without user namespaces has no such file.
	users, err := os.ReadFile(filepath.Join(root, "proc/self/uid_map"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	var memlock unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_MEMLOCK, &memlock); err != nil {
		return "", fmt.Errorf("RLIMIT_MEMLOCK: %w", err)
	}
	return privilegesOf(string(status), string(users), last, memlock.Cur)
}

// everyUser is the map of the first user namespace: each user is itself.
const everyUser = "0 0 4294967295"

// privilegesOf names privileges: status is /proc/self/status, users is
// /proc/self/uid_map, last is the greatest capability of the kernel, memlock is
// RLIMIT_MEMLOCK in bytes.
func privilegesOf(status, users string, last int, memlock uint64) (contract.Privileges, error) {
	uid, caps := -1, uint64(0)
	for line := range strings.Lines(status) {
		fields := strings.Fields(line)
		var err error
		switch {
		case len(fields) == 5 && fields[0] == "Uid:":
			uid, err = strconv.Atoi(fields[2]) // the effective one
		case len(fields) == 2 && fields[0] == "CapEff:":
			caps, err = strconv.ParseUint(fields[1], 16, 64)
		}
		if err != nil {
			return "", fmt.Errorf("status %q: %w", line, err)
		}
	}
	all := uint64(1)<<(last+1) - 1
	without := func(capability int) bool { return uid == 0 && caps == all&^(1<<capability) }
	switch first := users == "" || strings.Join(strings.Fields(users), " ") == everyUser; {
	case !first && uid == 0 && caps == all:
		return contract.UserNamespace, nil
	case !first:
	case uid == 0 && caps == all:
		return contract.Root, nil
	case without(unix.CAP_SYS_RAWIO):
		return contract.NoRawIO, nil
	case without(unix.CAP_IPC_LOCK) && memlock == contract.MemlockLimit:
		return contract.LowMemlock, nil
	case uid > 0 && caps == 0:
		return contract.Unprivileged, nil
	}
	return "", fmt.Errorf("user %d with capabilities %#x of %#x has none of the privileges %q", uid, caps, all, contract.AllPrivileges)
}
