// SPDX-License-Identifier: Apache-2.0

package permission

import (
	"golang.org/x/sys/unix"

	"noiommu-farm/suites/lab"
)

// lockdownFile switches the kernel's lockdown, never back.
const lockdownFile = "/sys/kernel/security/lockdown"

// PE-11: a kernel that is locked down to protect its integrity, which keeps
// user space from a device's registers in sysfs, keeps nobody from a device
// without an IOMMU.
func lockdown(t *lab.T) {
	if t.ReadFile(lockdownFile) == "[none] integrity confidentiality" {
		t.Must(t.WriteFile(lockdownFile, "integrity"), "write integrity to %s", lockdownFile)
	}
	lab.Equal(t, t.ReadFile(lockdownFile), "none [integrity] confidentiality", "%s", lockdownFile)
	for _, d := range t.Devices {
		t.Fails(t.WriteFile(d.Sysfs("config"), "x"), unix.EPERM, "%s: write to its configuration in sysfs", d.Model)

		dev, ioas := t.ToAttached(d)
		m := t.Pages(4)
		ioas.Map(m, iova)
		ioas.ExpectPA(iova+0xabc, lab.MaxLength, m.PA(0xabc), m.Run(0xabc))
		dev.EnableDMA()
		lab.Equal(t, d.BusMaster(t), true, "%s: bus master", d.Model)
		lab.Above(t, len(dev.BAR0()), 0, "%s: bytes of BAR0 mapped", d.Model)
		t.Must(dev.Close(), "close the cdev")
		if t.Facts.Config.Group {
			t.Must(t.OpenGroup(d).Close(), "close the group")
		}
		t.Must(t.Unbind(d), "%s: unbind", d.Model)
		t.Must(t.Bind(d), "%s: bind again", d.Model)
	}
}
