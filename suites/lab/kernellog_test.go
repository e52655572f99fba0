// SPDX-License-Identifier: Apache-2.0

package lab

import "testing"

func TestMessage(t *testing.T) {
	for record, want := range map[string]string{
		"4,733,1493091,-;vfio-pci 0000:01:00.0: resetting\n SUBSYSTEM=pci\n DEVICE=+pci:0000:01:00.0\n": "vfio-pci 0000:01:00.0: resetting",
		"6,1,0,-;a;b\n": "a;b",
		"rubbish":       "",
	} {
		if got := message(record); got != want {
			t.Errorf("message(%q) = %q, want %q", record, got, want)
		}
	}
}

func TestCount(t *testing.T) {
	messages := []string{"vfio-pci 0000:01:00.0: resetting", "vfio-pci 0000:01:00.0: reset done", "vfio-pci 0000:00:10.0: resetting"}
	for _, c := range []struct {
		words []string
		want  int
	}{
		{[]string{"0000:01:00.0", "resetting"}, 1},
		{[]string{"resetting"}, 2},
		{[]string{"0000:01:00.0", "0000:00:10.0"}, 0},
		{nil, 3},
	} {
		if got := Count(messages, c.words...); got != c.want {
			t.Errorf("Count(%q) = %d, want %d", c.words, got, c.want)
		}
	}
}
