// SPDX-License-Identifier: Apache-2.0

package guests

import (
	"strings"
	"testing"

	"noiommu-farm/farm/machine"
	"noiommu-farm/guestagent/wire"
)

func TestFillIn(t *testing.T) {
	got := fillIn([]string{"/x", "{igb}", "a={edu},{igb}", "{none}", "{...}"},
		map[string][]string{"igb": {"0000:01:00.0"}, "edu": {"0000:00:02.0", "0000:00:03.0"}, "none": nil},
		[]string{"0000:00:02.0", "0000:00:03.0", "0000:01:00.0"})
	want := "/x 0000:01:00.0 a=0000:00:02.0,0000:01:00.0 {none} 0000:00:02.0 0000:00:03.0 0000:01:00.0"
	if strings.Join(got, " ") != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestAddresses(t *testing.T) {
	byModel, all := addresses([]machine.Device{machine.Edu, machine.EduPort, machine.IGB}, []wire.PCI{
		{BDF: "0000:02:00.0", Vendor: 0x8086, Device: 0x10c9},
		{BDF: "0000:00:02.0", Vendor: 0x1234, Device: 0x11e8, IOMMU: true},
		{BDF: "0000:01:00.0", Vendor: 0x1234, Device: 0x11e8},
		{BDF: "0000:00:00.0", Vendor: 0x8086, Device: 0x29c0},
	})
	if got := strings.Join(all, " "); got != "0000:00:02.0 0000:01:00.0 0000:02:00.0" {
		t.Errorf("all: %s", got)
	}
	if len(byModel["edu"]) != 2 || len(byModel["igb"]) != 1 ||
		strings.Join(byModel["edu@iommu"], " ") != "0000:00:02.0" || strings.Join(byModel["edu@no-iommu"], " ") != "0000:01:00.0" {
		t.Errorf("by model: %v", byModel)
	}
}
