// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"noiommu-farm/guestagent/wire"
)

// controlPort is what the agent needs of the control port.
type controlPort interface {
	io.ReadWriter
	SetReadDeadline(time.Time) error
	SetWriteDeadline(time.Time) error
}

// agent serves one host. What may take long (prepare, bind, run) is done one
// at a time beside the loop that reads the control port, so that the agent
// always answers a ping.
type agent struct {
	guest    guest
	port     controlPort
	control  *wire.Conn
	programs *programs
	patience time.Duration // for each half of the handshake
	failed   chan error    // of a job, when the agent cannot go on
	jobs     chan func()   // to the one that does them
	random   *randomness
	restored bool    // the guest was saved and goes on
	warmLine *asking // of the program that waits, if it may ask; the job at hand has it

	mu        sync.Mutex
	asking    *asking // of the running program, if it may ask
	doing     string  // the job at hand, or ""
	running   uint32  // the program at hand, while kill is not nil
	kill      chan struct{}
	coreLimit int64
}

func newAgent(g guest, control controlPort, p *programs) *agent {
	return &agent{
		guest:    g,
		port:     control,
		control:  wire.NewConn(control),
		programs: p,
		patience: hostWithin,
		failed:   make(chan error, 1),
		jobs:     make(chan func(), 1), // never more: begin refuses a second one
		random:   openRandomness(g.path("dev/urandom")),
	}
}

// serve shakes hands and obeys until the host says power off (nil) or nothing
// more can be done.
func (a *agent) serve() error {
	if err := a.handshake(); err != nil {
		return err
	}
	// One goroutine does all jobs: in a guest that was restored a new one would
	// have to be made, and its stack to grow, before the first test.
	defer close(a.jobs)
	go func() {
		for job := range a.jobs {
			job()
		}
	}()
	messages, ended := make(chan wire.ToGuest), make(chan error, 1)
	go func() {
		for {
			var m wire.ToGuest
			if err := a.control.Recv(&m); err != nil {
				ended <- err
				return
			}
			messages <- m
		}
	}()
	for {
		select {
		case m := <-messages:
			if m.PowerOff != nil {
				return nil
			}
			if err := a.obey(m); err != nil {
				return err
			}
		case err := <-ended:
			return fmt.Errorf("listen to the host: %w", err)
		case err := <-a.failed:
			return err
		}
	}
}

// handshake says hello and hears the host's.
func (a *agent) handshake() error {
	hello, err := a.guest.hello()
	if err != nil {
		return fmt.Errorf("say hello: %w", err)
	}
	if err := a.port.SetWriteDeadline(time.Now().Add(a.patience)); err != nil {
		return fmt.Errorf("say hello: %w", err)
	}
	if err := a.control.Send(wire.ToHost{Hello: hello}); err != nil {
		return fmt.Errorf("say hello: %w", err)
	}
	if err := a.port.SetReadDeadline(time.Now().Add(a.patience)); err != nil {
		return fmt.Errorf("wait for the host's hello: %w", err)
	}
	var m wire.ToGuest
	if err := a.control.Recv(&m); err != nil {
		return fmt.Errorf("wait for the host's hello: %w", err)
	}
	if m.Hello == nil {
		return errors.New("wait for the host's hello: something else came first")
	}
	// From here on the host may be silent as long as it likes.
	if err := a.port.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	return a.port.SetWriteDeadline(time.Time{})
}

// farewell tells the host why the agent gives up.
func (a *agent) farewell(err error) error {
	return a.control.Send(wire.ToHost{Error: &wire.Error{Doing: "serve", Err: errnoText(err)}})
}

// obey carries out one message. The error ends the agent.
func (a *agent) obey(m wire.ToGuest) error {
	switch {
	case m.Ping != nil:
		return a.control.Send(wire.ToHost{Pong: m.Ping})
	case m.Kill != nil:
		a.killProgram(m.Kill.ID)
		return nil
	case m.Answer != nil:
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.asking != nil {
			a.asking.answered(*m.Answer)
		}
		return nil
	case m.Prepare != nil:
		return a.begin("prepare", 0, func(<-chan struct{}) (wire.ToHost, error) { return a.prepare(m.Prepare) })
	case m.Bind != nil:
		return a.begin("bind", 0, func(<-chan struct{}) (wire.ToHost, error) {
			bound := a.guest.bind(m.Bind.BDFs, time.Duration(m.Bind.WithinMS)*time.Millisecond)
			return wire.ToHost{Bound: &bound}, nil
		})
	case m.Measure != nil:
		return a.begin("measure", 0, func(<-chan struct{}) (wire.ToHost, error) {
			measured, err := a.guest.measure(m.Measure)
			return wire.ToHost{Measured: measured}, err
		})
	case m.Restore != nil:
		if a.restored {
			return errRestoredTwice
		}
		a.restored = true
		if err := a.random.restored(m.Restore); err != nil {
			return fmt.Errorf("restore: %w", err)
		}
		return a.control.Send(wire.ToHost{Restored: &wire.Restored{Guest: m.Restore.Guest}})
	case m.Warm != nil:
		return a.begin("warm", 0, func(<-chan struct{}) (wire.ToHost, error) { return a.warm(m.Warm) })
	case m.Run != nil:
		return a.begin("run "+m.Run.Name, m.Run.ID, func(kill <-chan struct{}) (wire.ToHost, error) {
			return a.runProgram(m.Run, kill)
		})
	}
	return errors.New("a second hello from the host")
}

// begin does one job beside the loop and sends its answer. While there is a
// job, another is refused.
func (a *agent) begin(doing string, id uint32, job func(kill <-chan struct{}) (wire.ToHost, error)) error {
	a.mu.Lock()
	if a.doing != "" {
		busy := a.doing
		a.mu.Unlock()
		return a.control.Send(wire.ToHost{Error: &wire.Error{Doing: doing, Err: "busy: " + busy + " is not finished"}})
	}
	kill := make(chan struct{})
	a.doing, a.running, a.kill = doing, id, kill
	a.mu.Unlock()

	a.jobs <- func() {
		answer, err := job(kill)
		if err != nil {
			answer = wire.ToHost{Error: &wire.Error{Doing: doing, Err: errnoText(err)}}
		}
		// Before the answer: with it the host may ask for the next job.
		a.mu.Lock()
		a.doing, a.kill = "", nil
		a.mu.Unlock()
		if err := a.control.Send(answer); err != nil {
			a.fail(fmt.Errorf("%s: answer: %w", doing, err))
		}
	}
	return nil
}

func (a *agent) fail(err error) {
	select {
	case a.failed <- err:
	default: // the first reason is enough
	}
}

// killProgram ends the program with this id. One that has ended already is no
// error: the message and the end may have met.
func (a *agent) killProgram(id uint32) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.kill != nil && a.running == id {
		close(a.kill)
		a.kill = nil
	}
}

func (a *agent) prepare(p *wire.Prepare) (wire.ToHost, error) {
	if p.Hugepages < 0 || p.Hugepages1G < 0 || p.CoreLimit < 0 {
		return wire.ToHost{}, fmt.Errorf("a number below zero: %+v", *p)
	}
	if err := a.guest.reserveHugepages(p.Hugepages); err != nil {
		return wire.ToHost{}, fmt.Errorf("reserve %d hugepages: %w", p.Hugepages, err)
	}
	if err := a.guest.keepCores(a.programs.cores, p.CoreLimit); err != nil {
		return wire.ToHost{}, fmt.Errorf("keep core files: %w", err)
	}
	a.mu.Lock()
	a.coreLimit = p.CoreLimit
	a.mu.Unlock()
	settle()
	facts, err := a.guest.facts(p.Params)
	if err != nil {
		return wire.ToHost{}, fmt.Errorf("read facts: %w", err)
	}
	return wire.ToHost{Facts: facts}, nil
}

func (a *agent) setAsking(line *asking) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asking = line
}

func (a *agent) runProgram(r *wire.Run, kill <-chan struct{}) (wire.ToHost, error) {
	a.mu.Lock()
	limit := a.coreLimit
	a.mu.Unlock()
	line, socket := a.warmLine, (*os.File)(nil) // its end the program has already
	a.warmLine = nil
	if !r.Warm {
		if line != nil {
			line.end()
		}
		var err error
		if line, socket, err = a.newLine(r.Host); err != nil {
			return wire.ToHost{}, err
		}
	}
	if line != nil {
		line.run = r.ID
		a.setAsking(line)
		defer func() {
			a.setAsking(nil)
			line.end()
		}()
	}
	exited, err := a.programs.run(r, socket, limit, kill, func() error {
		err := a.control.Send(wire.ToHost{Started: &wire.Started{ID: r.ID}})
		if line != nil {
			line.begin() // not before the host knows that it runs
		}
		return err
	})
	if err != nil {
		return wire.ToHost{}, err
	}
	return wire.ToHost{Exited: exited}, nil
}

// newLine makes the line to the host of a program that may ask.
func (a *agent) newLine(host bool) (*asking, *os.File, error) {
	if !host {
		return nil, nil, nil
	}
	return newAsking(func(m wire.ToHost) error { return a.control.Send(m) })
}

// warm starts a program that will be run later.
func (a *agent) warm(w *wire.Warm) (wire.ToHost, error) {
	if a.warmLine != nil {
		a.warmLine.end()
		a.warmLine = nil
	}
	line, socket, err := a.newLine(w.Host)
	if err != nil {
		return wire.ToHost{}, err
	}
	if socket != nil {
		defer socket.Close()
	}
	if err := a.programs.warm(w, socket); err != nil {
		if line != nil {
			line.end()
		}
		return wire.ToHost{}, err
	}
	a.warmLine = line
	return wire.ToHost{Warmed: &wire.Warmed{}}, nil
}
