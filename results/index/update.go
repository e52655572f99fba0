// SPDX-License-Identifier: Apache-2.0

package index

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"noiommu-farm/results"
	"noiommu-farm/results/failure"
	"noiommu-farm/results/verdict"
)

// Limits on what is read and kept.
const (
	maxText = 1000 // bytes of a reason
	maxName = 300  // bytes of a name
)

// Change is what bringing an index up to date did.
type Change struct {
	Runs    int      `json:"runs"`    // that were read, new ones and changed ones
	Results int      `json:"results"` // of tests, that were written
	Gone    int      `json:"gone"`    // runs that are no longer there
	Notes   []string `json:"notes"`   // what could not be read, and was left out

	replaced bool // something that was there is not, or is another
}

// Update brings the index up to date with its directory of runs: what is new
// or has changed is read, what is gone is removed.
func (x *Index) Update(ctx context.Context) (Change, error) {
	var done Change
	names, err := x.names()
	if err != nil {
		return done, fmt.Errorf("update index: %w", err)
	}
	for _, name := range names {
		err := x.within(ctx, func(tx *sql.Tx) error { return (&writer{tx: tx}).run(ctx, x.runs, name, &done) })
		if err != nil {
			return done, fmt.Errorf("update index: run %s: %w", name, err)
		}
	}
	if err := x.within(ctx, func(tx *sql.Tx) error { return forget(tx, names, &done) }); err != nil {
		return done, fmt.Errorf("update index: %w", err)
	}
	return done, nil
}

// Rebuild empties the index and reads every run again. Who reads meanwhile
// sees the old content; killed half-way it leaves that.
func (x *Index) Rebuild(ctx context.Context) (Change, error) {
	var done Change
	names, err := x.names()
	if err != nil {
		return done, fmt.Errorf("rebuild index: %w", err)
	}
	err = x.within(ctx, func(tx *sql.Tx) error {
		for _, table := range []string{"result", "program", "cell", "run", "place", "test", "text"} {
			if _, err := tx.Exec("DELETE FROM " + table); err != nil {
				return err
			}
		}
		w := &writer{tx: tx}
		for _, name := range names {
			if err := w.run(ctx, x.runs, name, &done); err != nil {
				return fmt.Errorf("run %s: %w", name, err)
			}
		}
		return nil
	})
	if err != nil {
		return done, fmt.Errorf("rebuild index: %w", err)
	}
	return done, nil
}

// names lists the run directories, in order.
func (x *Index) names() ([]string, error) {
	entries, err := os.ReadDir(x.runs)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if !e.IsDir() || strings.HasPrefix(e.Name(), removed) { // "latest" is a link
			continue
		}
		if _, err := os.Stat(filepath.Join(x.runs, e.Name(), "run.json")); err == nil {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// forget removes the runs that are not among those.
func forget(tx *sql.Tx, names []string, done *Change) error {
	known, err := column(tx, "SELECT name FROM run")
	if err != nil {
		return err
	}
	gone := slices.DeleteFunc(known, func(name string) bool { _, there := slices.BinarySearch(names, name); return there })
	for _, name := range gone {
		if err := forgetRun(tx, name, done); err != nil {
			return err
		}
	}
	done.Gone = len(gone)
	if !done.replaced {
		return nil
	}
	for _, unused := range []string{
		"DELETE FROM text WHERE id NOT IN (SELECT reason FROM result)",
		"DELETE FROM test WHERE id NOT IN (SELECT test FROM result)",
		"DELETE FROM place WHERE id NOT IN (SELECT place FROM cell)",
	} {
		if _, err := tx.Exec(unused); err != nil {
			return err
		}
	}
	return nil
}

// forgetRun removes a run with all in it.
func forgetRun(tx *sql.Tx, name string, done *Change) error {
	if err := forgetCells(tx, "run = (SELECT id FROM run WHERE name = ?)", name); err != nil {
		return err
	}
	gone, err := tx.Exec("DELETE FROM run WHERE name = ?", name)
	if err != nil {
		return err
	}
	n, err := gone.RowsAffected()
	done.replaced = done.replaced || n > 0
	return err
}

// forgetCells removes the cells that a condition holds of, with all in them.
func forgetCells(tx *sql.Tx, condition string, args ...any) error {
	for _, statement := range []string{
		"DELETE FROM result WHERE cell IN (SELECT id FROM cell WHERE %s)",
		"DELETE FROM program WHERE cell IN (SELECT id FROM cell WHERE %s)",
		"DELETE FROM cell WHERE %s",
	} {
		if _, err := tx.Exec(fmt.Sprintf(statement, condition), args...); err != nil {
			return err
		}
	}
	return nil
}

func column(tx *sql.Tx, query string, args ...any) ([]string, error) {
	rows, err := tx.Query(query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []string
	for rows.Next() {
		var one string
		if err := rows.Scan(&one); err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	return all, rows.Err()
}

// writer writes runs in one transaction.
type writer struct {
	tx     *sql.Tx
	result *sql.Stmt
	ids    [3]map[string]int64 // of places, tests and texts that are written
}

// run reads a run directory, as far as it differs from what the index knows.
func (w *writer) run(ctx context.Context, runs, name string, done *Change) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	dir := filepath.Join(runs, name)
	note := func(err error) { done.Notes = append(done.Notes, fmt.Sprintf("run %s: %v", name, err)) }
	leaveOut := func(err error) error {
		note(err)
		return forgetRun(w.tx, name, done)
	}
	head, err := results.ReadRun(dir)
	if err != nil {
		return leaveOut(err)
	}
	// A run that has ended changes no more, until one of its ends does.
	ended, err := stamp(filepath.Join(dir, results.ConclusionJSON))
	if err != nil {
		return leaveOut(err)
	}
	var id int64
	var known string
	err = w.tx.QueryRow("SELECT id, stamp FROM run WHERE name = ?", name).Scan(&id, &known)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return err
	}
	fresh := errors.Is(err, sql.ErrNoRows)
	if ended != "" && known == ended {
		return nil
	}
	said, err := concluded(dir, ended)
	if err != nil {
		return leaveOut(err)
	}
	command, err := json.Marshal(head.Command)
	if err != nil {
		return err
	}
	if fresh {
		row, err := w.tx.Exec("INSERT INTO run (name, started, command, verdict, stamp) VALUES (?, ?, ?, ?, ?)", name, head.Started.UnixNano(), cut(string(command), maxText), said, ended)
		if err != nil {
			return err
		}
		if id, err = row.LastInsertId(); err != nil {
			return err
		}
	} else if _, err := w.tx.Exec("UPDATE run SET verdict = ?, stamp = ? WHERE id = ?", said, ended, id); err != nil {
		return err
	}
	changed := fresh
	had, err := column(w.tx, "SELECT name FROM cell WHERE run = ?", id)
	if err != nil {
		return err
	}
	for _, cell := range had {
		if slices.Contains(head.Cells, cell) {
			continue
		}
		if err := forgetCells(w.tx, "run = ? AND name = ?", id, cell); err != nil {
			return err
		}
		done.replaced = true
	}
	for _, cell := range head.Cells {
		if !filepath.IsLocal(cell) || strings.ContainsAny(cell, `/\`) {
			note(fmt.Errorf("cell %q is no name of a folder", cut(cell, maxName)))
			continue
		}
		n, err := w.cell(id, head.Started, results.CellDir(dir, cell), cell, done)
		var unread *unreadable
		switch {
		case errors.As(err, &unread):
			note(unread)
		case err != nil:
			return err
		}
		changed = changed || n > 0
		done.Results += n
	}
	if changed {
		done.Runs++
	}
	return nil
}

// unreadable is an error of a run directory, not of the index.
type unreadable struct{ error }

func (u *unreadable) Unwrap() error { return u.error }

// cell writes the results of a cell that has come to its end, and says how
// many it wrote: none when the index has them already.
func (w *writer) cell(run int64, started time.Time, dir, name string, done *Change) (int, error) {
	path := filepath.Join(dir, "verdict.json")
	now, err := stamp(path)
	if err != nil {
		return 0, &unreadable{err}
	}
	var id int64
	var known string
	err = w.tx.QueryRow("SELECT id, stamp FROM cell WHERE run = ? AND name = ?", run, name).Scan(&id, &known)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return 0, err
	}
	if err == nil && known == now {
		return 0, nil
	}
	if id != 0 {
		if err := forgetCells(w.tx, "id = ?", id); err != nil {
			return 0, err
		}
		done.replaced = true
	}
	if now == "" {
		return 0, nil
	}
	var c verdict.Cell
	if err := results.ReadJSON(path, &c); err != nil {
		return 0, &unreadable{err}
	}
	place, err := w.id(places, Key(c.Kernel, c.Machine), cut(name, maxName))
	if err != nil {
		return 0, err
	}
	row, err := w.tx.Exec("INSERT INTO cell (run, place, started, name, build, verdict, reason, wall, stamp) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
		run, place, started.UnixNano(), name, cut(c.Kernel.Build, maxName), string(c.Verdict), cut(c.Reason, maxText), c.Wall, now)
	if err != nil {
		return 0, err
	}
	if id, err = row.LastInsertId(); err != nil {
		return 0, err
	}
	return w.tests(id, started, &c)
}

// tests writes what is in a cell.
func (w *writer) tests(cell int64, started time.Time, c *verdict.Cell) (n int, err error) {
	if w.result == nil {
		w.result, err = w.tx.Prepare("INSERT INTO result (test, started, cell, program, ord, verdict, reason, wall, fingerprint, follows) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")
		if err != nil {
			return 0, err
		}
	}
	type at struct{ program, test int }
	problems := make(map[at]failure.Problem)
	for _, p := range failure.Problems(c) {
		problems[at{p.Program, p.Test}] = p
	}
	for i, p := range c.Programs {
		if _, err := w.tx.Exec("INSERT INTO program (cell, ord, name, verdict, wall) VALUES (?, ?, ?, ?, ?)", cell, i, cut(p.Name, maxName), string(p.Verdict), p.Wall); err != nil {
			return n, err
		}
		for j, t := range p.Tests {
			test, err := w.id(tests, cut(failure.Name(p.Name, t.Name), maxName), cut(t.Name, maxName))
			if err != nil {
				return n, err
			}
			reason, err := w.id(texts, cut(t.Reason, maxText))
			if err != nil {
				return n, err
			}
			problem := problems[at{i, j}]
			if _, err := w.result.Exec(test, started.UnixNano(), cell, i, j, string(t.Verdict), reason, t.Wall, number(problem.Fingerprint), problem.Follows); err != nil {
				return n, err
			}
			n++
		}
	}
	return n, nil
}

// The tables of values that are kept once.
const (
	places = iota
	tests
	texts
)

// id finds the row of a value, or makes one.
func (w *writer) id(table int, values ...string) (int64, error) {
	key := strings.Join(values, "\x00")
	if id, ok := w.ids[table][key]; ok {
		return id, nil
	}
	find := [...]string{"SELECT id FROM place WHERE key = ?1", "SELECT id FROM test WHERE title = ?1 AND name = ?2", "SELECT id FROM text WHERE text = ?1"}[table]
	add := [...]string{"INSERT INTO place (key, name) VALUES (?1, ?2)", "INSERT INTO test (title, name) VALUES (?1, ?2)", "INSERT INTO text (text) VALUES (?1)"}[table]
	args := make([]any, len(values))
	for i, v := range values {
		args[i] = v
	}
	var id int64
	err := w.tx.QueryRow(find, args...).Scan(&id)
	if errors.Is(err, sql.ErrNoRows) {
		var row sql.Result
		if row, err = w.tx.Exec(add, args...); err == nil {
			id, err = row.LastInsertId()
		}
	}
	if err != nil {
		return 0, err
	}
	if w.ids[table] == nil {
		w.ids[table] = make(map[string]int64)
	}
	w.ids[table][key] = id
	return id, nil
}

// Key is what a cell is in every run of the same: the same source as it was
// asked for, the same series, configuration and compiler, the same machine.
func Key(k results.Kernel, m results.Machine) string {
	compiler := "gcc"
	if strings.Contains(k.Compiler, "clang") {
		compiler = "clang"
	}
	text, _ := json.Marshal([]any{ // of strings and numbers, which cannot fail
		k.Source, k.Series, k.Config, compiler,
		m.Topology, m.Devices, m.CPUs, m.MemoryMiB, m.Accel, m.Privileges, m.Parameters,
	})
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:8])
}

// stamp changes when a file does. It is empty where there is none.
func stamp(path string) (string, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%d %d", info.ModTime().UnixNano(), info.Size()), nil
}

// concluded is the verdict that a run ended with.
func concluded(dir, ended string) (string, error) {
	if ended == "" {
		return "", nil
	}
	var said struct {
		Verdict string `json:"verdict"`
	}
	if err := results.ReadJSON(filepath.Join(dir, results.ConclusionJSON), &said); err != nil {
		return "", err
	}
	return cut(said.Verdict, maxName), nil
}

// cut is the beginning of a text, in valid UTF-8.
func cut(s string, n int) string {
	return strings.ToValidUTF8(s[:min(len(s), n)], "")
}

// number and digits are two forms of a fingerprint.
func number(fingerprint string) int64 {
	n, _ := strconv.ParseInt(fingerprint, 16, 64)
	return n
}

func digits(n int64) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("%012x", n)
}
