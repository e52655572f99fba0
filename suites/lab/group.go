// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"unsafe"

	"golang.org/x/sys/unix"

	"noiommu-farm/suites/uapi"
)

// Group is an open group node.
type Group struct {
	*uapi.File
	t *T
}

// OpenGroup opens the device's group; the test ends when it cannot.
func (t *T) OpenGroup(d *Device) *Group {
	g, err := t.TryOpenGroup(d)
	t.Must(err, "open the group of %s", d.BDF)
	return g
}

// TryOpenGroup opens the device's group.
func (t *T) TryOpenGroup(d *Device) (*Group, error) {
	path := "/dev/vfio/" + t.GroupName(d)
	f, err := uapi.Open(t.Tally, path, unix.O_RDWR)
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { t.OK(f.Close(), "cleanup: close %s", path) })
	return &Group{f, t}, nil
}

// Status is VFIO_GROUP_GET_STATUS: the group's flags.
func (g *Group) Status() (uint32, error) {
	arg := uapi.GroupStatus{Argsz: size[uapi.GroupStatus](), Flags: ^uint32(0)}
	_, err := g.Ioctl(uapi.VFIO_GROUP_GET_STATUS, unsafe.Pointer(&arg))
	return arg.Flags, err
}

// SetContainer is VFIO_GROUP_SET_CONTAINER with the descriptor fd.
func (g *Group) SetContainer(fd int) error {
	arg := int32(fd)
	_, err := g.Ioctl(uapi.VFIO_GROUP_SET_CONTAINER, unsafe.Pointer(&arg))
	return err
}

// UnsetContainer is VFIO_GROUP_UNSET_CONTAINER.
func (g *Group) UnsetContainer() error {
	_, err := g.IoctlValue(uapi.VFIO_GROUP_UNSET_CONTAINER, 0)
	return err
}

// DeviceFd is VFIO_GROUP_GET_DEVICE_FD for the device d.
func (g *Group) DeviceFd(d *Device) (*Cdev, error) {
	name := append([]byte(d.BDF), 0)
	fd, err := g.Ioctl(uapi.VFIO_GROUP_GET_DEVICE_FD, unsafe.Pointer(&name[0]))
	if err != nil {
		return nil, err
	}
	return g.t.newCdev(uapi.Adopt(g.t.Tally, fd), d), nil
}

// Container is an open /dev/vfio/vfio.
type Container struct {
	*uapi.File
	t *T
}

// OpenContainer opens a new container; the test ends when it cannot.
func (t *T) OpenContainer() *Container {
	f, err := uapi.Open(t.Tally, "/dev/vfio/vfio", unix.O_RDWR)
	t.Must(err, "open /dev/vfio/vfio")
	t.Cleanup(func() { t.OK(f.Close(), "cleanup: close the container") })
	return &Container{f, t}
}

// Extension is VFIO_CHECK_EXTENSION.
func (c *Container) Extension(extension uintptr) (int, error) {
	return c.IoctlValue(uapi.VFIO_CHECK_EXTENSION, extension)
}

// SetIOMMU is VFIO_SET_IOMMU.
func (c *Container) SetIOMMU(kind uintptr) error {
	_, err := c.IoctlValue(uapi.VFIO_SET_IOMMU, kind)
	return err
}
