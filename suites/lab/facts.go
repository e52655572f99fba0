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
	"strconv"
	"strings"

	"noiommu-farm/suites/contract"
)

// maxConfig bounds the text of /proc/config.gz, in bytes.
const maxConfig = 4 << 20

// FindFacts finds out what the running kernel and the devices under test are.
// root is "/", or a directory that stands for it.
func FindFacts(root string, devices []*Device) (contract.Facts, error) {
	config, err := readConfig(filepath.Join(root, "proc/config.gz"))
	if err != nil {
		return contract.Facts{}, fmt.Errorf("find facts: %w (the kernel needs CONFIG_IKCONFIG_PROC)", err)
	}
	facts := contract.Facts{Config: contract.ParseConfig(config)}
	if facts.UnsafeMode, err = readBool(filepath.Join(root, unsafeMode)); err != nil {
		return facts, fmt.Errorf("find facts: %w", err)
	}
	if facts.SRIOV, err = readBool(filepath.Join(root, "sys/module/vfio_pci/parameters/enable_sriov")); err != nil {
		return facts, fmt.Errorf("find facts: %w", err)
	}
	if facts.Hugepages, err = readCount(filepath.Join(root, "sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages")); err != nil {
		return facts, fmt.Errorf("find facts: %w", err)
	}
	if facts.Hugepages1G, err = readCount(filepath.Join(root, "sys/kernel/mm/hugepages/hugepages-1048576kB/free_hugepages")); err != nil {
		return facts, fmt.Errorf("find facts: %w", err)
	}
	behind := 0
	for _, d := range devices {
		facts.Devices = append(facts.Devices, d.Model)
		if d.BehindIOMMU {
			behind++
		}
	}
	if behind > 0 && behind < len(devices) {
		return facts, errors.New("find facts: only some of the devices are behind an IOMMU; name those of one kind")
	}
	facts.IOMMU = behind > 0
	return facts, nil
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
