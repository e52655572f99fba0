// SPDX-License-Identifier: Apache-2.0

package gate

import (
	"fmt"
	"strings"
)

// An architecture to configure for.
type architecture struct {
	name   string // what kbuild calls it
	source string // its directory under arch/
	base   string // the options that choose the machine
}

// architectures are two whose atomic64_t is the machine's own, and two that
// have GENERIC_ATOMIC64: there the page table of the cdev's no-IOMMU mode
// cannot be built.
var architectures = []architecture{
	{"x86_64", "x86", "CONFIG_64BIT=y\n"},
	{"arm64", "arm64", ""},
	{"m68k", "m68k", "CONFIG_MMU=y\n"},
	{"riscv", "riscv", "CONFIG_NONPORTABLE=y\nCONFIG_ARCH_RV32I=y\nCONFIG_MMU=y\n"},
}

// A container is what /dev/vfio/vfio is asked to be.
type container string

const (
	native container = "native" // VFIO_CONTAINER
	compat container = "compat" // IOMMUFD_VFIO_CONTAINER
	none   container = "none"
)

// A request is one configuration of VFIO. VFIO itself is m when iommufd is.
type request struct {
	group     bool
	container container
	cdev      bool
	iommufd   string // y, m, n
	noiommu   bool
	defaults  bool // VFIO_NOIOMMU is not mentioned: Kconfig's default decides
}

// requests are all combinations, and one that leaves no-IOMMU to its default.
func requests() []request {
	var all []request
	for _, group := range []bool{true, false} {
		for _, c := range []container{native, compat, none} {
			for _, cdev := range []bool{true, false} {
				for _, iommufd := range []string{"y", "m", "n"} {
					for _, noiommu := range []bool{true, false} {
						all = append(all, request{group, c, cdev, iommufd, noiommu, false})
					}
				}
			}
		}
	}
	return append(all, request{group: true, container: native, cdev: true, iommufd: "y", defaults: true})
}

// options is the request in Kconfig's words.
func (r request) options() []string {
	vfio := "y"
	if r.iommufd == "m" {
		vfio = "m"
	}
	list := []string{
		"IOMMUFD=" + r.iommufd,
		"VFIO=" + vfio,
		"VFIO_GROUP=" + value(r.group),
		"VFIO_CONTAINER=" + value(r.container == native),
		"IOMMUFD_VFIO_CONTAINER=" + value(r.container == compat),
		"VFIO_DEVICE_CDEV=" + value(r.cdev),
	}
	if !r.defaults {
		list = append(list, "VFIO_NOIOMMU="+value(r.noiommu))
	}
	if !r.noiommu {
		list = append(list, "IOMMUFD_NOIOMMU=y") // in vain: only VFIO_NOIOMMU may set it
	}
	return list
}

// String is the request as a finding quotes it.
func (r request) String() string { return strings.Join(r.options(), " ") }

// fragment is the request as conf reads it.
func (a architecture) fragment(r request) string {
	var b strings.Builder
	b.WriteString(a.alone())
	for _, o := range r.options() {
		fmt.Fprintf(&b, "CONFIG_%s\n", o)
	}
	return b.String()
}

// alone is the architecture without VFIO.
func (a architecture) alone() string {
	return a.base + "CONFIG_MODULES=y\nCONFIG_IOMMU_SUPPORT=y\n"
}

func value(on bool) string {
	if on {
		return "y"
	}
	return "n"
}
