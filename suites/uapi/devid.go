// SPDX-License-Identifier: Apache-2.0

package uapi

// From include/uapi/linux/vfio.h: what stands in the place of a device's id
// in a hot reset, and flags of a device's bind, detach and regions.

const (
	VFIO_PCI_DEVID_NOT_OWNED = ^uint32(0) // -1

	VFIO_DEVICE_BIND_FLAG_TOKEN = 1 << 0
	VFIO_DEVICE_DETACH_PASID    = 1 << 0

	VFIO_REGION_INFO_FLAG_READ  = 1 << 0
	VFIO_REGION_INFO_FLAG_WRITE = 1 << 1
	VFIO_REGION_INFO_FLAG_MMAP  = 1 << 2
	VFIO_REGION_INFO_FLAG_CAPS  = 1 << 3

	// From enum vfio_pci_regions.
	VFIO_PCI_BAR5_REGION_INDEX = 5
)
