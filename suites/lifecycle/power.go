// SPDX-License-Identifier: Apache-2.0

package lifecycle

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"noiommu-farm/suites/lab"
	"noiommu-farm/suites/uapi"
)

// LC-11: who has the device closed leaves it asleep, and whoever opens it
// finds it awake.
func runtimePM(t *lab.T) {
	lab.Equal(t, t.ReadFile("/sys/module/vfio_pci/parameters/disable_idle_d3"), "N", "disable_idle_d3")
	states := 0
	for _, d := range t.Devices {
		// A device without the capability is suspended all the same, but knows
		// no state to be in.
		hasStates := d.PowerStates(t)
		if hasStates {
			states++
		}
		expect := func(status, state, when string) {
			d.ExpectRuntimeStatus(t, status, "%s %s", d.Model, when)
			if hasStates {
				lab.Equal(t, t.ReadFile(d.Sysfs("power_state")), state, "%s %s: power_state", d.Model, when)
			}
		}
		for range 3 {
			expect("suspended", "D3hot", "closed")
			dev := t.Open(d)
			fd := t.IOMMUFD()
			dev.Bind(fd)
			expect("active", "D0", "bound")
			_, err := dev.Info()
			t.OK(err, "%s: VFIO_DEVICE_GET_INFO", d.Model)
			region, err := dev.Region(uapi.VFIO_PCI_CONFIG_REGION_INDEX)
			t.OK(err, "%s: VFIO_DEVICE_GET_REGION_INFO(config)", d.Model)
			var vendor [2]byte
			_, err = dev.Pread(vendor[:], int64(region.Offset))
			t.OK(err, "%s: read the vendor", d.Model)
			lab.Equal(t, uint64(binary.LittleEndian.Uint16(vendor[:])), d.Vendor(t), "%s: vendor as the device says it", d.Model)
			// Each of these keeps the device awake as long as it lasts, and no longer.
			ioas := fd.IOAS()
			_, err = dev.TryAttach(ioas.ID + 1)
			t.Fails(err, unix.ENOENT, "%s: attach to what is not there", d.Model)
			dev.Attach(ioas)
			t.OK(dev.Detach(), "%s: detach", d.Model)
			t.Must(dev.Close(), "close the cdev")
			t.Must(fd.Close(), "close the iommufd")
		}
		expect("suspended", "D3hot", "closed again")
	}
	lab.Above(t, states, 0, "devices with power states")
}
