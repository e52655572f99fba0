// SPDX-License-Identifier: Apache-2.0

package uapi

// From include/uapi/linux/iommufd.h. Every struct begins with its own size in
// bytes, which the caller sets; fields named Out are set by the kernel.

var (
	IOMMU_DESTROY             = Ioctl{"IOMMU_DESTROY", 0x3b80}
	IOMMU_IOAS_ALLOC          = Ioctl{"IOMMU_IOAS_ALLOC", 0x3b81}
	IOMMU_IOAS_IOVA_RANGES    = Ioctl{"IOMMU_IOAS_IOVA_RANGES", 0x3b84}
	IOMMU_IOAS_MAP            = Ioctl{"IOMMU_IOAS_MAP", 0x3b85}
	IOMMU_IOAS_UNMAP          = Ioctl{"IOMMU_IOAS_UNMAP", 0x3b86}
	IOMMU_HWPT_ALLOC          = Ioctl{"IOMMU_HWPT_ALLOC", 0x3b89}
	IOMMU_GET_HW_INFO         = Ioctl{"IOMMU_GET_HW_INFO", 0x3b8a}
	IOMMU_IOAS_NOIOMMU_GET_PA = Ioctl{"IOMMU_IOAS_NOIOMMU_GET_PA", 0x3b95}
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
