// SPDX-License-Identifier: Apache-2.0

package guests

import (
	"fmt"
	"regexp"

	"noiommu-farm/results"
)

// Descriptors that only the farm's own QEMU has.
var (
	inherited = regexp.MustCompile(`-add-fd \S+ |-object memory-backend-file,\S+ |,memory-backend=memory`)
	consoleTo = regexp.MustCompile(`\w+,id=console,\S+`)
	socketTo  = regexp.MustCompile(`socket,id=(\w+),fd=\d+`)
)

// writeScript writes a script that boots the cell's guest by hand: the same
// command, with the console on the terminal and nobody at the other ports.
func writeScript(path, command string) error {
	command = inherited.ReplaceAllString(command, "")
	command = consoleTo.ReplaceAllString(command, "stdio,id=console,signal=off")
	command = socketTo.ReplaceAllString(command, "null,id=$1")
	text := "#!/bin/sh\n# The guest of this cell, with its console on this terminal. Without the farm at\n" +
		"# its ports the agent gives up after a while and powers off.\nexec " + command + "\n"
	if err := results.WriteFile(path, []byte(text)); err != nil {
		return fmt.Errorf("%w: %w", results.ErrNotRecorded, err)
	}
	return nil
}
