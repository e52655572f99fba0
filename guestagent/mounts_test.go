// SPDX-License-Identifier: Apache-2.0

package main

import (
	"path/filepath"
	"strings"
	"testing"
)

// Only a file system that is needed may stop the guest.
func TestMountAll(t *testing.T) {
	absent := mount{fs: "no-such-filesystem", dir: filepath.Join(t.TempDir(), "m")}
	if err := mountAll([]mount{absent}); err != nil {
		t.Errorf("not needed: %v", err)
	}
	absent.need = true
	if err := mountAll([]mount{absent}); err == nil || !strings.Contains(err.Error(), absent.fs) {
		t.Errorf("needed: %v", err)
	}
}
