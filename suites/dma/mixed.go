// SPDX-License-Identifier: Apache-2.0

package dma

import (
	"bytes"
	"slices"

	"noiommu-farm/suites/edu"
	"noiommu-farm/suites/lab"
)

// DM-09: behind the IOMMU the IOVA is the address and the physical address is
// a fault; beside it, it is the other way round.
func eachItsOwn(t *lab.T) {
	const (
		high     = 1 << 36 // where no memory is
		atSource = high
		atTarget = high + 1<<30
	)
	isEdu := func(d *lab.Device) bool { return d.Model == "edu" }
	for _, side := range []struct {
		name   string
		device []*lab.Device
	}{{"behind the IOMMU", t.IOMMUDevices()}, {"beside the IOMMU", t.NoIOMMUDevices()}} {
		i := slices.IndexFunc(side.device, isEdu)
		if i < 0 {
			t.Fatalf("no edu %s", side.name)
		}
		d := side.device[i]
		source, target := t.Pages(1), t.Hugepages(1)
		dev, ioas := t.ToAttached(d)
		ioas.Map(source, atSource)
		ioas.Map(target, atTarget)
		device := edu.New(dev)
		log := t.KernelLog()

		var fetch, right, wrong uint64
		if d.BehindIOMMU {
			fetch, right, wrong = atSource, atTarget, target.PA(0)
		} else {
			fetch, right, wrong = address(t, ioas, atSource, message), address(t, ioas, atTarget, message), atTarget
		}
		device.Fetch(fetch, message)
		before := bytes.Clone(target.Bytes)
		device.Store(wrong, message)
		lab.Equal(t, edu.FirstDifference(target.Bytes, before), -1, "edu %s: first byte changed by the wrong address", side.name)
		if d.BehindIOMMU {
			log.Await("DMAR:", "["+d.BDF+"]", "fault addr")
		}
		want := before
		copy(want, source.Bytes)
		device.Store(right, message)
		device.Moved(target.Bytes[:message], source.Bytes, "edu %s: bytes at the right address", side.name)
		lab.Equal(t, edu.FirstDifference(target.Bytes, want), -1, "edu %s: first wrong byte", side.name)
		t.Must(dev.Close(), "close the cdev")
	}
}
