// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"os"
	"testing"
)

func TestKernelLog(t *testing.T) {
	m := guest{root: t.TempDir()}
	for _, name := range []string{"proc/sys/kernel/printk", "proc/sys/kernel/printk_devkmsg", "dev/kmsg"} {
		if err := os.MkdirAll(m.path(name, ".."), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(m.path(name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	log := openKernelLog(m.root)
	log.start(7, "get_pa.PA-02")
	log.end(7)
	log.fatal(errors.New("one\ntwo"))
	for name, want := range map[string]string{
		"proc/sys/kernel/printk":         "7\n",
		"proc/sys/kernel/printk_devkmsg": "on\n",
		"dev/kmsg": "<5>noiommu-farm: start 7 get_pa.PA-02\n" +
			"<5>noiommu-farm: end 7\n" +
			"<5>noiommu-farm: fatal: one; two\n",
	} {
		if got := m.text(t, name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}
