// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"noiommu-farm/guestagent/wire"
	"noiommu-farm/results"
	"noiommu-farm/results/ktap"
	"noiommu-farm/results/verdict"
	"noiommu-farm/suites/contract"
)

// A scripted agent stands in for a guest that no real agent would be: what it
// sends is the script, byte for byte.
type script func(t *testing.T, control *wire.Conn, raw net.Conn, output io.Writer)

// converse runs a whole conversation of one program against a script and
// judges what was recorded.
func converse(t *testing.T, scale float64, play script) (*verdict.Cell, error) {
	t.Helper()
	program := results.Program{ID: 1, Name: "p", Argv: []string{"/p"}, Timeout: time.Second, Host: true}
	dir := filepath.Join(t.TempDir(), "cell")
	rec, err := results.CreateCell(dir, results.Planned{Cell: "c", Programs: []results.Program{program}})
	if err != nil {
		t.Fatal(err)
	}
	host, guest := net.Pipe()
	outHost, outGuest := net.Pipe()
	c := New(host, rec.First(), scale, func(uint32, ktap.Test) {})
	c.Answer = func(ctx context.Context, r wire.Request) (wire.Reply, error) {
		switch r.Do {
		case wire.ReadMemory:
			return wire.Reply{Data: make([]byte, r.Length)}, nil
		case wire.Unplugged:
			<-ctx.Done() // a guest that does not let go
			return wire.Reply{}, ctx.Err()
		case wire.InjectNMI:
			return wire.Reply{}, errors.New("no monitor")
		}
		return wire.Reply{Err: "refused"}, nil
	}
	listening := make(chan struct{})
	go func() { defer close(listening); c.Listen() }()
	collected := make(chan struct{})
	go func() { defer close(collected); c.Collect(outHost) }()
	played := make(chan struct{})
	go func() {
		defer close(played)
		play(t, wire.NewConn(guest), guest, outGuest)
	}()

	ctx := t.Context()
	end := func() error {
		if err := c.Hello(ctx); err != nil {
			return err
		}
		if _, err := c.Prepare(ctx, wire.Prepare{}); err != nil {
			return err
		}
		return c.Run(ctx, program, program.Argv, false)
	}()
	var hung *HungError
	var lost *LostError
	switch {
	case errors.As(end, &hung):
		rec.Event(results.Event{Hung: &results.Hung{Doing: hung.Doing}})
	case errors.As(end, &lost):
		rec.Event(results.Event{Lost: &results.Lost{Doing: lost.Doing}})
	case end != nil:
		rec.Event(results.Event{Infra: &results.Infra{Err: end.Error()}})
	}
	// The kernel's log comes on a line of its own, whole.
	rec.First().Console([]byte(wire.Marker + " start 1 p\n" + wire.Marker + " end 1\n"))
	for _, conn := range []net.Conn{host, guest, outHost, outGuest} {
		conn.Close()
	}
	<-listening
	<-collected
	<-played
	rec.Event(results.Event{Ended: &results.Ended{Code: -1, Killed: true}})
	if err := rec.Close(); err != nil {
		t.Fatal(err)
	}
	record, err := results.ReadCell(dir)
	if err != nil {
		t.Fatal(err)
	}
	cell, err := verdict.Judge(record)
	if err != nil {
		t.Fatal(err)
	}
	return cell, end
}

// upTo plays an honest agent up to and with the start of the program, and goes
// on answering pings.
func upTo(t *testing.T, c *wire.Conn) {
	c.Send(&wire.ToHost{Hello: &wire.AgentHello{Version: wire.Version}})
	for {
		var m wire.ToGuest
		if err := c.Recv(&m); err != nil {
			return
		}
		switch {
		case m.Prepare != nil:
			c.Send(&wire.ToHost{Facts: &wire.Facts{}})
		case m.Run != nil:
			c.Send(&wire.ToHost{Started: &wire.Started{ID: m.Run.ID}})
			return
		}
	}
}

func pong(c *wire.Conn) {
	for {
		var m wire.ToGuest
		if c.Recv(&m) != nil {
			return
		}
		if m.Ping != nil {
			c.Send(&wire.ToHost{Pong: m.Ping})
		}
	}
}

func ask(c *wire.Conn, n uint32, r wire.Request) {
	c.Send(&wire.ToHost{Ask: &wire.Ask{Run: 1, N: n, Request: r}})
}

// answered is the next answer; the guest goes on answering pings.
func answered(c *wire.Conn) *wire.Answer {
	for {
		var m wire.ToGuest
		if c.Recv(&m) != nil {
			return nil
		}
		switch {
		case m.Answer != nil:
			return m.Answer
		case m.Ping != nil:
			c.Send(&wire.ToHost{Pong: m.Ping})
		}
	}
}

const honest = contract.FactsLine + "{}\n1..1\nok 1 a\n"

// short makes the host's patience a fraction of a second.
const short = 0.02

func TestConversation(t *testing.T) {
	for _, c := range []struct {
		name    string
		scale   float64
		play    script
		verdict verdict.Verdict
		say     string
	}{
		{"honest", 1, func(t *testing.T, c *wire.Conn, _ net.Conn, out io.Writer) {
			upTo(t, c)
			wire.WriteChunk(out, wire.Chunk{Run: 1, Stream: wire.Stdout, Data: []byte(honest)})
			c.Send(&wire.ToHost{Exited: &wire.Exited{ID: 1, Stdout: int64(len(honest))}})
		}, verdict.Pass, ""},
		{"output after the end is waited for", 1, func(t *testing.T, c *wire.Conn, _ net.Conn, out io.Writer) {
			upTo(t, c)
			c.Send(&wire.ToHost{Exited: &wire.Exited{ID: 1, Stdout: int64(len(honest))}})
			for i := range honest {
				wire.WriteChunk(out, wire.Chunk{Run: 1, Stream: wire.Stdout, Data: []byte(honest[i : i+1])})
			}
		}, verdict.Pass, ""},
		{"nothing", short, func(t *testing.T, c *wire.Conn, _ net.Conn, _ io.Writer) { pong(c) },
			verdict.Timeout, "guest hung while the host was waiting for the agent's first word"},
		{"hello and no more", short, func(t *testing.T, c *wire.Conn, _ net.Conn, _ io.Writer) {
			c.Send(&wire.ToHost{Hello: &wire.AgentHello{Version: wire.Version}})
			for c.Recv(&wire.ToGuest{}) == nil {
			}
		}, verdict.Timeout, "the guest's facts"},
		{"another version", 1, func(t *testing.T, _ *wire.Conn, raw net.Conn, _ io.Writer) {
			hello := `{"hello":{"version":99,"release":"","boot_id":""}}`
			raw.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(hello))), hello...))
		}, verdict.Infra, "version"},
		{"rubbish", 1, func(t *testing.T, _ *wire.Conn, raw net.Conn, _ io.Writer) {
			raw.Write([]byte("\x00\x00\x00\x05hello"))
		}, verdict.Infra, "rubbish"},
		{"a frame of 4 GiB", 1, func(t *testing.T, _ *wire.Conn, raw net.Conn, _ io.Writer) {
			raw.Write(binary.BigEndian.AppendUint32(nil, 0xffffffff))
		}, verdict.Infra, "rubbish"},
		{"a word out of turn", 1, func(t *testing.T, c *wire.Conn, _ net.Conn, _ io.Writer) {
			c.Send(&wire.ToHost{Exited: &wire.Exited{ID: 1}})
		}, verdict.Infra, "was not a hello"},
		{"the end of another program", 1, func(t *testing.T, c *wire.Conn, _ net.Conn, _ io.Writer) {
			upTo(t, c)
			c.Send(&wire.ToHost{Exited: &wire.Exited{ID: 7}})
		}, verdict.Infra, "answered something else"},
		{"more output promised than sent", short, func(t *testing.T, c *wire.Conn, _ net.Conn, out io.Writer) {
			upTo(t, c)
			wire.WriteChunk(out, wire.Chunk{Run: 1, Stream: wire.Stdout, Data: []byte(honest)})
			c.Send(&wire.ToHost{Exited: &wire.Exited{ID: 1, Stdout: 1 << 20}})
			pong(c)
		}, verdict.Infra, "did not arrive whole"},
		{"rubbish for output", 1, func(t *testing.T, c *wire.Conn, _ net.Conn, out io.Writer) {
			upTo(t, c)
			out.Write([]byte("this is no chunk at all"))
			c.Send(&wire.ToHost{Exited: &wire.Exited{ID: 1, Stdout: 23}})
			pong(c)
		}, verdict.Infra, "read output"},
		{"output of a program that nobody asked for", 1, func(t *testing.T, c *wire.Conn, _ net.Conn, out io.Writer) {
			upTo(t, c)
			wire.WriteChunk(out, wire.Chunk{Run: 2, Stream: wire.Stdout, Data: []byte(honest)})
			pong(c)
		}, verdict.Infra, "output of program 2"},
		{"the port ends", 1, func(t *testing.T, c *wire.Conn, raw net.Conn, _ io.Writer) {
			upTo(t, c)
			raw.Close()
		}, verdict.Infra, "agent closed its port"},
		{"the ports end within frames", 1, func(t *testing.T, c *wire.Conn, raw net.Conn, out io.Writer) {
			upTo(t, c)
			out.Write([]byte{0, 0, 0, 9, 0, 0, 0, 1, 1, 'o', 'k'})
			out.(net.Conn).Close()
			raw.Write([]byte{0, 0})
			raw.Close()
		}, verdict.Infra, "agent closed its port"},
		{"questions", 1, func(t *testing.T, c *wire.Conn, _ net.Conn, out io.Writer) {
			upTo(t, c)
			ask(c, 1, wire.Request{Do: wire.ReadMemory, Length: wire.MaxRead})
			if a := answered(c); a == nil || a.N != 1 || len(a.Data) != wire.MaxRead {
				t.Errorf("answer 1: %+v", a)
			}
			ask(c, 2, wire.Request{Do: wire.Plug, BDF: "0000:00:1f.0"})
			if a := answered(c); a == nil || a.N != 2 || a.Err != "refused" {
				t.Errorf("answer 2: %+v", a)
			}
			ask(c, 3, wire.Request{Do: wire.Unplugged, BDF: "0000:01:00.0"}) // and the program ends
			wire.WriteChunk(out, wire.Chunk{Run: 1, Stream: wire.Stdout, Data: []byte(honest)})
			c.Send(&wire.ToHost{Exited: &wire.Exited{ID: 1, Stdout: int64(len(honest))}})
		}, verdict.Pass, ""},
		{"two questions at once", 1, func(t *testing.T, c *wire.Conn, _ net.Conn, _ io.Writer) {
			upTo(t, c)
			ask(c, 1, wire.Request{Do: wire.Unplugged, BDF: "0000:01:00.0"})
			ask(c, 2, wire.Request{Do: wire.ReadMemory, Length: 1})
			pong(c)
		}, verdict.Infra, "request 2 of program 1, out of turn"},
		{"questions without an ear for the answers", 1, func(t *testing.T, c *wire.Conn, _ net.Conn, _ io.Writer) {
			upTo(t, c)
			for n := range uint32(4) {
				ask(c, n+1, wire.Request{Do: wire.ReadMemory, Length: 1})
				time.Sleep(20 * time.Millisecond) // the host has the answer meanwhile, and cannot send it
			}
		}, verdict.Infra, "request 3 of program 1, out of turn"},
		{"the same question twice", 1, func(t *testing.T, c *wire.Conn, _ net.Conn, _ io.Writer) {
			upTo(t, c)
			ask(c, 1, wire.Request{Do: wire.ReadMemory, Length: 1})
			answered(c)
			ask(c, 1, wire.Request{Do: wire.ReadMemory, Length: 1})
			pong(c)
		}, verdict.Infra, "request 1 of program 1, out of turn"},
		{"a question of another program", 1, func(t *testing.T, c *wire.Conn, _ net.Conn, _ io.Writer) {
			upTo(t, c)
			c.Send(&wire.ToHost{Ask: &wire.Ask{Run: 2, N: 1, Request: wire.Request{Do: wire.InjectNMI}}})
			pong(c)
		}, verdict.Infra, "request 1 of program 2, out of turn"},
		{"a question before the program runs", 1, func(t *testing.T, c *wire.Conn, _ net.Conn, _ io.Writer) {
			c.Send(&wire.ToHost{Hello: &wire.AgentHello{Version: wire.Version}})
			c.Recv(&wire.ToGuest{})
			c.Recv(&wire.ToGuest{})
			ask(c, 1, wire.Request{Do: wire.InjectNMI})
			pong(c)
		}, verdict.Infra, "answered something else"},
		{"a question for too much", 1, func(t *testing.T, c *wire.Conn, _ net.Conn, _ io.Writer) {
			upTo(t, c)
			ask(c, 1, wire.Request{Do: wire.ReadMemory, Length: 1 << 30})
			pong(c)
		}, verdict.Infra, "read-memory of 1073741824 bytes"},
		{"a question for something else", 1, func(t *testing.T, c *wire.Conn, _ net.Conn, _ io.Writer) {
			upTo(t, c)
			ask(c, 1, wire.Request{Do: "quit"})
			pong(c)
		}, verdict.Infra, `"quit" is none of`},
		{"a question that the farm fails at", 1, func(t *testing.T, c *wire.Conn, _ net.Conn, _ io.Writer) {
			upTo(t, c)
			ask(c, 1, wire.Request{Do: wire.InjectNMI})
			pong(c)
		}, verdict.Infra, "no monitor"},
		{"the agent cannot", 1, func(t *testing.T, c *wire.Conn, _ net.Conn, _ io.Writer) {
			c.Send(&wire.ToHost{Hello: &wire.AgentHello{Version: wire.Version}})
			c.Recv(&wire.ToGuest{})
			c.Recv(&wire.ToGuest{})
			c.Send(&wire.ToHost{Error: &wire.Error{Doing: "mount /tmp", Err: "ENOMEM"}})
		}, verdict.Infra, "mount /tmp: ENOMEM"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			cell, err := converse(t, c.scale, c.play)
			if cell.Verdict != c.verdict {
				t.Errorf("cell is %s (%s), want %s; the conversation ended with: %v", cell.Verdict, cell.Reason, c.verdict, err)
			}
			if all := cell.Reason + cell.Programs[0].Reason; !strings.Contains(all, c.say) {
				t.Errorf("%q is not in %q", c.say, all)
			}
		})
	}
}

// A user who interrupts is not kept waiting by a guest that does not answer.
func TestConversationInterrupted(t *testing.T) {
	rec, err := results.CreateCell(filepath.Join(t.TempDir(), "cell"), results.Planned{Cell: "c"})
	if err != nil {
		t.Fatal(err)
	}
	defer rec.Close()
	host, guest := net.Pipe()
	defer guest.Close()
	defer host.Close()
	c := New(host, rec.First(), 1, nil)
	go c.Listen()
	why := errors.New("interrupted")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	if err := c.Hello(ctx); !errors.Is(err, why) {
		t.Errorf("got %v", err)
	}
}

// What a restored agent says before it knows that it was restored is of the
// guest that was saved, and is not believed.
func TestResume(t *testing.T) {
	for _, c := range []struct {
		name string
		says []wire.ToHost
		err  string
	}{
		{"as it should be", []wire.ToHost{{Restored: &wire.Restored{Guest: 7}}, {Facts: &wire.Facts{}}}, ""},
		{"a stale answer", []wire.ToHost{{Facts: &wire.Facts{}}}, "rubbish: it does not know that it was restored"},
		{"another guest", []wire.ToHost{{Restored: &wire.Restored{Guest: 6}}}, "rubbish: it does not know that it was restored"},
		{"a refusal", []wire.ToHost{{Error: &wire.Error{Doing: "serve", Err: "no clock"}}}, "agent: serve: no clock"},
	} {
		t.Run(c.name, func(t *testing.T) {
			rec, err := results.CreateCell(filepath.Join(t.TempDir(), "cell"), results.Planned{Cell: "c"})
			if err != nil {
				t.Fatal(err)
			}
			defer rec.Close()
			host, guest := net.Pipe()
			defer host.Close()
			defer guest.Close()
			talk := New(host, rec.First(), 1, nil)
			go talk.Listen()
			go func() {
				agent := wire.NewConn(guest)
				var heard wire.ToGuest
				for range 2 {
					agent.Recv(&heard)
					if r := heard.Restore; r != nil && r.Check() != nil {
						t.Errorf("%v", r.Check())
					}
				}
				for _, m := range c.says {
					agent.Send(m)
				}
			}()
			err = talk.Resume(t.Context(), 7)
			if err == nil {
				_, err = talk.Prepare(t.Context(), wire.Prepare{})
			}
			if c.err == "" && err != nil || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
				t.Errorf("got %v, want %q", err, c.err)
			}
		})
	}
}
