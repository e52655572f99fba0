// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"fmt"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"noiommu-farm/suites/lab"
)

// ND-09: the parameter is a switch that root can turn.
func parameter(t *lab.T) {
	const path = "/sys/module/vfio/parameters/enable_unsafe_noiommu_mode"
	node, err := t.Stat(path)
	t.Must(err, "stat the parameter")
	lab.Equal(t, node.Mode, lab.Mode(unix.S_IFREG|0o644), "type and mode of the parameter")
	for _, on := range []bool{false, true, false} {
		t.SetUnsafeMode(on) // asserts that it reads as it was written
	}
	t.Fails(t.WriteFile(path, "x"), unix.EINVAL, "write x to the parameter")
	lab.Equal(t, t.UnsafeMode(), "N", "the parameter after a write that failed")
}

// ND-12: the group that VFIO makes up can be looked at, and does nothing.
func inertGroup(t *lab.T) {
	for _, d := range t.Devices {
		group := "/sys/kernel/iommu_groups/" + t.GroupID(d)
		lab.Equal(t, t.ReadFile(group+"/type"), "unknown", "%s: type of the group", d.Model)
		lab.Equal(t, t.ReadFile(group+"/reserved_regions"), "", "%s: reserved regions of the group", d.Model)
		for _, kind := range []string{"DMA", "DMA-FQ", "identity", "auto", "bogus"} {
			t.Fails(t.WriteFile(group+"/type", kind), unix.EINVAL, "%s: write %s to the type of the group", d.Model, kind)
		}
		lab.Equal(t, t.ReadFile(group+"/type"), "unknown", "%s: type of the group after the writes", d.Model)
	}
}

// ND-15: a descriptor tells which device it is.
func fdinfo(t *lab.T) {
	for _, d := range t.Devices {
		path, err := filepath.EvalSymlinks(d.Sysfs(""))
		t.Must(err, "resolve %s", d.Sysfs(""))
		dev := t.Open(d)
		expect := func(when string) {
			var got []string
			for _, line := range t.Lines(fmt.Sprintf("/proc/self/fdinfo/%d", dev.Fd())) {
				if rest, ok := strings.CutPrefix(line, "vfio-device-syspath:"); ok {
					got = append(got, strings.TrimSpace(rest))
				}
			}
			lab.Equal(t, strings.Join(got, " "), path, "%s: vfio-device-syspath %s", d.Model, when)
		}
		expect("before bind")
		dev.Bind(t.IOMMUFD())
		expect("after bind")
		t.Must(dev.Close(), "close the cdev")
	}
}
