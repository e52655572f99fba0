// SPDX-License-Identifier: Apache-2.0

package runner

import (
	"errors"
	"strings"
	"testing"
	"time"

	"noiommu-farm/farm/machine"
	"noiommu-farm/farm/matrix"
	"noiommu-farm/farm/runner/meaning"
	"noiommu-farm/internal/fault"
	"noiommu-farm/results"
	"noiommu-farm/suites/contract"
)

// A plan whose cells test nothing, all together, is refused with the reason; a
// suite that does not compile is a result.
func TestNothingToTest(t *testing.T) {
	config := contract.Config{Group: true, Container: true, Cdev: true, IOMMUFD: true, Noiommu: true, NoiommuCdev: true}
	none := machine.Machine{Topology: machine.None, Devices: []machine.Device{machine.Edu, machine.IGB}, MemoryMiB: 512}
	planOf := func(suite string) cellPlan {
		c := matrix.Cell{Selection: matrix.Selection{Suites: []string{suite}}}
		var p cellPlan
		p.phases, p.planned.Absent = meaning.Programs(c, c.Facts(true, config, meaning.Hardware(none, config)), nil,
			func(own time.Duration) time.Duration { return own })
		return p
	}
	nothing := planOf("iommu_present")
	var usage *fault.Usage
	if err := checkTests([]cellPlan{nothing}); !errors.As(err, &usage) || !strings.Contains(err.Error(), "requires iommu") {
		t.Errorf("got %v", err)
	}
	if err := checkTests([]cellPlan{nothing, planOf("cdev")}); err != nil {
		t.Errorf("one cell tests something: %v", err)
	}
	if err := checkTests([]cellPlan{{}}); !errors.As(err, &usage) || !strings.Contains(err.Error(), "no such selftests") {
		t.Errorf("no program at all: %v", err)
	}
	nothing.planned.Broken = []results.Broken{{Name: "vfio/build", Err: "x.c:1: error"}}
	if err := checkTests([]cellPlan{nothing}); err != nil {
		t.Errorf("selftests that do not compile: %v", err)
	}
}
