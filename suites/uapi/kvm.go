// SPDX-License-Identifier: Apache-2.0

package uapi

// From include/uapi/linux/kvm.h: as much as it takes to tell KVM of a VFIO
// file.

var (
	KVM_CREATE_VM       = Ioctl{"KVM_CREATE_VM", 0xae01}
	KVM_CREATE_DEVICE   = Ioctl{"KVM_CREATE_DEVICE", 0xc00caee0}
	KVM_SET_DEVICE_ATTR = Ioctl{"KVM_SET_DEVICE_ATTR", 0x4018aee1}
)

const (
	KVM_DEV_TYPE_VFIO     = 4
	KVM_DEV_VFIO_FILE     = 1
	KVM_DEV_VFIO_FILE_ADD = 1
	KVM_DEV_VFIO_FILE_DEL = 2
)

// KVMCreateDevice is struct kvm_create_device.
type KVMCreateDevice struct {
	Type  uint32
	OutFd uint32
	Flags uint32
}

// KVMDeviceAttr is struct kvm_device_attr.
type KVMDeviceAttr struct {
	Flags uint32
	Group uint32
	Attr  uint64
	Addr  uint64
}
