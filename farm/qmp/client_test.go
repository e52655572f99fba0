// SPDX-License-Identifier: Apache-2.0

package qmp

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

const hello = `{"QMP": {"version": {"qemu": {"micro": 2, "minor": 0, "major": 10}, "package": "test"}, "capabilities": ["oob"]}}` + "\r\n"

// server is the other end of a socketpair, scripted by a test.
type server struct {
	net.Conn
	lines *bufio.Reader
}

type command struct {
	Execute   string          `json:"execute"`
	Arguments json.RawMessage `json:"arguments"`
	ID        json.RawMessage `json:"id"`
}

// read reads one command. It may be called from the server's goroutine.
func (s *server) read(t *testing.T) command {
	line, err := s.lines.ReadBytes('\n')
	if err != nil {
		t.Errorf("server: read command: %v", err)
		return command{}
	}
	var c command
	if err := json.Unmarshal(line, &c); err != nil {
		t.Errorf("server: command %q: %v", line, err)
	}
	return c
}

func (s *server) say(t *testing.T, text string) {
	if _, err := io.WriteString(s, text); err != nil {
		t.Errorf("server: write %.40q: %v", text, err)
	}
}

func (s *server) greet(t *testing.T) {
	s.say(t, hello)
	c := s.read(t)
	if c.Execute != "qmp_capabilities" {
		t.Errorf("server: first command is %q", c.Execute)
	}
	s.say(t, fmt.Sprintf(`{"return": {}, "id": %s}`+"\r\n", c.ID))
}

func socketpair(t *testing.T) (net.Conn, net.Conn) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	var ends [2]net.Conn
	for i, fd := range fds {
		file := os.NewFile(uintptr(fd), "socketpair")
		ends[i], err = net.FileConn(file)
		file.Close()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { ends[i].Close() })
	}
	return ends[0], ends[1]
}

// open starts script as the server and connects a client to it. The test ends
// only when the script has.
func open(t *testing.T, script func(*server)) *Client {
	t.Helper()
	ours, theirs := socketpair(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		s := &server{Conn: theirs, lines: bufio.NewReader(theirs)}
		s.greet(t)
		script(s)
	}()
	c, err := Open(t.Context(), ours)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Disconnect(); <-done })
	return c
}

// Commands of many goroutines are answered in a random order, in torn writes,
// between events: every caller gets its own reply.
func TestRepliesFindTheirCallers(t *testing.T) {
	const callers, each = 8, 50
	c := open(t, func(s *server) {
		random := rand.New(rand.NewPCG(1, 2))
		for range each {
			var held [callers]command // every caller waits with one
			for i := range held {
				held[i] = s.read(t)
			}
			random.Shuffle(callers, func(i, j int) { held[i], held[j] = held[j], held[i] })
			for _, c := range held {
				text := fmt.Sprintf(`{"event": "NOISE", "data": {}, "timestamp": {"seconds": 1, "microseconds": 2}}`+"\r\n"+
					`{"return": %s, "id": %s}`+"\r\n", c.Arguments, c.ID)
				for len(text) > 0 {
					n := 1 + random.IntN(len(text))
					s.say(t, text[:n])
					text = text[n:]
				}
			}
		}
	})
	var wg sync.WaitGroup
	for caller := range callers {
		wg.Go(func() {
			for i := range each {
				want := fmt.Sprintf("%d.%d", caller, i)
				var got struct{ Say string }
				err := c.Execute(t.Context(), "echo", map[string]string{"say": want}, &got)
				if err != nil || got.Say != want {
					t.Errorf("echo = %q, %v; want %q", got.Say, err, want)
					return
				}
			}
		})
	}
	wg.Wait()
}

func TestErrorKeepsItsClass(t *testing.T) {
	c := open(t, func(s *server) {
		s.say(t, fmt.Sprintf(`{"id": %s, "error": {"class": "DeviceNotFound", "desc": "no such thing"}}`+"\r\n", s.read(t).ID))
		s.say(t, fmt.Sprintf(`{"id": %s, "return": {"fine": true}}`+"\r\n", s.read(t).ID))
	})
	err := c.Execute(t.Context(), "device_del", map[string]string{"id": "x"}, nil)
	var refusal *Error
	if !errors.As(err, &refusal) || refusal.Class != "DeviceNotFound" || refusal.Desc != "no such thing" {
		t.Fatalf("err = %#v", err)
	}
	if !strings.Contains(err.Error(), "device_del") {
		t.Errorf("the error does not name the command: %v", err)
	}
	if err := c.Execute(t.Context(), "next", nil, nil); err != nil {
		t.Fatalf("the connection must survive a refusal: %v", err)
	}
}

// A consumer that does not read loses the oldest events, and nobody waits for
// it.
func TestSlowConsumer(t *testing.T) {
	const extra = 10
	c := open(t, func(s *server) {
		id := s.read(t).ID
		for i := range QueueLength + extra {
			s.say(t, fmt.Sprintf(`{"event": "COUNT", "data": {"n": %d}, "timestamp": {"seconds": 0, "microseconds": 0}}`+"\n", i))
		}
		s.say(t, `{"event": "OTHER", "timestamp": {"seconds": 0, "microseconds": 0}}`+"\n")
		s.say(t, fmt.Sprintf(`{"return": {}, "id": %s}`+"\n", id))
	})
	slow := c.Subscribe("COUNT")
	other := c.Subscribe("OTHER")
	closed := c.Subscribe()
	closed.Close()
	closed.Close()
	if err := c.Execute(t.Context(), "go", nil, nil); err != nil {
		t.Fatal(err)
	}
	if got := slow.Dropped(); got != extra {
		t.Errorf("dropped %d events, want %d", got, extra)
	}
	for i := range QueueLength {
		event := <-slow.Events()
		if got := event.Data["n"]; got != float64(i+extra) {
			t.Fatalf("event %d is %v", i, got)
		}
	}
	if event := <-other.Events(); event.Event != "OTHER" || other.Dropped() != 0 {
		t.Errorf("other = %+v, dropped %d", event, other.Dropped())
	}
	if _, ok := <-closed.Events(); ok {
		t.Error("a closed subscription received an event")
	}
	c.Disconnect()
	if _, ok := <-slow.Events(); ok {
		t.Error("the queue is not closed with the connection")
	}
	if _, ok := <-c.Subscribe().Events(); ok {
		t.Error("a subscription on a dead connection is not closed")
	}
}

func TestEventsEndWithTheirContext(t *testing.T) {
	c := open(t, func(s *server) {
		id := s.read(t).ID
		s.say(t, `{"event": "STOP", "timestamp": {"seconds": 7, "microseconds": 9}}`+"\n")
		s.say(t, fmt.Sprintf(`{"return": {}, "id": %s}`+"\n", id))
	})
	ctx, cancel := context.WithCancel(t.Context())
	events, err := c.Events(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Execute(t.Context(), "stop", nil, nil); err != nil {
		t.Fatal(err)
	}
	if event := <-events; event.Event != "STOP" || event.Timestamp.Seconds != 7 {
		t.Errorf("event = %+v", event)
	}
	cancel()
	if _, ok := <-events; ok {
		t.Error("an event after the end of the context")
	}
	c.Disconnect()
	if _, err := c.Events(t.Context()); !errors.Is(err, ErrClosed) {
		t.Errorf("Events on a dead connection: %v", err)
	}
}

func TestHugeReply(t *testing.T) {
	huge := strings.Repeat("x", 8<<20)
	c := open(t, func(s *server) {
		s.say(t, fmt.Sprintf(`{"return": "%s", "id": %s}`+"\r\n", huge, s.read(t).ID))
	})
	var got string
	if err := c.Execute(t.Context(), "big", nil, &got); err != nil || got != huge {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
}

func TestReadLineIsBounded(t *testing.T) {
	const limit = 1000
	read := func(n int) error {
		_, err := readLine(bufio.NewReaderSize(strings.NewReader(strings.Repeat("x", n-1)+"\n"), 16), limit)
		return err
	}
	if err := read(limit); err != nil {
		t.Errorf("a message of exactly the limit: %v", err)
	}
	if err := read(limit + 1); err == nil {
		t.Error("a message over the limit was accepted")
	}
}

// Whatever ends the connection ends every pending call, with the reason.
func TestBrokenConnection(t *testing.T) {
	tests := []struct {
		name, say string
		close     bool
		want      string
		is        error
	}{
		{name: "closed", close: true, want: "closed the connection", is: io.EOF},
		{name: "closed in a message", say: `{"return": {`, close: true, want: "within a message", is: io.ErrUnexpectedEOF},
		{name: "garbage", say: "\x00\xff garbage\n", want: "decode message"},
		{name: "not an object", say: "[1, 2]\n", want: "decode message"},
		{name: "neither reply nor event", say: "{}\n", want: "neither reply nor event"},
		{name: "error without id", say: `{"error": {"class": "GenericError", "desc": "JSON parse error"}}` + "\n", want: "JSON parse error"},
		{name: "id never sent", say: `{"return": {}, "id": 99}` + "\n", want: "never sent"},
		{name: "id of another type", say: `{"return": {}, "id": "1"}` + "\n", want: "decode message"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			const calls = 3
			c := open(t, func(s *server) {
				for range calls {
					s.read(t)
				}
				s.say(t, test.say)
				if test.close {
					s.Close()
				}
			})
			errs := make(chan error)
			for range calls {
				go func() { errs <- c.Execute(t.Context(), "wait", nil, nil) }()
			}
			for range calls {
				err := <-errs
				if err == nil || !strings.Contains(err.Error(), test.want) {
					t.Errorf("err = %v, want %q in it", err, test.want)
				}
				if test.is != nil && !errors.Is(err, test.is) {
					t.Errorf("err = %v, want %v", err, test.is)
				}
			}
			<-c.Done()
			if err := c.Execute(t.Context(), "late", nil, nil); err == nil {
				t.Error("a call on a dead connection succeeded")
			}
			if c.Connect() == nil {
				t.Error("Connect says that a dead connection stands")
			}
		})
	}
}

// The reply to "quit" arrives together with the end of the connection.
func TestReplyBeforeTheEndCounts(t *testing.T) {
	for range 50 {
		c := open(t, func(s *server) {
			s.say(t, fmt.Sprintf(`{"return": {}, "id": %s}`+"\n", s.read(t).ID))
			s.Close()
		})
		if err := c.Execute(t.Context(), "quit", nil, nil); err != nil {
			t.Fatal(err)
		}
	}
}

// A caller that gives up leaves the connection usable, and the late reply to
// nobody.
func TestContextEndsOneCall(t *testing.T) {
	received, answer := make(chan struct{}), make(chan struct{})
	c := open(t, func(s *server) {
		slow := s.read(t)
		close(received)
		<-answer
		s.say(t, fmt.Sprintf(`{"return": "late", "id": %s}`+"\n", slow.ID))
		s.say(t, fmt.Sprintf(`{"return": "fresh", "id": %s}`+"\n", s.read(t).ID))
	})
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-received; cancel() }()
	if err := c.Execute(ctx, "slow", nil, nil); !errors.Is(err, context.Canceled) {
		t.Fatalf("err = %v", err)
	}
	close(answer)
	var got string
	if err := c.Execute(t.Context(), "fast", nil, &got); err != nil || got != "fresh" {
		t.Fatalf("%q, %v", got, err)
	}
}

// A QEMU that reads nothing blocks no caller beyond its context.
func TestContextEndsAWrite(t *testing.T) {
	release := make(chan struct{})
	c := open(t, func(s *server) { <-release })
	defer close(release)
	big := strings.Repeat("x", 4<<20) // more than a socket buffer holds
	for range 2 {                     // the first fills the socket, the second waits for the writer
		ctx, cancel := context.WithCancel(t.Context())
		errs := make(chan error)
		go func() { errs <- c.Execute(ctx, "big", big, nil) }()
		cancel()
		if err := <-errs; !errors.Is(err, context.Canceled) {
			t.Fatalf("err = %v", err)
		}
	}
}

func TestOpen(t *testing.T) {
	tests := []struct {
		name, say, want string
	}{
		{"no QMP", "SSH-2.0-OpenSSH_9.2\r\n", "decode message"},
		{"no greeting", `{"return": {}}` + "\n", "not a greeting"},
		{"refused", hello + `{"error": {"class": "CommandNotFound", "desc": "nope"}, "id": 1}` + "\n", "CommandNotFound"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			ours, theirs := socketpair(t)
			go func() {
				if test.name == "refused" {
					io.WriteString(theirs, hello)
					bufio.NewReader(theirs).ReadBytes('\n')
					io.WriteString(theirs, strings.TrimPrefix(test.say, hello))
					return
				}
				io.WriteString(theirs, test.say)
			}()
			if _, err := Open(t.Context(), ours); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("err = %v, want %q in it", err, test.want)
			}
			if _, err := ours.Write([]byte("x")); err == nil {
				t.Error("a failed Open left the connection open")
			}
		})
	}
	t.Run("silent", func(t *testing.T) {
		ours, _ := socketpair(t)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := Open(ctx, ours); !errors.Is(err, context.Canceled) {
			t.Fatalf("err = %v", err)
		}
	})
}

func TestRun(t *testing.T) {
	c := open(t, func(s *server) {
		cmd := s.read(t)
		if string(cmd.Arguments) != `{"addr":18446744073709551615}` || string(cmd.ID) == `"mine"` {
			t.Errorf("the server received %s, id %s", cmd.Arguments, cmd.ID)
		}
		s.say(t, fmt.Sprintf(`{"return": {"a": 1}, "id": %s}`+"\n", cmd.ID))
	})
	out, err := c.Run([]byte(`{"execute": "x", "arguments": {"addr": 18446744073709551615}, "id": "mine"}`))
	if err != nil {
		t.Fatal(err)
	}
	var got struct{ Return map[string]int }
	if err := json.Unmarshal(out, &got); err != nil || got.Return["a"] != 1 {
		t.Fatalf("%s, %v", out, err)
	}
	for _, bad := range []string{"", "{", "null", "[]", "7"} {
		if _, err := c.Run([]byte(bad)); err == nil {
			t.Errorf("Run(%q) succeeded", bad)
		}
	}
}
