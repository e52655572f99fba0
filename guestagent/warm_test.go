// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"noiommu-farm/guestagent/wire"
)

// patientTest is this test program as a program that waits: it says its
// arguments, and what it was told before.
const patientTest = "PATIENT_TEST"

func init() {
	if os.Getenv(patientTest) == "" {
		return
	}
	fd := 0
	for _, c := range os.Getenv(wire.WaitEnv) {
		fd = 10*fd + int(c-'0')
	}
	unix.Write(fd, []byte(os.Getenv(patientTest)))
	packet := make([]byte, 1000)
	n, err := unix.Read(fd, packet)
	if err != nil || n == 0 {
		os.Exit(9)
	}
	os.Stdout.Write(packet[:n])
	os.Exit(3)
}

func warmTest(t *testing.T, s *session, says string) wire.ToHost {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	s.send(wire.ToGuest{Warm: &wire.Warm{Argv: []string{self}, Env: []string{patientTest + "=" + says}, Host: true}})
	return s.recv()
}

// A program that waits goes on when it is run, once.
func TestWarm(t *testing.T) {
	s := newSession(t).shakeHands()
	go io.Copy(io.Discard, s.output)
	for range 2 { // the second one takes the place of the first
		if m := warmTest(t, s, wire.WaitWord); m.Warmed == nil {
			t.Fatalf("answer to warm: %+v %+v", m, m.Error)
		}
	}
	run := &wire.Run{ID: 7, Name: "warm", Warm: true, Argv: []string{"/name", "a b"}, TimeoutMS: 60_000}
	s.send(wire.ToGuest{Run: run})
	if m := s.recv(); m.Started == nil || m.Started.ID != 7 {
		t.Fatalf("answer to run: %+v %+v", m, m.Error)
	}
	if m := s.recv(); m.Exited == nil || m.Exited.Code != 3 || m.Exited.Stdout != int64(len("/name\x00a b")) || m.Exited.Leftovers != 0 {
		t.Fatalf("its end: %+v", m.Exited)
	}
	run.ID++
	s.send(wire.ToGuest{Run: run})
	if m := s.recv(); m.Error == nil || !strings.Contains(m.Error.Err, "no program waits") {
		t.Errorf("answer to a second run: %+v", m)
	}
}

// A program that waits is gone when another one runs, and counts nowhere.
func TestWarmIsDismissed(t *testing.T) {
	s := newSession(t).shakeHands()
	go io.Copy(io.Discard, s.output)
	if m := warmTest(t, s, wire.WaitWord); m.Warmed == nil {
		t.Fatalf("answer to warm: %+v %+v", m, m.Error)
	}
	s.run(1, "true")
	if m := s.recv(); m.Exited == nil || m.Exited.Leftovers != 0 || m.Exited.Code != 0 {
		t.Errorf("%+v", m.Exited)
	}
}

func TestWarmRefuses(t *testing.T) {
	s := newSession(t).shakeHands()
	if m := warmTest(t, s, "what?"); m.Error == nil || !strings.Contains(m.Error.Err, "does not know how to wait") {
		t.Errorf("a program that says something else: %+v", m)
	}
	s.send(wire.ToGuest{Warm: &wire.Warm{Argv: []string{"/bin/true"}}})
	if m := s.recv(); m.Error == nil || !strings.Contains(m.Error.Err, "EOF") {
		t.Errorf("a program that ends: %+v", m)
	}
	s.send(wire.ToGuest{Warm: &wire.Warm{Argv: []string{"true"}}})
	if m := s.recv(); m.Error == nil || !strings.Contains(m.Error.Err, "absolute") {
		t.Errorf("a program without a path: %+v", m)
	}
}

// The threads are there afterwards, with one processor too.
func TestSettle(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	settle()
	if threads, err := os.ReadDir("/proc/self/task"); err != nil || len(threads) < spareThreads {
		t.Errorf("%d threads, %v", len(threads), err)
	}
}

// A guest is restored once, and its host says all that belongs to it.
func TestRestoreRefuses(t *testing.T) {
	for _, r := range []wire.Restore{
		{UnixNS: 1, Seed: []byte("x")},
		{Guest: 1, Seed: []byte("x")},
		{Guest: 1, UnixNS: 1},
		{Guest: 1, UnixNS: 1, Seed: make([]byte, wire.MaxSeed+1)},
	} {
		s := newSession(t).shakeHands()
		s.send(wire.ToGuest{Restore: &r})
		s.end("restore")
	}
}

// What is written as a seed is struct rand_pool_info; on what is no generator
// the kernel refuses it.
func TestReseedRefuses(t *testing.T) {
	file := filepath.Join(t.TempDir(), "urandom")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := openRandomness(file).seed([]byte("seed")); err != unix.ENOTTY {
		t.Errorf("%v", err)
	}
	if err := openRandomness(file + "?").seed([]byte("seed")); !errors.Is(err, unix.ENOENT) {
		t.Errorf("%v", err)
	}
}
