// SPDX-License-Identifier: Apache-2.0

package qmp

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"testing"

	"github.com/digitalocean/go-qemu/qmp/raw"
	"golang.org/x/sys/unix"
)

// startQEMU starts a QEMU without a guest and speaks QMP with it.
func startQEMU(t *testing.T) *Client {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "ours"), os.NewFile(uintptr(fds[1]), "theirs")
	conn, err := net.FileConn(ours)
	ours.Close()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-M", "none", "-S",
		"-chardev", "socket,id=qmp,fd=3", "-mon", "chardev=qmp,mode=control")
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.SysProcAttr = &unix.SysProcAttr{Pdeathsig: unix.SIGKILL}
	cmd.Stderr = os.Stderr
	err = cmd.Start()
	theirs.Close()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	c, err := Open(t.Context(), conn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Disconnect() })
	return c
}

func TestRealQEMU(t *testing.T) {
	c := startQEMU(t)
	if got := c.Version().QEMU.Major; got < 7 {
		t.Errorf("major version %d", got)
	}

	// Longer than the 64 KiB at which bufio.Scanner ends.
	var schema []struct{ Name string }
	if err := c.Execute(t.Context(), "query-qmp-schema", nil, &schema); err != nil {
		t.Fatal(err)
	}
	if len(schema) < 500 {
		t.Errorf("the schema has %d entries", len(schema))
	}

	var status struct{ Status string }
	if err := c.Execute(t.Context(), "query-status", nil, &status); err != nil || status.Status != "prelaunch" {
		t.Errorf("query-status = %q, %v", status.Status, err)
	}

	var refusal *Error
	if err := c.Execute(t.Context(), "no-such-command", nil, nil); !errors.As(err, &refusal) || refusal.Class != "CommandNotFound" {
		t.Errorf("no-such-command: %v", err)
	}

	generated := raw.NewMonitor(c)
	info, err := generated.QueryStatus()
	if err != nil || info.Status != raw.RunStatePrelaunch {
		t.Errorf("raw QueryStatus = %+v, %v", info, err)
	}
	if err := generated.DeviceDel("nothing"); !errors.As(err, &refusal) || refusal.Class != "DeviceNotFound" {
		t.Errorf("raw DeviceDel: %v", err)
	}

	resumed := c.Subscribe("RESUME")
	if err := generated.Cont(); err != nil {
		t.Fatal(err)
	}
	if event, ok := <-resumed.Events(); !ok || event.Event != "RESUME" || event.Timestamp.Seconds == 0 {
		t.Errorf("event = %+v, %v", event, ok)
	}

	if err := c.Execute(t.Context(), "quit", nil, nil); err != nil {
		t.Fatal(err)
	}
	<-c.Done()
}
