// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"golang.org/x/sys/unix"

	"noiommu-farm/suites/uapi"
)

// CompatIOMMUFD opens /dev/vfio/vfio of a kernel whose container is an iommufd
// (CONFIG_IOMMUFD_VFIO_CONTAINER): a new iommufd.
func (t *T) CompatIOMMUFD() *IOMMUFD {
	f, err := uapi.Open(t.Tally, "/dev/vfio/vfio", unix.O_RDWR)
	t.Must(err, "open /dev/vfio/vfio")
	t.Cleanup(func() { t.OK(f.Close(), "cleanup: close the iommufd at /dev/vfio/vfio") })
	return &IOMMUFD{f, t}
}
