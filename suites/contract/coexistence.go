// SPDX-License-Identifier: Apache-2.0

package contract

// coexistence is suite coexistence: group and cdev, and two devices of the same
// or of different kinds.
var coexistence = []Statement{
	{
		ID: "CX-01", Suite: "coexistence",
		Promise:  "A device is used through its group or its cdev: bind is EBUSY while the group is open, opening the group is EBUSY while the cdev is bound, opening the cdev alone is allowed.",
		Source:   []string{"drivers/vfio/group.c:384-409", "drivers/vfio/group.c:433-436"},
		Requires: also(onNoiommu, Group),
		Evidence: []string{"VFIO_DEVICE_BIND_IOMMUFD:EBUSY", "open:EBUSY", "VFIO_DEVICE_BIND_IOMMUFD"},
	},
	{
		ID: "CX-02", Suite: "coexistence",
		Promise:  "Group and cdev exclude each other for each device alone: two devices are used at once, each through any of the ways that the kernel has.",
		Source:   []string{"drivers/vfio/group.c:384-409"},
		Requires: also(onNoiommu, Group, TwoDevices),
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
	{
		ID: "CX-05", Suite: "coexistence",
		Promise:  "In one iommufd a device behind VT-d and one beside it, each with an IOAS of its own, do not touch each other: hardware to tell of and limits here, addresses and no limits there.",
		Source:   []string{"drivers/iommu/iommufd/device.c:309-357", "drivers/iommu/iommufd/device.c:1640-1660"},
		Requires: []Requirement{NoiommuCdev, UnsafeMode, Mixed, IOMMUIntel, Hugepages},
		Evidence: []string{"IOMMU_GET_HW_INFO", "IOMMU_GET_HW_INFO:EOPNOTSUPP", "IOMMU_IOAS_IOVA_RANGES", "IOMMU_IOAS_MAP:EINVAL", "IOMMU_IOAS_NOIOMMU_GET_PA", "IOMMU_IOAS_NOIOMMU_GET_PA:EOPNOTSUPP"},
	},
	{
		ID: "CX-06", Suite: "coexistence",
		Promise:  "A device behind VT-d that is attached to the IOAS of a no-IOMMU device gets an HWPT of its own and brings its limits (EADDRINUSE when memory is outside of them), and addresses are still told.",
		Source:   []string{"drivers/iommu/iommufd/device.c:960-1015", "drivers/iommu/iommufd/io_pagetable.c:893-897"},
		Requires: []Requirement{NoiommuCdev, UnsafeMode, Mixed, IOMMUIntel, Hugepages},
		Evidence: []string{"VFIO_DEVICE_ATTACH_IOMMUFD_PT", "VFIO_DEVICE_ATTACH_IOMMUFD_PT:EADDRINUSE", "IOMMU_IOAS_IOVA_RANGES", "IOMMU_IOAS_NOIOMMU_GET_PA", "IOMMU_IOAS_NOIOMMU_GET_PA:EOPNOTSUPP", "IOMMU_DESTROY:EBUSY"},
	},
	{
		ID: "CX-07", Suite: "coexistence",
		Promise:  "The order of attaching and moving does not matter: in one IOAS a no-IOMMU device and one behind VT-d have an HWPT each, addresses are told, and neither takes the HWPT of the other kind by its id.",
		Source:   []string{"drivers/iommu/iommufd/device.c:564-578", "drivers/iommu/iommufd/device.c:960-985"},
		Requires: []Requirement{NoiommuCdev, UnsafeMode, Mixed, IOMMUIntel, Hugepages},
		Evidence: []string{"VFIO_DEVICE_ATTACH_IOMMUFD_PT", "VFIO_DEVICE_ATTACH_IOMMUFD_PT:EINVAL", "IOMMU_IOAS_NOIOMMU_GET_PA", "IOMMU_IOAS_IOVA_RANGES"},
	},
	{
		ID: "CX-08", Suite: "coexistence",
		Promise:  "A device behind an IOMMU cannot be attached to the HWPT of a no-IOMMU device, EINVAL, nor be moved to it, ENODEV: it stays where it is, nothing changes, and the kernel does not warn.",
		Source:   []string{"drivers/iommu/iommu.c:2364-2367", "drivers/iommu/iommufd/device.c:640-672"},
		Requires: []Requirement{NoiommuCdev, UnsafeMode, Mixed, IOMMUIntel, Hugepages},
		Evidence: []string{"VFIO_DEVICE_ATTACH_IOMMUFD_PT:EINVAL", "VFIO_DEVICE_ATTACH_IOMMUFD_PT:ENODEV", "VFIO_DEVICE_ATTACH_IOMMUFD_PT", "IOMMU_HWPT_ALLOC", "IOMMU_IOAS_IOVA_RANGES", "IOMMU_IOAS_NOIOMMU_GET_PA", "proc.reads"},
	},
	{
		ID: "CX-09", Suite: "coexistence",
		Promise:  "A container is for groups with an IOMMU or for groups without: the second kind to come is refused, by a native container with EPERM, by an iommufd with EINVAL, and the first is not disturbed.",
		Source:   []string{"drivers/vfio/container.c:429-434", "drivers/iommu/iommufd/vfio_compat.c:55-68", "drivers/iommu/iommufd/vfio_compat.c:90-97", "drivers/vfio/container.c:467-500"},
		Requires: []Requirement{Group, Noiommu, UnsafeMode, Mixed},
		Evidence: []string{"VFIO_GROUP_SET_CONTAINER", "VFIO_GROUP_GET_STATUS", "VFIO_SET_IOMMU", "VFIO_GROUP_GET_DEVICE_FD"},
	},
	{
		ID: "CX-10", Suite: "coexistence",
		Promise:  "A no-IOMMU device and an emulated one (mdev) in one iommufd, and in one IOAS, do not touch each other: addresses come and go with the no-IOMMU device alone.",
		Source:   []string{"drivers/vfio/iommufd.c:205-250", "drivers/iommu/iommufd/device.c:960-1015"},
		Requires: also(onNoiommu, Mtty, Hugepages),
		Evidence: []string{"sysfs.writes", "VFIO_DEVICE_BIND_IOMMUFD", "VFIO_DEVICE_ATTACH_IOMMUFD_PT", "VFIO_DEVICE_DETACH_IOMMUFD_PT", "IOMMU_GET_HW_INFO:ENOENT", "IOMMU_IOAS_NOIOMMU_GET_PA", "IOMMU_IOAS_NOIOMMU_GET_PA:EOPNOTSUPP", "pread"},
	},
	{
		ID: "CX-11", Suite: "coexistence",
		Promise:  "KVM can be told of the cdev, the group and the device of a no-IOMMU group, and forget them, bound or not; the device outlives the virtual machine.",
		Source:   []string{"drivers/vfio/vfio_main.c:1529-1600", "virt/kvm/vfio.c:143-200"},
		Requires: also(onEither, KVMDevice),
		Evidence: []string{"KVM_CREATE_VM", "KVM_CREATE_DEVICE", "KVM_SET_DEVICE_ATTR", "KVM_SET_DEVICE_ATTR:EEXIST", "KVM_SET_DEVICE_ATTR:ENOENT", "KVM_SET_DEVICE_ATTR:EINVAL", "VFIO_DEVICE_GET_INFO"},
	},
	{
		ID: "CX-12", Suite: "coexistence",
		Promise:  "A move to an HWPT that the device cannot have takes nothing from where it stays: what its IOMMU reserves is reserved still.",
		Source:   []string{"drivers/iommu/iommufd/device.c:851-853", "drivers/iommu/iommufd/device.c:922-925"},
		Requires: []Requirement{NoiommuCdev, UnsafeMode, Mixed, IOMMUIntel},
		Evidence: []string{"VFIO_DEVICE_ATTACH_IOMMUFD_PT", "VFIO_DEVICE_ATTACH_IOMMUFD_PT:ENODEV", "IOMMU_IOAS_IOVA_RANGES", "IOMMU_IOAS_MAP:EINVAL"},
	},
}
