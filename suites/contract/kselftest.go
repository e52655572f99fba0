// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"path"
	"time"
)

// Kselftest is what is known of one of the kernel's own test programs. They
// declare nothing themselves, so it is written down here once.
type Kselftest struct {
	Suite    string        // directory under tools/testing/selftests: "vfio"
	Program  string        // "vfio_dma_mapping_test"
	Requires []Requirement // what it needs of a cell
	Off      string        // why it is not run unless asked for by name, or by night
	Memory   int           // MiB that a guest needs for it; 0 is no more than any
	Limit    time.Duration // what it may take on an idle machine with hardware virtualization; 0 is the usual
	Skips    []Skip        // tests in it that are skipped for want of something
	Variants []Variant     // variants in it that are left out for want of something
}

// Variant says that a variant of a program's fixtures is left out of a cell.
type Variant struct {
	Name   string      // as kselftest_harness.h prints it, and takes it after -V
	Unless Requirement // what the cell would need for it to run
}

// Skip says that tests of a program must be skipped in a cell.
type Skip struct {
	Match  string      `json:"match"`  // glob of the test's name, as in path.Match
	Unless Requirement `json:"unless"` // what the cell would need for them to run
}

// Matches says whether the test of that name is one of those.
func (s Skip) Matches(name string) bool {
	ok, err := path.Match(s.Match, name)
	return ok && err == nil
}

// Kselftests are the kernel's own VFIO and iommufd test programs as of Linux
// 7.3.4 (tools/testing/selftests/{vfio,iommu}).
var Kselftests = []Kselftest{
	{Suite: "vfio", Program: "vfio_iommufd_setup_test", Requires: []Requirement{IOMMU, Cdev}},
	{Suite: "vfio", Program: "vfio_pci_device_test", Requires: []Requirement{IOMMU, Cdev},
		Skips: []Skip{{Match: "vfio_pci_device_test.reset", Unless: Reset}, {Match: "vfio_pci_irq_test.msix.*", Unless: MSIX}}},
	{Suite: "vfio", Program: "vfio_dma_mapping_test", Requires: []Requirement{IOMMU, Cdev, Group, Hugepages},
		Skips: []Skip{{Match: "*_anonymous_hugetlb_1gb.*", Unless: Hugepages1G}}},
	// It takes a type 1 container for VFIO's own, which maps a BAR; iommufd's
	// does not (do_mmio_map_test in vfio_dma_mapping_mmio_test.c).
	{Suite: "vfio", Program: "vfio_dma_mapping_mmio_test", Requires: []Requirement{IOMMU, Cdev, Group},
		Variants: []Variant{{Name: "vfio_type1_iommu", Unless: NativeContainer}, {Name: "vfio_type1v2_iommu", Unless: NativeContainer}}},
	{Suite: "vfio", Program: "vfio_pci_device_init_perf_test", Requires: []Requirement{IOMMU, Cdev, Group}},
	{Suite: "vfio", Program: "vfio_pci_sriov_uapi_test", Requires: []Requirement{IOMMU, Cdev, Group, IGB, SRIOV}},
	{Suite: "vfio", Program: "vfio_pci_driver_test", Requires: []Requirement{IOMMU, Cdev, Group, IGB},
		Off: "pins 1.1 GiB and takes more than 6 minutes under emulation", Memory: 3072, Limit: 10 * time.Minute},
	{Suite: "iommu", Program: "iommufd"},
	{Suite: "iommu", Program: "iommufd_fail_nth"},
}

// FindKselftest finds what is known of a program. A program that is not known
// (one that a patch adds, say) is run wherever there is an IOMMU or not.
func FindKselftest(suite, program string) Kselftest {
	for _, k := range Kselftests {
		if k.Suite == suite && k.Program == program {
			return k
		}
	}
	return Kselftest{Suite: suite, Program: program}
}
