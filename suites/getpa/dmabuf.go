// SPDX-License-Identifier: Apache-2.0

package getpa

import (
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"noiommu-farm/suites/contract"
	"noiommu-farm/suites/lab"
	"noiommu-farm/suites/uapi"
)

// PA-19: memory of a device has an address like that of the machine, for as
// long as the device has its memory space.
func deviceMemory(t *lab.T) {
	for _, d := range t.Devices {
		dev, ioas := t.ToAttached(d)
		bar := uint32(0)
		start, size := bars(t, d, bar)
		whole := uapi.RegionDMARange{Length: size}
		answered := func(ok bool) {
			if ok {
				t.Tally.Add("dma-buf.answers", 1)
			}
		}
		if !t.Facts.Meets(contract.P2PDMA) {
			_, err := dmaBuf(dev, bar, whole)
			answered(t.Fails(err, unix.ENOTTY, "%s: a dma-buf of BAR0, of a kernel without them", d.Model))
			answered(t.Fails(probe(dev), unix.ENOTTY, "%s: probe for dma-bufs, of a kernel without them", d.Model))
			t.Must(dev.Close(), "close the cdev")
			continue
		}
		answered(t.OK(probe(dev), "%s: probe for dma-bufs", d.Model))
		dev.SetMemory(true)
		for _, c := range []struct {
			name string
			bar  uint32
			part []uapi.RegionDMARange
			want unix.Errno
		}{
			{"no range", bar, nil, unix.EINVAL},
			{"an empty range", bar, []uapi.RegionDMARange{{}}, unix.EINVAL},
			{"a range of half a page", bar, []uapi.RegionDMARange{{Length: page / 2}}, unix.EINVAL},
			{"a range from inside a page", bar, []uapi.RegionDMARange{{Offset: 1, Length: page}}, unix.EINVAL},
			{"a range over the end", bar, []uapi.RegionDMARange{{Offset: size - page, Length: 2 * page}}, unix.EINVAL},
			{"a region that is no BAR", uapi.VFIO_PCI_CONFIG_REGION_INDEX, []uapi.RegionDMARange{{Length: page}}, unix.ENODEV},
		} {
			_, err := dmaBuf(dev, c.bar, c.part...)
			answered(t.Fails(err, c.want, "%s: a dma-buf of %s", d.Model, c.name))
		}

		buffer := exported(t, dev, bar, whole)
		const at, atPart, again = iova, 2 * iova, 3 * iova
		t.Must(ioas.MapFile(buffer.Fd(), 0, size, at), "%s: map BAR0", d.Model)
		for _, offset := range []uint64{0, 1, 0xabc, page, size - page, size - 1} {
			ioas.ExpectPA(at+offset, most, start+offset, size-offset)
			ioas.ExpectPA(at+offset, 1, start+offset, 1)
		}
		ioas.ExpectNoPA(at+size, 1, unix.ENOENT)
		lab.Equal(t, t.Pinned(), 0, "%s: memory pinned for the BAR, kB", d.Model)

		// A part of a part.
		part := exported(t, dev, bar, uapi.RegionDMARange{Offset: page, Length: size - page})
		t.Must(ioas.MapFile(part.Fd(), page, page, atPart), "%s: map the third page of BAR0", d.Model)
		ioas.ExpectPA(atPart+0x123, most, start+2*page+0x123, page-0x123)
		t.Fails(ioas.MapFile(part.Fd(), 0, size, again), unix.EINVAL, "%s: map more than the dma-buf has", d.Model)

		revoked := func(when string) {
			for _, offset := range []uint64{0, 0xabc, size - 1} {
				arg := ioas.GetPAArg(at+offset, most)
				ioas.FD().ExpectNoPA(arg, unix.EINVAL, "%s: get_pa(BAR0+%#x) %s", d.Model, offset, when)
			}
			arg := ioas.GetPAArg(atPart, most)
			ioas.FD().ExpectNoPA(arg, unix.EINVAL, "%s: get_pa(third page of BAR0) %s", d.Model, when)
		}
		dev.SetMemory(false)
		revoked("without memory space")
		t.Fails(ioas.MapFile(buffer.Fd(), 0, size, again), unix.ENODEV, "%s: map BAR0 without memory space", d.Model)
		// What was revoked stays so; mapped anew it has its address again.
		dev.SetMemory(true)
		revoked("with memory space again")
		t.Must(ioas.MapFile(buffer.Fd(), 0, size, again), "%s: map BAR0 again", d.Model)
		ioas.ExpectPA(again, most, start, size)
		t.Must(dev.Close(), "close the cdev")
		revoked("after close")
		for _, area := range []struct{ at, length uint64 }{{at, size}, {atPart, page}, {again, size}} {
			n, err := ioas.Unmap(area.at, area.length)
			t.OK(err, "%s: unmap what is revoked at %#x", d.Model, area.at)
			lab.Equal(t, n, area.length, "%s: bytes unmapped at %#x", d.Model, area.at)
		}
		t.Must(buffer.Close(), "close the dma-buf")
		t.Must(part.Close(), "close the dma-buf of a part")
		answered(t.OK(ioas.FD().Destroy(ioas.ID), "%s: IOMMU_DESTROY(ioas)", d.Model))
	}
}

// PA-21: a reset takes the address away, be it of the device or of its bus.
func resetRevokes(t *lab.T) {
	for _, d := range t.Devices {
		alone := d.Has.Functions == 1 && !strings.HasPrefix(d.BDF, "0000:00:") // behind a port
		if !d.Has.FLR && !alone {
			continue
		}
		dev, ioas := t.ToAttached(d)
		start, size := bars(t, d, 0)
		dev.SetMemory(true)
		buffer := exported(t, dev, 0, uapi.RegionDMARange{Length: size})
		t.Must(ioas.MapFile(buffer.Fd(), 0, size, iova), "%s: map BAR0", d.Model)
		ioas.ExpectPA(iova, most, start, size)
		revoked := func(err error, what string) {
			t.OK(err, "%s: %s", d.Model, what)
			ioas.ExpectNoPA(iova, most, unix.EINVAL)
			_, err = ioas.Unmap(iova, size)
			t.OK(err, "%s: unmap what %s revoked", d.Model, what)
			t.Must(ioas.MapFile(buffer.Fd(), 0, size, iova), "%s: map what %s revoked", d.Model, what)
			ioas.ExpectPA(iova, most, start, size)
		}
		_, err := dev.IoctlValue(uapi.VFIO_DEVICE_RESET, 0)
		revoked(err, "VFIO_DEVICE_RESET")
		if alone {
			arg := uapi.PCIHotReset{Argsz: uint32(unsafe.Sizeof(uapi.PCIHotReset{}))}
			_, err := dev.Ioctl(uapi.VFIO_DEVICE_PCI_HOT_RESET, unsafe.Pointer(&arg))
			revoked(err, "VFIO_DEVICE_PCI_HOT_RESET")
		}
		t.Must(dev.Close(), "close the cdev")
		t.Must(buffer.Close(), "close the dma-buf")
	}
}

// bars is where a BAR begins and how long it is, as sysfs says.
func bars(t *lab.T, d *lab.Device, bar uint32) (start, size uint64) {
	line := t.Lines(d.Sysfs("resource"))[bar]
	words := strings.Fields(line)
	if len(words) != 3 {
		t.Fatalf("resource %d of %s: %q", bar, d.BDF, line)
	}
	start, err := strconv.ParseUint(words[0], 0, 64)
	t.Must(err, "parse %q", line)
	last, err := strconv.ParseUint(words[1], 0, 64)
	t.Must(err, "parse %q", line)
	return start, last - start + 1
}

// dmaBuf is VFIO_DEVICE_FEATURE_DMA_BUF of parts of a region; it returns the
// descriptor of the dma-buf.
func dmaBuf(dev *lab.Cdev, region uint32, parts ...uapi.RegionDMARange) (int, error) {
	const room = 4
	var arg struct {
		uapi.DeviceFeature
		uapi.DeviceFeatureDMABuf
		parts [room]uapi.RegionDMARange
	}
	arg.DeviceFeature = uapi.DeviceFeature{Argsz: uint32(unsafe.Sizeof(arg)), Flags: uapi.VFIO_DEVICE_FEATURE_GET | uapi.VFIO_DEVICE_FEATURE_DMA_BUF}
	arg.DeviceFeatureDMABuf = uapi.DeviceFeatureDMABuf{RegionIndex: region, OpenFlags: unix.O_RDWR | unix.O_CLOEXEC, NrRanges: uint32(copy(arg.parts[:], parts))}
	return dev.Ioctl(uapi.VFIO_DEVICE_FEATURE, unsafe.Pointer(&arg))
}

// exported is a dma-buf of a part of a region; the test ends when there is none.
func exported(t *lab.T, dev *lab.Cdev, region uint32, part uapi.RegionDMARange) *uapi.File {
	fd, err := dmaBuf(dev, region, part)
	t.Must(err, "%s: a dma-buf of BAR%d from %#x, %#x bytes", dev.Device.Model, region, part.Offset, part.Length)
	f := uapi.Adopt(t.Tally, fd)
	t.Cleanup(func() { t.OK(f.Close(), "cleanup: close the dma-buf") })
	return f
}

// probe asks whether there are dma-bufs.
func probe(dev *lab.Cdev) error {
	arg := uapi.DeviceFeature{
		Argsz: uint32(unsafe.Sizeof(uapi.DeviceFeature{})),
		Flags: uapi.VFIO_DEVICE_FEATURE_PROBE | uapi.VFIO_DEVICE_FEATURE_GET | uapi.VFIO_DEVICE_FEATURE_DMA_BUF,
	}
	_, err := dev.Ioctl(uapi.VFIO_DEVICE_FEATURE, unsafe.Pointer(&arg))
	return err
}
