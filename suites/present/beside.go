// SPDX-License-Identifier: Apache-2.0

package present

import (
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"noiommu-farm/suites/edu"
	"noiommu-farm/suites/lab"
)

// IP-08: an IOMMU that is switched off is none.
func switchedOff(t *lab.T) {
	lab.Equal(t, strings.Join(t.List("/sys/class/iommu"), " "), "", "IOMMUs that the kernel drives")
	for _, d := range t.Devices {
		t.Must(t.Unbind(d), "unbind %s", d.BDF)
		t.Absent(d.Sysfs("iommu"))
		t.Absent(d.Sysfs("iommu_group"))
		bindUnsafe(t, d)
	}

	const iova, target = 1 << 36, lab.HugeSize / 2
	dev, ioas := t.ToAttached(edu.Find(t))
	m := t.Hugepages(1)
	pa := m.PA(0)
	ioas.Map(m, iova)
	ioas.ExpectPA(iova, lab.MaxLength, pa, lab.HugeSize)
	device := edu.New(dev)
	device.Fetch(pa, edu.BufferSize)
	device.Store(pa+target, edu.BufferSize)
	device.Moved(m.Bytes[target:target+edu.BufferSize], m.Bytes[:edu.BufferSize], "bytes moved by physical addresses")
	t.Must(dev.Close(), "close the cdev")
}

// IP-09: of two devices in one machine each is what it is.
func besideEachOther(t *lab.T) {
	behind, beside := t.IOMMUDevices(), t.NoIOMMUDevices()
	unbind := func() {
		for _, d := range t.Devices {
			if d.Driver() != "" {
				t.Must(t.Unbind(d), "unbind %s", d.BDF)
			}
		}
		for _, d := range beside {
			t.Absent(d.Sysfs("iommu_group"))
		}
		for _, d := range behind {
			t.Contains(t.List("/sys/kernel/iommu_groups/"+t.GroupID(d)+"/devices"), d.BDF, true, "its IOMMU group before the bind")
		}
	}
	bind := func(ordinaryFirst bool) {
		for _, ordinary := range []bool{ordinaryFirst, !ordinaryFirst} {
			if ordinary {
				for _, d := range behind {
					bindOrdinary(t, d)
				}
			} else {
				for _, d := range beside {
					bindUnsafe(t, d)
				}
			}
		}
		for _, d := range behind {
			useOrdinary(t, d)
		}
	}
	unbind()
	bind(true)
	unbind()
	bind(false)
	unbind()

	t.SetUnsafeMode(false)
	for _, d := range beside {
		t.Fails(t.Bind(d), unix.EINVAL, "%s: bind with the mode off", d.Model)
		t.Absent(d.Sysfs("iommu_group"))
	}
	for _, d := range behind {
		bindOrdinary(t, d)
		useOrdinary(t, d)
	}
}

// bindUnsafe binds a device without an IOMMU and asserts that it becomes a
// no-IOMMU device: its nodes have the prefix and take CAP_SYS_RAWIO, and the
// kernel is tainted.
func bindUnsafe(t *lab.T, d *lab.Device) {
	log := t.KernelLog()
	t.Must(t.Bind(d), "bind %s", d.BDF)
	messages := log.Messages()
	lab.Equal(t, t.Taint()&lab.TaintUser, lab.TaintUser, "%s: taint after the bind, bit U", d.Model)
	expect := func(path, message string) {
		lab.Equal(t, lab.Count(messages, d.BDF, message), 1, "%s: messages %q", d.Model, message)
		node, err := t.Stat(path)
		if t.OK(err, "stat %s", path) {
			lab.Equal(t, node.Mode, lab.Mode(unix.S_IFCHR|0o600), "%s: type and mode of %s", d.Model, path)
		}
	}
	if t.Facts.Config.NoiommuCdev {
		path := t.CdevPath(d)
		lab.Equal(t, strings.HasPrefix(filepath.Base(path), "noiommu-vfio"), true, "%s: %s has the prefix", d.Model, path)
		expect(path, "Adding kernel taint for vfio-noiommu cdev")
		t.WithCaps(^lab.RawIO, func() {
			_, err := t.TryOpen(path, d)
			t.Fails(err, unix.EPERM, "%s: open the cdev without CAP_SYS_RAWIO", d.Model)
		})
	}
	if t.Facts.Config.Group {
		id := t.GroupID(d)
		lab.Equal(t, t.ReadFile("/sys/kernel/iommu_groups/"+id+"/name"), "vfio-noiommu", "%s: name of the IOMMU group", d.Model)
		expect("/dev/vfio/noiommu-"+id, "Adding kernel taint for vfio-noiommu group on device")
		t.WithCaps(^lab.RawIO, func() {
			_, err := t.TryOpenGroup(d)
			t.Fails(err, unix.EPERM, "%s: open the group without CAP_SYS_RAWIO", d.Model)
		})
	}
}
