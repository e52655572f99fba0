// SPDX-License-Identifier: Apache-2.0

// Command hello is the shortest test program. As the init of a guest it says
// the same on the console and powers off.
package main

import (
	"fmt"
	"os"
	"syscall"
)

func main() {
	fmt.Print("KTAP version 1\n1..1\nok 1 hello\n")
	if os.Getpid() == 1 {
		syscall.Reboot(syscall.LINUX_REBOOT_CMD_POWER_OFF)
	}
}
