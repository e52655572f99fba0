// SPDX-License-Identifier: Apache-2.0

package uapi

// From include/uapi/linux/iommufd.h. Every struct begins with its own size in
// bytes, which the caller sets; fields named Out are set by the kernel.

var (
	IOMMU_DESTROY                 = Ioctl{"IOMMU_DESTROY", 0x3b80}
	IOMMU_IOAS_ALLOC              = Ioctl{"IOMMU_IOAS_ALLOC", 0x3b81}
	IOMMU_IOAS_ALLOW_IOVAS        = Ioctl{"IOMMU_IOAS_ALLOW_IOVAS", 0x3b82}
	IOMMU_IOAS_COPY               = Ioctl{"IOMMU_IOAS_COPY", 0x3b83}
	IOMMU_IOAS_IOVA_RANGES        = Ioctl{"IOMMU_IOAS_IOVA_RANGES", 0x3b84}
	IOMMU_IOAS_MAP                = Ioctl{"IOMMU_IOAS_MAP", 0x3b85}
	IOMMU_IOAS_UNMAP              = Ioctl{"IOMMU_IOAS_UNMAP", 0x3b86}
	IOMMU_OPTION                  = Ioctl{"IOMMU_OPTION", 0x3b87}
	IOMMU_VFIO_IOAS               = Ioctl{"IOMMU_VFIO_IOAS", 0x3b88}
	IOMMU_HWPT_ALLOC              = Ioctl{"IOMMU_HWPT_ALLOC", 0x3b89}
	IOMMU_GET_HW_INFO             = Ioctl{"IOMMU_GET_HW_INFO", 0x3b8a}
	IOMMU_HWPT_SET_DIRTY_TRACKING = Ioctl{"IOMMU_HWPT_SET_DIRTY_TRACKING", 0x3b8b}
	IOMMU_HWPT_GET_DIRTY_BITMAP   = Ioctl{"IOMMU_HWPT_GET_DIRTY_BITMAP", 0x3b8c}
	IOMMU_IOAS_MAP_FILE           = Ioctl{"IOMMU_IOAS_MAP_FILE", 0x3b8f}
	IOMMU_VIOMMU_ALLOC            = Ioctl{"IOMMU_VIOMMU_ALLOC", 0x3b90}
	IOMMU_VDEVICE_ALLOC           = Ioctl{"IOMMU_VDEVICE_ALLOC", 0x3b91}
	IOMMU_IOAS_NOIOMMU_GET_PA     = Ioctl{"IOMMU_IOAS_NOIOMMU_GET_PA", 0x3b95}
)

const (
	IOMMU_IOAS_MAP_FIXED_IOVA = 1 << 0
	IOMMU_IOAS_MAP_WRITEABLE  = 1 << 1
	IOMMU_IOAS_MAP_READABLE   = 1 << 2

	IOMMU_HWPT_ALLOC_NEST_PARENT    = 1 << 0
	IOMMU_HWPT_ALLOC_DIRTY_TRACKING = 1 << 1
	IOMMU_HWPT_ALLOC_PASID          = 1 << 3
	IOMMU_HWPT_DATA_NONE            = 0
	IOMMU_HWPT_DATA_VTD_S1          = 1

	IOMMU_HWPT_DIRTY_TRACKING_ENABLE     = 1 << 0
	IOMMU_HWPT_GET_DIRTY_BITMAP_NO_CLEAR = 1 << 0

	IOMMU_HW_INFO_TYPE_INTEL_VTD = 1
	IOMMU_VIOMMU_TYPE_ARM_SMMUV3 = 1

	IOMMU_OPTION_HUGE_PAGES = 1
	IOMMU_OPTION_OP_SET     = 0
	IOMMU_OPTION_OP_GET     = 1

	IOMMU_VFIO_IOAS_GET   = 0
	IOMMU_VFIO_IOAS_SET   = 1
	IOMMU_VFIO_IOAS_CLEAR = 2
)

// Destroy is struct iommu_destroy.
type Destroy struct {
	Size uint32
	ID   uint32
}

// IOASAlloc is struct iommu_ioas_alloc.
type IOASAlloc struct {
	Size      uint32
	Flags     uint32
	OutIOASID uint32
}

// IOVARange is struct iommu_iova_range: an inclusive range.
type IOVARange struct {
	Start uint64
	Last  uint64
}

// IOASIOVARanges is struct iommu_ioas_iova_ranges.
type IOASIOVARanges struct {
	Size             uint32
	IOASID           uint32
	NumIOVAs         uint32
	Reserved         uint32
	AllowedIOVAs     uint64
	OutIOVAAlignment uint64
}

// IOASMap is struct iommu_ioas_map.
type IOASMap struct {
	Size     uint32
	Flags    uint32
	IOASID   uint32
	Reserved uint32
	UserVA   uint64
	Length   uint64
	IOVA     uint64
}

// IOASUnmap is struct iommu_ioas_unmap.
type IOASUnmap struct {
	Size   uint32
	IOASID uint32
	IOVA   uint64
	Length uint64
}

// IOASNoiommuGetPA is struct iommu_ioas_noiommu_get_pa.
type IOASNoiommuGetPA struct {
	Size     uint32
	Flags    uint32
	IOASID   uint32
	Reserved uint32
	IOVA     uint64
	Length   uint64
	OutPhys  uint64
}

// HWPTAlloc is struct iommu_hwpt_alloc.
type HWPTAlloc struct {
	Size      uint32
	Flags     uint32
	DevID     uint32
	PTID      uint32
	OutHWPTID uint32
	Reserved  uint32
	DataType  uint32
	DataLen   uint32
	DataUptr  uint64
	FaultID   uint32
	Reserved2 uint32
}

// HWInfo is struct iommu_hw_info.
type HWInfo struct {
	Size            uint32
	Flags           uint32
	DevID           uint32
	DataLen         uint32
	DataUptr        uint64
	OutDataType     uint32
	OutMaxPASIDLog2 uint8
	Reserved        [3]uint8
	OutCapabilities uint64
}

// IOASAllowIOVAs is struct iommu_ioas_allow_iovas.
type IOASAllowIOVAs struct {
	Size         uint32
	IOASID       uint32
	NumIOVAs     uint32
	Reserved     uint32
	AllowedIOVAs uint64
}

// IOASCopy is struct iommu_ioas_copy.
type IOASCopy struct {
	Size      uint32
	Flags     uint32
	DstIOASID uint32
	SrcIOASID uint32
	Length    uint64
	DstIOVA   uint64
	SrcIOVA   uint64
}

// Option is struct iommu_option.
type Option struct {
	Size     uint32
	OptionID uint32
	Op       uint16
	Reserved uint16
	ObjectID uint32
	Val64    uint64
}

// VFIOIOAS is struct iommu_vfio_ioas.
type VFIOIOAS struct {
	Size     uint32
	IOASID   uint32
	Op       uint16
	Reserved uint16
}

// HWPTSetDirtyTracking is struct iommu_hwpt_set_dirty_tracking.
type HWPTSetDirtyTracking struct {
	Size     uint32
	Flags    uint32
	HWPTID   uint32
	Reserved uint32
}

// HWPTGetDirtyBitmap is struct iommu_hwpt_get_dirty_bitmap.
type HWPTGetDirtyBitmap struct {
	Size     uint32
	HWPTID   uint32
	Flags    uint32
	Reserved uint32
	IOVA     uint64
	Length   uint64
	PageSize uint64
	Data     uint64
}

// IOASMapFile is struct iommu_ioas_map_file.
type IOASMapFile struct {
	Size   uint32
	Flags  uint32
	IOASID uint32
	Fd     int32
	Start  uint64
	Length uint64
	IOVA   uint64
}

// VIOMMUAlloc is struct iommu_viommu_alloc.
type VIOMMUAlloc struct {
	Size        uint32
	Flags       uint32
	Type        uint32
	DevID       uint32
	HWPTID      uint32
	OutVIOMMUID uint32
	DataLen     uint32
	Reserved    uint32
	DataUptr    uint64
}

// VDeviceAlloc is struct iommu_vdevice_alloc.
type VDeviceAlloc struct {
	Size         uint32
	VIOMMUID     uint32
	DevID        uint32
	OutVDeviceID uint32
	VirtID       uint64
}
