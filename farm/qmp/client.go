// SPDX-License-Identifier: Apache-2.0

// Package qmp speaks the QEMU Machine Protocol on one connection.
//
// A connected socket to QEMU comes in; replies, typed errors and events go
// out. [Client] implements go-qemu's qmp.Monitor, so that the generated
// commands of go-qemu's qmp/raw can be used on top of it.
//
// It never starts QEMU, never reconnects, and never lets a slow consumer of
// events stop the replies.
//
// Protocol: docs/interop/qmp-spec.rst in QEMU's source.
package qmp

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/digitalocean/go-qemu/qmp"
)

// MaxMessage bounds one message from QEMU, in bytes. The largest in use, the
// reply to query-qmp-schema, has about 250 KiB.
const MaxMessage = 64 << 20

// ErrClosed is the error of every call after Disconnect.
var ErrClosed = errors.New("the connection was closed")

// Error is QEMU's refusal of one command.
type Error struct {
	Class string `json:"class"` // "GenericError", "CommandNotFound", "DeviceNotFound", …
	Desc  string `json:"desc"`  // for people; not stable between versions of QEMU
}

func (e *Error) Error() string { return e.Class + ": " + e.Desc }

// Client is one QMP connection. All methods may be called from several
// goroutines at once; replies are matched to commands by their ids.
type Client struct {
	conn     io.ReadWriteCloser
	greeting greeting
	greeted  chan struct{} // closed when greeting is set
	writes   chan []byte   // to the one goroutine that writes
	dead     chan struct{} // closed when err is set

	mu      sync.Mutex
	err     error                   // why the connection ended
	lastID  uint64                  // of the last command
	pending map[uint64]chan<- reply // commands without a reply; each channel has room for it
	subs    map[*Subscription]struct{}
}

var _ qmp.Monitor = (*Client)(nil)

type greeting struct {
	Version      qmp.Version `json:"version"`
	Capabilities []string    `json:"capabilities"`
}

// message is whatever QEMU sends: a greeting, a reply or an event.
type message struct {
	Greeting *greeting       `json:"QMP"`
	ID       *uint64         `json:"id"`
	Return   json.RawMessage `json:"return"`
	Error    *Error          `json:"error"`
	Event    string          `json:"event"`
}

type reply struct {
	whole  []byte // the message as it came
	result json.RawMessage
	err    *Error
}

// Open reads QEMU's greeting from conn and negotiates no capabilities. The
// client owns conn from here on, and closes it when Open fails.
//
// Reads and writes of conn must return when it is closed, which a net.Conn
// does and an os.File in blocking mode does not.
func Open(ctx context.Context, conn io.ReadWriteCloser) (*Client, error) {
	c := &Client{
		conn:    conn,
		greeted: make(chan struct{}),
		writes:  make(chan []byte),
		dead:    make(chan struct{}),
		pending: make(map[uint64]chan<- reply),
		subs:    make(map[*Subscription]struct{}),
	}
	go c.read()
	go c.write()
	select {
	case <-c.greeted:
	case <-c.dead:
		return nil, fmt.Errorf("qmp: wait for greeting: %w", c.Err())
	case <-ctx.Done():
		c.fail(ErrClosed)
		return nil, fmt.Errorf("qmp: wait for greeting: %w", ctx.Err())
	}
	if err := c.Execute(ctx, "qmp_capabilities", nil, nil); err != nil {
		c.fail(ErrClosed)
		return nil, err
	}
	return c, nil
}

// Version is QEMU's version as it was in the greeting.
func (c *Client) Version() qmp.Version { return c.greeting.Version }

// Done is closed when the connection has ended; Err then says why.
func (c *Client) Done() <-chan struct{} { return c.dead }

// Err is nil while the connection stands, and then the reason for its end.
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Connect is part of qmp.Monitor. [Open] has connected already; Connect says
// whether that still holds.
func (c *Client) Connect() error { return c.Err() }

// Disconnect ends the connection. Calls that wait for a reply fail with
// [ErrClosed], and the channels of all subscriptions are closed.
func (c *Client) Disconnect() error {
	c.fail(ErrClosed)
	return nil
}

// Execute sends one command and waits for its reply. args becomes the
// command's arguments (nil: none) and the reply is decoded into result (nil:
// ignored).
//
// A refusal by QEMU is an *[Error]. When ctx ends first, the command may have
// been sent and may still be executed; its reply is then ignored.
func (c *Client) Execute(ctx context.Context, cmd string, args, result any) error {
	request := map[string]any{"execute": cmd}
	if args != nil {
		request["arguments"] = args
	}
	r, err := c.roundTrip(ctx, request)
	if err != nil {
		return fmt.Errorf("qmp: %s: %w", cmd, err)
	}
	if r.err != nil {
		return fmt.Errorf("qmp: %s: %w", cmd, r.err)
	}
	if result == nil {
		return nil
	}
	if err := json.Unmarshal(r.result, result); err != nil {
		return fmt.Errorf("qmp: %s: decode reply: %w", cmd, err)
	}
	return nil
}

// Run is part of qmp.Monitor: it sends one command as JSON text and returns
// the whole reply as JSON text. An id in the command is replaced. It waits
// until QEMU answers or the connection ends; [Client.Execute] takes a context.
func (c *Client) Run(command []byte) ([]byte, error) {
	var request map[string]any
	decoder := json.NewDecoder(bytes.NewReader(command))
	decoder.UseNumber() // a 64-bit address must not pass through a float64
	if err := decoder.Decode(&request); err != nil {
		return nil, fmt.Errorf("qmp: run: command is not a JSON object: %w", err)
	}
	if request == nil {
		return nil, errors.New("qmp: run: command is null")
	}
	r, err := c.roundTrip(context.Background(), request)
	if err != nil {
		return nil, fmt.Errorf("qmp: %v: %w", request["execute"], err)
	}
	if r.err != nil {
		return nil, fmt.Errorf("qmp: %v: %w", request["execute"], r.err)
	}
	return r.whole, nil
}

// roundTrip gives the request an id, sends it and waits for its reply.
func (c *Client) roundTrip(ctx context.Context, request map[string]any) (reply, error) {
	replied := make(chan reply, 1)
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return reply{}, c.err
	}
	c.lastID++
	id := c.lastID
	c.pending[id] = replied
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		delete(c.pending, id)
		c.mu.Unlock()
	}()

	request["id"] = id
	line, err := json.Marshal(request)
	if err != nil {
		return reply{}, fmt.Errorf("encode command: %w", err)
	}
	select {
	case c.writes <- append(line, '\n'):
	case <-c.dead:
		return reply{}, c.Err()
	case <-ctx.Done():
		return reply{}, ctx.Err()
	}
	select {
	case r := <-replied:
		return r, nil
	case <-c.dead:
		select {
		case r := <-replied: // it came before the end, as that of "quit" does
			return r, nil
		default:
			return reply{}, c.Err()
		}
	case <-ctx.Done():
		return reply{}, ctx.Err()
	}
}

// write is the goroutine that owns the sending half. A QEMU that does not read
// blocks it, and not the callers, who have their contexts.
func (c *Client) write() {
	for {
		select {
		case line := <-c.writes:
			if _, err := c.conn.Write(line); err != nil {
				c.fail(fmt.Errorf("write: %w", err))
				return
			}
		case <-c.dead:
			return
		}
	}
}

// read is the goroutine that owns the receiving half. It never waits for
// anybody but QEMU.
func (c *Client) read() {
	lines := bufio.NewReaderSize(c.conn, 64<<10)
	for {
		line, err := readLine(lines, MaxMessage)
		if err == nil {
			err = c.receive(line)
		}
		if err != nil {
			c.fail(err)
			return
		}
	}
}

// readLine reads one line of at most limit bytes. QEMU sends each message as
// one line when the monitor is not in pretty mode.
func readLine(from *bufio.Reader, limit int) ([]byte, error) {
	var line []byte
	for {
		part, err := from.ReadSlice('\n')
		if len(line)+len(part) > limit {
			return nil, fmt.Errorf("a message is longer than %d bytes", limit)
		}
		line = append(line, part...)
		switch {
		case err == nil:
			return line, nil
		case errors.Is(err, bufio.ErrBufferFull):
		case errors.Is(err, io.EOF) && len(line) > 0:
			return nil, fmt.Errorf("QEMU closed the connection within a message: %w", io.ErrUnexpectedEOF)
		case errors.Is(err, io.EOF):
			return nil, fmt.Errorf("QEMU closed the connection: %w", err)
		default:
			return nil, fmt.Errorf("read: %w", err)
		}
	}
}

// receive hands one message to whoever waits for it. An error means that the
// other end does not speak QMP.
func (c *Client) receive(line []byte) error {
	if len(bytes.TrimSpace(line)) == 0 {
		return nil
	}
	var m message
	if err := json.Unmarshal(line, &m); err != nil {
		return fmt.Errorf("decode message %.80q: %w", line, err)
	}
	select {
	case <-c.greeted:
	default:
		if m.Greeting == nil {
			return fmt.Errorf("the first message is not a greeting: %.80q", line)
		}
		c.greeting = *m.Greeting
		close(c.greeted)
		return nil
	}
	switch {
	case m.Event != "":
		var event qmp.Event
		if err := json.Unmarshal(line, &event); err != nil {
			return fmt.Errorf("decode event %.80q: %w", line, err)
		}
		c.publish(event)
		return nil
	case m.Return == nil && m.Error == nil:
		return fmt.Errorf("a message is neither reply nor event: %.80q", line)
	case m.ID == nil:
		// QEMU leaves the id away when it could not read the command at
		// all, so nobody can tell whose command it was.
		return fmt.Errorf("a reply has no id: %.200q", line)
	}

	c.mu.Lock()
	defer c.mu.Unlock()
	if *m.ID == 0 || *m.ID > c.lastID {
		return fmt.Errorf("a reply has an id that was never sent: %.80q", line)
	}
	replied, ok := c.pending[*m.ID]
	if !ok {
		return nil // its caller gave up
	}
	delete(c.pending, *m.ID)
	replied <- reply{whole: line, result: m.Return, err: m.Error}
	return nil
}

// fail ends the connection for the first reason that is given.
func (c *Client) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return
	}
	c.err = err
	close(c.dead)
	for s := range c.subs {
		close(s.events)
	}
	clear(c.subs)
	c.conn.Close() // its error changes nothing: the connection is over
}
