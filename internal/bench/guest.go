// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"noiommu-farm/farm/machine"
	"noiommu-farm/guestagent/wire"
)

// Where programs are in the guest.
const (
	suitesPath = "/suites/suites"
	helloPath  = "/bench/hello"
	floodPath  = "/bench/flood"
)

// patience bounds every wait for a guest: what takes longer is broken.
const patience = 60 * time.Second

// guest is a guest and the host's end of its agent.
type guest struct {
	*machine.Guest
	agent   *wire.Conn
	said    chan wire.ToHost // nil ends it
	console console
	output  output
}

// console counts what the kernel says.
type console struct {
	mu    sync.Mutex
	count int // of lines
}

func (c *console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.count += bytes.Count(p, []byte("\n"))
	return len(p), nil
}

func (c *console) lines() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.count
}

func newGuest(m *machine.Guest) *guest {
	g := &guest{Guest: m, agent: wire.NewConn(m.Control()), said: make(chan wire.ToHost, 16)}
	g.output.more = make(chan struct{}, 1)
	go io.Copy(&g.console, m.Console())
	go g.output.read(m.Output())
	go func() {
		defer close(g.said)
		for {
			var said wire.ToHost
			if g.agent.Recv(&said) != nil {
				return
			}
			g.said <- said
		}
	}()
	return g
}

// hear waits for the agent's next word.
func (g *guest) hear(ctx context.Context) (wire.ToHost, error) {
	select {
	case said, ok := <-g.said:
		switch {
		case !ok:
			return said, errors.New("the guest is gone")
		case said.Error != nil:
			return said, fmt.Errorf("agent: %s: %s", said.Error.Doing, said.Error.Err)
		}
		return said, nil
	case <-time.After(patience):
		return wire.ToHost{}, errors.New("the agent says nothing")
	case <-ctx.Done():
		return wire.ToHost{}, context.Cause(ctx)
	}
}

// ask sends something and waits for the answer.
func (g *guest) ask(ctx context.Context, m wire.ToGuest) (wire.ToHost, error) {
	if err := g.agent.Send(m); err != nil {
		return wire.ToHost{}, err
	}
	return g.hear(ctx)
}

// boot boots a guest and binds its devices.
func (l *lab) boot(ctx context.Context, savable bool) (_ *guest, err error) {
	m, err := machine.Boot(ctx, l.machine, machine.BootOptions{Savable: savable})
	if err != nil {
		return nil, err
	}
	g := newGuest(m)
	defer func() {
		if err != nil {
			g.Close()
		}
	}()
	if _, err := g.hear(ctx); err != nil {
		return nil, err
	}
	if err := g.agent.Send(wire.ToGuest{Hello: &wire.HostHello{Version: wire.Version}}); err != nil {
		return nil, err
	}
	if _, err := g.ask(ctx, wire.ToGuest{Prepare: &wire.Prepare{Hugepages: hugepages}}); err != nil {
		return nil, err
	}
	if _, err := g.ask(ctx, wire.ToGuest{Bind: &wire.Bind{BDFs: l.bdfs()}}); err != nil {
		return nil, err
	}
	return g, nil
}

// hugepages is what the farm reserves in a guest by default.
const hugepages = 64

func (l *lab) bdfs() []string {
	var all []string
	for _, f := range l.machine.Functions() {
		all = append(all, f.BDF)
	}
	return all
}

// save boots a guest in which the suites wait, saves it and ends it.
func (l *lab) save(ctx context.Context) (*machine.Saved, error) {
	g, err := l.boot(ctx, true)
	if err != nil {
		return nil, err
	}
	defer g.Close()
	if _, err := g.ask(ctx, wire.ToGuest{Warm: &wire.Warm{Argv: append([]string{suitesPath}, l.bdfs()...)}}); err != nil {
		return nil, err
	}
	return g.Save(ctx)
}

// restore lets a saved guest go on, as the n-th, and asks for one of its tests.
func (l *lab) restore(ctx context.Context, in *machine.Standby, n int) (*guest, error) {
	m, err := in.Restore(ctx)
	if err != nil {
		return nil, err
	}
	g := newGuest(m)
	seed := make([]byte, 64)
	rand.Read(seed)
	err = g.agent.Send(wire.ToGuest{Restore: &wire.Restore{Guest: uint32(n), UnixNS: time.Now().UnixNano(), Seed: seed}})
	if err == nil {
		err = g.agent.Send(wire.ToGuest{Run: l.test(true)})
	}
	if err != nil {
		g.Close()
		return nil, err
	}
	return g, nil
}

// test is the run of one test of the suites.
func (l *lab) test(warm bool) *wire.Run {
	argv := append([]string{suitesPath, "-test", sample}, l.bdfs()...)
	return &wire.Run{ID: 1, Name: "bench", Argv: argv, TimeoutMS: patience.Milliseconds(), Warm: warm}
}

// sample is the test that is run in guests again and again: one that only looks
// at what is there.
const sample = "ND-05"

// output is what the program that runs has printed.
type output struct {
	mu    sync.Mutex
	bytes int64
	text  []byte        // its beginning
	more  chan struct{} // poked when there is more
	err   error         // why there is no more
}

// kept is how much of a program's output is kept, in bytes.
const kept = 64 << 10

func (o *output) read(port io.Reader) {
	for {
		c, err := wire.ReadChunk(port)
		o.mu.Lock()
		o.bytes += int64(len(c.Data))
		o.text = append(o.text, c.Data[:min(len(c.Data), kept-len(o.text))]...)
		o.err = err
		o.mu.Unlock()
		select {
		case o.more <- struct{}{}:
		default:
		}
		if err != nil {
			return
		}
	}
}

// await waits until so many bytes are here.
func (o *output) await(ctx context.Context, n int64) (text []byte, err error) {
	for {
		o.mu.Lock()
		have, text, err := o.bytes, o.text, o.err
		o.mu.Unlock()
		if have >= n || err != nil {
			return text, err
		}
		select {
		case <-o.more:
		case <-time.After(patience):
			return nil, errors.New("the program prints nothing")
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// firstLine waits for the first output of the program that runs.
func (g *guest) firstLine(ctx context.Context) error {
	_, err := g.output.await(ctx, 1)
	return err
}

// exited waits for the end of the program and for all that it printed.
func (g *guest) exited(ctx context.Context) (*wire.Exited, []byte, error) {
	for {
		said, err := g.hear(ctx)
		if err != nil {
			return nil, nil, err
		}
		if x := said.Exited; x != nil {
			if x.Code != 0 {
				return nil, nil, fmt.Errorf("the program ended with %d", x.Code)
			}
			text, err := g.output.await(ctx, x.Stdout)
			return x, text, err
		}
	}
}
