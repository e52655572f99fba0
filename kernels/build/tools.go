// SPDX-License-Identifier: Apache-2.0

package build

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"noiommu-farm/kernels/sandbox"
)

// programs that kbuild calls for the farm's configurations, and their Debian
// packages.
var tools = []struct{ program, pkg string }{
	{"make", "make"}, {"gcc", "gcc"}, {"ld", "binutils"}, {"flex", "flex"}, {"bison", "bison"},
	{"bc", "bc"}, {"awk", "mawk"}, {"cmp", "diffutils"}, {"gzip", "gzip"}, {"prlimit", "util-linux"},
}

// Compiler checks the tools and says what the compiler and the linker call
// themselves: builds with another one are other builds.
func Compiler(ctx context.Context) (string, error) {
	for _, t := range tools {
		if err := sandbox.Look(t.program, t.pkg); err != nil {
			return "", err
		}
	}
	// objtool reads object files with it.
	if err := header("gelf.h", "libelf-dev"); err != nil {
		return "", err
	}
	var names []string
	for _, program := range []string{"gcc", "ld"} {
		var out bytes.Buffer
		if err := sandbox.Run(ctx, sandbox.Command{Args: []string{program, "--version"}, Stdout: &out}); err != nil {
			return "", fmt.Errorf("%s --version: %w", program, err)
		}
		first, _, _ := strings.Cut(out.String(), "\n")
		names = append(names, strings.TrimSpace(first))
	}
	return strings.Join(names, ", "), nil
}

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
