// SPDX-License-Identifier: Apache-2.0

package uapi

// From include/uapi/linux/vfio.h: features of a device, of which the suites
// use dma-bufs of its memory.

const (
	VFIO_DEVICE_FEATURE_GET   = 1 << 16
	VFIO_DEVICE_FEATURE_PROBE = 1 << 18

	VFIO_DEVICE_FEATURE_DMA_BUF = 11
)

// DeviceFeature is struct vfio_device_feature without its data, which follows
// it.
type DeviceFeature struct {
	Argsz uint32
	Flags uint32 // the feature's number, and what to do with it
}

// DeviceFeatureDMABuf is struct vfio_device_feature_dma_buf without its
// ranges, which follow it.
type DeviceFeatureDMABuf struct {
	RegionIndex uint32
	OpenFlags   uint32
	Flags       uint32
	NrRanges    uint32
}

// RegionDMARange is struct vfio_region_dma_range: a part of a region, in bytes.
type RegionDMARange struct {
	Offset uint64
	Length uint64
}
