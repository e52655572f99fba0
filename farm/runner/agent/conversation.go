// SPDX-License-Identifier: Apache-2.0

// Package agent is the host's end of the protocol with the agent of a guest. In
// come its two ports; what arrives is recorded as it comes, and out goes what
// was asked for, or that the guest hangs, is gone, or sent rubbish.
//
// It never decides what comes next, nor how a guest ends: that is for
// farm/runner/guests.
package agent

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"noiommu-farm/guestagent/wire"
	"noiommu-farm/results"
	"noiommu-farm/results/ktap"
	"noiommu-farm/results/verdict"
	"noiommu-farm/suites/contract"
)

// Limits of patience with a guest, before they are scaled.
const (
	// Prompt is how long the agent may take to answer, and the guest to power
	// off. A program has its own limit, a measurement too.
	Prompt = 30 * time.Second
	// Grace is what the agent gets, after a program's own time limit, to kill
	// it and say so. A program that outlives it is stuck in the kernel.
	Grace = 10 * time.Second
	// Drain is how long output may arrive after the program's end was told.
	Drain = 30 * time.Second

	helloPatience = 60 * time.Second // from QEMU's start to the agent's first word
	silence       = 20 * time.Second // between two pongs
	pingEvery     = time.Second
	// scanning bounds a measurement, in which kmemleak may look through all
	// memory twice.
	scanning = 60 * time.Second
	// settlings measurements, settling apart, are made before what is missing
	// counts as lost.
	settlings = 10
	settling  = 500 * time.Millisecond
)

// HungError says that the guest runs and does not answer.
type HungError struct{ Doing string }

func (e *HungError) Error() string { return "guest hung: waiting for " + e.Doing }

// LostError says that the agent's port ended.
type LostError struct{ Doing string }

func (e *LostError) Error() string { return "connection to the agent lost: waiting for " + e.Doing }

// RefusedError is what the agent could not do.
type RefusedError struct{ said wire.Error }

func (e *RefusedError) Error() string { return "agent: " + e.said.Doing + ": " + e.said.Err }

// Conversation is the host's end of the protocol with one agent. What arrives
// is recorded as it comes; the methods wait for what they asked for.
type Conversation struct {
	// Answer carries out what a test program asks of the host. Without it
	// programs may not ask.
	Answer func(context.Context, wire.Request) (wire.Reply, error)

	conn   *wire.Conn
	rec    *results.GuestWriter
	scale  float64
	onTest func(program uint32, t ktap.Test)
	asking *questions // of the program that runs, if it may ask

	resuming uint32 // the guest that was told that it is restored, until it says so

	said    chan wire.ToHost // what the agent said, pongs left out
	recvErr error            // why the control port ended; set before said is closed

	pings    atomic.Uint64
	lastPong atomic.Pointer[time.Time] // nil before the agent's hello

	mu      sync.Mutex
	arrived map[wire.Stream]int64 // bytes of the program that runs now
	program uint32
	more    chan struct{} // poked whenever arrived grows
	outErr  error         // why the output port ended

	broken chan struct{} // closed when what came from the output port was rubbish or could not be recorded
}

// New makes the conversation over an agent's control port. scale is how many
// times longer than on an idle machine things may take; onTest is told each
// result line of a program as it arrives.
func New(control io.ReadWriter, rec *results.GuestWriter, scale float64, onTest func(program uint32, t ktap.Test)) *Conversation {
	return &Conversation{
		conn:    wire.NewConn(control),
		rec:     rec,
		scale:   scale,
		onTest:  onTest,
		said:    make(chan wire.ToHost, 64),
		arrived: make(map[wire.Stream]int64),
		more:    make(chan struct{}, 1),
		broken:  make(chan struct{}),
	}
}

// Listen reads the control port until it ends.
func (c *Conversation) Listen() {
	defer close(c.said)
	for {
		var m wire.ToHost
		if err := c.conn.Recv(&m); err != nil {
			c.recvErr = err
			return
		}
		if m.Pong != nil {
			c.heard()
			continue
		}
		if err := c.rec.Event(results.Event{Agent: &m}); err != nil {
			c.recvErr = err
			return
		}
		c.said <- m
	}
}

// heard notes that the agent is alive.
func (c *Conversation) heard() {
	now := time.Now()
	c.lastPong.Store(&now)
}

// Collect reads the output port until it ends.
func (c *Conversation) Collect(output io.Reader) {
	var parser *ktap.Parser
	var lines *ktap.Lines
	var parsing uint32
	for {
		chunk, err := wire.ReadChunk(output)
		if err == nil {
			err = c.ofProgram(chunk)
		}
		if err == nil {
			err = c.rec.Chunk(chunk)
		}
		if err != nil {
			c.mu.Lock()
			c.outErr = err
			c.mu.Unlock()
			c.poke()
			// A port that ends, even within a chunk, is a guest that ended: the
			// control port tells of that.
			if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
				close(c.broken)
			}
			return
		}
		if chunk.Stream == wire.Stdout {
			if chunk.Run != parsing {
				parsing, parser, lines = chunk.Run, &ktap.Parser{}, &ktap.Lines{}
			}
			lines.Feed(chunk.Data, func(line string, _ int) {
				if t := parser.Line(line); t != nil {
					c.onTest(chunk.Run, *t)
				}
			})
		}
		c.mu.Lock()
		c.arrived[chunk.Stream] += int64(len(chunk.Data))
		c.mu.Unlock()
		c.poke()
	}
}

// ofProgram refuses output of a program that does not run: a guest that made up
// programs could have as many files as it liked.
func (c *Conversation) ofProgram(chunk wire.Chunk) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if chunk.Run != c.program || c.program == 0 {
		return fmt.Errorf("the agent sent rubbish: output of program %d, which does not run", chunk.Run)
	}
	return nil
}

func (c *Conversation) poke() {
	select {
	case c.more <- struct{}{}:
	default:
	}
}

// Patience is a limit as it holds for this guest.
func (c *Conversation) Patience(d time.Duration) time.Duration {
	return time.Duration(float64(d) * c.scale)
}

// send writes a message, and gives up when the guest does not take it.
func (c *Conversation) send(ctx context.Context, doing string, m wire.ToGuest) error {
	done := make(chan error, 1)
	go func() { done <- c.conn.Send(&m) }()
	select {
	case err := <-done:
		if err != nil {
			// The port is gone. What that means, the reader has seen.
			return &LostError{doing}
		}
		return nil
	case <-time.After(c.Patience(silence)):
		return &HungError{doing}
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// await waits for the agent's next word, as long as the host's patience lasts.
func (c *Conversation) await(ctx context.Context, doing string, limit time.Duration) (wire.ToHost, error) {
	return c.awaitFor(ctx, doing, c.Patience(limit))
}

// awaitFor waits for the agent's next word, which must come within limit.
func (c *Conversation) awaitFor(ctx context.Context, doing string, limit time.Duration) (wire.ToHost, error) {
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	tick := time.NewTicker(pingEvery)
	defer tick.Stop()
	if c.lastPong.Load() != nil {
		c.heard() // nobody pinged while nobody waited
	}
	for {
		select {
		case m, ok := <-c.said:
			switch {
			case ok && c.resuming != 0:
				if err := c.resumed(m); err != nil {
					return m, err
				}
				continue
			case !ok && c.rubbish() != nil:
				return m, fmt.Errorf("wait for %s: %w", doing, c.rubbish())
			case !ok:
				return m, &LostError{doing}
			case m.Error != nil:
				return m, &RefusedError{*m.Error}
			case m.Ask != nil && c.asking != nil:
				if err := c.asking.ask(*m.Ask); err != nil {
					return m, err
				}
				continue
			}
			return m, nil
		case err := <-c.failedAnswer():
			return wire.ToHost{}, err
		case <-tick.C:
			last := c.lastPong.Load()
			if last == nil {
				continue // the agent has not said hello yet
			}
			if since := time.Since(*last); since > c.Patience(silence) {
				return wire.ToHost{}, &HungError{fmt.Sprintf("%s (no pong for %s)", doing, since.Round(time.Second))}
			}
			go c.conn.Send(&wire.ToGuest{Ping: &wire.Ping{N: c.pings.Add(1)}})
		case <-c.broken:
			// Nobody reads that port now, so the program could wait for ever.
			return wire.ToHost{}, fmt.Errorf("wait for %s: read output: %w", doing, c.outErr)
		case <-deadline.C:
			return wire.ToHost{}, &HungError{fmt.Sprintf("%s (%s)", doing, limit)}
		case <-ctx.Done():
			return wire.ToHost{}, context.Cause(ctx)
		}
	}
}

// failedAnswer delivers what the farm failed at for the program that runs.
func (c *Conversation) failedAnswer() <-chan error {
	if c.asking == nil {
		return nil
	}
	return c.asking.failed
}

// rubbish is the error that ended the control port, unless it just ended.
func (c *Conversation) rubbish() error {
	var violation wire.Violation
	if errors.As(c.recvErr, &violation) {
		return fmt.Errorf("the agent sent rubbish: %w", c.recvErr)
	}
	if errors.Is(c.recvErr, results.ErrNotRecorded) {
		return c.recvErr
	}
	return nil
}

// Hello is the handshake.
func (c *Conversation) Hello(ctx context.Context) error {
	const doing = "the agent's first word"
	m, err := c.await(ctx, doing, helloPatience)
	if err != nil {
		return err
	}
	if m.Hello == nil {
		return fmt.Errorf("wait for %s: it was not a hello", doing)
	}
	c.heard()
	return c.send(ctx, doing, wire.ToGuest{Hello: &wire.HostHello{Version: wire.Version}})
}

// Resume tells an agent that its guest was restored. Nothing is waited for: what
// is asked of it next it does when it has answered.
func (c *Conversation) Resume(ctx context.Context, guest uint32) error {
	seed := make([]byte, seedSize)
	rand.Read(seed)
	c.resuming = guest
	c.heard()
	return c.send(ctx, "the restored agent", wire.ToGuest{Restore: &wire.Restore{Guest: guest, UnixNS: time.Now().UnixNano(), Seed: seed}})
}

// seedSize is how much randomness a restored guest gets, in bytes.
const seedSize = 64

// resumed hears the agent's first word after it was restored. Anything else
// would be of the guest that was saved.
func (c *Conversation) resumed(m wire.ToHost) error {
	switch {
	case m.Error != nil:
		return &RefusedError{*m.Error}
	case m.Restored == nil || m.Restored.Guest != c.resuming:
		return errors.New("the agent sent rubbish: it does not know that it was restored")
	}
	c.resuming = 0
	return nil
}

// Warm has a program started that is run later, in guests that are restored. A
// program that does not get ready is a *RefusedError.
func (c *Conversation) Warm(ctx context.Context, w wire.Warm) error {
	const doing = "the suites to be ready"
	if err := c.send(ctx, doing, wire.ToGuest{Warm: &w}); err != nil {
		return err
	}
	m, err := c.await(ctx, doing, Prompt)
	if err != nil {
		return err
	}
	if m.Warmed == nil {
		return fmt.Errorf("wait for %s: the agent answered something else", doing)
	}
	return nil
}

// Prepare lets the agent make the guest ready and tell what it found.
func (c *Conversation) Prepare(ctx context.Context, p wire.Prepare) (wire.Facts, error) {
	const doing = "the guest's facts"
	if err := c.send(ctx, doing, wire.ToGuest{Prepare: &p}); err != nil {
		return wire.Facts{}, err
	}
	m, err := c.await(ctx, doing, Prompt)
	if err != nil {
		return wire.Facts{}, err
	}
	if m.Facts == nil {
		return wire.Facts{}, fmt.Errorf("wait for %s: the agent answered something else", doing)
	}
	return *m.Facts, nil
}

// Bind binds the functions to vfio-pci, each of which may take so long to
// appear. A kernel that refuses is a matter for
// the tests, which look at the devices themselves.
func (c *Conversation) Bind(ctx context.Context, bdfs []string, within time.Duration) error {
	doing := "binding " + strings.Join(bdfs, " ")
	if err := c.send(ctx, doing, wire.ToGuest{Bind: &wire.Bind{BDFs: bdfs, WithinMS: within.Milliseconds()}}); err != nil {
		return err
	}
	m, err := c.awaitFor(ctx, doing, c.Patience(Prompt)+within)
	if err != nil {
		return err
	}
	if m.Bound == nil {
		return fmt.Errorf("wait for %s: the agent answered something else", doing)
	}
	return nil
}

// Measure has the counters read by which leaks are seen.
func (c *Conversation) Measure(ctx context.Context, m wire.Measure) (wire.Measured, error) {
	const doing = "what the kernel has allocated"
	if err := c.send(ctx, doing, wire.ToGuest{Measure: &m}); err != nil {
		return wire.Measured{}, err
	}
	said, err := c.await(ctx, doing, scanning)
	if err != nil {
		return wire.Measured{}, err
	}
	if said.Measured == nil {
		return wire.Measured{}, fmt.Errorf("wait for %s: the agent answered something else", doing)
	}
	return *said.Measured, nil
}

// Settled measures once more than it takes until nothing is missing: some
// things are freed a moment after the program that used them has ended.
func (c *Conversation) Settled(ctx context.Context, facts contract.Facts, before wire.Measured, single bool) error {
	for range settlings {
		now, err := c.Measure(ctx, wire.Measure{})
		if err != nil {
			return err
		}
		if len(verdict.Lost(facts, before, now, single)) == 0 {
			break
		}
		select {
		case <-time.After(settling):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	if !facts.Config.DebugKmemleak {
		return nil
	}
	_, err := c.Measure(ctx, wire.Measure{Find: true})
	return err
}

// Run runs one program to its end and waits until all its output is here. With
// warm it is the one that was started before the guest was saved.
func (c *Conversation) Run(ctx context.Context, p results.Program, argv []string, warm bool) error {
	c.mu.Lock()
	c.program = p.ID
	clear(c.arrived)
	c.mu.Unlock()
	if err := c.rec.Event(results.Event{Running: &results.Running{ID: p.ID, Argv: argv}}); err != nil {
		return err
	}
	doing := "program " + p.Name
	err := c.send(ctx, doing, wire.ToGuest{Run: &wire.Run{
		ID: p.ID, Name: p.Name, Argv: argv, Env: p.Env, TimeoutMS: p.Timeout.Milliseconds(), Host: p.Host && c.Answer != nil, Privileges: string(p.Privileges), Warm: warm,
	}})
	if err != nil {
		return err
	}
	m, err := c.await(ctx, "the start of "+doing, Prompt)
	if err != nil {
		return err
	}
	if m.Started == nil || m.Started.ID != p.ID {
		return fmt.Errorf("start %s: the agent answered something else", doing)
	}
	if p.Host && c.Answer != nil {
		c.asking = c.newQuestions(ctx, p.ID)
		defer func() {
			c.asking.end()
			c.asking = nil
		}()
	}
	m, err = c.awaitFor(ctx, "the end of "+doing, p.Timeout+c.Patience(Grace))
	if err != nil {
		return err
	}
	if m.Exited == nil || m.Exited.ID != p.ID {
		return fmt.Errorf("wait for the end of %s: the agent answered something else", doing)
	}
	return c.whole(ctx, doing, *m.Exited)
}

// whole waits until every byte that the agent says it sent has arrived.
func (c *Conversation) whole(ctx context.Context, doing string, e wire.Exited) error {
	deadline := time.NewTimer(c.Patience(Drain))
	defer deadline.Stop()
	for {
		c.mu.Lock()
		all := c.arrived[wire.Stdout] >= e.Stdout && c.arrived[wire.Stderr] >= e.Stderr && c.arrived[wire.Core] >= e.CoreBytes
		err := c.outErr
		c.mu.Unlock()
		if all {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read output of %s: %w", doing, err)
		}
		select {
		case <-c.more:
		case <-deadline.C:
			return fmt.Errorf("read output of %s: it did not arrive whole within %s", doing, c.Patience(Drain))
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// PowerOff asks for the end of the guest. It is not answered.
func (c *Conversation) PowerOff(ctx context.Context) error {
	return c.send(ctx, PoweringOff, wire.ToGuest{PowerOff: &wire.PowerOff{}})
}

// PoweringOff is what is waited for after [Conversation.PowerOff].
const PoweringOff = "the guest to power off"

// HearOut waits until the control port has ended. What an agent says after the
// end is recorded, and answered by nobody.
func (c *Conversation) HearOut() {
	for range c.said {
	}
}
