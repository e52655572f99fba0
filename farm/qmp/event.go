// SPDX-License-Identifier: Apache-2.0

package qmp

import (
	"context"
	"slices"
	"sync/atomic"

	"github.com/digitalocean/go-qemu/qmp"
)

// QueueLength is how many events a subscription keeps for a consumer that does
// not read them.
const QueueLength = 256

// Subscription is a bounded queue of events. When it is full, the oldest event
// makes room for the newest and is counted.
type Subscription struct {
	client  *Client
	names   []string // empty: all
	events  chan qmp.Event
	dropped atomic.Uint64
}

// Subscribe starts to collect the events with the given names, or all events
// when there is no name. An event that QEMU sent before a reply is in the
// queue when that reply's call returns. On a connection that has ended, the
// channel is closed from the start.
func (c *Client) Subscribe(names ...string) *Subscription {
	s := &Subscription{client: c, names: names, events: make(chan qmp.Event, QueueLength)}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		close(s.events)
		return s
	}
	c.subs[s] = struct{}{}
	return s
}

// Events is closed when the subscription or the connection ends. What was
// queued before can still be received.
func (s *Subscription) Events() <-chan qmp.Event { return s.events }

// Dropped is how many events were lost because the queue was full.
func (s *Subscription) Dropped() uint64 { return s.dropped.Load() }

// Close ends the subscription. It may be called more than once.
func (s *Subscription) Close() {
	s.client.mu.Lock()
	defer s.client.mu.Unlock()
	if _, ok := s.client.subs[s]; ok {
		delete(s.client.subs, s)
		close(s.events)
	}
}

// Events is part of qmp.Monitor: all events until ctx ends. [Client.Subscribe]
// also tells how many were lost.
func (c *Client) Events(ctx context.Context) (<-chan qmp.Event, error) {
	if err := c.Err(); err != nil {
		return nil, err
	}
	s := c.Subscribe()
	context.AfterFunc(ctx, s.Close)
	return s.Events(), nil
}

// publish puts an event into every queue that wants it, without waiting.
func (c *Client) publish(event qmp.Event) {
	c.mu.Lock() // also keeps Close away from a channel that is being sent to
	defer c.mu.Unlock()
	for s := range c.subs {
		if len(s.names) == 0 || slices.Contains(s.names, event.Event) {
			s.push(event)
		}
	}
}

func (s *Subscription) push(event qmp.Event) {
	for {
		select {
		case s.events <- event:
			return
		default:
		}
		select {
		case <-s.events:
			s.dropped.Add(1)
		default: // the consumer was faster
		}
	}
}
