// SPDX-License-Identifier: Apache-2.0

package contract

// permission is suite permission: CAP_SYS_RAWIO.
var permission = []Statement{
	{
		ID: "PE-01", Suite: "permission",
		Promise:  "Opening the cdev of a device without an IOMMU needs CAP_SYS_RAWIO, root or not; with it the open works.",
		Source:   []string{"drivers/vfio/device_cdev.c:38-41"},
		Requires: onNoiommu,
		Evidence: []string{"open", "open:EPERM", "capset"},
		Under:    openRefused,
	},
	{
		ID: "PE-02", Suite: "permission",
		Promise:  "Opening the group of a device without an IOMMU needs CAP_SYS_RAWIO, before anything else is looked at.",
		Source:   []string{"drivers/vfio/group.c:428-431"},
		Requires: []Requirement{Group, Noiommu, UnsafeMode, NoIOMMU},
		Evidence: []string{"open", "open:EPERM", "capset"},
		Under:    openRefused,
	},
	{
		ID: "PE-03", Suite: "permission",
		Promise:  "Each step of the native container needs CAP_SYS_RAWIO: VFIO_GROUP_SET_CONTAINER, VFIO_SET_IOMMU and VFIO_GROUP_GET_DEVICE_FD are EPERM without it.",
		Source:   []string{"drivers/vfio/container.c:424-425", "drivers/vfio/container.c:36-37", "drivers/vfio/container.c:514-515"},
		Requires: []Requirement{Group, NativeContainer, Noiommu, UnsafeMode, NoIOMMU},
		Evidence: []string{"VFIO_GROUP_SET_CONTAINER:EPERM", "VFIO_SET_IOMMU:EPERM", "VFIO_GROUP_GET_DEVICE_FD:EPERM", "VFIO_GROUP_GET_DEVICE_FD", "capset"},
	},
	{
		ID: "PE-04", Suite: "permission",
		Promise:  "The compat container takes a no-IOMMU group without CAP_SYS_RAWIO, but VFIO_SET_IOMMU and VFIO_GROUP_GET_DEVICE_FD are EPERM without it.",
		Source:   []string{"drivers/iommu/iommufd/vfio_compat.c:55-68", "drivers/iommu/iommufd/vfio_compat.c:321-326", "drivers/vfio/group.c:193-204"},
		Requires: onCompat,
		Evidence: []string{"VFIO_GROUP_SET_CONTAINER", "VFIO_SET_IOMMU:EPERM", "VFIO_GROUP_GET_DEVICE_FD:EPERM", "VFIO_GROUP_GET_DEVICE_FD", "capset"},
	},
	{
		ID: "PE-05", Suite: "permission",
		Promise:  "Binding, attaching, mapping and unmapping through files that are open already need no CAP_SYS_RAWIO, not even of another user who was handed them.",
		Source:   []string{"drivers/vfio/device_cdev.c:92-180", "drivers/iommu/iommufd/ioas.c:244-376"},
		Requires: also(onNoiommu, Hugepages),
		Evidence: []string{"VFIO_DEVICE_BIND_IOMMUFD", "VFIO_DEVICE_ATTACH_IOMMUFD_PT", "IOMMU_IOAS_MAP", "IOMMU_IOAS_UNMAP", "IOMMU_IOAS_NOIOMMU_GET_PA:EPERM", "open:EACCES", "capset", "setresuid"},
	},
	{
		ID: "PE-06", Suite: "permission",
		Promise:  "IOMMU_IOAS_NOIOMMU_GET_PA without CAP_SYS_RAWIO is EPERM, whatever else is wrong with its arguments.",
		Source:   []string{"drivers/iommu/iommufd/ioas.c:385-386"},
		Requires: []Requirement{Cdev, NoiommuCdev, UnsafeMode, Hugepages},
		Evidence: []string{"IOMMU_IOAS_NOIOMMU_GET_PA:EPERM", "IOMMU_IOAS_NOIOMMU_GET_PA:EOPNOTSUPP", "IOMMU_IOAS_MAP", "capset"},
	},
	{
		ID: "PE-07", Suite: "permission",
		Promise:  "In a user namespace CAP_SYS_RAWIO counts for nothing: opening the cdev or the group and IOMMU_IOAS_NOIOMMU_GET_PA on a file from outside are EPERM.",
		Source:   []string{"drivers/vfio/device_cdev.c:38-41", "drivers/vfio/group.c:428-431", "drivers/iommu/iommufd/ioas.c:385-386"},
		Requires: also(onNoiommu, UserNamespaces),
		Evidence: []string{"unshare", "capget", "open", "open:EPERM", "IOMMU_IOAS_NOIOMMU_GET_PA", "IOMMU_IOAS_NOIOMMU_GET_PA:EPERM"},
	},
	{
		ID: "PE-08", Suite: "permission",
		Promise:  "A device behind an IOMMU can be opened without CAP_SYS_RAWIO, by its cdev and by its group, though the unsafe mode is on.",
		Source:   []string{"drivers/vfio/device_cdev.c:38-41", "drivers/vfio/group.c:428-431"},
		Requires: []Requirement{Noiommu, UnsafeMode, IOMMU},
		Evidence: []string{"open", "capset", "sysfs.reads"},
	},
	{
		ID: "PE-09", Suite: "permission",
		Promise:    "The nodes of devices without an IOMMU are for their owner alone (0600), /dev/iommu for owner and group (0660), /dev/vfio/vfio for all (0666).",
		Source:     []string{"drivers/vfio/group.c:588-618", "drivers/vfio/container.c:585-592", "drivers/iommu/iommufd/main.c:755-775"},
		Requires:   onEither,
		Privileges: AllPrivileges,
		Evidence:   []string{"stat"},
	},
	{
		ID: "PE-10", Suite: "permission",
		Promise:  "Without CAP_IPC_LOCK a mapping beyond RLIMIT_MEMLOCK, or the attach that would pin it, is ENOMEM and leaves nothing mapped, pinned or counted; one within it works.",
		Source:   []string{"drivers/iommu/iommufd/pages.c:957-975"},
		Requires: onNoiommu,
		Evidence: []string{"IOMMU_IOAS_MAP:ENOMEM", "VFIO_DEVICE_ATTACH_IOMMUFD_PT:ENOMEM", "IOMMU_IOAS_MAP", "IOMMU_IOAS_UNMAP", "capset"},
	},
	{
		ID: "PE-11", Suite: "permission", Phase: AtEnd,
		Promise:  "Lockdown of the kernel for its integrity, which forbids to write a device's configuration through sysfs, forbids nothing of a device without an IOMMU.",
		Source:   []string{"drivers/vfio/device_cdev.c:27-80", "drivers/vfio/device_cdev.c:92-180"},
		Requires: also(onNoiommu, Lockdown),
		Evidence: []string{"sysfs.writes:EPERM", "pci.bind", "IOMMU_IOAS_MAP", "IOMMU_IOAS_NOIOMMU_GET_PA", "mmap"},
	},
	{
		ID: "PE-12", Suite: "permission",
		Promise:  "In a user namespace CAP_SYS_RAWIO counts for nothing in a native container: VFIO_GROUP_SET_CONTAINER, VFIO_SET_IOMMU and VFIO_GROUP_GET_DEVICE_FD are EPERM.",
		Source:   []string{"drivers/vfio/container.c:424-425", "drivers/vfio/container.c:36-37", "drivers/vfio/container.c:514-515"},
		Requires: []Requirement{Group, NativeContainer, Noiommu, UnsafeMode, NoIOMMU, UserNamespaces},
		Evidence: []string{"unshare", "capget", "VFIO_GROUP_SET_CONTAINER:EPERM", "VFIO_SET_IOMMU:EPERM", "VFIO_GROUP_GET_DEVICE_FD:EPERM", "VFIO_GROUP_GET_DEVICE_FD"},
	},
	{
		ID: "PE-13", Suite: "permission",
		Promise:  "In a user namespace CAP_SYS_RAWIO counts for nothing in a compat container: it takes a no-IOMMU group, but VFIO_SET_IOMMU and VFIO_GROUP_GET_DEVICE_FD are EPERM.",
		Source:   []string{"drivers/iommu/iommufd/vfio_compat.c:321-326", "drivers/vfio/group.c:193-204"},
		Requires: also(onCompat, UserNamespaces),
		Evidence: []string{"unshare", "capget", "VFIO_GROUP_SET_CONTAINER", "VFIO_SET_IOMMU:EPERM", "VFIO_GROUP_GET_DEVICE_FD:EPERM", "VFIO_GROUP_GET_DEVICE_FD"},
	},
	{
		ID: "PE-14", Suite: "permission",
		Promise:  "An open of the cdev that is refused for want of CAP_SYS_RAWIO loses no object.",
		Source:   []string{"drivers/vfio/device_cdev.c:27-60"},
		Requires: also(onNoiommu, LeakCheck),
		Evidence: []string{"open:EPERM", "capset", "leak.checks"},
	},
}
