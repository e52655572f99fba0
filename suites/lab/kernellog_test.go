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

func TestWarns(t *testing.T) {
	for record, want := range map[string]bool{
		"4,812,90211,-;WARNING: drivers/vfio/group.c:570 at vfio_device_remove_group+0x1c1/0x1e0, CPU#0: suites/91\n":   true,
		"4,812,90211,-,caller=T91;WARNING: CPU: 0 PID: 91 at drivers/vfio/group.c:570 vfio_device_remove_group+0x1c1\n": true,
		"1,813,90212,-;BUG: kernel NULL pointer dereference, address: 0000000000000010\n":                               true,
		"2,814,90213,-;kernel BUG at lib/list_debug.c:62!\n":                                                            true,
		"12,815,90214,-;WARNING: a program says so\n":                                                                   false,
		"4,816,90215,-;vfio-noiommu device opened by user (suites:91)\n":                                                false,
		"4,817,90216,-;no WARNING: at the beginning\n":                                                                  false,
		"WARNING: rubbish": false,
	} {
		if got := warns(record); got != want {
			t.Errorf("warns(%q) = %v, want %v", record, got, want)
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
