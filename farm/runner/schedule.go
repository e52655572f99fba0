// SPDX-License-Identifier: Apache-2.0

package runner

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"
	"golang.org/x/sys/unix"

	"noiommu-farm/farm/matrix"
	"noiommu-farm/farm/matrix/schedule"
	"noiommu-farm/internal/fault"
	"noiommu-farm/kernels/lock"
	"noiommu-farm/results"
	"noiommu-farm/results/verdict"
)

// An Executor has cells of a run directory carried out, by this process or by
// others, and returns when there is nothing more to wait for. Those that are
// finished are left alone.
type Executor func(ctx context.Context, dir string, plan *Plan, opt Options) error

// Carry goes on with a run directory that [Begin] made until every cell is
// finished, there is no time for another, or ctx ends; each of them once,
// however often it is called. The outcome has what is finished, the cells that
// came to no end among them as INFRA.
func Carry(ctx context.Context, dir string, opt Options, with Executor) (*Outcome, error) {
	if opt.Tell == nil {
		opt.Tell = func(Progress) {}
	}
	plan, err := ReadPlan(dir)
	if err != nil {
		return nil, &fault.Usage{Key: "run", Value: dir, Err: err}
	}
	head, err := results.ReadRun(dir)
	if err != nil {
		return nil, err
	}
	release, err := lock.Free(filepath.Join(dir, lockFile))
	if err != nil {
		return nil, err
	}
	if release == nil {
		return nil, &fault.Usage{Key: "run", Value: dir, Err: errors.New("another farm is carrying it out")}
	}
	defer release()
	opt.Images, opt.Isolation = plan.Images, plan.Isolation
	var cells []matrix.Cell
	for _, w := range plan.Schedule.Work {
		cells = append(cells, w.Cell)
	}
	now, err := Now(ctx, cells, opt)
	if err != nil {
		return nil, err
	}
	err = plan.suites(now.Suites)
	for source, id := range now.Sources {
		err = errors.Join(err, plan.source(source, id))
	}
	if err != nil {
		return nil, &fault.Usage{Key: "run", Value: dir, Err: err}
	}
	ended := with(ctx, dir, plan, opt)
	var usage *fault.Usage
	if errors.As(ended, &usage) {
		return nil, ended
	}
	out, err := collect(dir, head, plan, ended != nil || ctx.Err() != nil)
	if ended == nil && ctx.Err() != nil {
		ended = context.Cause(ctx)
	}
	return out, errors.Join(ended, err)
}

// collect reads what is there of a run. If it was not stopped, those that were
// not begun, because there was no time, are left: no cells of it, but named. A
// run that has no other is an error, because it says nothing of any kernel.
func collect(dir string, head results.Run, plan *Plan, stopped bool) (*Outcome, error) {
	out := &Outcome{Dir: dir}
	var begun, all, late []string
	for _, w := range plan.Schedule.Work {
		all = append(all, w.Cell.Name)
		rec, err := results.ReadCell(results.CellDir(dir, w.Cell.Name))
		if err != nil {
			late = append(late, w.Cell.Name)
			continue
		}
		judged, err := verdict.Judge(rec)
		if err != nil {
			return out, fmt.Errorf("judge %s: %w", w.Cell.Name, err)
		}
		begun = append(begun, w.Cell.Name)
		out.Cells = append(out.Cells, judged)
	}
	head.Cells, head.Left = begun, late
	if stopped {
		head.Cells, head.Left = all, nil
	}
	for _, w := range plan.Schedule.Left {
		head.Left = append(head.Left, w.Cell.Name)
	}
	out.Run = head
	err := results.WriteRun(dir, head)
	if len(head.Cells) == 0 {
		err = errors.Join(errors.New("there was no time for a single cell"), err)
	}
	return out, err
}

// Status is a run at a moment, for whoever watches.
type Status struct {
	Total, Done int
	Verdicts    verdict.Counts // of the cells that are done
	Building    string         // kernel, or ""
	Elsewhere   string         // what a cluster does, or ""
	Running     []Running      // oldest first
	Ready       int            // cells that wait for room
	Waiting     int            // cells that wait for their kernel
	Failed      []*verdict.Cell
	Left        time.Duration // estimate
}

// Running is a cell at work.
type Running struct {
	Cell  string
	Began time.Time
	Cost  time.Duration // estimate
}

// job is a cell of a schedule.
type job struct {
	schedule.Work
	cell  *prepared
	state state
	began time.Time
}

type state int

const (
	unready state = iota // its kernel is not there
	startable
	atWork
	closed
	noTime
)

// carrier is a run that this process carries out.
type carrier struct {
	*run
	dir    string
	plan   *Plan
	builds []schedule.Building

	changed *sync.Cond // of the following
	jobs    []*job
	status  Status
	errs    []error
	builder bool // at work
}

// Local carries out cells in this process: kernels are built one after the
// other, a cell boots when its kernel is there and there is room for it, and
// those that wait for room do so in the order of the plan.
func Local(ctx context.Context, dir string, plan *Plan, opt Options) error {
	r := &run{Options: opt, agreed: plan}
	if r.Jobs <= 0 {
		r.Jobs = runtime.NumCPU()
	}
	var err error
	if r.host, err = probe(ctx); err != nil {
		return err
	}
	if r.host.noKVM != "" {
		r.Tell(Progress{Note: "running WITHOUT hardware virtualization (TCG, several times slower): " + r.host.noKVM})
	}
	cells, err := checkWork(plan.Schedule.Work)
	if err != nil {
		return err
	}
	if err := r.budget.share(r.Jobs, r.MemoryMiB); err != nil {
		return err
	}
	if err := r.budget.hold(cells); err != nil {
		return err
	}
	if err := results.Reopen(dir); err != nil {
		return err
	}
	s := &carrier{run: r, dir: dir, plan: plan, builds: plan.Schedule.Builds, changed: sync.NewCond(&sync.Mutex{}), builder: true}
	s.status = Status{Total: len(cells), Verdicts: make(verdict.Counts)}
	for i, w := range plan.Schedule.Work {
		j := &job{Work: w, cell: cells[i]}
		s.jobs = append(s.jobs, j)
		judged, err := finished(results.CellDir(dir, w.Cell.Name))
		if err != nil {
			return err
		}
		if judged != nil {
			s.over(j, judged)
		}
	}
	stop := context.AfterFunc(ctx, func() {
		s.changed.L.Lock() // or it could come between next's look and its waiting
		defer s.changed.L.Unlock()
		s.changed.Broadcast()
	})
	defer stop()
	var all sync.WaitGroup
	all.Go(func() { s.build(ctx) })
	// Guests take processors and memory one by one, from the budget; a cell is
	// only somebody who asks for them.
	room := semaphore.NewWeighted(int64(r.Jobs))
	for room.Acquire(ctx, 1) == nil {
		j := s.next(ctx)
		if j == nil {
			break
		}
		all.Go(func() {
			defer room.Release(1)
			s.carryOut(ctx, j, s.bootIn)
		})
	}
	all.Wait()
	return errors.Join(s.errs...)
}

// share makes the budget that of a process which may use so many processors
// and so much memory, in MiB; 0 is the whole machine.
func (b *budget) share(cpus int, mib int64) error {
	b.once.Do(func() {
		if b.err = b.measure(); b.err == nil && mib > 0 {
			b.maxCPU, b.maxMiB = int64(cpus), mib
			b.cpus, b.mib = semaphore.NewWeighted(b.maxCPU), semaphore.NewWeighted(b.maxMiB)
		}
	})
	return b.err
}

// hold refuses cells with a guest that would need more memory than there is.
func (b *budget) hold(cells []*prepared) error {
	for _, c := range cells {
		if need := int64(c.MemoryMiB) + qemuMiB; need > b.maxMiB {
			return &fault.Usage{Key: "memory", Value: fmt.Sprint(c.MemoryMiB),
				Err: fmt.Errorf("cell %s needs %d MiB, and this machine has %d for guests", c.Name, need, b.maxMiB)}
		}
	}
	return nil
}

// next waits for the first cell of the plan whose kernel is there; nil when
// there is none to come.
func (s *carrier) next(ctx context.Context) *job {
	s.changed.L.Lock()
	defer s.changed.L.Unlock()
	for ctx.Err() == nil {
		for _, j := range s.jobs {
			if j.state != startable {
				continue
			}
			if s.late(j.Cost) {
				j.state = noTime
				continue
			}
			j.state, j.began = atWork, time.Now()
			s.tell()
			return j
		}
		if !s.builder {
			return nil
		}
		s.changed.Wait()
	}
	return nil
}

// late says whether something that takes so long would not be over in time.
func (s *carrier) late(cost time.Duration) bool {
	return !s.plan.Until.IsZero() && time.Now().Add(cost).After(s.plan.Until)
}

// carryOut does one cell.
func (s *carrier) carryOut(ctx context.Context, j *job, do func(context.Context, string, *prepared) (*verdict.Cell, error)) {
	judged, fresh, err := s.one(ctx, s.dir, j.cell, do)
	if judged != nil && !fresh {
		s.Tell(Progress{Cell: j.Cell.Name, Judged: judged})
	}
	s.changed.L.Lock()
	defer s.changed.L.Unlock()
	if err != nil && ctx.Err() == nil {
		s.errs = append(s.errs, fmt.Errorf("cell %s: %w", j.Cell.Name, err))
	}
	s.over(j, judged)
}

// over counts a cell that needs nothing more. The caller holds the lock.
func (s *carrier) over(j *job, judged *verdict.Cell) {
	j.state = closed
	s.status.Done++
	if judged != nil {
		s.status.Verdicts[judged.Verdict]++
		if !judged.Verdict.Good() {
			s.status.Failed = append(s.status.Failed, judged)
		}
	}
	s.tell()
}

// tell shows the state of the run. The caller holds the lock.
func (s *carrier) tell() {
	if s.Watch == nil {
		return
	}
	now := s.status
	now.Running, now.Failed, now.Verdicts = nil, slices.Clone(now.Failed), make(verdict.Counts)
	for v, n := range s.status.Verdicts {
		now.Verdicts[v] = n
	}
	var busy time.Duration // of processors
	for _, j := range s.jobs {
		switch j.state {
		case unready:
			now.Waiting++
			busy += j.Cost
		case startable:
			now.Ready++
			busy += j.Cost
		case atWork:
			now.Running = append(now.Running, Running{j.Cell.Name, j.began, j.Cost})
			busy += max(0, j.Cost-time.Since(j.began))
		}
	}
	for _, b := range s.builds {
		busy += b.Cost * time.Duration(s.Jobs)
	}
	slices.SortFunc(now.Running, func(a, b Running) int { return a.Began.Compare(b.Began) })
	now.Left = busy / time.Duration(s.Jobs)
	s.Watch(now)
}

// buildNice is how much a build stands back behind guests, whose tests have
// time limits: it uses what they leave of the processors (sched(7): a tenth of
// the weight).
const buildNice = 10

// build has one kernel after the other built, and says of whose cells they
// are.
func (s *carrier) build(ctx context.Context) {
	// Niceness is a thread's, and inherited by what it starts. The thread is
	// not unlocked, so it ends with this goroutine.
	runtime.LockOSThread()
	if err := unix.Setpriority(unix.PRIO_PROCESS, 0, buildNice); err != nil {
		s.Tell(Progress{Note: fmt.Sprintf("builds run at full priority: %v", err)})
	}
	defer func() {
		s.changed.L.Lock()
		s.builder, s.status.Building = false, ""
		s.changed.L.Unlock()
		s.changed.Broadcast()
	}()
	for len(s.builds) > 0 && ctx.Err() == nil {
		b := s.builds[0]
		mine := s.of(b.Kernel)
		if len(mine) > 0 && !s.late(b.Cost+mine[0].Cost) {
			s.changed.L.Lock()
			s.status.Building = b.Kernel.String()
			s.tell()
			s.changed.L.Unlock()
			s.kernelOf(ctx, mine)
		}
		s.changed.L.Lock()
		s.builds, s.status.Building = s.builds[1:], ""
		s.tell()
		s.changed.L.Unlock()
		s.changed.Broadcast()
	}
}

// of lists the cells that wait for a kernel.
func (s *carrier) of(k matrix.Kernel) []*job {
	s.changed.L.Lock()
	defer s.changed.L.Unlock()
	var mine []*job
	for _, j := range s.jobs {
		if j.state == unready && j.Cell.Kernel() == k {
			mine = append(mine, j)
		}
	}
	return mine
}

// kernelOf builds the kernel of some cells and makes them ready. Without a
// kernel they are over.
func (s *carrier) kernelOf(ctx context.Context, mine []*job) {
	b, err := s.kernel(ctx, mine[0].cell)
	for _, j := range mine {
		cannot := err
		if cannot == nil {
			cannot = s.equip(ctx, j.cell, b)
		}
		if ctx.Err() != nil {
			return
		}
		if cannot != nil {
			s.carryOut(ctx, j, s.without(s.plan.Sources[j.Cell.Source], cannot))
			continue
		}
		s.changed.L.Lock()
		j.state = startable
		s.tell()
		s.changed.L.Unlock()
		s.changed.Broadcast()
	}
}
