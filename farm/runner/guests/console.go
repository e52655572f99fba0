// SPDX-License-Identifier: Apache-2.0

package guests

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"time"

	"noiommu-farm/farm/runner/agent"
	"noiommu-farm/guestagent/wire"
	"noiommu-farm/results/ktap"
)

// pumpConsole records the console until the guest is gone. It goes on reading
// when it can no longer record: a full serial port would stop the guest.
func (s *session) pumpConsole(console io.Reader) error {
	defer s.logged.over()
	buf := make([]byte, 32<<10)
	var lines ktap.Lines
	var failed error
	for {
		n, err := console.Read(buf)
		if n > 0 && failed == nil {
			failed = s.rec.Console(buf[:n])
			lines.Feed(buf[:n], s.logged.line)
		}
		if err != nil {
			return failed
		}
	}
}

// marks notes the markers of programs that have ended on a console.
type marks struct {
	mu    sync.Mutex
	last  uint32
	more  chan struct{} // poked when last changes
	ended chan struct{} // closed at the console's end
}

func newMarks() *marks { return &marks{more: make(chan struct{}, 1), ended: make(chan struct{})} }

func (m *marks) over() { close(m.ended) }

func (m *marks) line(line string, _ int) {
	_, text, ok := strings.Cut(line, wire.Marker+" end ")
	if !ok {
		return
	}
	id, err := strconv.ParseUint(strings.TrimRight(text, "\r\n "), 10, 32)
	if err != nil {
		return
	}
	m.mu.Lock()
	m.last = uint32(id)
	m.mu.Unlock()
	select {
	case m.more <- struct{}{}:
	default:
	}
}

// await waits until the console has come to the end of a program: it is slower
// than the ports.
func (m *marks) await(ctx context.Context, program uint32, limit time.Duration) error {
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	for {
		m.mu.Lock()
		last := m.last
		m.mu.Unlock()
		if last == program {
			return nil
		}
		select {
		case <-m.more:
		case <-m.ended:
			return &agent.LostError{Doing: "the end of the program on the console"}
		case <-deadline.C:
			return fmt.Errorf("the console did not come to the end of program %d within %s", program, limit)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
