// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"encoding/binary"
	"runtime/debug"
	"unsafe"

	"golang.org/x/sys/unix"

	"noiommu-farm/suites/uapi"
)

// Cdev is an open VFIO device: the cdev of a function, or the descriptor that
// its group gave.
type Cdev struct {
	*uapi.File
	Device *Device
	t      *T
	mapped [][]byte // memory of the device
}

// newCdev makes a Cdev that is closed when the test ends at the latest.
func (t *T) newCdev(f *uapi.File, d *Device) *Cdev {
	c := &Cdev{File: f, Device: d, t: t}
	t.Cleanup(func() { t.OK(c.Close(), "cleanup: close the device %s", d.BDF) })
	return c
}

// Close closes the device, after what [Cdev.BAR0] mapped is unmapped: the
// mapping would keep it open. Closing it twice is allowed.
func (c *Cdev) Close() error {
	for _, bar := range c.mapped {
		c.t.OK(unix.Munmap(bar), "munmap")
	}
	c.mapped = nil
	return c.File.Close()
}

// Open opens the device's cdev; the test ends when it cannot.
func (t *T) Open(d *Device) *Cdev {
	c, err := t.TryOpen(t.CdevPath(d), d)
	t.Must(err, "open the cdev of %s", d.BDF)
	return c
}

// TryOpen opens path, a node of d.
func (t *T) TryOpen(path string, d *Device) (*Cdev, error) {
	f, err := uapi.Open(t.Tally, path, unix.O_RDWR)
	if err != nil {
		return nil, err
	}
	return t.newCdev(f, d), nil
}

// BindArg is a well-formed argument for [Cdev.TryBind].
func (c *Cdev) BindArg(fd *IOMMUFD) uapi.DeviceBindIOMMUFD {
	return uapi.DeviceBindIOMMUFD{Argsz: size[uapi.DeviceBindIOMMUFD](), IOMMUFD: int32(fd.Fd())}
}

// TryBind is VFIO_DEVICE_BIND_IOMMUFD with any argument.
func (c *Cdev) TryBind(arg *uapi.DeviceBindIOMMUFD) error {
	_, err := c.Ioctl(uapi.VFIO_DEVICE_BIND_IOMMUFD, unsafe.Pointer(arg))
	return err
}

// Bind binds the device to an iommufd and returns its id there; the test ends
// when it cannot.
func (c *Cdev) Bind(fd *IOMMUFD) (devid uint32) {
	arg := c.BindArg(fd)
	c.t.Must(c.TryBind(&arg), "VFIO_DEVICE_BIND_IOMMUFD(%s)", c.Device.BDF)
	return arg.OutDevID
}

// TryAttach is VFIO_DEVICE_ATTACH_IOMMUFD_PT; it returns the id that the
// kernel put in the place of id.
func (c *Cdev) TryAttach(id uint32) (uint32, error) {
	arg := c.AttachArg(id)
	err := c.AttachWith(&arg)
	return arg.PTID, err
}

// AttachArg is a well-formed argument for [Cdev.AttachWith].
func (c *Cdev) AttachArg(id uint32) uapi.DeviceAttachIOMMUFDPT {
	return uapi.DeviceAttachIOMMUFDPT{Argsz: size[uapi.DeviceAttachIOMMUFDPT](), PTID: id}
}

// AttachWith is VFIO_DEVICE_ATTACH_IOMMUFD_PT with any argument.
func (c *Cdev) AttachWith(arg *uapi.DeviceAttachIOMMUFDPT) error {
	_, err := c.Ioctl(uapi.VFIO_DEVICE_ATTACH_IOMMUFD_PT, unsafe.Pointer(arg))
	return err
}

// Attach attaches the device to an IOAS and returns the id of the HWPT; the
// test ends when it cannot.
func (c *Cdev) Attach(s *IOAS) (hwpt uint32) {
	hwpt, err := c.TryAttach(s.ID)
	c.t.Must(err, "VFIO_DEVICE_ATTACH_IOMMUFD_PT(%s, ioas %d)", c.Device.BDF, s.ID)
	return hwpt
}

// Detach is VFIO_DEVICE_DETACH_IOMMUFD_PT.
func (c *Cdev) Detach() error {
	arg := uapi.DeviceDetachIOMMUFDPT{Argsz: size[uapi.DeviceDetachIOMMUFDPT]()}
	_, err := c.Ioctl(uapi.VFIO_DEVICE_DETACH_IOMMUFD_PT, unsafe.Pointer(&arg))
	return err
}

// Info is VFIO_DEVICE_GET_INFO.
func (c *Cdev) Info() (uapi.DeviceInfo, error) {
	arg := uapi.DeviceInfo{Argsz: size[uapi.DeviceInfo]()}
	_, err := c.Ioctl(uapi.VFIO_DEVICE_GET_INFO, unsafe.Pointer(&arg))
	return arg, err
}

// Region is VFIO_DEVICE_GET_REGION_INFO.
func (c *Cdev) Region(index uint32) (uapi.RegionInfo, error) {
	arg := uapi.RegionInfo{Argsz: size[uapi.RegionInfo](), Index: index}
	_, err := c.Ioctl(uapi.VFIO_DEVICE_GET_REGION_INFO, unsafe.Pointer(&arg))
	return arg, err
}

// BAR0 maps the whole of the device's first BAR, until the device is closed; the
// test ends when it cannot.
func (c *Cdev) BAR0() []byte {
	region, err := c.Region(uapi.VFIO_PCI_BAR0_REGION_INDEX)
	c.t.Must(err, "VFIO_DEVICE_GET_REGION_INFO(BAR0)")
	bar, err := c.Mmap(int64(region.Offset), int(region.Size))
	c.t.Must(err, "mmap BAR0")
	c.mapped = append(c.mapped, bar)
	return bar
}

// FollowsMemorySpace asserts of BAR0, mapped and in use, that it cannot be reached
// while the device's memory space is switched off, and can again afterwards: a
// mapping is taken back with the device's memory, whichever file it was made by.
func (c *Cdev) FollowsMemorySpace() {
	t, who := c.t, c.Device.Model
	c.SetMemory(true)
	bar := c.BAR0()
	Equal(t, faults(bar), false, "%s: access to BAR0 faults with memory space on", who)
	c.SetMemory(false)
	Equal(t, faults(bar), true, "%s: access to BAR0, mapped before, faults with memory space off", who)
	c.SetMemory(true)
	Equal(t, faults(bar), false, "%s: access to BAR0 faults with memory space on again", who)
}

// faults says whether reading the first word of memory is a SIGBUS.
func faults(memory []byte) (did bool) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() { did = recover() != nil }()
	firstWord(memory)
	return false
}

// firstWord reads with one access.
//
//go:noinline
func firstWord(memory []byte) uint32 { return *(*uint32)(unsafe.Pointer(&memory[0])) }

// Bits of the command register in the PCI configuration space, from
// include/uapi/linux/pci_regs.h.
const (
	CommandRegister    = 4
	CommandMemory      = 1 << 1
	CommandBusMaster   = 1 << 2
	CommandINTxDisable = 1 << 10
)

// EnableDMA sets memory space and bus master in the device's command register.
// Closing the device undoes it.
func (c *Cdev) EnableDMA() {
	c.setCommand(CommandMemory|CommandBusMaster, CommandMemory|CommandBusMaster)
}

// SetBusMaster sets or clears bus master alone.
func (c *Cdev) SetBusMaster(on bool) { c.switchCommand(CommandBusMaster, on) }

// SetMemory sets or clears the bit that has the device answer to accesses of
// its memory.
func (c *Cdev) SetMemory(on bool) { c.switchCommand(CommandMemory, on) }

// SetINTxDisable sets or clears the bit that switches INTx off.
func (c *Cdev) SetINTxDisable(on bool) { c.switchCommand(CommandINTxDisable, on) }

// switchCommand sets or clears a bit of the command register.
func (c *Cdev) switchCommand(bit uint16, on bool) {
	value := uint16(0)
	if on {
		value = bit
	}
	c.setCommand(bit, value)
}

// setCommand gives the bits of mask in the command register these values; the
// test ends when it cannot.
func (c *Cdev) setCommand(mask, value uint16) {
	region, err := c.Region(uapi.VFIO_PCI_CONFIG_REGION_INDEX)
	c.t.Must(err, "VFIO_DEVICE_GET_REGION_INFO(config)")
	var register [2]byte
	_, err = c.Pread(register[:], int64(region.Offset)+CommandRegister)
	c.t.Must(err, "read the command register")
	value |= binary.LittleEndian.Uint16(register[:]) &^ mask
	binary.LittleEndian.PutUint16(register[:], value)
	_, err = c.Pwrite(register[:], int64(region.Offset)+CommandRegister)
	c.t.Must(err, "write the command register")
}

// BusMaster says whether the device may do DMA, from its configuration space
// as sysfs shows it.
func (d *Device) BusMaster(t *T) bool {
	config := t.ReadFile(d.Sysfs("config"))
	if len(config) < CommandRegister+2 {
		t.Fatalf("config of %s: %d bytes", d.BDF, len(config))
	}
	return config[CommandRegister]&CommandBusMaster != 0
}

// ToAttached opens the device, binds it to a new iommufd and attaches it to a
// new IOAS there: where most tests begin.
func (t *T) ToAttached(d *Device) (*Cdev, *IOAS) {
	c := t.Open(d)
	fd := t.IOMMUFD()
	c.Bind(fd)
	s := fd.IOAS()
	c.Attach(s)
	return c, s
}

// FD is the iommufd of the address space.
func (s *IOAS) FD() *IOMMUFD { return s.fd }

// T is the test that opened the device.
func (c *Cdev) T() *T { return c.t }

// IRQ is VFIO_DEVICE_GET_IRQ_INFO.
func (c *Cdev) IRQ(index uint32) (uapi.IRQInfo, error) {
	arg := uapi.IRQInfo{Argsz: size[uapi.IRQInfo](), Index: index}
	_, err := c.Ioctl(uapi.VFIO_DEVICE_GET_IRQ_INFO, unsafe.Pointer(&arg))
	return arg, err
}
