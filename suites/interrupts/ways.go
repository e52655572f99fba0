// SPDX-License-Identifier: Apache-2.0

package interrupts

import (
	"fmt"

	"noiommu-farm/suites/lab"
)

// IR-06: the way to the device makes no difference to its interrupts.
func sameThreeWays(t *lab.T) {
	ways := t.Ways()
	lab.Above(t, len(ways), 1, "ways to a device")
	for _, d := range t.Devices {
		var first []string
		for i, way := range ways {
			dev, done := way.Open(d)
			got := answers(t, dev)
			done()
			if i == 0 {
				first = got
				continue
			}
			lab.Equal(t, len(got), len(first), "%s, %s: number of answers", d.Model, way.Name)
			for i := range min(len(got), len(first)) {
				lab.Equal(t, got[i], first[i], "%s, %s", d.Model, way.Name)
			}
		}
	}
}

// answers is what the device says of each interrupt index, and what happens
// when it is armed and signalled.
func answers(t *lab.T, dev *lab.Cdev) []string {
	var all []string
	for index := range uint32(reqIndex + 2) { // one more than there are
		info, err := dev.IRQ(index)
		event := t.Event()
		before := dev.Loopback(index, 0)
		armed := dev.Arm(index, event)
		after := dev.Loopback(index, 0)
		signals := event.Signals()
		disarmed := dev.Disarm(index)
		t.Must(event.Close(), "close the eventfd")
		all = append(all, fmt.Sprintf("index %d: info %v, flags %#x, count %d; loopback %v, arm %v, loopback %v, signals %d, disarm %v",
			index, err, info.Flags, info.Count, before, armed, after, signals, disarmed))
	}
	return all
}
