// SPDX-License-Identifier: Apache-2.0

// Package contract holds what VFIO's no-IOMMU mode promises its users, as
// data: one [Statement] for each promise, with what it requires of a cell and
// the kernel source line behind it. The suites prove the statements; the host
// derives from the same data what must happen in a cell.
//
// There is no test code here and nothing that touches a guest or a host.
package contract

import (
	"fmt"
	"slices"
	"strings"
)

// Requirement is one condition on a cell. Its text is the typed reason of a
// skip, so it never changes meaning.
type Requirement string

const (
	Group           Requirement = "group"            // CONFIG_VFIO_GROUP
	NativeContainer Requirement = "native-container" // CONFIG_VFIO_CONTAINER
	IOMMUFD         Requirement = "iommufd"          // CONFIG_IOMMUFD
	Cdev            Requirement = "cdev"             // CONFIG_VFIO_DEVICE_CDEV
	Noiommu         Requirement = "noiommu"          // CONFIG_VFIO_NOIOMMU
	NoiommuCdev     Requirement = "noiommu-cdev"     // CONFIG_IOMMUFD_NOIOMMU: no-IOMMU through the cdev
	UnsafeMode      Requirement = "unsafe-mode"      // vfio.enable_unsafe_noiommu_mode=Y
	NoIOMMU         Requirement = "no-iommu"         // the devices under test are not behind an IOMMU
	IOMMU           Requirement = "iommu"            // the devices under test are behind an IOMMU
	Hugepages       Requirement = "hugepages"        // at least MinHugepages pages of 2 MiB
	Hugepages1G     Requirement = "hugepages-1g"     // at least one page of 1 GiB
	Edu             Requirement = "edu"              // an edu device is under test
	IGB             Requirement = "igb"              // an igb device is under test
	TwoDevices      Requirement = "two-devices"      // at least two functions are under test
	SRIOV           Requirement = "sriov"            // vfio_pci.enable_sriov=1
)

// MinHugepages is how many free 2 MiB pages the statements that need
// hugepages may use at once.
const MinHugepages = 4

// Facts is what is known of a cell. The host derives it from the built .config
// and the machine; in the guest the suites find it out for themselves.
type Facts struct {
	Config      Config   `json:"config"`
	UnsafeMode  bool     `json:"unsafe_mode"`  // the module parameter
	IOMMU       bool     `json:"iommu"`        // the devices under test are behind an IOMMU
	SRIOV       bool     `json:"sriov"`        // vfio_pci.enable_sriov
	Hugepages   int      `json:"hugepages"`    // of 2 MiB
	Hugepages1G int      `json:"hugepages_1g"` // of 1 GiB
	Devices     []string `json:"devices"`      // the models under test: "edu", "igb", in BDF order
}

// Config is the part of a built .config that decides what noiommu promises.
// A field is true for y and for m.
type Config struct {
	Group           bool `json:"group"`            // VFIO_GROUP
	Container       bool `json:"container"`        // VFIO_CONTAINER
	CompatContainer bool `json:"compat_container"` // IOMMUFD_VFIO_CONTAINER
	Cdev            bool `json:"cdev"`             // VFIO_DEVICE_CDEV
	IOMMUFD         bool `json:"iommufd"`          // IOMMUFD
	Noiommu         bool `json:"noiommu"`          // VFIO_NOIOMMU
	NoiommuCdev     bool `json:"noiommu_cdev"`     // IOMMUFD_NOIOMMU
	IOMMUFDTest     bool `json:"iommufd_test"`     // IOMMUFD_TEST
}

// ParseConfig reads the facts from the text of a .config.
func ParseConfig(text string) Config {
	set := make(map[string]bool)
	for line := range strings.Lines(text) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), "=")
		if ok && (value == "y" || value == "m") {
			set[strings.TrimPrefix(name, "CONFIG_")] = true
		}
	}
	return Config{
		Group:           set["VFIO_GROUP"],
		Container:       set["VFIO_CONTAINER"],
		CompatContainer: set["IOMMUFD_VFIO_CONTAINER"],
		Cdev:            set["VFIO_DEVICE_CDEV"],
		IOMMUFD:         set["IOMMUFD"],
		Noiommu:         set["VFIO_NOIOMMU"],
		NoiommuCdev:     set["IOMMUFD_NOIOMMU"],
		IOMMUFDTest:     set["IOMMUFD_TEST"],
	}
}

// Meets says whether the cell fulfils r. An unknown requirement is a
// programming error.
func (f Facts) Meets(r Requirement) bool {
	switch r {
	case Group:
		return f.Config.Group
	case NativeContainer:
		return f.Config.Container
	case IOMMUFD:
		return f.Config.IOMMUFD
	case Cdev:
		return f.Config.Cdev
	case Noiommu:
		return f.Config.Noiommu
	case NoiommuCdev:
		return f.Config.NoiommuCdev
	case UnsafeMode:
		return f.UnsafeMode
	case NoIOMMU:
		return !f.IOMMU
	case IOMMU:
		return f.IOMMU
	case Hugepages:
		return f.Hugepages >= MinHugepages
	case Hugepages1G:
		return f.Hugepages1G > 0
	case Edu:
		return slices.Contains(f.Devices, "edu")
	case IGB:
		return slices.Contains(f.Devices, "igb")
	case TwoDevices:
		return len(f.Devices) >= 2
	case SRIOV:
		return f.SRIOV
	}
	panic(fmt.Sprintf("contract: unknown requirement %q", r))
}

// Unmet lists the requirements that the cell does not fulfil, in order.
func (f Facts) Unmet(rs []Requirement) []Requirement {
	var unmet []Requirement
	for _, r := range rs {
		if !f.Meets(r) {
			unmet = append(unmet, r)
		}
	}
	return unmet
}

// Phase says at which point of a cell a statement is tested.
type Phase int

const (
	Bound   Phase = iota // the devices under test are bound to vfio-pci
	Unbound              // before any device was bound since boot
	AtEnd                // after everything else in the cell
)

// Statement is one promise and how a cell is to be held to it.
type Statement struct {
	ID       string        // "PA-02"
	Suite    string        // the suite that proves it: "get_pa"
	Promise  string        // what is promised, one sentence
	Source   []string      // kernel source lines behind it, Linux 7.3.4
	Requires []Requirement // all must hold for the statement to apply
	Phase    Phase
	// Evidence names the counters that must be above zero for a pass to
	// count: the name of an ioctl that succeeded ("IOMMU_IOAS_MAP"), one that
	// failed as promised ("IOMMU_IOAS_MAP:EINVAL"), "dma.bytes",
	// "sysfs.reads", ...
	Evidence []string
}

// Name is the name of the statement's test in KTAP: "get_pa.PA-02".
func (s Statement) Name() string { return s.Suite + "." + s.ID }

// SkipReason is the text after "# SKIP" when a statement does not apply.
func SkipReason(unmet []Requirement) string {
	words := make([]string, len(unmet))
	for i, r := range unmet {
		words[i] = string(r)
	}
	return "requires " + strings.Join(words, ",")
}

// ByID finds a statement.
func ByID(id string) (Statement, bool) {
	i := slices.IndexFunc(Statements, func(s Statement) bool { return s.ID == id })
	if i < 0 {
		return Statement{}, false
	}
	return Statements[i], true
}
