// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"noiommu-farm/guestagent/wire"
)

// pieceSize is the most that is read from a program's pipe at once: what a
// pipe holds by default.
const pieceSize = wire.MaxChunk

// outputPort is the output port, shared by the streams of a program.
type outputPort struct {
	mu sync.Mutex
	w  io.Writer
}

func (o *outputPort) write(c wire.Chunk) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return wire.WriteChunk(o.w, c)
}

// stream carries one stream of a program to the output port.
type stream struct {
	to   *outputPort
	run  chan uint32 // what belongs to which run; closed without one, nothing is sent
	kind wire.Stream

	pipe    *os.File
	hurried atomic.Bool
	done    chan struct{}
	sent    int64 // bytes; to be read after wait
	err     error // of the output port
}

// newStream makes a stream of a pipe's reading end; pipe may be nil for one
// that is only sent on. Nothing is sent before it is said whose it is.
func newStream(to *outputPort, kind wire.Stream, pipe *os.File) *stream {
	return &stream{to: to, run: make(chan uint32, 1), kind: kind, pipe: pipe, done: make(chan struct{})}
}

// belongs says of which run the stream is; to be called once.
func (s *stream) belongs(run uint32) { s.run <- run }

// drop says that it is of none.
func (s *stream) drop() { close(s.run) }

// copy carries the pipe until its last writer is gone.
func (s *stream) copy() {
	defer close(s.done)
	defer s.pipe.Close()
	s.send(s)
}

// Read reads from the pipe. Once hurried, an empty pipe counts as ended.
func (s *stream) Read(b []byte) (int, error) {
	for {
		hurried := s.hurried.Load()
		if hurried {
			_ = s.pipe.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		}
		n, err := s.pipe.Read(b)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			if !hurried {
				continue
			}
			err = io.EOF
		}
		return n, err
	}
}

// hurry makes the stream end with what is in the pipe now.
func (s *stream) hurry() {
	s.hurried.Store(true)
	_ = s.pipe.SetReadDeadline(time.Now())
}

func (s *stream) wait() error {
	<-s.done
	return s.err
}

// send sends everything from r as it comes. When the port fails it goes on
// reading, or the program would wait for ever in a write.
func (s *stream) send(r io.Reader) {
	piece := make([]byte, pieceSize)
	var run uint32
	told := false
	for {
		n, err := r.Read(piece)
		if n > 0 && !told {
			if run, told = <-s.run; !told {
				s.err, told = errDropped, true
			}
		}
		if n > 0 && s.err == nil {
			s.err = s.to.write(wire.Chunk{Run: run, Stream: s.kind, Data: piece[:n]})
			if s.err == nil {
				s.sent += int64(n)
			}
		}
		if err != nil {
			return
		}
	}
}

var errDropped = errors.New("output of a program that nobody asked for")
