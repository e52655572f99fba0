// SPDX-License-Identifier: Apache-2.0

package cdev

import "noiommu-farm/suites/lab"

// allowUnsafe is iommufd's permission to bind devices whose interrupts nothing
// isolates.
const allowUnsafe = "/sys/module/iommufd/parameters/allow_unsafe_interrupts"

// CD-14: nobody asks of a device without an IOMMU that its interrupts are
// isolated.
func noIsolatedMSI(t *lab.T) {
	was := t.ReadFile(allowUnsafe)
	t.Cleanup(func() { t.OK(t.WriteFile(allowUnsafe, was), "cleanup: allow_unsafe_interrupts") })
	for _, allow := range []string{"N", "Y"} {
		t.Must(t.WriteFile(allowUnsafe, allow), "write %s to allow_unsafe_interrupts", allow)
		lab.Equal(t, t.ReadFile(allowUnsafe), allow, "allow_unsafe_interrupts")
		for _, d := range t.Devices {
			log := t.KernelLog()
			dev := t.Open(d)
			arg := dev.BindArg(t.IOMMUFD())
			t.OK(dev.TryBind(&arg), "%s: bind with allow_unsafe_interrupts=%s", d.Model, allow)
			lab.Equal(t, arg.OutDevID, 1, "%s: out_devid", d.Model)
			t.Must(dev.Close(), "close the cdev")
			lab.Equal(t, lab.Count(log.Messages(), "MSI interrupts are not secure"), 0, "%s: messages about interrupts", d.Model)
		}
	}
}
