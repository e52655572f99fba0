// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// fakeDevice is a function in a directory that stands for its own in sysfs,
// with a driver that is not vfio-pci.
func fakeDevice(t *testing.T) *Device {
	t.Helper()
	d := &Device{BDF: "0000:00:10.0", dir: t.TempDir()}
	if err := os.MkdirAll(filepath.Join(d.dir, "drivers/e1000e"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"driver_override", "drivers/e1000e/unbind"} {
		if err := os.WriteFile(filepath.Join(d.dir, file), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("drivers/e1000e", filepath.Join(d.dir, "driver")); err != nil {
		t.Fatal(err)
	}
	return d
}

func read(t *testing.T, d *Device, file string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(d.dir, file))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestRestoreLast: what a test opened before it unbinds a device is closed
// before the bindings are put back, however the test ends; and a test that
// binds nothing changes nothing.
func TestRestoreLast(t *testing.T) {
	for name, c := range map[string]struct {
		test    func(*T, *Device)
		restore bool
	}{
		"unbinds, and ends with a failure": {func(t *T, d *Device) {
			t.OK(t.Unbind(d), "unbind")
			t.Fatalf("a message that never came")
		}, true},
		"does not wait for its unbind": {func(t *T, d *Device) { t.StartUnbind(d) }, true},
		"leaves the device alone":      {func(t *T, _ *Device) { t.OK(nil, "fine") }, false},
	} {
		d := fakeDevice(t)
		closed := false
		var out bytes.Buffer
		bench := Bench{Facts: meetsAll, Devices: []*Device{d}, Out: &out, Kmsg: io.Discard}
		bench.Run([]Test{{"PA-01", func(lt *T) {
			lt.Cleanup(func() {
				closed = true
				if got := read(t, d, "driver_override"); got != "" {
					t.Errorf("%s: driver_override is %q while files of the test are open", name, got)
				}
			})
			c.test(lt, d)
		}}})
		want := ""
		if c.restore {
			want = "\n"
		}
		if got := read(t, d, "driver_override"); got != want || !closed {
			t.Errorf("%s: driver_override is %q, want %q; closed %v", name, got, want, closed)
		}
		if strings.Contains(out.String(), "cleanup:") {
			t.Errorf("%s: the restore failed:\n%s", name, &out)
		}
	}
}

// TestStuck: a device whose lock the kernel keeps is not touched again.
func TestStuck(t *testing.T) {
	d := fakeDevice(t)
	d.stuck = true
	var out bytes.Buffer
	bench := Bench{Facts: meetsAll, Devices: []*Device{d}, Out: &out, Kmsg: io.Discard}
	bench.Run([]Test{{"PA-01", func(lt *T) {
		for _, err := range []error{lt.Bind(d), lt.Unbind(d), lt.StartUnbind(d).Wait()} {
			Equal(lt, err, errStuck, "error of a device that is stuck")
		}
	}}})
	if !strings.Contains(out.String(), "\nok 1 ") {
		t.Errorf("%s", &out)
	}
	if got := read(t, d, "driver_override") + read(t, d, "drivers/e1000e/unbind"); got != "" {
		t.Errorf("%q was written to a device that is stuck", got)
	}
}
