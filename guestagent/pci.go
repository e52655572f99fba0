// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"noiommu-farm/guestagent/wire"
)

const vfioPCI = "vfio-pci"

// bdfForm is the kernel's name of a PCI function; a domain above 0xffff has
// more than four digits.
var bdfForm = regexp.MustCompile(`^[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]$`)

func (g guest) pciPath(elem ...string) string {
	return g.path(append([]string{"sys/bus/pci"}, elem...)...)
}

// pciAll lists every PCI function by BDF.
func (g guest) pciAll() ([]wire.PCI, error) {
	entries, err := os.ReadDir(g.pciPath("devices"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // a kernel without PCI
	}
	if err != nil {
		return nil, err
	}
	var all []wire.PCI
	for _, e := range entries {
		p, err := g.pci(e.Name())
		if errors.Is(err, fs.ErrNotExist) {
			continue // unplugged between the two looks
		}
		if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	return all, nil
}

// pci describes one function as it is now.
func (g guest) pci(bdf string) (wire.PCI, error) {
	dir := g.pciPath("devices", bdf)
	vendor, err := readNumber(filepath.Join(dir, "vendor"))
	if err != nil {
		return wire.PCI{}, fmt.Errorf("read vendor of %s: %w", bdf, err)
	}
	device, err := readNumber(filepath.Join(dir, "device"))
	if err != nil {
		return wire.PCI{}, fmt.Errorf("read device of %s: %w", bdf, err)
	}
	// The link is made when an IOMMU driver takes the device. A group proves
	// nothing: VFIO makes one for a device without an IOMMU too.
	_, err = os.Lstat(filepath.Join(dir, "iommu"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return wire.PCI{}, fmt.Errorf("find the IOMMU of %s: %w", bdf, err)
	}
	return wire.PCI{
		BDF:    bdf,
		Vendor: uint16(vendor),
		Device: uint16(device),
		Driver: linkName(filepath.Join(dir, "driver")),
		Group:  linkName(filepath.Join(dir, "iommu_group")),
		IOMMU:  err == nil,
	}, nil
}

// linkName is the last element of a symbolic link's target, or "".
func linkName(name string) string {
	target, err := os.Readlink(name)
	if err != nil {
		return ""
	}
	return filepath.Base(target)
}

// bind binds each function to vfio-pci and says what became of it. One that is
// not there may take so long to appear.
func (g guest) bind(bdfs []string, within time.Duration) wire.Bound {
	b := wire.Bound{PCI: []wire.PCI{}, Failed: map[string]string{}}
	deadline := time.Now().Add(within)
	for _, bdf := range bdfs {
		err := g.bindOne(bdf)
		for pause := backoff(time.Millisecond); errors.Is(err, unix.ENODEV) && time.Now().Before(deadline); {
			pause.wait()
			err = g.bindOne(bdf)
		}
		if err != nil {
			b.Failed[bdf] = errnoText(err)
		}
		if p, err := g.pci(bdf); bdfForm.MatchString(bdf) && err == nil {
			b.PCI = append(b.PCI, p)
		}
	}
	b.Taint = g.taint()
	return b
}

func (g guest) bindOne(bdf string) error {
	if !bdfForm.MatchString(bdf) {
		return fmt.Errorf("%q is not a PCI address", bdf)
	}
	dir := g.pciPath("devices", bdf)
	if _, err := os.Stat(dir); err != nil {
		return fmt.Errorf("find %s: %w", bdf, unix.ENODEV)
	}
	driver := linkName(filepath.Join(dir, "driver"))
	if driver == vfioPCI {
		return nil
	}
	if err := writeText(filepath.Join(dir, "driver_override"), vfioPCI); err != nil {
		return fmt.Errorf("write driver_override: %w", err)
	}
	if driver != "" {
		if err := writeText(filepath.Join(dir, "driver", "unbind"), bdf); err != nil {
			return fmt.Errorf("unbind from %s: %w", driver, err)
		}
	}
	if err := writeText(g.pciPath("drivers", vfioPCI, "bind"), bdf); err != nil {
		return fmt.Errorf("bind to %s: %w", vfioPCI, err)
	}
	return nil
}

// errnoText is an error's text with the name of its errno, which kernel
// developers know better than the words.
func errnoText(err error) string {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return fmt.Sprintf("%v (%s)", err, unix.ErrnoName(errno))
	}
	return err.Error()
}
