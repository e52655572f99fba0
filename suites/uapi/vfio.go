// SPDX-License-Identifier: Apache-2.0

package uapi

// From include/uapi/linux/vfio.h. Every struct begins with its own size in
// bytes (argsz), which the caller sets.

var (
	VFIO_GET_API_VERSION               = Ioctl{"VFIO_GET_API_VERSION", 0x3b64}
	VFIO_CHECK_EXTENSION               = Ioctl{"VFIO_CHECK_EXTENSION", 0x3b65}
	VFIO_SET_IOMMU                     = Ioctl{"VFIO_SET_IOMMU", 0x3b66}
	VFIO_GROUP_GET_STATUS              = Ioctl{"VFIO_GROUP_GET_STATUS", 0x3b67}
	VFIO_GROUP_SET_CONTAINER           = Ioctl{"VFIO_GROUP_SET_CONTAINER", 0x3b68}
	VFIO_GROUP_UNSET_CONTAINER         = Ioctl{"VFIO_GROUP_UNSET_CONTAINER", 0x3b69}
	VFIO_GROUP_GET_DEVICE_FD           = Ioctl{"VFIO_GROUP_GET_DEVICE_FD", 0x3b6a}
	VFIO_DEVICE_GET_INFO               = Ioctl{"VFIO_DEVICE_GET_INFO", 0x3b6b}
	VFIO_DEVICE_GET_REGION_INFO        = Ioctl{"VFIO_DEVICE_GET_REGION_INFO", 0x3b6c}
	VFIO_DEVICE_GET_IRQ_INFO           = Ioctl{"VFIO_DEVICE_GET_IRQ_INFO", 0x3b6d}
	VFIO_DEVICE_SET_IRQS               = Ioctl{"VFIO_DEVICE_SET_IRQS", 0x3b6e}
	VFIO_DEVICE_RESET                  = Ioctl{"VFIO_DEVICE_RESET", 0x3b6f}
	VFIO_DEVICE_GET_PCI_HOT_RESET_INFO = Ioctl{"VFIO_DEVICE_GET_PCI_HOT_RESET_INFO", 0x3b70}
	VFIO_DEVICE_PCI_HOT_RESET          = Ioctl{"VFIO_DEVICE_PCI_HOT_RESET", 0x3b71}
	VFIO_DEVICE_FEATURE                = Ioctl{"VFIO_DEVICE_FEATURE", 0x3b75}
	VFIO_DEVICE_BIND_IOMMUFD           = Ioctl{"VFIO_DEVICE_BIND_IOMMUFD", 0x3b76}
	VFIO_DEVICE_ATTACH_IOMMUFD_PT      = Ioctl{"VFIO_DEVICE_ATTACH_IOMMUFD_PT", 0x3b77}
	VFIO_DEVICE_DETACH_IOMMUFD_PT      = Ioctl{"VFIO_DEVICE_DETACH_IOMMUFD_PT", 0x3b78}
	VFIO_IOMMU_GET_INFO                = Ioctl{"VFIO_IOMMU_GET_INFO", 0x3b70}
	VFIO_IOMMU_MAP_DMA                 = Ioctl{"VFIO_IOMMU_MAP_DMA", 0x3b71}
)

const (
	VFIO_API_VERSION = 0

	VFIO_TYPE1_IOMMU   = 1
	VFIO_TYPE1v2_IOMMU = 3
	VFIO_DMA_CC_IOMMU  = 4
	VFIO_NOIOMMU_IOMMU = 8
	VFIO_UNMAP_ALL     = 9

	VFIO_GROUP_FLAGS_VIABLE        = 1 << 0
	VFIO_GROUP_FLAGS_CONTAINER_SET = 1 << 1

	VFIO_DEVICE_FLAGS_RESET = 1 << 0
	VFIO_DEVICE_FLAGS_PCI   = 1 << 1

	VFIO_IRQ_INFO_EVENTFD    = 1 << 0
	VFIO_IRQ_INFO_MASKABLE   = 1 << 1
	VFIO_IRQ_INFO_AUTOMASKED = 1 << 2
	VFIO_IRQ_INFO_NORESIZE   = 1 << 3

	VFIO_IRQ_SET_DATA_NONE      = 1 << 0
	VFIO_IRQ_SET_DATA_EVENTFD   = 1 << 2
	VFIO_IRQ_SET_ACTION_MASK    = 1 << 3
	VFIO_IRQ_SET_ACTION_UNMASK  = 1 << 4
	VFIO_IRQ_SET_ACTION_TRIGGER = 1 << 5

	VFIO_PCI_HOT_RESET_FLAG_DEV_ID       = 1 << 0
	VFIO_PCI_HOT_RESET_FLAG_DEV_ID_OWNED = 1 << 1

	VFIO_DEVICE_ATTACH_PASID = 1 << 0

	// From enum vfio_pci_regions and vfio_pci_irqs.
	VFIO_PCI_BAR0_REGION_INDEX   = 0
	VFIO_PCI_CONFIG_REGION_INDEX = 7
	VFIO_PCI_NUM_REGIONS         = 9
	VFIO_PCI_INTX_IRQ_INDEX      = 0
	VFIO_PCI_MSI_IRQ_INDEX       = 1
	VFIO_PCI_MSIX_IRQ_INDEX      = 2
	VFIO_PCI_ERR_IRQ_INDEX       = 3
	VFIO_PCI_REQ_IRQ_INDEX       = 4
	VFIO_PCI_NUM_IRQS            = 5
)

// GroupStatus is struct vfio_group_status.
type GroupStatus struct {
	Argsz uint32
	Flags uint32
}

// DeviceInfo is struct vfio_device_info.
type DeviceInfo struct {
	Argsz      uint32
	Flags      uint32
	NumRegions uint32
	NumIRQs    uint32
	CapOffset  uint32
	Pad        uint32
}

// RegionInfo is struct vfio_region_info. Size and Offset are in bytes.
type RegionInfo struct {
	Argsz     uint32
	Flags     uint32
	Index     uint32
	CapOffset uint32
	Size      uint64
	Offset    uint64
}

// IRQInfo is struct vfio_irq_info.
type IRQInfo struct {
	Argsz uint32
	Flags uint32
	Index uint32
	Count uint32
}

// DeviceBindIOMMUFD is struct vfio_device_bind_iommufd.
type DeviceBindIOMMUFD struct {
	Argsz        uint32
	Flags        uint32
	IOMMUFD      int32
	OutDevID     uint32
	TokenUUIDPtr uint64
}

// DeviceAttachIOMMUFDPT is struct vfio_device_attach_iommufd_pt.
type DeviceAttachIOMMUFDPT struct {
	Argsz uint32
	Flags uint32
	PTID  uint32
	PASID uint32
}

// DeviceDetachIOMMUFDPT is struct vfio_device_detach_iommufd_pt.
type DeviceDetachIOMMUFDPT struct {
	Argsz uint32
	Flags uint32
	PASID uint32
}

// IOMMUType1Info is struct vfio_iommu_type1_info.
type IOMMUType1Info struct {
	Argsz       uint32
	Flags       uint32
	IOVAPgsizes uint64
	CapOffset   uint32
	Pad         uint32
}

// IOMMUType1DMAMap is struct vfio_iommu_type1_dma_map.
type IOMMUType1DMAMap struct {
	Argsz uint32
	Flags uint32
	Vaddr uint64
	IOVA  uint64
	Size  uint64
}

// IRQSet is struct vfio_irq_set without its data, which follows it.
type IRQSet struct {
	Argsz uint32
	Flags uint32
	Index uint32
	Start uint32
	Count uint32
}

// PCIHotResetInfo is struct vfio_pci_hot_reset_info without the devices, which
// follow it.
type PCIHotResetInfo struct {
	Argsz uint32
	Flags uint32
	Count uint32
}

// PCIDependentDevice is struct vfio_pci_dependent_device.
type PCIDependentDevice struct {
	DevID   uint32 // or the id of the group
	Segment uint16
	Bus     uint8
	Devfn   uint8
}

// PCIHotReset is struct vfio_pci_hot_reset without the group descriptors,
// which follow it.
type PCIHotReset struct {
	Argsz uint32
	Flags uint32
	Count uint32
}
