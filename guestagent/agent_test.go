// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"noiommu-farm/guestagent/wire"
)

// session is the host's side of an agent that runs in this process.
type session struct {
	t      *testing.T
	port   net.Conn // control
	conn   *wire.Conn
	output net.Conn
	served chan error // what serve returned
	guest  guest
}

// newSession starts an agent; the handshake is the test's.
func newSession(t *testing.T) *session {
	control, controlGuest := net.Pipe()
	output, outputGuest := net.Pipe()
	m := newGuest(t)
	p := newPrograms(t, outputGuest, io.Discard)
	a := newAgent(m, controlGuest, p)
	s := &session{t: t, port: control, conn: wire.NewConn(control), output: output, served: make(chan error, 1), guest: m}
	go func() {
		err := a.serve()
		if err != nil {
			_ = a.farewell(err)
		}
		s.served <- err
	}()
	t.Cleanup(func() {
		control.Close()
		output.Close()
	})
	return s
}

func (s *session) send(m wire.ToGuest) {
	s.t.Helper()
	if err := s.conn.Send(m); err != nil {
		s.t.Fatal(err)
	}
}

func (s *session) recv() wire.ToHost {
	s.t.Helper()
	var m wire.ToHost
	if err := s.conn.Recv(&m); err != nil {
		s.t.Fatal(err)
	}
	return m
}

func (s *session) shakeHands() *session {
	s.t.Helper()
	if m := s.recv(); m.Hello == nil || m.Hello.Release != "7.3.4" || m.Hello.BootID != "c1bed998-1f7d-4d67-8f59-75eaa95b2528" {
		s.t.Fatalf("first message: %+v", m)
	}
	s.send(wire.ToGuest{Hello: &wire.HostHello{Version: wire.Version}})
	return s
}

// run asks for a program and waits until it has started.
func (s *session) run(id uint32, script string) {
	s.t.Helper()
	s.send(wire.ToGuest{Run: &wire.Run{ID: id, Name: "a test", Argv: shell(script), TimeoutMS: 600_000}})
	if m := s.recv(); m.Started == nil || m.Started.ID != id {
		s.t.Fatalf("answer to run: %+v %+v", m, m.Error)
	}
}

// ping asks and wants the same word back as the very next message.
func (s *session) ping(n uint64) {
	s.t.Helper()
	s.send(wire.ToGuest{Ping: &wire.Ping{N: n}})
	if m := s.recv(); m.Pong == nil || m.Pong.N != n {
		s.t.Fatalf("answer to ping: %+v", m)
	}
}

// end wants the agent to stop serving with an error that says something, and
// to have told the host; nothing said means no error.
func (s *session) end(says string) {
	s.t.Helper()
	if says != "" {
		if m := s.recv(); m.Error == nil || !strings.Contains(m.Error.Err, says) {
			s.t.Errorf("farewell %+v, want it to say %q", m.Error, says)
		}
	}
	err := <-s.served
	if says == "" && err != nil || says != "" && (err == nil || !strings.Contains(err.Error(), says)) {
		s.t.Errorf("ended with %v, want %q", err, says)
	}
}

func TestSession(t *testing.T) {
	s := newSession(t).shakeHands()
	s.ping(1)

	s.send(wire.ToGuest{Prepare: &wire.Prepare{Hugepages: 2, Params: []string{"vfio/enable_unsafe_noiommu_mode"}}})
	if m := s.recv(); m.Facts == nil || m.Facts.Params["vfio/enable_unsafe_noiommu_mode"] != "Y" || len(m.Facts.PCI) != 2 {
		t.Errorf("answer to prepare: %+v %+v", m.Facts, m.Error)
	}
	s.send(wire.ToGuest{Prepare: &wire.Prepare{Params: []string{"../x"}}})
	if m := s.recv(); m.Error == nil || m.Error.Doing != "prepare" {
		t.Errorf("answer to a bad prepare: %+v", m)
	}
	s.send(wire.ToGuest{Prepare: &wire.Prepare{Hugepages: -1}})
	if m := s.recv(); m.Error == nil {
		t.Errorf("answer to a prepare below zero: %+v", m)
	}
	s.send(wire.ToGuest{Bind: &wire.Bind{BDFs: []string{"0000:00:02.0"}}})
	if m := s.recv(); m.Bound == nil || len(m.Bound.PCI) != 1 {
		t.Errorf("answer to bind: %+v", m)
	}
	s.send(wire.ToGuest{Run: &wire.Run{ID: 1, Name: "missing", Argv: []string{"/no/such"}, TimeoutMS: 1}})
	if m := s.recv(); m.Error == nil || m.Error.Doing != "run missing" || !strings.Contains(m.Error.Err, "ENOENT") {
		t.Errorf("answer to a missing program: %+v", m)
	}
	go io.Copy(io.Discard, s.output)
	s.run(2, "echo hello; exit 7")
	if m := s.recv(); m.Exited == nil || m.Exited.ID != 2 || m.Exited.Code != 7 || m.Exited.Stdout != 6 || m.Exited.Taint != 64 {
		t.Errorf("exited: %+v", m)
	}
	s.send(wire.ToGuest{PowerOff: &wire.PowerOff{}})
	s.end("")
}

// A flood of output is neither kept nor lost, and the agent answers meanwhile.
func TestFlood(t *testing.T) {
	s := newSession(t).shakeHands()
	const size = 200_000_000
	total := make(chan int64, 1)
	go func() {
		var n int64
		for n < size {
			c, err := wire.ReadChunk(s.output)
			if err != nil {
				break
			}
			n += int64(len(c.Data))
		}
		total <- n
	}()
	s.run(1, "head -c 200000000 /dev/zero")
	for n := uint64(1); ; n++ {
		s.send(wire.ToGuest{Ping: &wire.Ping{N: n}})
		m := s.recv()
		if m.Pong != nil && m.Pong.N == n {
			continue
		}
		if m.Exited == nil || m.Exited.Stdout != size || m.Exited.Code != 0 {
			t.Fatalf("%d pings, then %+v", n, m)
		}
		break
	}
	if n := <-total; n != size {
		t.Errorf("%d bytes arrived", n)
	}
}

// A host that does not read the output stops the program, not the agent.
func TestBackPressure(t *testing.T) {
	s := newSession(t).shakeHands()
	s.run(1, "yes")
	first, err := wire.ReadChunk(s.output) // it is writing, and we read no more
	if err != nil {
		t.Fatal(err)
	}
	for n := range uint64(100) {
		s.ping(n)
	}
	s.send(wire.ToGuest{Kill: &wire.Kill{ID: 99}}) // some other program
	s.ping(100)
	s.send(wire.ToGuest{Kill: &wire.Kill{ID: 1}})
	s.send(wire.ToGuest{Kill: &wire.Kill{ID: 1}}) // once is enough, twice does no harm
	s.ping(101)

	total := make(chan int64, 1)
	go func() {
		n := int64(len(first.Data))
		for {
			c, err := wire.ReadChunk(s.output)
			if err != nil {
				total <- n
				return
			}
			n += int64(len(c.Data))
		}
	}()
	m := s.recv()
	if m.Exited == nil || m.Exited.Signal != 9 || m.Exited.TimedOut {
		t.Fatalf("%+v", m)
	}
	s.output.Close()
	if n := <-total; n != m.Exited.Stdout {
		t.Errorf("%d bytes arrived, the agent says %d", n, m.Exited.Stdout)
	}
}

// One job at a time; the next may be asked for as soon as the answer is there.
func TestBusy(t *testing.T) {
	s := newSession(t).shakeHands()
	go io.Copy(io.Discard, s.output)
	s.run(1, "sleep 1000")
	for _, m := range []wire.ToGuest{
		{Run: &wire.Run{ID: 2, Name: "second", Argv: shell("true"), TimeoutMS: 1}},
		{Prepare: &wire.Prepare{}},
		{Bind: &wire.Bind{}},
	} {
		s.send(m)
		if got := s.recv(); got.Error == nil || !strings.Contains(got.Error.Err, "run a test is not finished") {
			t.Errorf("%+v", got)
		}
	}
	s.send(wire.ToGuest{Kill: &wire.Kill{ID: 1}})
	if m := s.recv(); m.Exited == nil || m.Exited.ID != 1 {
		t.Errorf("%+v", m)
	}
	for id := uint32(3); id < 30; id++ {
		s.run(id, "true")
		if m := s.recv(); m.Exited == nil || m.Exited.ID != id {
			t.Errorf("%+v", m)
		}
	}
}

// What is not the protocol ends the agent, and it says why.
func TestRubbishFromHost(t *testing.T) {
	hello := wire.ToGuest{Hello: &wire.HostHello{Version: wire.Version}}
	tests := []struct {
		name string
		do   func(s *session)
		says string
	}{
		{"no hello", func(s *session) { s.recv(); s.send(wire.ToGuest{Ping: &wire.Ping{}}) }, "something else came first"},
		{"another version", func(s *session) { s.recv(); s.send(wire.ToGuest{Hello: &wire.HostHello{Version: 1}}) }, string(wire.ErrVersion)},
		{"a second hello", func(s *session) { s.shakeHands(); s.send(hello) }, "second hello"},
		{"no frame", func(s *session) { s.shakeHands(); s.port.Write([]byte("rubb")) }, string(wire.ErrLength)},
		{"a message of the guest", func(s *session) { s.shakeHands(); s.conn.Send(wire.ToHost{Pong: &wire.Ping{}}) }, string(wire.ErrJSON)},
		{"rubbish while a program runs", func(s *session) { s.shakeHands().run(1, "exec sleep 1000"); s.port.Write([]byte("rubb")) }, string(wire.ErrLength)},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := newSession(t)
			test.do(s)
			s.end(test.says)
			if _, _, err := sweep(0, stuckAfter); err != nil {
				t.Error(err)
			}
		})
	}
}

// A host that goes away or never answers ends the agent.
func TestHostGone(t *testing.T) {
	s := newSession(t).shakeHands()
	s.ping(1) // the agent is past its handshake
	s.port.Close()
	if err := <-s.served; !errors.Is(err, io.EOF) {
		t.Errorf("%v", err)
	}

	host, guest := net.Pipe()
	defer host.Close()
	a := newAgent(newGuest(t), guest, newPrograms(t, io.Discard, io.Discard))
	a.patience = time.Millisecond
	if err := a.serve(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("nobody reads the hello: %v", err)
	}
	a.patience = 100 * time.Millisecond
	go wire.NewConn(host).Recv(&wire.ToHost{})
	if err := a.serve(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("nobody answers the hello: %v", err)
	}
}
