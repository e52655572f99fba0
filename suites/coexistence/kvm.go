// SPDX-License-Identifier: Apache-2.0

package coexistence

import (
	"unsafe"

	"golang.org/x/sys/unix"

	"noiommu-farm/suites/lab"
	"noiommu-farm/suites/uapi"
)

// machine is a virtual machine without a processor, and its VFIO device: the
// list of VFIO files that KVM is told of.
type machine struct {
	t        *lab.T
	vm, vfio *uapi.File
}

func newMachine(t *lab.T) *machine {
	kvm, err := uapi.Open(t.Tally, "/dev/kvm", unix.O_RDWR)
	t.Must(err, "open /dev/kvm")
	t.Cleanup(func() { t.OK(kvm.Close(), "cleanup: close /dev/kvm") })
	fd, err := kvm.IoctlValue(uapi.KVM_CREATE_VM, 0)
	t.Must(err, "KVM_CREATE_VM")
	m := &machine{t: t, vm: uapi.Adopt(t.Tally, fd)}
	t.Cleanup(func() { t.OK(m.vm.Close(), "cleanup: close the virtual machine") })
	arg := uapi.KVMCreateDevice{Type: uapi.KVM_DEV_TYPE_VFIO}
	_, err = m.vm.Ioctl(uapi.KVM_CREATE_DEVICE, unsafe.Pointer(&arg))
	t.Must(err, "KVM_CREATE_DEVICE(VFIO)")
	m.vfio = uapi.Adopt(t.Tally, int(arg.OutFd))
	t.Cleanup(func() { t.OK(m.vfio.Close(), "cleanup: close KVM's VFIO device") })
	return m
}

// file is KVM_SET_DEVICE_ATTR: KVM_DEV_VFIO_FILE_ADD or _DEL of a descriptor.
func (m *machine) file(attr uint64, fd int) error {
	number := int32(fd)
	arg := uapi.KVMDeviceAttr{Group: uapi.KVM_DEV_VFIO_FILE, Attr: attr, Addr: lab.Address(m.t, &number)}
	_, err := m.vfio.Ioctl(uapi.KVM_SET_DEVICE_ATTR, unsafe.Pointer(&arg))
	return err
}

// close closes the machine, with whatever KVM still knows of.
func (m *machine) close() {
	m.t.Must(m.vfio.Close(), "close KVM's VFIO device")
	m.t.Must(m.vm.Close(), "close the virtual machine")
}

// CX-11: KVM can be told of a no-IOMMU device, whose DMA it must take for not
// coherent: there is nobody to ask.
func toldToKVM(t *lab.T) {
	t.NoWarning()
	for _, d := range t.Devices {
		m := newMachine(t)
		t.Fails(m.file(uapi.KVM_DEV_VFIO_FILE_ADD, t.Pipe().Fd()), unix.EINVAL, "KVM_DEV_VFIO_FILE_ADD of a pipe")
		t.Fails(m.file(uapi.KVM_DEV_VFIO_FILE_ADD, -1), unix.EBADF, "KVM_DEV_VFIO_FILE_ADD of descriptor -1")
		if t.Facts.Config.NoiommuCdev {
			dev := t.Open(d)
			known(t, m, dev.File, d.Model+", cdev before its bind")
			t.Must(m.file(uapi.KVM_DEV_VFIO_FILE_ADD, dev.Fd()), "KVM_DEV_VFIO_FILE_ADD of the cdev")
			dev.Bind(t.IOMMUFD()) // takes a reference of the machine
			known(t, newMachine(t), dev.File, d.Model+", bound cdev and another machine")
			_, err := dev.Info()
			t.OK(err, "%s: VFIO_DEVICE_GET_INFO", d.Model)
			m.close()
			_, err = dev.Info()
			t.OK(err, "%s: VFIO_DEVICE_GET_INFO after the machine was closed", d.Model)
			t.Must(dev.Close(), "close the cdev")
		}
		if t.Facts.Config.Group {
			m := newMachine(t)
			group := t.OpenGroup(d)
			known(t, m, group.File, d.Model+", group")
			t.Must(m.file(uapi.KVM_DEV_VFIO_FILE_ADD, group.Fd()), "KVM_DEV_VFIO_FILE_ADD of the group")
			container := t.AnyContainer()
			t.Must(group.SetContainer(container.Fd()), "VFIO_GROUP_SET_CONTAINER")
			t.Must(container.SetIOMMU(uapi.VFIO_NOIOMMU_IOMMU), "VFIO_SET_IOMMU(NOIOMMU)")
			dev, err := group.DeviceFd(d)
			t.Must(err, "%s: VFIO_GROUP_GET_DEVICE_FD", d.Model)
			known(t, m, dev.File, d.Model+", device of the group")
			m.close()
			_, err = dev.Info()
			t.OK(err, "%s: VFIO_DEVICE_GET_INFO after the machine was closed", d.Model)
			t.Must(dev.Close(), "close the device")
			t.Must(group.Close(), "close the group")
		}
	}
}

// known asserts that the machine can be told of a file once, and be told to
// forget it.
func known(t *lab.T, m *machine, f *uapi.File, who string) {
	for range 2 {
		t.OK(m.file(uapi.KVM_DEV_VFIO_FILE_ADD, f.Fd()), "%s: KVM_DEV_VFIO_FILE_ADD", who)
		t.Fails(m.file(uapi.KVM_DEV_VFIO_FILE_ADD, f.Fd()), unix.EEXIST, "%s: KVM_DEV_VFIO_FILE_ADD again", who)
		t.OK(m.file(uapi.KVM_DEV_VFIO_FILE_DEL, f.Fd()), "%s: KVM_DEV_VFIO_FILE_DEL", who)
		t.Fails(m.file(uapi.KVM_DEV_VFIO_FILE_DEL, f.Fd()), unix.ENOENT, "%s: KVM_DEV_VFIO_FILE_DEL again", who)
	}
}
