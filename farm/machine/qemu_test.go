// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestFindQEMU(t *testing.T) {
	tests := []struct{ name, script, version, want string }{
		{"new", "echo 'QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2)'", "10.0.2", ""},
		{"oldest", "echo 'QEMU emulator version 8.0.0'", "8.0.0", ""},
		{"old", "echo 'QEMU emulator version 7.2.17 (Debian 1:7.2+dfsg-7)'", "7.2.17", "too old"},
		{"something else", "echo hello", "", "no version"},
		{"broken", "echo 'lib.so not found' >&2; exit 127", "", "lib.so not found"},
		{"absent", "", "", "not found"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			if test.script != "" {
				if err := os.WriteFile(filepath.Join(dir, "qemu-system-x86_64"), []byte("#!/bin/sh\n"+test.script+"\n"), 0o700); err != nil {
					t.Fatal(err)
				}
			}
			t.Setenv("PATH", dir)
			_, version, err := FindQEMU()
			if version != test.version {
				t.Errorf("version %q, want %q", version, test.version)
			}
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("err = %v, want %q in it", err, test.want)
			}
		})
	}
}

func TestMissingDevices(t *testing.T) {
	qemu, _, err := FindQEMU()
	if err != nil {
		t.Fatal(err)
	}
	if missing, err := MissingDevices(t.Context(), qemu); len(missing) > 0 || err != nil {
		t.Errorf("missing %q, %v", missing, err)
	}
	// The list of QEMU 7.2 has names that begin like igb's.
	help := `Misc devices:
name "edu", bus PCI
name "intel-iommu", bus System
name "igbvf", bus PCI
name "virtserialport", bus virtio-serial-bus
name "pcie-root-port", bus PCI, desc "PCI Express Root Port"
`
	if got, want := missingDevices(help), []string{"amd-iommu", "e1000e", "igb", "nvme", "pxb-pcie", "virtio-iommu-pci", "virtio-serial-pci"}; !slices.Equal(got, want) {
		t.Errorf("missing %q, want %q", got, want)
	}
}
