// SPDX-License-Identifier: Apache-2.0

// Package taint proves when the kernel is tainted, and that it is not tainted
// otherwise.
package taint

import (
	"golang.org/x/sys/unix"

	"noiommu-farm/suites/lab"
)

// Tests are the suite's tests.
var Tests = []lab.Test{
	{ID: "TL-01", Run: bootOnly},
	{ID: "TL-02", Run: firstBind},
	{ID: "TL-03", Run: bindIsLogged},
	{ID: "TL-05", Run: neverWarned},
}

// TL-01: the mode alone taints nothing.
func bootOnly(t *lab.T) {
	lab.Equal(t, t.UnsafeMode(), "Y", "enable_unsafe_noiommu_mode")
	for _, d := range t.Devices {
		lab.Differ(t, d.Driver(), "vfio-pci", "%s: driver before the first bind", d.Model)
	}
	lab.Equal(t, len(t.List("/sys/class/vfio-dev")), 0, "number of VFIO devices before the first bind")
	lab.Equal(t, t.Taint()&lab.TaintUser, 0, "taint with the mode on, bit U")
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

// TL-03: each interface says in the log that it taints.
func bindIsLogged(t *lab.T) {
	for _, d := range t.Devices {
		t.Must(t.Unbind(d), "unbind %s", d.BDF)
		log := t.KernelLog()
		t.Must(t.Bind(d), "bind %s", d.BDF)
		messages := log.Messages()
		lab.Equal(t, lab.Count(messages, d.BDF, "Adding kernel taint for vfio-noiommu group on device"), 1, "%s: messages of the group", d.Model)
		lab.Equal(t, lab.Count(messages, d.BDF, "Adding kernel taint for vfio-noiommu cdev"), 1, "%s: messages of the cdev", d.Model)
		lab.Equal(t, lab.Count(messages, "Adding kernel taint"), 2, "%s: messages of both", d.Model)
	}
}

// TL-05: no warning, no oops, no bad page.
func neverWarned(t *lab.T) {
	taint := t.Taint()
	lab.Equal(t, taint&lab.TaintWarn, 0, "taint %#x, bit W", taint)
	lab.Equal(t, taint&lab.TaintDie, 0, "taint %#x, bit D", taint)
	lab.Equal(t, taint&lab.TaintBadPage, 0, "taint %#x, bit B", taint)
}
