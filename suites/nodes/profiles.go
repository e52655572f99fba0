// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"noiommu-farm/suites/lab"
	"noiommu-farm/suites/uapi"
)

// ND-06: without groups the cdev is all there is.
func cdevAlone(t *lab.T) {
	for _, d := range t.Devices {
		expectCdev(t, d)
		t.Absent(d.Sysfs("iommu_group"))
		for _, id := range t.List("/sys/kernel/iommu_groups") {
			t.Contains(t.List("/sys/kernel/iommu_groups/"+id+"/devices"), d.BDF, false, "devices of IOMMU group %s", id)
		}
	}
	if t.Facts.IOMMU.Kind == "" {
		lab.Equal(t, strings.Join(t.List("/sys/kernel/iommu_groups"), " "), "", "IOMMU groups of a machine without an IOMMU")
	}
	lab.Equal(t, strings.Join(t.List("/dev/vfio"), " "), "devices", "/dev/vfio")
	t.Absent("/dev/vfio/vfio")
	t.Absent("/sys/class/vfio")
}

// ND-07: without the cdev the group is all there is; the device has an entry in
// sysfs with a name that nobody can open.
func groupAlone(t *lab.T) {
	expect := func(d *lab.Device, index int) {
		expectGroup(t, d)
		name := "vfio" + strconv.Itoa(index)
		lab.Equal(t, t.CdevName(d), name, "%s: its name in vfio-dev", d.Model)
		lab.Equal(t, filepath.Base(t.ReadLink("/sys/class/vfio-dev/"+name)), name, "%s: /sys/class/vfio-dev/%s", d.Model, name)
		t.Absent(d.Sysfs("vfio-dev/" + name + "/dev"))
		t.Absent("/dev/vfio/devices")
	}
	for _, d := range t.Devices {
		index, err := strconv.Atoi(strings.TrimPrefix(t.CdevName(d), "vfio"))
		t.Must(err, "%s: the index in %q", d.Model, t.CdevName(d))
		expect(d, index)
		t.Must(t.Unbind(d), "unbind %s", d.BDF)
		t.Absent(d.Sysfs("vfio-dev"))
	}
	for _, d := range t.Devices {
		free := firstFree(t)
		t.Must(t.Bind(d), "bind %s", d.BDF)
		expect(d, free)
	}
}

// ND-16: whose the container's node is.
func container(t *lab.T) {
	const (
		node    = "/dev/vfio/vfio"
		message = "IOMMUFD is providing /dev/vfio/vfio, not VFIO."
		misc    = 10  // the major number of miscdevice
		minor   = 196 // VFIO_MINOR in include/linux/miscdevice.h
	)
	config := t.Facts.Config
	log := t.KernelLog()
	_, err := t.Stat("/dev/iommu")
	t.OK(err, "stat /dev/iommu")
	t.Must(t.IOMMUFD().Close(), "close the iommufd")
	lab.Equal(t, lab.Count(log.Messages(), message), 0, "messages of an open of /dev/iommu")
	if !config.Container && !config.CompatContainer {
		t.Absent(node)
		_, err := uapi.Open(t.Tally, node, unix.O_RDWR)
		t.Fails(err, unix.ENOENT, "open %s", node)
		return
	}

	got, err := t.Stat(node)
	t.Must(err, "stat %s", node)
	lab.Equal(t, got.Mode, lab.Mode(unix.S_IFCHR|0o666), "type and mode of %s", node)
	lab.Equal(t, got.Major, misc, "major number of %s", node)
	lab.Equal(t, got.Minor, minor, "minor number of %s", node)
	messages := 0
	if config.CompatContainer {
		messages = 1 // of the first open since boot, and of no other
	}
	for range 2 {
		c := t.OpenContainer()
		lab.Equal(t, lab.Count(log.Messages(), message), messages, "messages of an open of %s", node)
		messages = 0
		version, err := c.IoctlValue(uapi.VFIO_GET_API_VERSION, 0)
		t.OK(err, "VFIO_GET_API_VERSION")
		lab.Equal(t, version, uapi.VFIO_API_VERSION, "VFIO_GET_API_VERSION")
		t.Must(c.Close(), "close the container")
	}
	if config.CompatContainer {
		lab.Equal(t, t.CompatIOMMUFD().IOAS().ID, 1, "id of the first IOAS allocated through %s", node)
		return
	}
	_, err = t.OpenContainer().IoctlValue(uapi.IOMMU_IOAS_ALLOC, 0)
	t.Fails(err, unix.EINVAL, "IOMMU_IOAS_ALLOC of VFIO's own container")
}
