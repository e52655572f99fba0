// SPDX-License-Identifier: Apache-2.0

package gate

import (
	"slices"

	"noiommu-farm/internal/fault"
)

// An architecture to configure for.
type architecture struct {
	name   string // what a user calls it
	kbuild string // what kbuild calls it
	source string // its directory under arch/
	base   string // the options that choose the machine
}

// architectures are three whose atomic64_t is the machine's own, and three that
// have GENERIC_ATOMIC64: there the page table of the cdev's no-IOMMU mode
// cannot be built.
var architectures = []architecture{
	{"x86_64", "x86_64", "x86", "CONFIG_64BIT=y\n"},
	{"arm64", "arm64", "arm64", ""},
	{"arm", "arm", "arm", "CONFIG_MMU=y\nCONFIG_ARCH_MULTIPLATFORM=y\nCONFIG_ARCH_MULTI_V7=y\nCONFIG_AEABI=y\n"},
	{"m68k", "m68k", "m68k", "CONFIG_MMU=y\n"},
	{"riscv32", "riscv", "riscv", "CONFIG_NONPORTABLE=y\nCONFIG_ARCH_RV32I=y\nCONFIG_MMU=y\n"},
	{"mips", "mips", "mips", "CONFIG_32BIT=y\n"},
}

// Architectures are the names of those that the gate knows.
func Architectures() []string {
	var names []string
	for _, a := range architectures {
		names = append(names, a.name)
	}
	return names
}

// CheckArchitectures refuses a name that the gate does not know.
func CheckArchitectures(names []string) error {
	_, err := architecturesOf(names)
	return err
}

// architecturesOf finds them by name; none is all. An unknown name is a
// *fault.Usage.
func architecturesOf(names []string) ([]architecture, error) {
	if len(names) == 0 {
		return architectures, nil
	}
	var found []architecture
	for _, name := range names {
		i := slices.IndexFunc(architectures, func(a architecture) bool { return a.name == name })
		if i < 0 {
			return nil, &fault.Usage{Key: "--arch", Value: name, Allowed: Architectures()}
		}
		if !slices.ContainsFunc(found, func(a architecture) bool { return a.name == name }) {
			found = append(found, architectures[i])
		}
	}
	return found, nil
}
