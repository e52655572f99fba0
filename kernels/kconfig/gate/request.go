// SPDX-License-Identifier: Apache-2.0

package gate

import (
	"fmt"
	"strings"
)

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
	// more is what a series brought, switched on beside all that. The
	// statements say nothing of such a configuration.
	more []string
}

// requests are all combinations, and one that leaves no-IOMMU to its default.
func requests() []request {
	var all []request
	for _, group := range []bool{true, false} {
		for _, c := range []container{native, compat, none} {
			for _, cdev := range []bool{true, false} {
				for _, iommufd := range []string{"y", "m", "n"} {
					for _, noiommu := range []bool{true, false} {
						all = append(all, request{group: group, container: c, cdev: cdev, iommufd: iommufd, noiommu: noiommu})
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
	return append(list, r.more...)
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
