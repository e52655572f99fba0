// SPDX-License-Identifier: Apache-2.0

package verdict

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"strings"

	"noiommu-farm/guestagent/wire"
	"noiommu-farm/results"
	"noiommu-farm/suites/contract"
)

// UnsafeModeParam is the module parameter that switches no-IOMMU mode on, as
// the agent names it (drivers/vfio/vfio_main.c).
const UnsafeModeParam = "vfio/enable_unsafe_noiommu_mode"

// taintUser is the taint bit of a no-IOMMU device, TAINT_USER
// (include/linux/panic.h).
const taintUser = 1 << 6

// maxConfig bounds an unpacked /proc/config.gz, in bytes.
const maxConfig = 4 << 20

// FactsDiffer lists where the guest is not the one that was planned. A cell
// with any such difference must not be judged: it would say something about
// another cell.
func FactsDiffer(p results.Planned, got wire.Facts) []string {
	var diff []string
	expect := func(what string, planned, found any) {
		if planned != found {
			diff = append(diff, fmt.Sprintf("%s: planned %v, found %v", what, planned, found))
		}
	}
	expect("kernel release", p.Kernel.Release, got.Release)
	expect("CPUs", p.Machine.CPUs, got.CPUs)
	expect("IOMMU present", p.Machine.IOMMU, len(got.IOMMUs) > 0)
	expect("devices in IOMMU groups", p.Machine.IOMMU, got.IOMMUGroups > 0)
	mode, ok := got.Params[UnsafeModeParam]
	switch {
	case ok && p.Facts.Config.Noiommu:
		expect("module parameter "+UnsafeModeParam, p.Facts.UnsafeMode, mode == "Y")
	case !ok && p.Facts.Config.Modules:
		// A vfio.ko that the image has not got would look the same.
		expect("module parameter "+UnsafeModeParam+" exists", p.Facts.Config.Noiommu, ok)
	}
	if got.Hugepages < p.Facts.Hugepages {
		diff = append(diff, fmt.Sprintf("free 2 MiB hugepages: planned %d, found %d", p.Facts.Hugepages, got.Hugepages))
	}
	if got.Hugepages1G < p.Facts.Hugepages1G {
		diff = append(diff, fmt.Sprintf("free 1 GiB hugepages: planned %d, found %d", p.Facts.Hugepages1G, got.Hugepages1G))
	}
	found := countPCI(got.PCI)
	for f, planned := range count(p.Machine.PCI) {
		if found[f] < planned {
			diff = append(diff, fmt.Sprintf("PCI functions %s, behind an IOMMU %v: planned %d, found %d", f.ID, f.Behind, planned, found[f]))
		}
	}
	// A kernel that already says of itself that it has no IOMMU is bad, not
	// another one: that is for the statement TL-01.
	expect("taint before anything was bound", int64(0), got.Taint&^taintUser)
	if len(got.ConfigGz) > 0 {
		sum, err := configSHA256(got.ConfigGz)
		if err != nil {
			diff = append(diff, "/proc/config.gz: "+err.Error())
		} else {
			expect("hash of /proc/config.gz", p.Kernel.ConfigSHA256, sum)
		}
	}
	return diff
}

// Belies says where a guest that is the planned one (see [FactsDiffer]) is not
// what the kernel's own configuration says: the kernel is bad, and nothing that
// was planned for it can be tested. It is empty for any other guest.
func Belies(p results.Planned, got wire.Facts) string {
	if _, ok := got.Params[UnsafeModeParam]; ok == p.Facts.Config.Noiommu || len(FactsDiffer(p, got)) > 0 {
		return ""
	}
	if p.Facts.Config.Noiommu {
		return "ND-09: the kernel has VFIO_NOIOMMU and no module parameter " + UnsafeModeParam
	}
	return "ND-03: the kernel has no VFIO_NOIOMMU and a module parameter " + UnsafeModeParam
}

func configSHA256(gz []byte) (string, error) {
	r, err := gzip.NewReader(bytes.NewReader(gz))
	if err != nil {
		return "", err
	}
	h := sha256.New()
	if n, err := io.Copy(h, io.LimitReader(r, maxConfig)); err != nil {
		return "", err
	} else if n == maxConfig {
		return "", fmt.Errorf("longer than %d bytes", maxConfig)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// DescribeDifferences is the text of the INFRA event of such a cell.
func DescribeDifferences(diff []string) string {
	return "the guest is not the planned one: " + strings.Join(diff, "; ")
}

func count(functions []results.Function) map[results.Function]int {
	n := make(map[results.Function]int)
	for _, f := range functions {
		n[f]++
	}
	return n
}

func countPCI(functions []wire.PCI) map[results.Function]int {
	n := make(map[results.Function]int)
	for _, f := range functions {
		n[results.Function{ID: fmt.Sprintf("%04x:%04x", f.Vendor, f.Device), Behind: f.IOMMU}]++
	}
	return n
}

// suitesDiffer says where the facts that a program of the suites found are not
// those of the plan. How many hugepages are free is a matter of the moment.
func suitesDiffer(planned contract.Facts, found string) string {
	var got contract.Facts
	d := json.NewDecoder(strings.NewReader(found))
	d.DisallowUnknownFields()
	if err := d.Decode(&got); err != nil {
		return "the guest does not say what it found"
	}
	got.Hugepages, got.Hugepages1G = planned.Hugepages, planned.Hugepages1G
	if p := got.Privileges; (p == contract.Unprivileged || p == contract.UserNamespace) && len(got.Devices) == len(planned.Devices) {
		// Without CAP_SYS_ADMIN a configuration space ends before its
		// capabilities.
		for i, d := range planned.Devices {
			got.Devices[i].FLR, got.Devices[i].MSI, got.Devices[i].MSIX = d.FLR, d.MSI, d.MSIX
		}
	}
	var diff []string
	p, g := reflect.ValueOf(planned), reflect.ValueOf(got)
	for i := range p.NumField() {
		if !reflect.DeepEqual(p.Field(i).Interface(), g.Field(i).Interface()) {
			diff = append(diff, fmt.Sprintf("%s: planned %+v, found %+v", p.Type().Field(i).Name, p.Field(i), g.Field(i)))
		}
	}
	return strings.Join(diff, "; ")
}
