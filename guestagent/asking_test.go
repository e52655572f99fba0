// SPDX-License-Identifier: Apache-2.0

package main

import (
	"io"
	"strings"
	"testing"

	"noiommu-farm/guestagent/wire"
)

// question is a script that asks the host once and prints the answer.
func question(packet string) string {
	return `printf %s '` + packet + `' >&$` + wire.HostEnv + `; dd bs=200000 count=1 status=none <&$` + wire.HostEnv
}

// askingSession starts a program that may ask the host and collects what it
// prints.
func askingSession(t *testing.T, script string) (*session, func() string) {
	s := newSession(t).shakeHands()
	var printed strings.Builder
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := wire.ReadChunk(s.output)
			if err != nil {
				return
			}
			printed.Write(c.Data)
		}
	}()
	s.send(wire.ToGuest{Run: &wire.Run{ID: 5, Name: "asks", Argv: shell(script), TimeoutMS: 60_000, Host: true}})
	if m := s.recv(); m.Started == nil {
		t.Fatalf("answer to run: %+v %+v", m, m.Error)
	}
	return s, func() string {
		s.output.Close()
		<-done
		return printed.String()
	}
}

func (s *session) ask(n uint32) wire.Request {
	s.t.Helper()
	m := s.recv()
	if m.Ask == nil || m.Ask.Run != 5 || m.Ask.N != n {
		s.t.Fatalf("want request %d, got %+v %+v", n, m, m.Error)
	}
	return m.Ask.Request
}

func (s *session) exited() *wire.Exited {
	s.t.Helper()
	m := s.recv()
	if m.Exited == nil {
		s.t.Fatalf("want the end of the program, got %+v %+v", m, m.Error)
	}
	return m.Exited
}

func TestAsk(t *testing.T) {
	s, printed := askingSession(t, question(`{"do":"read-memory","address":4096,"length":3}`)+"; "+question(`{"do":"plug","bdf":"0000:01:00.0"}`))
	if r := s.ask(1); r != (wire.Request{Do: wire.ReadMemory, Address: 4096, Length: 3}) {
		t.Errorf("%+v", r)
	}
	s.ping(9) // while the program waits
	s.send(wire.ToGuest{Answer: &wire.Answer{Run: 4, N: 1, Reply: wire.Reply{Err: "of another program"}}})
	s.send(wire.ToGuest{Answer: &wire.Answer{Run: 5, N: 1, Reply: wire.Reply{Data: []byte("abc")}}})
	if r := s.ask(2); r != (wire.Request{Do: wire.Plug, BDF: "0000:01:00.0"}) {
		t.Errorf("%+v", r)
	}
	s.send(wire.ToGuest{Answer: &wire.Answer{Run: 5, N: 2, Reply: wire.Reply{Err: "no"}}})
	s.exited()
	s.send(wire.ToGuest{Answer: &wire.Answer{Run: 5, N: 3}}) // too late for anybody
	s.ping(10)
	if got := printed(); got != `{"data":"YWJj"}{"err":"no"}` {
		t.Errorf("the program got %q", got)
	}
}

// What is no request does not reach the host.
func TestAskRubbish(t *testing.T) {
	s, printed := askingSession(t, question("reboot now")+"; "+question(`{"do":"unplug"}`)+"; "+question(`{"do":"inject-nmi","x":1}`)+
		"; head -c 5000 /dev/zero | dd bs=5000 >&3 status=none; dd bs=200000 count=1 status=none <&3")
	s.exited()
	if got := printed(); strings.Count(got, `{"err":"request: `) != 4 {
		t.Errorf("the program got %q", got)
	}
}

// A program may end with a question that nobody has answered, and leave
// something behind that asks on.
func TestAskAndExit(t *testing.T) {
	ask := `printf %s '{"do":"inject-nmi"}' >&3`
	s, _ := askingSession(t, ask+"; (trap '' TERM; while :; do "+ask+"; sleep 0.01; done) & exit 3")
	s.ask(1)
	if x := s.exited(); x.Code != 3 || x.Leftovers == 0 {
		t.Errorf("%+v", x)
	}
	s.ping(1) // and nothing more of it
}

// A program that may not ask has no line.
func TestNoAsking(t *testing.T) {
	s := newSession(t).shakeHands()
	s.run(1, "test -z \"$"+wire.HostEnv+"\" && ! readlink /proc/self/fd/3")
	go io.Copy(io.Discard, s.output)
	if x := s.exited(); x.Code != 0 {
		t.Errorf("%+v", x)
	}
}
