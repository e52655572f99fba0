// SPDX-License-Identifier: Apache-2.0

// Package mtty is what a test must know to have a mediated device: the
// kernel's sample driver of an emulated serial port
// (CONFIG_SAMPLE_VFIO_MDEV_MTTY, samples/vfio-mdev/mtty.c).
//
// In comes a test; out goes a device that is there until the test ends. No
// hardware is behind it, and it never does DMA.
package mtty

import (
	"crypto/rand"
	"fmt"

	"noiommu-farm/suites/lab"
	"noiommu-farm/suites/uapi"
)

// create makes a device of the type with one port.
const create = "/sys/class/mdev_bus/mtty/mdev_supported_types/mtty-1/create"

// What the configuration space begins with: vendor 4348, device 3253, little
// endian.
var id = [4]byte{0x48, 0x43, 0x53, 0x32}

// New creates a device; the test ends when it cannot. It is removed when the
// test ends at the latest.
func New(t *lab.T) *lab.Device {
	var b [16]byte
	rand.Read(b[:])
	uuid := fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
	t.Must(t.WriteFile(create, uuid), "create an mtty")
	d := lab.Mdev(uuid, "mtty")
	t.Cleanup(func() { Remove(t, d) })
	return d
}

// Remove removes the device. Removing it twice is allowed.
func Remove(t *lab.T, d *lab.Device) {
	if _, err := t.Stat(d.Sysfs("")); err == nil {
		t.OK(t.WriteFile(d.Sysfs("remove"), "1"), "remove the mtty")
	}
}

// Answers asserts that an opened device can be used: it tells who it is.
func Answers(t *lab.T, dev *lab.Cdev, what string, args ...any) {
	what = fmt.Sprintf(what, args...)
	info, err := dev.Info()
	t.OK(err, "%s: VFIO_DEVICE_GET_INFO", what)
	lab.Equal(t, info.NumRegions, uapi.VFIO_PCI_NUM_REGIONS, "%s: num_regions", what)
	var got [4]byte
	_, err = dev.Pread(got[:], uapi.VFIO_PCI_CONFIG_REGION_INDEX<<40)
	t.OK(err, "%s: pread of the config region", what)
	lab.Equal(t, got, id, "%s: vendor and device id", what)
}
