// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"

	"golang.org/x/sys/unix"
)

// powerOff ends the guest; it returns only when the kernel refuses both ways.
func powerOff(log *kernelLog) {
	unix.Sync()
	// Without ACPI a power-off is only a halt, and QEMU would stay. A reset
	// ends QEMU too: the host starts it with -no-reboot.
	if _, err := os.Stat("/sys/firmware/acpi/tables"); err == nil {
		if err := unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF); err != nil {
			log.line("power off: %v", err)
		}
	}
	if err := unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART); err != nil {
		log.line("restart: %v", err)
	}
}
