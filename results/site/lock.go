// SPDX-License-Identifier: Apache-2.0

package site

import (
	"os"

	"golang.org/x/sys/unix"
)

// locked says whether somebody holds the lock of a run, by flock(2) on a file in
// its directory; known is false when there is no such file.
func locked(path string) (held, known bool) {
	f, err := os.Open(path)
	if err != nil {
		return false, false
	}
	defer f.Close()
	err = unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB)
	return err == unix.EWOULDBLOCK, true
}
