// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"fmt"
	"sync"

	"noiommu-farm/guestagent/wire"
	"noiommu-farm/results"
)

// questions are what one running program asks of the host: one at a time, as
// the agent promises and a bad guest may not keep.
type questions struct {
	c      *Conversation
	run    uint32
	ctx    context.Context
	cancel context.CancelFunc
	failed chan error // of an answer, which is the farm's
	group  sync.WaitGroup

	mu      sync.Mutex
	n       uint32 // the last one
	busy    bool   // it has no answer yet
	writing int    // answers that are on their way to the guest
}

func (c *Conversation) newQuestions(ctx context.Context, run uint32) *questions {
	q := &questions{c: c, run: run, failed: make(chan error, 1)}
	q.ctx, q.cancel = context.WithCancel(ctx)
	return q
}

// ask begins to answer a question.
func (q *questions) ask(a wire.Ask) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch err := a.Check(); {
	case err != nil:
		return fmt.Errorf("the agent sent rubbish: request: %w", err)
	case a.Run != q.run || a.N != q.n+1 || q.busy || q.writing > 1 || a.N > wire.MaxRequests:
		// Who asks again has the answer before, which may still be seen as on
		// its way here; one that asks on and on and reads nothing is stopped.
		return fmt.Errorf("the agent sent rubbish: request %d of program %d, out of turn", a.N, a.Run)
	}
	q.n, q.busy = a.N, true
	q.group.Go(func() {
		if err := q.answer(a); err != nil && q.ctx.Err() == nil {
			select {
			case q.failed <- err:
			default: // one is enough to end the program
			}
		}
	})
	return nil
}

func (q *questions) answer(a wire.Ask) error {
	reply, err := q.c.Answer(q.ctx, a.Request)
	if err != nil {
		return err
	}
	err = q.c.rec.Event(results.Event{Answered: &results.Answered{
		Run: a.Run, N: a.N, Bytes: len(reply.Data), Err: reply.Err,
	}})
	if err != nil {
		return err
	}
	q.mu.Lock()
	q.busy = false // with the answer the program may ask again
	q.writing++
	q.mu.Unlock()
	defer func() {
		q.mu.Lock()
		q.writing--
		q.mu.Unlock()
	}()
	return q.c.send(q.ctx, "the answer to a test", wire.ToGuest{Answer: &wire.Answer{Run: a.Run, N: a.N, Reply: reply}})
}

// end gives up what is not answered yet and waits until nothing more happens.
func (q *questions) end() {
	q.cancel()
	q.group.Wait()
}
