// SPDX-License-Identifier: Apache-2.0

package guests

import (
	"os"
	"strings"
	"testing"

	"noiommu-farm/farm/machine"
	"noiommu-farm/guestagent/wire"
)

func TestScript(t *testing.T) {
	path := t.TempDir() + "/qemu.sh"
	m := machine.Machine{Topology: machine.None, Devices: []machine.Device{machine.Edu}, CPUs: 1, MemoryMiB: 256,
		Accel: machine.TCG, Kernel: "/k", ControlPort: wire.ControlPort, OutputPort: wire.OutputPort}
	if err := writeScript(path, "qemu "+strings.Join(m.Args(machine.Wiring{QMP: 3, Control: 4, Output: 5, Console: 6, Memory: 8, State: 9}), " ")); err != nil {
		t.Fatal(err)
	}
	written, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text := string(written)
	for _, bad := range []string{",fd=", " fd=", "fdset", "/proc/self/fd", "memory-backend"} {
		if strings.Contains(text, bad) {
			t.Errorf("the script has %q, which only the farm's own QEMU has:\n%s", bad, text)
		}
	}
	if !strings.Contains(text, "stdio,id=console") {
		t.Errorf("the console is not on the terminal:\n%s", text)
	}
}
