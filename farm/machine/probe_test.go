// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// The guest of the probe is right: it runs where everything runs.
func TestProbeGuestRuns(t *testing.T) {
	qemu, _, err := FindQEMU()
	if err != nil {
		t.Fatal(err)
	}
	if why, err := runProbe(t.Context(), qemu, TCG); why != "" || err != nil {
		t.Errorf("runProbe = %q, %v", why, err)
	}
}

// Whatever this machine's answer is, it is conclusive and has a reason, and
// the next one is the same.
func TestProbeKVM(t *testing.T) {
	qemu, _, err := FindQEMU()
	if err != nil {
		t.Fatal(err)
	}
	ok, why, err := ProbeKVM(t.Context(), qemu)
	if err != nil {
		t.Fatal(err)
	}
	if ok == (why != "") {
		t.Errorf("ok = %v, why = %q", ok, why)
	}
	t.Logf("KVM: %v %s", ok, why)
	if _, err := os.Stat("/dev/kvm"); err != nil && ok {
		t.Errorf("KVM without /dev/kvm: %v", err)
	}
	if again, reason, err := ProbeKVM(t.Context(), qemu); again != ok || reason != why || err != nil {
		t.Errorf("second answer: %v, %q, %v", again, reason, err)
	}
}

func TestProbeCannotTell(t *testing.T) {
	qemu, _, err := FindQEMU()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := runProbe(ctx, qemu, TCG); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: err = %v", err)
	}
	if _, err := runProbe(t.Context(), filepath.Join(t.TempDir(), "none"), TCG); err == nil {
		t.Error("no QEMU: no error")
	}
}

// A guest that stands still for a reason of QEMU's.
func TestStopReason(t *testing.T) {
	g := boot(t, helloMachine(t))
	if why, err := stopReason(t.Context(), g); why != "" || err != nil {
		t.Errorf("running: %q, %v", why, err)
	}
	if err := g.Monitor.Execute(t.Context(), "stop", nil, nil); err != nil {
		t.Fatal(err)
	}
	if why, err := stopReason(t.Context(), g); why != "QEMU stopped it: paused" || err != nil {
		t.Errorf("stopped: %q, %v", why, err)
	}
}
