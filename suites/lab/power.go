// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"fmt"
	"time"
)

// ExpectRuntimeStatus waits for the device to come to rest in a status of its
// runtime power management; the test ends when it does not, so that it waits in
// vain but once. A worker of the kernel suspends a device, some time after nobody
// needs it any more. A kernel without CONFIG_PM has no status to tell.
func (d *Device) ExpectRuntimeStatus(t *T, want, what string, args ...any) {
	path := d.Sysfs("power/runtime_status")
	status := t.ReadFile(path)
	for deadline := time.Now().Add(Patience(10 * time.Second)); status != want && time.Now().Before(deadline); status = t.ReadFile(path) {
		time.Sleep(time.Millisecond)
	}
	if !Equal(t, status, want, "%s: runtime_status", fmt.Sprintf(what, args...)) {
		panic(stop{})
	}
}
