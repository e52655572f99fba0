// SPDX-License-Identifier: Apache-2.0

package guests

import (
	"context"
	"errors"
	"sync"
	"syscall"
	"time"

	"noiommu-farm/farm/machine"
	"noiommu-farm/farm/runner/agent"
	"noiommu-farm/guestagent/wire"
	"noiommu-farm/results"
	"noiommu-farm/results/ktap"
	"noiommu-farm/results/verdict"
)

// coreLimit is how much of a core file is kept, in bytes.
const coreLimit = 32 << 20

// session is one guest of a cell and all that is recorded of it.
type session struct {
	*lives
	rec      *results.GuestWriter
	guest    *machine.Guest
	talk     *agent.Conversation
	requests *desk
	before   wire.Measured       // what the kernel had allocated when nothing was tested yet
	bdfs     map[string][]string // functions under test, by model
	all      []string            // of them
	saves    int                 // how often it was saved
	single   bool                // see [verdict.Single]

	shutdown func() string // why the machine stopped, once it has
	pumps    sync.WaitGroup
	logged   *marks
	logErr   error // of the console; after the pumps
}

// begin begins to record a guest whose QEMU runs.
func (l *lives) begin(guest *machine.Guest, rec *results.GuestWriter) *session {
	s := &session{lives: l, rec: rec, guest: guest, logged: newMarks()}
	shutdown := guest.Monitor.Subscribe("SHUTDOWN")
	s.shutdown = func() string {
		defer shutdown.Close()
		// QEMU's last words are in the socket when it is gone, and its end comes
		// after them.
		select {
		case <-guest.Monitor.Done():
		case <-time.After(s.talk.Patience(agent.Grace)):
		}
		select {
		case e := <-shutdown.Events():
			reason, _ := e.Data["reason"].(string)
			return reason
		default: // QEMU did not say why
			return ""
		}
	}
	names := make(map[uint32]string)
	for _, p := range l.Planned.Programs {
		names[p.ID] = p.Name
	}
	s.talk = agent.New(guest.Control(), rec, l.Scale, func(id uint32, t ktap.Test) {
		l.Tell(News{Program: names[id], Test: &t})
	})
	s.requests = newDesk(guest, l.Machine, s.talk.Patience(unplugPatience))
	s.talk.Answer = s.requests.answer
	s.pumps.Go(s.talk.Listen)
	s.pumps.Go(func() { s.talk.Collect(guest.Output()) })
	s.pumps.Go(func() { s.logErr = s.pumpConsole(guest.Console()) })
	return s
}

// prepare shakes hands, has the guest made ready and sees whether it is the one
// that was planned.
func (s *session) prepare(ctx context.Context) error {
	if err := s.talk.Hello(ctx); err != nil {
		return err
	}
	planned := s.Planned
	facts, err := s.talk.Prepare(ctx, wire.Prepare{
		Hugepages:   s.Hugepages,
		Hugepages1G: s.Hugepages1G,
		CoreLimit:   coreLimit,
		Params:      []string{verdict.UnsafeModeParam},
	})
	if err != nil {
		return err
	}
	if diff := verdict.FactsDiffer(planned, facts); len(diff) > 0 {
		return errors.New(verdict.DescribeDifferences(diff))
	}
	if verdict.Belies(planned, facts) != "" {
		return errBelied
	}
	if planned.Measured {
		if s.before, err = s.talk.Measure(ctx, wire.Measure{Forget: true}); err != nil {
			return err
		}
	}
	s.bdfs, s.all = addresses(s.Machine.Devices, facts.PCI)
	return nil
}

// errBelied says that what the guest is, is the verdict on the cell already.
var errBelied = errors.New("the kernel belies its configuration")

// bind binds every function under test.
func (s *session) bind(ctx context.Context) error { return s.talk.Bind(ctx, s.all, 0) }

// each runs programs one after the other.
func (s *session) each(ctx context.Context, list []results.Program) error {
	for _, p := range list {
		s.Tell(News{Program: p.Name})
		if err := s.talk.Run(ctx, p, fillIn(p.Argv, s.bdfs, s.all), false); err != nil {
			return err
		}
		if err := s.putBack(ctx, p.ID); err != nil {
			return err
		}
		s.Tell(News{Program: p.Name, Over: true})
	}
	return nil
}

// settled waits until the kernel has back what the programs used.
func (s *session) settled(ctx context.Context) error {
	if !s.Planned.Measured {
		return nil
	}
	return s.talk.Settled(ctx, s.Planned.Facts, s.before, s.single)
}

// left records what a program left unplugged.
func (s *session) left(id uint32) ([]string, error) {
	away := s.requests.away()
	if len(away) == 0 {
		return nil, nil
	}
	return away, s.rec.Event(results.Event{Away: &results.Away{Run: id, BDFs: away}})
}

// putBack plugs and binds what a program left unplugged, for those after it.
func (s *session) putBack(ctx context.Context, id uint32) error {
	away, err := s.left(id)
	if err != nil || len(away) == 0 {
		return err
	}
	if err := s.requests.restore(ctx); err != nil {
		return err
	}
	return s.talk.Bind(ctx, away, s.talk.Patience(agent.Prompt))
}

// end ends the guest, however the conversation ended, and closes the record of
// it. A guest that is not needed any more is let down by its own kernel, or
// thrown away when the log was read to the end of that program, which the agent
// marks when the kernel has done what it had put off.
func (s *session) end(ctx context.Context, how error, thrown uint32) error {
	defer s.guest.Close()
	defer s.requests.close()
	var thrownAway, killed bool
	var err error
	if how == nil && thrown != 0 {
		if how = s.logged.await(ctx, thrown, s.talk.Patience(agent.Drain)); how == nil {
			thrownAway, killed = true, s.guest.ExitState() == nil
			s.guest.Kill()
		}
	}
	if !thrownAway {
		killed, err = s.conclude(ctx, how)
	}
	s.talk.HearOut()
	s.pumps.Wait()
	why := s.shutdown()
	if err != nil || s.logErr != nil {
		return errors.Join(err, s.logErr)
	}
	end := ended(s.guest, killed)
	end.ConsoleDropped, end.Shutdown = s.rec.ConsoleDropped(), why
	return s.rec.Event(results.Event{Ended: end})
}

// conclude ends the guest, however the conversation ended, and records why it
// ended early if it did. It says whether QEMU had to be killed.
func (s *session) conclude(ctx context.Context, end error) (killed bool, err error) {
	rec, guest, talk := s.rec, s.guest, s.talk
	var hung *agent.HungError
	var lost *agent.LostError
	if end == nil || errors.Is(end, errBelied) {
		// The ordinary way down goes through the kernel's own shutdown, which
		// is tested by it.
		if end = talk.PowerOff(ctx); end == nil {
			if over(guest, talk.Patience(agent.Prompt)) {
				return false, nil
			}
			end = &agent.HungError{Doing: agent.PoweringOff}
		}
	}
	switch {
	case errors.As(end, &hung):
		err = rec.Event(results.Event{Hung: &results.Hung{Doing: hung.Doing}})
		whereItHangs(ctx, guest)
	case errors.As(end, &lost):
		err = rec.Event(results.Event{Lost: &results.Lost{Doing: lost.Doing}})
		// QEMU ends by itself after a panic (-no-reboot) and tells how.
		over(guest, talk.Patience(agent.Grace))
	case errors.Is(end, results.ErrNotRecorded):
		err = end
	default:
		err = rec.Event(results.Event{Infra: &results.Infra{Err: end.Error()}})
	}
	killed = guest.ExitState() == nil
	guest.Kill()
	return killed, err
}

// over waits for the end of QEMU, and says whether it came in time.
func over(guest *machine.Guest, limit time.Duration) bool {
	select {
	case <-guest.Done():
		return true
	case <-time.After(limit):
		return false
	}
}

// whereItHangs makes a guest that no longer answers show its stacks: an NMI
// reaches a processor whose interrupts are off.
func whereItHangs(ctx context.Context, guest *machine.Guest) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), agent.Grace)
	defer cancel()
	if guest.InjectNMI(ctx) == nil {
		over(guest, agent.Grace)
	}
}

// ended says how QEMU ended. killed says that it still ran when it was killed;
// whether it had begun to die by itself just then, its status knows.
func ended(guest *machine.Guest, killed bool) *results.Ended {
	state := guest.Wait()
	e := &results.Ended{QEMU: state.String(), Code: state.ExitCode(), Stderr: guest.Stderr()}
	ws, _ := state.Sys().(syscall.WaitStatus)
	e.Killed = killed && ws.Signaled() && ws.Signal() == syscall.SIGKILL
	if ws.Signaled() && !e.Killed {
		e.Signal = int(ws.Signal())
	}
	return e
}
