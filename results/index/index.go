// SPDX-License-Identifier: Apache-2.0

// Package index finds in many runs what one test did, without reading them.
//
// In comes a directory of run directories, which are the truth; out come
// histories. The index is one SQLite file beside them that can be thrown away:
// [Index.Rebuild] makes it again with the same content as [Index.Update] made
// it with run by run. What a cell said of itself when it ended (verdict.json)
// is taken as it is. The package never judges a cell, and it never writes to a
// run directory.
//
// One run at a time is written, whole or not at all, so a process that is
// killed leaves an index that is right about fewer runs. Several processes of
// one machine may use the same index at once; on a file system that several
// machines share, only one of them may (https://sqlite.org/wal.html).
package index

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// File is the name of the index in a directory of runs.
const File = "index.sqlite"

// busyMS is how long a statement waits for another process, in milliseconds:
// as long as a rebuild may take.
const busyMS = 120_000

// layout is the version of the tables, and of what fingerprints are made of. An
// index with another one is emptied.
const layout = 1

// tables are those of the index. A place is what a cell is in every run: the
// key says which. Times are in nanoseconds since 1970, durations in
// nanoseconds, fingerprints numbers of 48 bits and 0 for none.
const tables = `
CREATE TABLE run (
	id      INTEGER PRIMARY KEY,
	name    TEXT NOT NULL UNIQUE,
	started INTEGER NOT NULL,
	command TEXT NOT NULL,
	verdict TEXT NOT NULL, -- empty: it has not ended
	stamp   TEXT NOT NULL
);
CREATE TABLE place (
	id   INTEGER PRIMARY KEY,
	key  TEXT NOT NULL UNIQUE,
	name TEXT NOT NULL -- of its cell when it was first seen
);
CREATE TABLE cell (
	id      INTEGER PRIMARY KEY,
	run     INTEGER NOT NULL REFERENCES run,
	place   INTEGER NOT NULL REFERENCES place,
	started INTEGER NOT NULL, -- its run
	name    TEXT NOT NULL,
	build   TEXT NOT NULL,
	verdict TEXT NOT NULL,
	reason  TEXT NOT NULL,
	wall    INTEGER NOT NULL,
	stamp   TEXT NOT NULL,
	UNIQUE (run, name)
);
CREATE INDEX cell_by_place ON cell (place, started);
CREATE TABLE program (
	cell    INTEGER NOT NULL REFERENCES cell,
	ord     INTEGER NOT NULL,
	name    TEXT NOT NULL,
	verdict TEXT NOT NULL,
	wall    INTEGER NOT NULL,
	PRIMARY KEY (cell, ord)
) WITHOUT ROWID;
CREATE TABLE test (
	id    INTEGER PRIMARY KEY,
	title TEXT NOT NULL, -- see failure.Name
	name  TEXT NOT NULL,
	UNIQUE (title, name)
);
CREATE TABLE text (
	id   INTEGER PRIMARY KEY,
	text TEXT NOT NULL UNIQUE
);
CREATE TABLE result (
	test        INTEGER NOT NULL REFERENCES test,
	started     INTEGER NOT NULL, -- its run
	cell        INTEGER NOT NULL REFERENCES cell,
	program     INTEGER NOT NULL, -- ord
	ord         INTEGER NOT NULL,
	verdict     TEXT NOT NULL,
	reason      INTEGER NOT NULL REFERENCES text,
	wall        INTEGER NOT NULL,
	fingerprint INTEGER NOT NULL,
	follows     INTEGER NOT NULL, -- 1: from another result with the same fingerprint
	PRIMARY KEY (test, started, cell, program, ord)
) WITHOUT ROWID;
CREATE INDEX result_by_cell ON result (cell);
CREATE INDEX result_by_problem ON result (fingerprint, started) WHERE fingerprint != 0;
`

// Index is an open index of a directory of runs.
type Index struct {
	db   *sql.DB
	runs string
}

// Open opens the index of a directory of runs, and makes an empty one where
// there is none. A file that is no index, or a damaged one, is [ErrDamaged].
func Open(ctx context.Context, runs string) (*Index, error) {
	path, err := filepath.Abs(filepath.Join(runs, File))
	if err != nil {
		return nil, fmt.Errorf("open index: %w", err)
	}
	if err := os.MkdirAll(runs, 0o755); err != nil {
		return nil, fmt.Errorf("open index: %w", err)
	}
	name := url.URL{Scheme: "file", Path: path, RawQuery: fmt.Sprintf(
		"_txlock=immediate&_pragma=busy_timeout(%d)&_pragma=journal_mode(WAL)&_pragma=synchronous(NORMAL)", busyMS)}
	db, err := sql.Open("sqlite", name.String())
	if err != nil {
		return nil, fmt.Errorf("open index: %w", err)
	}
	x := &Index{db: db, runs: runs}
	if err := x.within(ctx, prepare); err != nil {
		db.Close()
		return nil, fmt.Errorf("open index %s: %w", path, err)
	}
	return x, nil
}

// Close closes the index.
func (x *Index) Close() error { return x.db.Close() }

// ErrDamaged says that the file is no index that can be read. Remove makes room
// for a new one.
var ErrDamaged = errors.New("the file is damaged, or no index")

// Remove removes the index of a directory of runs, which nobody may have open.
func Remove(runs string) error {
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if err := os.Remove(filepath.Join(runs, File+suffix)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove index: %w", err)
		}
	}
	return nil
}

// prepare makes the tables, where they are not there as this program knows
// them.
func prepare(tx *sql.Tx) error {
	var version int
	if err := tx.QueryRow("PRAGMA user_version").Scan(&version); err != nil {
		return err
	}
	if version == layout {
		return nil
	}
	for _, kind := range []string{"index", "table"} {
		if err := drop(tx, kind); err != nil {
			return err
		}
	}
	_, err := tx.Exec(tables + fmt.Sprintf("PRAGMA user_version = %d", layout))
	return err
}

func drop(tx *sql.Tx, kind string) error {
	rows, err := tx.Query("SELECT name FROM sqlite_schema WHERE type = ? AND name NOT LIKE 'sqlite_%'", kind)
	if err != nil {
		return err
	}
	defer rows.Close()
	var names []string
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return err
		}
		names = append(names, name)
	}
	if err := rows.Err(); err != nil {
		return err
	}
	for _, name := range names {
		if _, err := tx.Exec(fmt.Sprintf("DROP %s %q", kind, name)); err != nil {
			return err
		}
	}
	return nil
}

// within does something in one transaction that no other writer is in.
func (x *Index) within(ctx context.Context, do func(*sql.Tx) error) error {
	tx, err := x.db.BeginTx(ctx, nil)
	if err != nil {
		return damaged(err)
	}
	defer tx.Rollback()
	if err := do(tx); err != nil {
		return damaged(err)
	}
	return damaged(tx.Commit())
}

// damaged marks the errors of SQLite that a new index mends.
func damaged(err error) error {
	var e *sqlite.Error
	if errors.As(err, &e) {
		switch e.Code() & 0xff {
		case sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT:
			return fmt.Errorf("%w: %w", ErrDamaged, err)
		}
	}
	return err
}
