// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"noiommu-farm/guestagent/wire"
)

// having is what a program says of itself.
type having struct {
	uid, memlock, users string
	caps                uint64
}

func ask(t *testing.T, privileges string) having {
	t.Helper()
	var output, log bytes.Buffer
	p := newPrograms(t, &output, &log)
	for dir := p.tmp; dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil { // another user must get to its directory
			t.Fatal(err)
		}
	}
	script := "id -u; ulimit -l; tr -s ' \\n' ' ' </proc/self/uid_map; echo; sed -n 's/^CapEff:.//p' /proc/self/status; touch mine"
	x, err := p.run(&wire.Run{ID: 1, Name: "x", Argv: shell(script), TimeoutMS: 60000, Privileges: privileges}, nil, 0, nil, func() error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	said := streams(t, &output, 1)
	lines := strings.Split(said[wire.Stdout], "\n")
	if x.Code != 0 || len(lines) < 4 {
		t.Fatalf("%s: %+v, said %q", privileges, x, said)
	}
	caps, err := strconv.ParseUint(lines[3], 16, 64)
	if err != nil {
		t.Fatal(err)
	}
	return having{lines[0], lines[1], strings.TrimSpace(lines[2]), caps}
}

// What a program has, it says itself. The launcher is the test binary; see
// TestMain.
func TestPrivileges(t *testing.T) {
	if unix.Geteuid() != 0 {
		t.Skip("giving up privileges needs root")
	}
	all := ask(t, wire.Root)
	if was := ask(t, ""); was != all {
		t.Errorf("by default %+v, want %+v", was, all)
	}
	for privileges, change := range map[string]func(*having){
		wire.NoRawIO:       func(h *having) { h.caps &^= 1 << unix.CAP_SYS_RAWIO },
		wire.LowMemlock:    func(h *having) { h.caps &^= 1 << unix.CAP_IPC_LOCK; h.memlock = "64" },
		wire.Unprivileged:  func(h *having) { h.uid, h.caps = "65534", 0 },
		wire.UserNamespace: func(h *having) { h.users, h.caps = "0 0 1", all.caps|1<<unix.CAP_SYS_RAWIO|1<<unix.CAP_IPC_LOCK },
	} {
		want, got := all, ask(t, privileges)
		change(&want)
		if privileges == wire.UserNamespace {
			got.caps &= want.caps // there it has every capability, whatever it had here
		}
		if got != want {
			t.Errorf("%s: %+v, want %+v", privileges, got, want)
		}
	}
}

func TestPrivilegesUnknown(t *testing.T) {
	var output, log bytes.Buffer
	p := newPrograms(t, &output, &log)
	_, err := p.run(&wire.Run{ID: 1, Name: "x", Argv: shell("true"), TimeoutMS: 60000, Privileges: "god"}, nil, 0, nil, func() error { return nil })
	if err == nil || !strings.Contains(err.Error(), "god") {
		t.Errorf("%v", err)
	}
	for _, argv := range [][]string{nil, {wire.NoRawIO}, {wire.UserNamespace, "/bin/true"}} {
		if err := launch(argv); err == nil {
			t.Errorf("launched %q", argv)
		}
	}
}
