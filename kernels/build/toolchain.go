// SPDX-License-Identifier: Apache-2.0

package build

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"
	"regexp"
	"sort"
	"strconv"
	"strings"

	"noiommu-farm/internal/fault"
	"noiommu-farm/kernels/sandbox"
)

// A Toolchain is a compiler with its linker and object tools.
type Toolchain struct {
	Name    string // gcc, clang or clang-N
	Version string // what the compiler and the linker call themselves: builds with another are other builds
	make    []string
}

// programs that kbuild calls for the farm's configurations, and their Debian
// packages.
var tools = []struct{ program, pkg string }{
	{"make", "make"}, {"gcc", "gcc"}, {"ld", "binutils"}, {"flex", "flex"}, {"bison", "bison"},
	{"bc", "bc"}, {"awk", "mawk"}, {"cmp", "diffutils"}, {"gzip", "gzip"}, {"prlimit", "util-linux"},
}

// llvm is what LLVM=1 has kbuild call instead of gcc and binutils.
var llvm = []struct{ program, pkg string }{
	{"clang", "clang"}, {"ld.lld", "lld"}, {"llvm-ar", "llvm"}, {"llvm-nm", "llvm"}, {"llvm-objcopy", "llvm"},
	{"llvm-objdump", "llvm"}, {"llvm-readelf", "llvm"}, {"llvm-strip", "llvm"},
}

var clangName = regexp.MustCompile(`^clang(?:-([0-9]{1,3}))?$`)

// FindToolchain checks the tools of a compiler: "gcc", or "" for it; "clang",
// the newest that is installed with all its tools; or "clang-N". One that does
// not exist or is not installed is a *fault.Usage.
func FindToolchain(ctx context.Context, name string) (Toolchain, error) {
	for _, t := range tools {
		if err := sandbox.Look(t.program, t.pkg); err != nil {
			return Toolchain{}, err
		}
	}
	// objtool reads object files with it.
	if err := header("gelf.h", "libelf-dev"); err != nil {
		return Toolchain{}, err
	}
	if name == "" || name == "gcc" {
		return describe(ctx, Toolchain{Name: "gcc"}, "gcc", "ld")
	}
	m := clangName.FindStringSubmatch(name)
	if m == nil {
		return Toolchain{}, &fault.Usage{Key: "compiler", Value: name, Allowed: []string{"gcc", "clang", "clang-N"}}
	}
	suffixes := []string{m[1]}
	if m[1] == "" {
		suffixes = append(clangs(), "")
	}
	var missing error
	for _, n := range suffixes {
		t := Toolchain{Name: "clang", make: []string{"LLVM=1"}}
		suffix := ""
		if n != "" {
			suffix = "-" + n
			t = Toolchain{Name: "clang" + suffix, make: []string{"LLVM=" + suffix}}
		}
		if missing = lookAll(suffix); missing == nil {
			return describe(ctx, t, "clang"+suffix, "ld.lld"+suffix)
		}
	}
	return Toolchain{}, &fault.Usage{Key: "compiler", Value: name, Err: missing}
}

func lookAll(suffix string) error {
	for _, t := range llvm {
		if err := sandbox.Look(t.program+suffix, t.pkg+suffix); err != nil {
			return err
		}
	}
	return nil
}

// clangs lists the versions in the names of the clangs that are installed,
// newest first.
func clangs() []string {
	found, _ := filepath.Glob("/usr/bin/clang-[0-9]*")
	var versions []string
	for _, f := range found {
		if m := clangName.FindStringSubmatch(filepath.Base(f)); m != nil {
			versions = append(versions, m[1])
		}
	}
	sort.Slice(versions, func(i, j int) bool {
		a, _ := strconv.Atoi(versions[i])
		b, _ := strconv.Atoi(versions[j])
		return a > b
	})
	return versions
}

func describe(ctx context.Context, t Toolchain, programs ...string) (Toolchain, error) {
	var names []string
	for _, program := range programs {
		var out bytes.Buffer
		if err := sandbox.Run(ctx, sandbox.Command{Args: []string{program, "--version"}, Stdout: &out}); err != nil {
			return Toolchain{}, fmt.Errorf("%s --version: %w", program, err)
		}
		first, _, _ := strings.Cut(out.String(), "\n")
		names = append(names, strings.TrimSpace(first))
	}
	t.Version = strings.Join(names, ", ")
	return t, nil
}

// tooOld is what scripts/cc-version.sh and ld-version.sh say.
var tooOld = regexp.MustCompile(`(?m)^\*\*\* (.* is too old)\.\s*\n\*\*\*\s+Your (.*)\n\*\*\*\s+(Minimum .*)$`)

// refused is the *fault.Usage of a kernel that does not accept the toolchain;
// nil when that is not what was said.
func (t Toolchain) refused(said, version string) error {
	m := tooOld.FindStringSubmatch(said)
	if m == nil {
		return nil
	}
	return &fault.Usage{Key: "compiler", Value: t.Name, Err: fmt.Errorf("not for Linux %s, which says: %s: %s, %s", version, m[1], squeeze(m[2]), squeeze(m[3]))}
}

// squeeze makes one space of many.
func squeeze(s string) string { return strings.Join(strings.Fields(s), " ") }
