// SPDX-License-Identifier: Apache-2.0
//
// Prints what this package must agree with, from the kernel's own headers:
//
//	cc -D__user= -I usr/include uapi.c -o uapi && ./uapi > linux-7.3.4.txt
//
// with usr/include from "make headers" of Linux 7.3.4.
#include <linux/iommufd.h>
#include <linux/vfio.h>
#include <stddef.h>
#include <stdio.h>

#define NUMBER(name) printf("number %s %llu\n", #name, (unsigned long long)(name))
#define STRUCT(s) printf("struct %s %zu\n", #s, sizeof(struct s))
#define FIELD(s, f) printf("field %s %zu %zu\n", #f, offsetof(struct s, f), sizeof(((struct s *)0)->f))

int main(void)
{
	NUMBER(IOMMU_DESTROY);
	NUMBER(IOMMU_IOAS_ALLOC);
	NUMBER(IOMMU_IOAS_IOVA_RANGES);
	NUMBER(IOMMU_IOAS_MAP);
	NUMBER(IOMMU_IOAS_UNMAP);
	NUMBER(IOMMU_HWPT_ALLOC);
	NUMBER(IOMMU_GET_HW_INFO);
	NUMBER(IOMMU_IOAS_NOIOMMU_GET_PA);
	NUMBER(IOMMU_IOAS_MAP_FIXED_IOVA);
	NUMBER(IOMMU_IOAS_MAP_WRITEABLE);
	NUMBER(IOMMU_IOAS_MAP_READABLE);
	NUMBER(IOMMU_HWPT_ALLOC_NEST_PARENT);
	NUMBER(IOMMU_HWPT_ALLOC_DIRTY_TRACKING);
	NUMBER(IOMMU_HWPT_ALLOC_PASID);
	NUMBER(IOMMU_HWPT_DATA_NONE);
	NUMBER(IOMMU_HWPT_DATA_VTD_S1);

	NUMBER(VFIO_CHECK_EXTENSION);
	NUMBER(VFIO_SET_IOMMU);
	NUMBER(VFIO_GROUP_GET_STATUS);
	NUMBER(VFIO_GROUP_SET_CONTAINER);
	NUMBER(VFIO_GROUP_UNSET_CONTAINER);
	NUMBER(VFIO_GROUP_GET_DEVICE_FD);
	NUMBER(VFIO_DEVICE_GET_INFO);
	NUMBER(VFIO_DEVICE_GET_REGION_INFO);
	NUMBER(VFIO_DEVICE_GET_IRQ_INFO);
	NUMBER(VFIO_DEVICE_RESET);
	NUMBER(VFIO_DEVICE_FEATURE);
	NUMBER(VFIO_DEVICE_BIND_IOMMUFD);
	NUMBER(VFIO_DEVICE_ATTACH_IOMMUFD_PT);
	NUMBER(VFIO_DEVICE_DETACH_IOMMUFD_PT);
	NUMBER(VFIO_IOMMU_GET_INFO);
	NUMBER(VFIO_IOMMU_MAP_DMA);
	NUMBER(VFIO_TYPE1_IOMMU);
	NUMBER(VFIO_TYPE1v2_IOMMU);
	NUMBER(VFIO_DMA_CC_IOMMU);
	NUMBER(VFIO_NOIOMMU_IOMMU);
	NUMBER(VFIO_UNMAP_ALL);
	NUMBER(VFIO_GROUP_FLAGS_VIABLE);
	NUMBER(VFIO_GROUP_FLAGS_CONTAINER_SET);
	NUMBER(VFIO_DEVICE_FLAGS_PCI);
	NUMBER(VFIO_DEVICE_ATTACH_PASID);
	NUMBER(VFIO_PCI_BAR0_REGION_INDEX);
	NUMBER(VFIO_PCI_CONFIG_REGION_INDEX);
	NUMBER(VFIO_PCI_NUM_REGIONS);
	NUMBER(VFIO_PCI_MSI_IRQ_INDEX);
	NUMBER(VFIO_PCI_NUM_IRQS);

	STRUCT(iommu_destroy);
	FIELD(iommu_destroy, size);
	FIELD(iommu_destroy, id);
	STRUCT(iommu_ioas_alloc);
	FIELD(iommu_ioas_alloc, size);
	FIELD(iommu_ioas_alloc, flags);
	FIELD(iommu_ioas_alloc, out_ioas_id);
	STRUCT(iommu_iova_range);
	FIELD(iommu_iova_range, start);
	FIELD(iommu_iova_range, last);
	STRUCT(iommu_ioas_iova_ranges);
	FIELD(iommu_ioas_iova_ranges, size);
	FIELD(iommu_ioas_iova_ranges, ioas_id);
	FIELD(iommu_ioas_iova_ranges, num_iovas);
	FIELD(iommu_ioas_iova_ranges, __reserved);
	FIELD(iommu_ioas_iova_ranges, allowed_iovas);
	FIELD(iommu_ioas_iova_ranges, out_iova_alignment);
	STRUCT(iommu_ioas_map);
	FIELD(iommu_ioas_map, size);
	FIELD(iommu_ioas_map, flags);
	FIELD(iommu_ioas_map, ioas_id);
	FIELD(iommu_ioas_map, __reserved);
	FIELD(iommu_ioas_map, user_va);
	FIELD(iommu_ioas_map, length);
	FIELD(iommu_ioas_map, iova);
	STRUCT(iommu_ioas_unmap);
	FIELD(iommu_ioas_unmap, size);
	FIELD(iommu_ioas_unmap, ioas_id);
	FIELD(iommu_ioas_unmap, iova);
	FIELD(iommu_ioas_unmap, length);
	STRUCT(iommu_ioas_noiommu_get_pa);
	FIELD(iommu_ioas_noiommu_get_pa, size);
	FIELD(iommu_ioas_noiommu_get_pa, flags);
	FIELD(iommu_ioas_noiommu_get_pa, ioas_id);
	FIELD(iommu_ioas_noiommu_get_pa, __reserved);
	FIELD(iommu_ioas_noiommu_get_pa, iova);
	FIELD(iommu_ioas_noiommu_get_pa, length);
	FIELD(iommu_ioas_noiommu_get_pa, out_phys);
	STRUCT(iommu_hwpt_alloc);
	FIELD(iommu_hwpt_alloc, size);
	FIELD(iommu_hwpt_alloc, flags);
	FIELD(iommu_hwpt_alloc, dev_id);
	FIELD(iommu_hwpt_alloc, pt_id);
	FIELD(iommu_hwpt_alloc, out_hwpt_id);
	FIELD(iommu_hwpt_alloc, __reserved);
	FIELD(iommu_hwpt_alloc, data_type);
	FIELD(iommu_hwpt_alloc, data_len);
	FIELD(iommu_hwpt_alloc, data_uptr);
	FIELD(iommu_hwpt_alloc, fault_id);
	FIELD(iommu_hwpt_alloc, __reserved2);
	STRUCT(iommu_hw_info);
	FIELD(iommu_hw_info, size);
	FIELD(iommu_hw_info, flags);
	FIELD(iommu_hw_info, dev_id);
	FIELD(iommu_hw_info, data_len);
	FIELD(iommu_hw_info, data_uptr);
	FIELD(iommu_hw_info, out_data_type);
	FIELD(iommu_hw_info, out_max_pasid_log2);
	FIELD(iommu_hw_info, __reserved);
	FIELD(iommu_hw_info, out_capabilities);

	STRUCT(vfio_group_status);
	FIELD(vfio_group_status, argsz);
	FIELD(vfio_group_status, flags);
	STRUCT(vfio_device_info);
	FIELD(vfio_device_info, argsz);
	FIELD(vfio_device_info, flags);
	FIELD(vfio_device_info, num_regions);
	FIELD(vfio_device_info, num_irqs);
	FIELD(vfio_device_info, cap_offset);
	FIELD(vfio_device_info, pad);
	STRUCT(vfio_region_info);
	FIELD(vfio_region_info, argsz);
	FIELD(vfio_region_info, flags);
	FIELD(vfio_region_info, index);
	FIELD(vfio_region_info, cap_offset);
	FIELD(vfio_region_info, size);
	FIELD(vfio_region_info, offset);
	STRUCT(vfio_irq_info);
	FIELD(vfio_irq_info, argsz);
	FIELD(vfio_irq_info, flags);
	FIELD(vfio_irq_info, index);
	FIELD(vfio_irq_info, count);
	STRUCT(vfio_device_bind_iommufd);
	FIELD(vfio_device_bind_iommufd, argsz);
	FIELD(vfio_device_bind_iommufd, flags);
	FIELD(vfio_device_bind_iommufd, iommufd);
	FIELD(vfio_device_bind_iommufd, out_devid);
	FIELD(vfio_device_bind_iommufd, token_uuid_ptr);
	STRUCT(vfio_device_attach_iommufd_pt);
	FIELD(vfio_device_attach_iommufd_pt, argsz);
	FIELD(vfio_device_attach_iommufd_pt, flags);
	FIELD(vfio_device_attach_iommufd_pt, pt_id);
	FIELD(vfio_device_attach_iommufd_pt, pasid);
	STRUCT(vfio_device_detach_iommufd_pt);
	FIELD(vfio_device_detach_iommufd_pt, argsz);
	FIELD(vfio_device_detach_iommufd_pt, flags);
	FIELD(vfio_device_detach_iommufd_pt, pasid);
	STRUCT(vfio_iommu_type1_info);
	FIELD(vfio_iommu_type1_info, argsz);
	FIELD(vfio_iommu_type1_info, flags);
	FIELD(vfio_iommu_type1_info, iova_pgsizes);
	FIELD(vfio_iommu_type1_info, cap_offset);
	FIELD(vfio_iommu_type1_info, pad);
	STRUCT(vfio_iommu_type1_dma_map);
	FIELD(vfio_iommu_type1_dma_map, argsz);
	FIELD(vfio_iommu_type1_dma_map, flags);
	FIELD(vfio_iommu_type1_dma_map, vaddr);
	FIELD(vfio_iommu_type1_dma_map, iova);
	FIELD(vfio_iommu_type1_dma_map, size);
	return 0;
}
