// SPDX-License-Identifier: Apache-2.0

// Package taint proves when the kernel is tainted, and that it is not tainted
// otherwise.
package taint

import (
	"strings"

	"golang.org/x/sys/unix"

	"noiommu-farm/suites/lab"
)

// Tests are the suite's tests.
var Tests = []lab.Test{
	{ID: "TL-01", Run: bootOnly},
	{ID: "TL-02", Run: firstBind},
	{ID: "TL-03", Run: bindIsLogged},
	{ID: "TL-04", Run: lockdepStays},
	{ID: "TL-05", Run: neverWarned},
	{ID: "TL-06", Run: description},
}

// TL-01: the mode alone taints nothing, nor does a device that has an IOMMU.
func bootOnly(t *lab.T) {
	lab.Equal(t, t.UnsafeMode(), "Y", "enable_unsafe_noiommu_mode")
	for _, d := range t.Devices {
		lab.Differ(t, d.Driver(), "vfio-pci", "%s: driver before the first bind", d.Model)
	}
	lab.Equal(t, len(t.List("/sys/class/vfio-dev")), 0, "number of VFIO devices before the first bind")
	taint := t.Taint()
	lab.Equal(t, taint&lab.TaintUser, 0, "taint with the mode on, bit U")
	for _, d := range t.IOMMUDevices() {
		log := t.KernelLog()
		t.Must(t.Bind(d), "bind %s, which is behind an IOMMU", d.BDF)
		lab.Equal(t, t.Taint(), taint, "%s: taint after the bind of a device behind an IOMMU", d.Model)
		lab.Equal(t, lab.Count(log.Messages(), "Adding kernel taint"), 0, "%s: messages of a taint", d.Model)
		t.Must(t.Unbind(d), "unbind %s", d.BDF)
	}
}

// TL-02: what taints is the bind, when it works.
func firstBind(t *lab.T) {
	before := t.Taint()
	lab.Equal(t, before&lab.TaintUser, 0, "taint before the first bind, bit U")
	d := t.Devices[0]

	t.SetUnsafeMode(false)
	for range 2 {
		t.Fails(t.Bind(d), unix.EINVAL, "bind %s with the mode off", d.BDF)
		lab.Equal(t, d.Driver(), "", "driver after the failed bind")
		lab.Equal(t, t.Taint(), before, "taint after a bind that failed")
	}

	t.SetUnsafeMode(true)
	lab.Equal(t, t.Taint(), before, "taint after switching the mode on")
	t.Must(t.Bind(d), "bind %s with the mode on", d.BDF)
	lab.Equal(t, d.Driver(), "vfio-pci", "driver after the bind")
	lab.Equal(t, t.Taint(), before|lab.TaintUser, "taint after the first bind")

	t.Must(t.Unbind(d), "unbind %s", d.BDF)
	lab.Equal(t, t.Taint(), before|lab.TaintUser, "taint after the unbind")
}

// TL-03: each interface that the kernel has says in the log that it taints.
func bindIsLogged(t *lab.T) {
	group, cdev := 0, 0
	if t.Facts.Config.Group {
		group = 1
	}
	if t.Facts.Config.NoiommuCdev {
		cdev = 1
	}
	for _, d := range t.Devices {
		t.Must(t.Unbind(d), "unbind %s", d.BDF)
		log := t.KernelLog()
		t.Must(t.Bind(d), "bind %s", d.BDF)
		messages := log.Messages()
		lab.Equal(t, lab.Count(messages, d.BDF, "Adding kernel taint for vfio-noiommu group on device"), group, "%s: messages of the group", d.Model)
		lab.Equal(t, lab.Count(messages, d.BDF, "Adding kernel taint for vfio-noiommu cdev"), cdev, "%s: messages of the cdev", d.Model)
		lab.Equal(t, lab.Count(messages, "Adding kernel taint"), group+cdev, "%s: messages of a taint in all", d.Model)
		lab.Equal(t, t.Taint()&lab.TaintUser, lab.TaintUser, "%s: taint after the bind, bit U", d.Model)
	}
}

// TL-04: the taint is no reason not to trust lockdep any more.
func lockdepStays(t *lab.T) {
	for _, d := range t.Devices {
		t.Must(t.Unbind(d), "unbind %s", d.BDF)
		t.Must(t.Bind(d), "bind %s", d.BDF)
		lab.Equal(t, t.Taint()&lab.TaintUser, lab.TaintUser, "%s: taint after the bind, bit U", d.Model)
		lab.Equal(t, lockdepStat(t, "debug_locks"), "1", "%s: debug_locks after the bind", d.Model)
	}
}

// lockdepStat is a value of /proc/lockdep_stats: "debug_locks:  1".
func lockdepStat(t *lab.T, name string) string {
	for _, line := range t.Lines("/proc/lockdep_stats") {
		if words := strings.Fields(line); len(words) == 2 && words[0] == name+":" {
			return words[1]
		}
	}
	t.Fatalf("no %s in /proc/lockdep_stats", name)
	return ""
}

// TL-05: no warning, no oops, no bad page.
func neverWarned(t *lab.T) {
	taint := t.Taint()
	lab.Equal(t, taint&lab.TaintWarn, 0, "taint %#x, bit W", taint)
	lab.Equal(t, taint&lab.TaintDie, 0, "taint %#x, bit D", taint)
	lab.Equal(t, taint&lab.TaintBadPage, 0, "taint %#x, bit B", taint)
}
