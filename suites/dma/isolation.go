// SPDX-License-Identifier: Apache-2.0

package dma

import (
	"bytes"

	"noiommu-farm/suites/edu"
	"noiommu-farm/suites/igb"
	"noiommu-farm/suites/lab"
	"noiommu-farm/suites/uapi"
	"noiommu-farm/suites/witness"
)

const message = edu.BufferSize // bytes that the device holds and writes

// DM-03: a fork leaves the pages to the parent, and the device writes there.
func afterFork(t *lab.T) {
	source, target := t.Pages(1), t.Hugepages(1)
	device, ioas := prepare(t, source, target)
	device.Fetch(address(t, ioas, iova, message), message)
	pa := address(t, ioas, 2*iova, message)
	child := t.Fork()
	for i := range target.Bytes {
		target.Bytes[i]++ // would copy the pages, were they shared with the child
	}
	want := bytes.Clone(target.Bytes)
	copy(want, source.Bytes)
	device.Store(pa, message)
	device.Moved(target.Bytes[:message], source.Bytes, "bytes of the parent")
	witness.Sees(t, pa, source.Bytes, "bytes of the parent")
	lab.Equal(t, edu.FirstDifference(target.Bytes, want), -1, "first wrong byte of the hugepage")
	child.Kill()
}

// DM-04: there is no isolation: detached from everything, the device reaches
// what it reached before.
func afterDetach(t *lab.T) {
	source, target := t.Pages(1), t.Hugepages(1)
	dev, ioas := t.ToAttached(edu.Find(t))
	ioas.Map(source, iova)
	ioas.Map(target, 2*iova)
	device := edu.New(dev)
	device.Fetch(address(t, ioas, iova, message), message)
	pa := address(t, ioas, 2*iova, message)
	t.Must(dev.Detach(), "detach")
	t.OK(ioas.FD().Destroy(ioas.ID), "IOMMU_DESTROY(ioas)")
	lab.Equal(t, target.PA(0), pa, "address of the hugepage, still there after detach")
	device.Store(pa, message)
	device.Moved(target.Bytes[:message], source.Bytes, "bytes written after detach")
	witness.Sees(t, pa, source.Bytes, "bytes written after detach")
}

// DM-05: bus master is the one switch there is.
func noBusMaster(t *lab.T) {
	source, target := t.Pages(1), t.Hugepages(1)
	dev, ioas := t.ToAttached(edu.Find(t))
	ioas.Map(source, iova)
	ioas.Map(target, 2*iova)
	device := edu.New(dev)
	device.Fetch(address(t, ioas, iova, message), message)
	pa := address(t, ioas, 2*iova, message)
	before := bytes.Clone(target.Bytes)
	dev.SetBusMaster(false)
	device.Store(pa, message)
	lab.Equal(t, edu.FirstDifference(target.Bytes, before), -1, "first byte changed without bus master")
	witness.Sees(t, pa, before[:message], "bytes without bus master")
	dev.SetBusMaster(true)
	device.Store(pa, message)
	device.Moved(target.Bytes[:message], source.Bytes, "bytes written with bus master")
}

// DM-06: the IOVA of one buffer is the address of another, and that one the
// device writes to.
func iovaIsNoAddress(t *lab.T) {
	source, named, owner := t.Pages(1), t.Hugepages(1), t.Hugepages(1)
	dev, ioas := t.ToAttached(edu.Find(t))
	at := owner.PA(0)
	ioas.Map(source, iova)
	ioas.Map(named, at)
	ioas.Map(owner, at+lab.HugeSize) // so that it is pinned
	ioas.ExpectPA(at, lab.MaxLength, named.PA(0), named.Run(0))
	device := edu.New(dev)
	device.Fetch(address(t, ioas, iova, message), message)

	untouched, want := bytes.Clone(named.Bytes), bytes.Clone(owner.Bytes)
	copy(want, source.Bytes)
	device.Store(at, message)
	device.Moved(owner.Bytes[:message], source.Bytes, "bytes at the physical address")
	witness.Sees(t, at, source.Bytes, "bytes at the physical address")
	lab.Equal(t, edu.FirstDifference(owner.Bytes, want), -1, "first wrong byte at the physical address")
	lab.Equal(t, edu.FirstDifference(named.Bytes, untouched), -1, "first byte changed at the IOVA")
}

// DM-08: closing the device takes bus master from it; the next user has to
// switch it on again.
func closedDevice(t *lab.T) {
	source, target := t.Pages(1), t.Hugepages(1)
	d := edu.Find(t)
	lab.Equal(t, d.BusMaster(t), false, "bus master before the device is opened")
	for range 2 {
		dev, ioas := t.ToAttached(d)
		lab.Equal(t, d.BusMaster(t), false, "bus master of the opened device")
		ioas.Map(source, iova)
		ioas.Map(target, 2*iova)
		device := edu.New(dev)
		lab.Equal(t, d.BusMaster(t), true, "bus master after it was set")
		device.Fetch(address(t, ioas, iova, message), message)
		clear(target.Bytes)
		device.Store(address(t, ioas, 2*iova, message), message)
		device.Moved(target.Bytes[:message], source.Bytes, "bytes written")
		t.Must(dev.Close(), "close the cdev")
		lab.Equal(t, d.BusMaster(t), false, "bus master after close")
	}
	afterReset(t, igb.Find(t))
}

// afterReset is the part of DM-08 that is about a reset: what the device was
// told before is forgotten, and nothing moves until it is told anew.
func afterReset(t *lab.T, d *lab.Device) {
	rings, source, target := t.Hugepages(1), t.Hugepages(1), t.Hugepages(1)
	dev, ioas := t.ToAttached(d)
	for i, m := range []*lab.Memory{rings, source, target} {
		ioas.Map(m, iova*uint64(i+1))
	}
	at := address(t, ioas, iova, igb.RingBytes)
	list := []igb.Copy{{From: address(t, ioas, 2*iova, igb.MaxCopy), To: address(t, ioas, 3*iova, igb.MaxCopy), N: igb.MaxCopy}}
	moves := func(device *igb.Device, when string) {
		clear(target.Bytes)
		device.Run(list)
		device.Moved(target.Bytes[:igb.MaxCopy], source.Bytes[:igb.MaxCopy], "igb: bytes written %s", when)
	}
	device := igb.New(dev, rings.Bytes, at)
	moves(device, "before the reset")

	clear(target.Bytes)
	before := bytes.Clone(target.Bytes)
	_, err := dev.IoctlValue(uapi.VFIO_DEVICE_RESET, 0)
	t.Must(err, "igb: VFIO_DEVICE_RESET")
	// The kernel puts the configuration back, bus master too; the rings are the
	// device's own affair: docs/findings/reset-keeps-bus-master.md.
	lab.Equal(t, d.BusMaster(t), true, "igb: bus master after the reset, which puts the configuration back")
	device.Start(list)
	lab.Equal(t, edu.FirstDifference(target.Bytes, before), -1, "igb: first byte changed by what the reset should have forgotten")
	moves(igb.New(dev, rings.Bytes, at), "after the reset, set up anew")
	t.Must(dev.Close(), "close the cdev")
	lab.Equal(t, d.BusMaster(t), false, "igb: bus master after close")
}
