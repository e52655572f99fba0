// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"noiommu-farm/guestagent/wire"
	"noiommu-farm/suites/contract"
)

// maxConfig bounds the text of /proc/config.gz, in bytes.
const maxConfig = 4 << 20

// FindFacts finds out what the running kernel and the devices under test are.
// root is "/", or a directory that stands for it.
func FindFacts(root string, devices []*Device) (contract.Facts, error) {
	var facts contract.Facts
	for _, find := range []func() error{
		func() error { return findKernel(root, &facts) },
		func() error { return findMemory(root, &facts) },
		func() (err error) { facts.IOMMU, err = findIOMMU(root, devices); return err },
		func() (err error) { facts.Privileges, err = findPrivileges(root); return err },
	} {
		if err := find(); err != nil {
			return facts, fmt.Errorf("find facts: %w", err)
		}
	}
	facts.Host = os.Getenv(wire.HostEnv) != ""
	for _, d := range devices {
		facts.Devices = append(facts.Devices, d.Has)
	}
	return facts, nil
}

// findKernel finds what the kernel was built with and its parameters.
func findKernel(root string, facts *contract.Facts) error {
	config, err := readConfig(filepath.Join(root, "proc/config.gz"))
	if err != nil {
		return fmt.Errorf("%w (the kernel needs CONFIG_IKCONFIG_PROC)", err)
	}
	facts.Config = contract.ParseConfig(config)
	release, err := os.ReadFile(filepath.Join(root, "proc/sys/kernel/osrelease"))
	if err != nil {
		return err
	}
	// Whoever built the kernel knows better than its number.
	facts.GetPA = contract.HasGetPA(string(release))
	if said := os.Getenv(wire.GetPAEnv); said != "" {
		if facts.GetPA, err = strconv.ParseBool(said); err != nil {
			return fmt.Errorf("%s: %w", wire.GetPAEnv, err)
		}
	}
	if facts.UnsafeMode, err = readBool(filepath.Join(root, unsafeMode)); err != nil {
		return err
	}
	facts.SRIOV, err = readBool(filepath.Join(root, "sys/module/vfio_pci/parameters/enable_sriov"))
	return err
}

func findMemory(root string, facts *contract.Facts) (err error) {
	if facts.Hugepages, err = readCount(filepath.Join(root, "sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages")); err != nil {
		return err
	}
	if facts.Hugepages1G, err = readCount(filepath.Join(root, "sys/kernel/mm/hugepages/hugepages-1048576kB/free_hugepages")); err != nil {
		return err
	}
	zones, err := os.ReadFile(filepath.Join(root, "proc/zoneinfo"))
	facts.MemoryAbove4G = normalMemory(string(zones))
	return err
}

// normalMemory says whether a zone named Normal has pages: on x86-64 that is
// the memory above 4 GiB (Documentation/mm/physical_memory.rst). The
// addresses in /proc/iomem would need CAP_SYS_ADMIN.
func normalMemory(zoneinfo string) bool {
	zone := ""
	for line := range strings.Lines(zoneinfo) {
		fields := strings.Fields(line)
		switch {
		case len(fields) == 4 && fields[0] == "Node" && fields[2] == "zone":
			zone = fields[3]
		case len(fields) == 2 && fields[0] == "managed" && zone == "Normal" && fields[1] != "0":
			return true
		}
	}
	return false
}

// iommuKind is the kind of an IOMMU by its name in /sys/class/iommu:
// drivers/iommu/intel/dmar.c and drivers/iommu/amd/init.c number them, a
// virtio-iommu has its address on the PCI bus.
func iommuKind(name string) contract.IOMMUKind {
	switch {
	case strings.HasPrefix(name, "dmar"):
		return contract.Intel
	case strings.HasPrefix(name, "ivhd"):
		return contract.AMD
	case bdfPattern.MatchString(name):
		return contract.Virtio
	}
	return ""
}

// findIOMMU finds out about the IOMMU that the kernel drives.
func findIOMMU(root string, devices []*Device) (contract.IOMMUFacts, error) {
	var facts contract.IOMMUFacts
	entries, err := os.ReadDir(filepath.Join(root, "sys/class/iommu"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return facts, err
	}
	for _, e := range entries {
		if facts.Kind = iommuKind(e.Name()); facts.Kind == "" {
			return facts, fmt.Errorf("an IOMMU of an unknown kind: %s", e.Name())
		}
	}
	if facts.Kind == "" {
		facts.Off, err = switchedOff(root)
		return facts, err
	}
	for _, d := range devices {
		if !d.BehindIOMMU {
			continue
		}
		text, err := os.ReadFile(filepath.Join(d.dir, "iommu_group/type"))
		if err != nil {
			return facts, err
		}
		facts.Passthrough = strings.TrimSpace(string(text)) == "identity"
		break
	}
	// The interrupts that an IOMMU remaps are of chips with another name.
	chips, err := filepath.Glob(filepath.Join(root, "sys/kernel/irq/*/chip_name"))
	if err != nil {
		return facts, err
	}
	for _, chip := range chips {
		text, err := os.ReadFile(chip)
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // freed between the two looks
			return facts, err
		}
		facts.IntRemap = facts.IntRemap || strings.HasPrefix(string(text), "IR-")
	}
	return facts, nil
}

// switchedOff says whether the firmware describes a VT-d that the command line
// switches off.
func switchedOff(root string) (bool, error) {
	if _, err := os.Stat(filepath.Join(root, "sys/firmware/acpi/tables/DMAR")); errors.Is(err, fs.ErrNotExist) {
		return false, nil
	} else if err != nil {
		return false, err
	}
	line, err := os.ReadFile(filepath.Join(root, "proc/cmdline"))
	return slices.Contains(strings.Fields(string(line)), "intel_iommu=off"), err
}

// unsafeMode is the module parameter, below the root.
const unsafeMode = "sys/module/vfio/parameters/enable_unsafe_noiommu_mode"

func readConfig(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	text, err := io.ReadAll(io.LimitReader(z, maxConfig))
	if err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	return string(text), nil
}

// readBool reads a module parameter; one that does not exist is false.
func readBool(path string) (bool, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return strings.TrimSpace(string(text)) == "Y", err
}

// readCount reads a number; one that does not exist is 0.
func readCount(path string) (int, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return 0, fmt.Errorf("%s: %w", path, err)
	}
	return n, nil
}
