// SPDX-License-Identifier: Apache-2.0

package build

import (
	"fmt"
	"os"
	"path/filepath"
)

// selftestTools checks what the selftests link with.
func selftestTools(s suite) error {
	switch s.name {
	case "vfio":
		if err := header("uuid/uuid.h", "uuid-dev"); err != nil {
			return err
		}
		return library("libuuid.a", "uuid-dev")
	case "iommu":
		if err := header("sys/capability.h", "libcap-dev"); err != nil {
			return err
		}
		return library("libcap.a", "libcap-dev")
	}
	return nil
}

func header(name, pkg string) error { return anyOf(name, pkg, "/usr/include/", "/usr/include/*/") }

func library(name, pkg string) error { return anyOf(name, pkg, "/usr/lib/", "/usr/lib/*/") }

func anyOf(name, pkg string, dirs ...string) error {
	for _, dir := range dirs {
		found, _ := filepath.Glob(dir + name)
		for _, f := range found {
			if _, err := os.Stat(f); err == nil {
				return nil
			}
		}
	}
	return fmt.Errorf("%s is not installed (Debian package: %s)", name, pkg)
}
