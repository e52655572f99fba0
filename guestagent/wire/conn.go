// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"sync"
)

// Message is a [ToGuest] or a [ToHost], or a pointer to one.
type Message interface {
	// set counts the fields that are set.
	set() int
	// hello is the version that a Hello in the message names.
	hello() (version int, ok bool)
	// pack is the body of a frame with a message that is not sent as JSON.
	pack() (body []byte, ok bool)
}

func (m ToGuest) set() int {
	return count(m.Hello != nil, m.Prepare != nil, m.Bind != nil, m.Run != nil,
		m.Kill != nil, m.Ping != nil, m.Answer != nil, m.Measure != nil, m.Restore != nil, m.Warm != nil, m.PowerOff != nil)
}

func (m ToGuest) hello() (int, bool) {
	if m.Hello == nil {
		return 0, false
	}
	return m.Hello.Version, true
}

func (m ToHost) set() int {
	return count(m.Hello != nil, m.Facts != nil, m.Bound != nil, m.Started != nil,
		m.Exited != nil, m.Pong != nil, m.Ask != nil, m.Measured != nil, m.Restored != nil, m.Warmed != nil, m.Error != nil)
}

func (m ToHost) hello() (int, bool) {
	if m.Hello == nil {
		return 0, false
	}
	return m.Hello.Version, true
}

func count(set ...bool) int {
	n := 0
	for _, s := range set {
		if s {
			n++
		}
	}
	return n
}

// Conn is one end of the control port.
type Conn struct {
	port io.ReadWriter
	send sync.Mutex
}

// NewConn speaks frames over port. The caller keeps the port and closes it.
func NewConn(port io.ReadWriter) *Conn { return &Conn{port: port} }

// Send writes one message as one frame with one Write. It may be called by
// several goroutines at once. A message that is too long or has not exactly
// one field is a [Violation] and nothing is written.
func (c *Conn) Send(m Message) error {
	if n := m.set(); n != 1 {
		return fmt.Errorf("send %T: %d fields: %w", m, n, ErrFields)
	}
	body, ok := m.pack()
	if !ok {
		var err error
		if body, err = json.Marshal(m); err != nil {
			return fmt.Errorf("send %T: %w", m, err)
		}
	}
	if len(body) > MaxFrame {
		return fmt.Errorf("send %T: %d bytes: %w", m, len(body), ErrLength)
	}
	frame := make([]byte, 4, 4+len(body))
	binary.BigEndian.PutUint32(frame, uint32(len(body)))
	frame = append(frame, body...)

	c.send.Lock()
	defer c.send.Unlock()
	if _, err := c.port.Write(frame); err != nil {
		return fmt.Errorf("send %T: %w", m, err)
	}
	return nil
}

// Recv reads one message into m, a *ToGuest or a *ToHost, which is overwritten.
// One goroutine at a time may call it.
//
// The error is io.EOF when the port ended between two frames,
// io.ErrUnexpectedEOF when it ended inside one, and wraps a [Violation] when
// what came is rubbish. With [ErrVersion] the Hello is in m.
func (c *Conn) Recv(m Message) error {
	switch m := m.(type) {
	case *ToGuest:
		*m = ToGuest{}
	case *ToHost:
		*m = ToHost{}
	default:
		return fmt.Errorf("receive: %T is not a pointer to a message", m)
	}
	var length [4]byte
	if _, err := io.ReadFull(c.port, length[:]); err != nil {
		if err == io.EOF {
			return io.EOF
		}
		return fmt.Errorf("receive %T: %w", m, err)
	}
	n := binary.BigEndian.Uint32(length[:])
	if n == 0 || n > MaxFrame {
		return fmt.Errorf("receive %T: %d bytes: %w", m, n, ErrLength)
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(c.port, body); err != nil {
		return fmt.Errorf("receive %T: %w", m, inside(err))
	}
	if err := decode(body, m); err != nil {
		return fmt.Errorf("receive %T: %w", m, err)
	}
	return nil
}

// decode reads one message from the body of a frame.
func decode(body []byte, m Message) error {
	if body[0] < ' ' && body[0] != '\t' && body[0] != '\n' && body[0] != '\r' { // no JSON begins so
		if m, ok := m.(interface{ unpack([]byte) bool }); !ok || !m.unpack(body) {
			return ErrPacked
		}
		return nil
	}
	// The version is looked at first and leniently: the Hello of another
	// version may have fields that this one does not know.
	var first struct {
		Hello *struct {
			Version *int `json:"version"`
		} `json:"hello"`
	}
	if bytes.Contains(body, []byte(`"hello"`)) && json.Unmarshal(body, &first) == nil && first.Hello != nil && first.Hello.Version != nil && *first.Hello.Version != Version {
		_ = json.Unmarshal(body, m) // what can be shown of it
		return fmt.Errorf("version %d, not %d: %w", *first.Hello.Version, Version, ErrVersion)
	}

	if err := strictly(body, m); err != nil {
		return err
	}
	if n := m.set(); n != 1 {
		return fmt.Errorf("%d fields: %w", n, ErrFields)
	}
	// A Hello without a version is not caught above.
	if v, ok := m.hello(); ok && v != Version {
		return fmt.Errorf("version %d, not %d: %w", v, Version, ErrVersion)
	}
	return nil
}

// inside turns the end of a port into the end inside something.
func inside(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
