// SPDX-License-Identifier: Apache-2.0

package contract

// coexistence is suite coexistence: group and cdev, and two devices.
var coexistence = []Statement{
	{
		ID: "CX-01", Suite: "coexistence",
		Promise:  "A device is used through its group or its cdev: bind is EBUSY while the group is open, opening the group is EBUSY while the cdev is bound, opening the cdev alone is allowed.",
		Source:   []string{"drivers/vfio/group.c:384-409", "drivers/vfio/group.c:433-436"},
		Requires: also(onNoiommu, Group, Cdev),
		Evidence: []string{"VFIO_DEVICE_BIND_IOMMUFD:EBUSY", "open:EBUSY", "VFIO_DEVICE_BIND_IOMMUFD"},
	},
	{
		ID: "CX-02", Suite: "coexistence",
		Promise:  "Group and cdev exclude each other for each device alone: one device is used through its group while another is through its cdev.",
		Source:   []string{"drivers/vfio/group.c:384-409"},
		Requires: also(onNoiommu, Group, NativeContainer, Cdev, TwoDevices),
		Evidence: []string{"VFIO_GROUP_GET_DEVICE_FD", "VFIO_DEVICE_BIND_IOMMUFD", "VFIO_DEVICE_BIND_IOMMUFD:EBUSY", "open:EBUSY"},
	},
	{
		ID: "CX-03", Suite: "coexistence",
		Promise:  "Two devices without an IOMMU in one IOAS share one HWPT, and addresses are valid until the last one leaves.",
		Source:   []string{"drivers/iommu/iommufd/device.c:961-985"},
		Requires: also(onNoiommu, TwoDevices, Hugepages),
		Evidence: []string{"VFIO_DEVICE_ATTACH_IOMMUFD_PT", "IOMMU_IOAS_NOIOMMU_GET_PA", "IOMMU_IOAS_NOIOMMU_GET_PA:EOPNOTSUPP", "IOMMU_DESTROY:ENOENT"},
	},
	{
		ID: "CX-04", Suite: "coexistence",
		Promise:  "The same memory mapped in two iommufds, with a device each, has the same address in both, and each knows its own IOVA only.",
		Source:   []string{"drivers/iommu/iommufd/io_pagetable.c:870-935"},
		Requires: also(onNoiommu, TwoDevices, Hugepages),
		Evidence: []string{"IOMMU_IOAS_MAP", "IOMMU_IOAS_NOIOMMU_GET_PA", "IOMMU_IOAS_NOIOMMU_GET_PA:ENOENT", "IOMMU_IOAS_NOIOMMU_GET_PA:EOPNOTSUPP"},
	},
}
