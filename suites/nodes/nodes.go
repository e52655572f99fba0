// SPDX-License-Identifier: Apache-2.0

// Package nodes proves which device nodes and sysfs entries a bound device
// without an IOMMU has.
package nodes

import (
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"noiommu-farm/suites/lab"
)

// Tests are the suite's tests.
var Tests = []lab.Test{
	{ID: "ND-01", Run: refusedWithGroups},
	{ID: "ND-02", Run: refusedWithoutGroups},
	{ID: "ND-03", Run: notBuilt},
	{ID: "ND-04", Run: cdevNode},
	{ID: "ND-05", Run: groupNode},
	{ID: "ND-06", Run: cdevAlone},
	{ID: "ND-07", Run: groupAlone},
	{ID: "ND-09", Run: parameter},
	{ID: "ND-10", Run: modeAtBind},
	{ID: "ND-11", Run: goneAfterUnbind},
	{ID: "ND-12", Run: inertGroup},
	{ID: "ND-13", Run: nothingShared},
	{ID: "ND-14", Run: emulated},
	{ID: "ND-15", Run: fdinfo},
	{ID: "ND-16", Run: container},
}

// privateNode is the type and the permissions of a noiommu node.
const privateNode lab.Mode = unix.S_IFCHR | 0o600

// prefix marks the names of what has no IOMMU.
const prefix = "noiommu-"

// ND-04: the cdev, in three places, under one name.
func cdevNode(t *lab.T) {
	for _, d := range t.Devices {
		expectCdev(t, d)
	}

	// Indexes are given out from the lowest free one: after all devices left,
	// the last one back first gets the lowest.
	for _, d := range t.Devices {
		name := t.CdevName(d)
		t.Must(t.Unbind(d), "unbind %s", d.BDF)
		t.Absent("/sys/class/vfio-dev/" + name)
		t.Absent("/dev/vfio/devices/" + name)
	}
	for _, d := range slices.Backward(t.Devices) {
		free := firstFree(t)
		t.Must(t.Bind(d), "bind %s", d.BDF)
		lab.Equal(t, t.CdevName(d), prefix+"vfio"+strconv.Itoa(free), "%s: name of the cdev bound next", d.Model)
		expectCdev(t, d)
	}
}

// expectCdev asserts everything about the node of one device.
func expectCdev(t *lab.T, d *lab.Device) {
	name := t.CdevName(d)
	index, named := strings.CutPrefix(name, prefix+"vfio")
	lab.Equal(t, named, true, "%s: %q begins with noiommu-vfio", d.Model, name)
	number, err := strconv.ParseUint(index, 10, 32)
	t.OK(err, "%s: the index in %q", d.Model, name)
	lab.Equal(t, strconv.FormatUint(number, 10), index, "%s: index as the kernel writes it", d.Model)

	target := t.ReadLink("/sys/class/vfio-dev/" + name)
	lab.Equal(t, filepath.Base(target), name, "%s: /sys/class/vfio-dev/%s", d.Model, name)
	t.Contains(strings.Split(target, "/"), d.BDF, true, "%s: path behind /sys/class/vfio-dev/%s", d.Model, name)

	node, err := t.Stat("/dev/vfio/devices/" + name)
	if t.OK(err, "stat /dev/vfio/devices/%s", name) {
		lab.Equal(t, node.Mode, privateNode, "%s: type and mode of the cdev", d.Model)
		lab.Equal(t, node.UID, 0, "%s: owner of the cdev", d.Model)
		lab.Equal(t, node.Dev(), t.ReadFile(d.Sysfs("vfio-dev/"+name+"/dev")), "%s: number of the cdev", d.Model)
		lab.Equal(t, uint64(node.Minor), number, "%s: minor number of the cdev", d.Model)
	}
	t.Absent("/dev/vfio/devices/vfio" + index)
	t.Absent("/sys/class/vfio-dev/vfio" + index)
}

// firstFree is the lowest index that no VFIO device has.
func firstFree(t *lab.T) int {
	used := make(map[string]bool)
	for _, name := range t.List("/sys/class/vfio-dev") {
		used[strings.TrimPrefix(strings.TrimPrefix(name, prefix), "vfio")] = true
	}
	free := 0
	for used[strconv.Itoa(free)] {
		free++
	}
	return free
}

// ND-05: the group, its node and the IOMMU group that VFIO made up for it.
func groupNode(t *lab.T) {
	for _, d := range t.Devices {
		expectGroup(t, d)
	}
}

// expectGroup asserts everything about the group of one device.
func expectGroup(t *lab.T, d *lab.Device) {
	id := t.GroupID(d)
	lab.Equal(t, t.ReadFile("/sys/kernel/iommu_groups/"+id+"/name"), "vfio-noiommu", "%s: name of group %s", d.Model, id)
	lab.Equal(t, strings.Join(t.List("/sys/kernel/iommu_groups/"+id+"/devices"), " "), d.BDF, "%s: devices of group %s", d.Model, id)
	lab.Equal(t, filepath.Base(t.ReadLink("/sys/class/vfio/"+prefix+id)), prefix+id, "%s: /sys/class/vfio/noiommu-%s", d.Model, id)

	node, err := t.Stat("/dev/vfio/" + prefix + id)
	if t.OK(err, "stat /dev/vfio/noiommu-%s", id) {
		lab.Equal(t, node.Mode, privateNode, "%s: type and mode of the group", d.Model)
		lab.Equal(t, node.UID, 0, "%s: owner of the group", d.Model)
		lab.Equal(t, node.Dev(), groupNumber(t, d), "%s: number of the group", d.Model)
	}
	t.Absent("/dev/vfio/" + id)
	t.Absent("/sys/class/vfio/" + id)
}

// groupNumber is the number of the device's group node, as sysfs writes it.
func groupNumber(t *lab.T, d *lab.Device) string {
	return t.ReadFile("/sys/class/vfio/" + t.GroupName(d) + "/dev")
}

// expectNodes asserts everything about the nodes of a device that this kernel
// gives one.
func expectNodes(t *lab.T, d *lab.Device) {
	if t.Facts.Config.NoiommuCdev {
		expectCdev(t, d)
	}
	if t.Facts.Config.Group {
		expectGroup(t, d)
	}
}

// ND-13: nothing is shared.
func nothingShared(t *lab.T) {
	groups, names := make(map[string]string), make(map[string]string)
	for _, d := range t.Devices {
		name := t.CdevName(d)
		lab.Equal(t, names[name], "", "%s: other device with the name %s", d.BDF, name)
		names[name] = d.BDF
		if t.Facts.Config.NoiommuCdev {
			_, err := t.Stat("/dev/vfio/devices/" + name)
			t.OK(err, "stat the cdev of %s", d.BDF)
		}
		if t.Facts.Config.Group {
			id := t.GroupID(d)
			lab.Equal(t, groups[id], "", "%s: other device in group %s", d.BDF, id)
			groups[id] = d.BDF
			_, err := t.Stat("/dev/vfio/" + prefix + id)
			t.OK(err, "stat the group node of %s", d.BDF)
			lab.Equal(t, strings.Join(t.List("/sys/kernel/iommu_groups/"+id+"/devices"), " "), d.BDF, "devices of group %s", id)
		}
	}
	lab.Equal(t, len(names), len(t.Devices), "number of names")

	// Each can be used while the other is: they exclude nobody but themselves.
	if t.Facts.Config.Group {
		lab.Equal(t, len(groups), len(t.Devices), "number of groups")
		var open []*lab.Group
		for _, d := range t.Devices {
			group := t.OpenGroup(d)
			status, err := group.Status()
			t.OK(err, "VFIO_GROUP_GET_STATUS of %s", d.BDF)
			lab.Equal(t, status, 1, "VFIO_GROUP_GET_STATUS of %s", d.BDF)
			open = append(open, group)
		}
		for _, group := range open {
			t.Must(group.Close(), "close the group")
		}
	}
	if t.Facts.Config.NoiommuCdev {
		for _, d := range t.Devices {
			lab.Equal(t, t.Open(d).Bind(t.IOMMUFD()), 1, "%s: bind of the cdev while the others are bound: out_devid", d.BDF)
		}
	}
}
