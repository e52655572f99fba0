// SPDX-License-Identifier: Apache-2.0

package runner

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"noiommu-farm/farm/matrix"
	"noiommu-farm/farm/matrix/schedule"
	"noiommu-farm/farm/runner/meaning"
	"noiommu-farm/images"
	"noiommu-farm/internal/fault"
	"noiommu-farm/kernels"
	"noiommu-farm/kernels/lock"
	"noiommu-farm/results"
	"noiommu-farm/results/verdict"
)

// Files of a run directory that is carried out by a plan, and of a cell in it.
const (
	lockFile    = "lock"       // held by whoever carries the run out
	locksDir    = "locks"      // one file a cell, held by whoever is at it
	attemptsDir = "attempts"   // what was half done of cells, put aside
	begunFile   = "begun.json" // of a cell: who is at it
	verdictFile = "verdict.json"
)

// begun says who began a cell, and on a machine since which boot: what a
// machine that lost its power had not written yet is gone.
type begun struct {
	Host string    `json:"host"`
	Boot string    `json:"boot"`
	PID  int       `json:"pid"`
	Time time.Time `json:"time"`
}

// Now is the code that cells are to test: what each source is now, and the test
// programs. Sources are fetched for it.
func Now(ctx context.Context, cells []matrix.Cell, opt Options) (schedule.Now, error) {
	now := schedule.Now{Time: time.Now(), Sources: make(map[string]string)}
	for _, c := range cells {
		if _, ok := now.Sources[c.Source]; ok {
			continue
		}
		s, err := kernels.ParseSource(c.Source)
		if err != nil {
			return now, err
		}
		if now.Sources[c.Source], err = opt.Cache.SourceID(ctx, s); err != nil {
			return now, err
		}
	}
	image, err := images.Build(ctx, Suites(), opt.Images)
	if err != nil {
		return now, err
	}
	now.Suites = image.Programs
	return now, nil
}

// Begin makes a run directory with a plan in it, for [Carry] to carry out.
// Plan.Cache and Plan.Images are those of the options.
func Begin(ctx context.Context, p Plan, opt Options) (dir string, err error) {
	if _, err := checkWork(p.Schedule.Work); err != nil {
		return "", err
	}
	h, err := probe(ctx)
	if err != nil {
		return "", err
	}
	if p.Cache, err = filepath.Abs(opt.Cache.Dir); err != nil {
		return "", err
	}
	if p.Images, err = filepath.Abs(opt.Images); err != nil {
		return "", err
	}
	if err := os.MkdirAll(opt.Runs, 0o755); err != nil {
		return "", fmt.Errorf("%w: %w", results.ErrNotRecorded, err)
	}
	head := results.Run{Command: opt.Command, Versions: (&run{host: h}).versions()}
	for _, w := range p.Schedule.Work {
		head.Cells = append(head.Cells, w.Cell.Name)
	}
	if dir, err = results.CreateRun(opt.Runs, &head); err != nil {
		return "", err
	}
	return dir, writeDurably(dir, planFile, p)
}

func checkWork(work []schedule.Work) ([]*prepared, error) {
	var plan matrix.Plan
	for _, w := range work {
		plan.Cells = append(plan.Cells, w.Cell)
	}
	return check(plan)
}

// writeDurably writes a file whole or not at all, and returns when it and its
// name are on the disk.
func writeDurably(dir, name string, v any) error {
	path := filepath.Join(dir, name)
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	err = results.WriteFile(path, append(text, '\n'))
	if err == nil {
		err = errors.Join(syncFile(path), syncFile(dir))
	}
	if err != nil {
		return fmt.Errorf("%w: %w", results.ErrNotRecorded, err)
	}
	return nil
}

// syncFile waits until a file, or the names in a directory, are on the disk.
func syncFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// seal says that a cell was carried out to its end. Before it says so, all that
// the cell left is on the disk.
func seal(dir string, judged *verdict.Cell, began time.Time) error {
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() && !e.IsDir() {
			return err
		}
		return syncFile(path)
	})
	if err != nil {
		return fmt.Errorf("%w: %w", results.ErrNotRecorded, err)
	}
	host, _ := os.Hostname()
	return writeDurably(dir, doneFile, Done{Verdict: judged.Verdict, Began: began, Wall: judged.Wall, Source: judged.Kernel.SourceID, Host: host})
}

// sealed says whether a cell was carried out to its end. Another machine may have
// done so a moment ago: a client of NFS remembers for a while that a name was not
// there, and asks anew when the directory is opened (nfs(5), close-to-open).
func sealed(dir string) bool {
	for _, name := range []string{filepath.Dir(dir), dir} {
		if d, err := os.Open(name); err == nil {
			d.Close()
		}
	}
	var done Done
	return readJSON(filepath.Join(dir, doneFile), &done) == nil
}

// finished is the judged cell of a folder if it was carried out to its end; nil
// when it was not, or only to an end that says nothing of the kernel. One that
// was judged, which is when all its guests are gone, and killed before it was
// sealed is sealed now: nothing is missing in it, unless the machine was started
// anew since.
func finished(dir string) (*verdict.Cell, error) {
	isSealed := sealed(dir)
	if !isSealed && !judgedHere(dir) {
		return nil, nil
	}
	rec, err := results.ReadCell(dir)
	if err != nil {
		return nil, err
	}
	judged, err := verdict.Judge(rec)
	if err != nil {
		return nil, fmt.Errorf("judge %s: %w", filepath.Base(dir), err)
	}
	if farmFailed(judged) {
		return nil, nil
	}
	if !isSealed {
		return judged, seal(dir, judged, rec.Events[0].Time)
	}
	return judged, nil
}

// farmFailed says whether the farm failed at a cell, whatever it had found before.
func farmFailed(c *verdict.Cell) bool { return c.Verdict == verdict.Infra || c.Own == verdict.Infra }

// judgedHere says whether a cell has a verdict, and was begun on this machine
// since it was started.
func judgedHere(dir string) bool {
	var who begun
	var c verdict.Cell
	return readJSON(filepath.Join(dir, verdictFile), &c) == nil &&
		readJSON(filepath.Join(dir, begunFile), &who) == nil && who.Boot == boot()
}

// boot identifies the time since this machine was started.
func boot() string {
	text, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(text))
}

// putAside moves what was left of a cell out of the way; it is kept. The caller
// holds the cell's lock, and says whether it has found the cell sealed: one that
// was sealed meanwhile is not touched.
func putAside(runDir, cell string, wasSealed bool) error {
	from := results.CellDir(runDir, cell)
	if _, err := os.Lstat(from); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if !wasSealed && sealed(from) {
		return fmt.Errorf("%s was finished by somebody else just now: go on with the run to see it", cell)
	}
	dir := filepath.Join(runDir, attemptsDir)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("%w: %w", results.ErrNotRecorded, err)
	}
	for n := 1; ; n++ {
		to := filepath.Join(dir, fmt.Sprintf("%s.%d", cell, n))
		if _, err := os.Lstat(to); err == nil {
			continue
		}
		// Nobody else is at this cell: its lock is held.
		if err := os.Rename(from, to); err != nil {
			return fmt.Errorf("%w: put %s aside: %w", results.ErrNotRecorded, cell, err)
		}
		return nil
	}
}

// one carries out one cell of a run directory, unless it is finished. fresh
// says whether it was carried out now. Whoever else is at it, here or on
// another machine, is waited for.
func (r *run) one(ctx context.Context, dir string, c *prepared, do func(ctx context.Context, dir string, c *prepared) (*verdict.Cell, error)) (judged *verdict.Cell, fresh bool, err error) {
	release, err := lock.Take(ctx, filepath.Join(dir, locksDir, c.Name), func() {
		r.Tell(Progress{Cell: c.Name, Note: c.Name + ": somebody else is at it: waiting"})
	})
	if err != nil {
		return nil, false, err
	}
	defer release()
	cellDir := results.CellDir(dir, c.Name)
	wasSealed := sealed(cellDir)
	if judged, err = finished(cellDir); judged != nil || err != nil {
		return judged, false, err
	}
	if err := putAside(dir, c.Name, wasSealed); err != nil {
		return nil, false, err
	}
	if err := os.Mkdir(cellDir, 0o755); err != nil {
		return nil, false, fmt.Errorf("%w: %w", results.ErrNotRecorded, err)
	}
	host, _ := os.Hostname()
	who := begun{host, boot(), os.Getpid(), time.Now().UTC()}
	if err := results.WriteJSON(filepath.Join(cellDir, begunFile), who); err != nil {
		return nil, false, fmt.Errorf("%w: %w", results.ErrNotRecorded, err)
	}
	judged, err = do(ctx, dir, c)
	if judged == nil || err != nil || farmFailed(judged) {
		return judged, true, err
	}
	return judged, true, seal(cellDir, judged, who.Time)
}

// bootIn carries out a cell that has its kernel. What was foretold of a kernel
// may not hold of the one that was built: a cell in which nothing is tested any
// more says nothing.
func (r *run) bootIn(ctx context.Context, dir string, c *prepared) (*verdict.Cell, error) {
	p := r.plan(c)
	if err := checkTests([]cellPlan{p}); err != nil {
		return r.without(c.build.SourceID, err)(ctx, dir, c)
	}
	return r.cell(ctx, dir, c, p)
}

// without is the record of a cell that has no kernel, and why: the kernel's own
// fault, or something that says nothing of it.
func (r *run) without(source string, why error) func(context.Context, string, *prepared) (*verdict.Cell, error) {
	return func(_ context.Context, dir string, c *prepared) (*verdict.Cell, error) {
		planned := results.Planned{
			Cell:   c.Name,
			Kernel: results.Kernel{Source: c.Source, SourceID: source, Series: c.Series, Config: c.Config},
			Machine: results.Machine{
				Topology: c.Topology, IOMMU: c.machine.Topology.IOMMU(), Devices: c.Devices, PCI: meaning.UnderTest(c.machine),
				CPUs: c.CPUs, MemoryMiB: c.MemoryMiB, Privileges: c.Privileges, Accel: string(r.host.accel), QEMU: r.host.version,
			},
		}
		event := results.Event{Infra: &results.Infra{Err: why.Error()}}
		var bad *fault.Kernel
		if errors.As(why, &bad) {
			event = results.Event{Unbuilt: &results.Unbuilt{Stage: bad.Stage, Err: bad.Err.Error(), Log: bad.Log}}
		}
		cellDir := results.CellDir(dir, c.Name)
		rec, err := results.CreateCell(cellDir, planned)
		if err != nil {
			return nil, err
		}
		if err := errors.Join(rec.Event(event), rec.Close()); err != nil {
			return nil, err
		}
		record, err := results.ReadCell(cellDir)
		if err != nil {
			return nil, err
		}
		judged, err := verdict.Judge(record)
		if err != nil {
			return nil, err
		}
		if err := results.WriteJSON(filepath.Join(cellDir, verdictFile), judged); err != nil {
			return nil, fmt.Errorf("%w: %w", results.ErrNotRecorded, err)
		}
		r.Tell(Progress{Cell: c.Name, Judged: judged})
		return judged, nil
	}
}

// Extend gives a run directory that began another limit, from now; 0 takes
// away one that has passed.
func Extend(dir string, limit time.Duration) error {
	p, err := ReadPlan(dir)
	if err != nil {
		return err
	}
	switch {
	case limit > 0:
		p.Until = time.Now().Add(limit)
	case p.Until.Before(time.Now()):
		p.Until = time.Time{}
	default:
		return nil
	}
	return writeDurably(dir, planFile, p)
}
