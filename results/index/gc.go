// SPDX-License-Identifier: Apache-2.0

package index

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"noiommu-farm/results"
	"noiommu-farm/results/verdict"
)

// Limits say which runs may go.
type Limits struct {
	Before time.Time // runs that began earlier go; zero for none
	Bytes  int64     // the oldest go until the rest has no more than this; negative for any size
	Known  []string  // fingerprints of known issues: the newest run with each stays
}

// Kept is a run directory with what a collection does with it.
type Kept struct {
	Run     string    `json:"run"`
	Started time.Time `json:"started"`
	Bytes   int64     `json:"bytes"`
	Goes    bool      `json:"goes"`
	Why     string    `json:"why"` // it goes, or why it stays although a limit says that it goes
}

// removed begins the name of a directory that is being removed.
const removed = ".removed-"

// Plan says what would go of the directory of runs, the oldest first. It keeps
// the newest run; a run that a farm carries out, and one that has not ended and
// that something was written to after the limit of age, or within a day; for each cell of each command the
// newest run in which that cell was as expected; and for each known issue the
// newest run that has it. The index must be up to date.
func (x *Index) Plan(ctx context.Context, l Limits) ([]Kept, error) {
	fail := func(err error) ([]Kept, error) { return nil, fmt.Errorf("plan what goes: %w", damaged(err)) }
	names, err := x.names()
	if err != nil {
		return fail(err)
	}
	needed, err := x.needed(ctx, l.Known)
	if err != nil {
		return fail(err)
	}
	var all []Kept
	var sum int64
	for _, name := range names {
		k := Kept{Run: name}
		dir := filepath.Join(x.runs, name)
		head, err := results.ReadRun(dir)
		if err != nil {
			needed[name] = "its run.json cannot be read"
		}
		k.Started = head.Started
		var written time.Time
		if k.Bytes, written, err = measure(dir); err != nil {
			return fail(err)
		}
		ended, err := stamp(filepath.Join(dir, results.ConclusionJSON))
		if err != nil {
			return fail(err)
		}
		if recent := time.Now().AddDate(0, 0, -1); ended == "" && (written.After(recent) || !l.Before.IsZero() && written.After(l.Before)) {
			needed[name] = "it has not ended"
		}
		if carriedOut(dir) {
			needed[name] = "it goes on"
		}
		sum += k.Bytes
		all = append(all, k)
	}
	slices.SortStableFunc(all, func(a, b Kept) int { return cmp.Or(a.Started.Compare(b.Started), strings.Compare(a.Run, b.Run)) })
	if len(all) > 0 {
		needed[all[len(all)-1].Run] = "it is the newest"
	}
	for i := range all {
		k := &all[i]
		switch {
		case k.Started.Before(l.Before):
			k.Goes, k.Why = true, "older than asked for"
		case l.Bytes >= 0 && sum > l.Bytes:
			k.Goes, k.Why = true, "more than asked for"
		default:
			continue
		}
		if why := needed[k.Run]; why != "" {
			k.Goes, k.Why = false, why
			continue
		}
		sum -= k.Bytes
	}
	return all, nil
}

// needed says which runs must stay, and why.
func (x *Index) needed(ctx context.Context, known []string) (map[string]string, error) {
	needed := make(map[string]string)
	// The newest of each group, and the greatest name of those that began at
	// the same time.
	rows, err := x.db.QueryContext(ctx, `
		SELECT run.name, cell.name, max(cell.started) FROM cell JOIN run ON run.id = cell.run
		WHERE cell.verdict IN (?, ?) GROUP BY cell.place, run.command`, string(verdict.Pass), string(verdict.XFail))
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var run, cell string
		var started int64
		if err := rows.Scan(&run, &cell, &started); err != nil {
			return nil, err
		}
		needed[run] = "the last in which " + cell + " was as expected"
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	for _, print := range known {
		run, err := x.edge(ctx, print, "DESC")
		if err != nil {
			return nil, err
		}
		if run != "" {
			needed[run] = "the last with known issue " + print
		}
	}
	return needed, nil
}

// FirstSeen is the run in which a problem was first seen, by its fingerprint;
// empty when it was in none.
func (x *Index) FirstSeen(ctx context.Context, fingerprint string) (string, error) {
	run, err := x.edge(ctx, fingerprint, "ASC")
	if err != nil {
		return "", fmt.Errorf("first run with %s: %w", fingerprint, damaged(err))
	}
	return run, nil
}

// edge is the first or the last run with a problem.
func (x *Index) edge(ctx context.Context, fingerprint, order string) (string, error) {
	var run string
	err := x.db.QueryRowContext(ctx, `
		SELECT run.name FROM (SELECT cell FROM result WHERE fingerprint = ? AND fingerprint != 0 ORDER BY started `+order+` LIMIT 1) AS one
		JOIN cell ON cell.id = one.cell JOIN run ON run.id = cell.run`, number(fingerprint)).Scan(&run)
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil
	}
	return run, err
}

// carriedOut says whether a farm holds the lock of a run.
func carriedOut(dir string) bool {
	f, err := os.Open(filepath.Join(dir, "lock"))
	if err != nil {
		return false
	}
	defer f.Close() // which gives the lock back
	return errors.Is(unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB), unix.EWOULDBLOCK)
}

// measure is what a directory has in files, in bytes, and when the newest of
// them was written. Links are not followed.
func measure(dir string) (bytes int64, written time.Time, err error) {
	err = filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) { // a farm writes its files whole under another name first
			return nil
		}
		if err != nil {
			return err
		}
		if info.Mode().IsRegular() {
			bytes += info.Size()
		}
		if t := info.ModTime(); t.After(written) {
			written = t
		}
		return nil
	})
	return bytes, written, err
}

// Collect removes the runs that go, and what an earlier collection that was
// killed has left. A directory gets another name before anything in it is
// removed, so that a run is there whole or not at all.
func (x *Index) Collect(ctx context.Context, plan []Kept) error {
	root, err := os.OpenRoot(x.runs)
	if err != nil {
		return fmt.Errorf("remove runs: %w", err)
	}
	defer root.Close()
	for _, k := range plan {
		if err := ctx.Err(); err != nil {
			return err
		}
		if !k.Goes {
			continue
		}
		if err := root.Rename(k.Run, removed+k.Run); err != nil {
			return fmt.Errorf("remove run %s: %w", k.Run, err)
		}
	}
	entries, err := os.ReadDir(x.runs)
	if err != nil {
		return fmt.Errorf("remove runs: %w", err)
	}
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return err
		}
		if !strings.HasPrefix(e.Name(), removed) || !e.IsDir() {
			continue
		}
		if err := root.RemoveAll(e.Name()); err != nil {
			return fmt.Errorf("remove runs: %w", err)
		}
	}
	_, err = x.Update(ctx)
	return err
}
