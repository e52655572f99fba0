// SPDX-License-Identifier: Apache-2.0

package index

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"noiommu-farm/results/verdict"
)

// Result is what a test did once.
type Result struct {
	Run         string          `json:"run"`
	Started     time.Time       `json:"started"` // the run
	Cell        string          `json:"cell"`
	Build       string          `json:"build"` // key of the kernel's build
	Verdict     verdict.Verdict `json:"verdict"`
	Reason      string          `json:"reason,omitempty"`
	Wall        time.Duration   `json:"wall_ns,omitempty"` // 0 when it is not known
	Fingerprint string          `json:"fingerprint,omitempty"`
	Follows     bool            `json:"follows,omitempty"` // only from another result with the same fingerprint
}

// History is what one test did in one cell of every run.
type History struct {
	Test    string   `json:"test"` // see failure.Name
	Key     string   `json:"key"`  // see Key
	Cell    string   `json:"cell"` // its name in the newest run
	Results []Result `json:"results"`
	Summary
}

// MaxHistory is how many results of one test are read, the newest.
const MaxHistory = 100_000

// historyQuery reads the tests' own rows first, and of the other tables only
// what belongs to them: SQLite must not choose another order.
const historyQuery = `
	SELECT test.title, place.key, run.name, cell.started, cell.name, cell.build, result.verdict, text.text, result.wall, result.fingerprint, result.follows
	FROM (SELECT id, title FROM test WHERE title = ?1 OR name = ?1 OR name LIKE '%.' || ?2 ESCAPE '\') AS test
	CROSS JOIN result ON result.test = test.id
	CROSS JOIN cell ON cell.id = result.cell
	CROSS JOIN place ON place.id = cell.place
	CROSS JOIN run ON run.id = cell.run
	CROSS JOIN text ON text.id = result.reason
	ORDER BY result.started DESC, run.name DESC, cell.name DESC, result.program DESC, result.ord DESC
	LIMIT ?3`

// History finds a test by its name, by the id of its statement ("PA-02") or by
// its own name in a program, and gives what it did in each cell, the oldest
// first. It is empty when no run has such a test.
func (x *Index) History(ctx context.Context, test string) ([]History, error) {
	rows, err := x.db.QueryContext(ctx, historyQuery, test, literal(test), MaxHistory)
	if err != nil {
		return nil, fmt.Errorf("history of %s: %w", test, damaged(err))
	}
	defer rows.Close()
	type which struct{ title, key string }
	at := make(map[which]int)
	var all []History
	for rows.Next() {
		var r Result
		var w which
		var started, print int64
		if err := rows.Scan(&w.title, &w.key, &r.Run, &started, &r.Cell, &r.Build, &r.Verdict, &r.Reason, &r.Wall, &print, &r.Follows); err != nil {
			return nil, fmt.Errorf("history of %s: %w", test, damaged(err))
		}
		r.Started, r.Fingerprint = time.Unix(0, started).UTC(), digits(print)
		i, ok := at[w]
		if !ok {
			i = len(all)
			at[w] = i
			all = append(all, History{Test: w.title, Key: w.key, Cell: r.Cell})
		}
		all[i].Results = append(all[i].Results, r)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("history of %s: %w", test, damaged(err))
	}
	for i := range all {
		slices.Reverse(all[i].Results)
		all[i].Summary = summarize(all[i].Results)
	}
	slices.SortFunc(all, func(a, b History) int {
		return strings.Compare(a.Test+"\x00"+a.Cell+"\x00"+a.Key, b.Test+"\x00"+b.Cell+"\x00"+b.Key)
	})
	return all, nil
}

// literal is a text that means itself in a LIKE pattern with ESCAPE '\'.
func literal(s string) string {
	return strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`).Replace(s)
}

// Tests lists the names of all tests of the index that contain a text, at most
// so many.
func (x *Index) Tests(ctx context.Context, contain string, most int) ([]string, error) {
	rows, err := x.db.QueryContext(ctx, `SELECT DISTINCT title FROM test WHERE title LIKE '%' || ? || '%' ESCAPE '\' ORDER BY title LIMIT ?`, literal(contain), most)
	if err != nil {
		return nil, fmt.Errorf("list tests: %w", damaged(err))
	}
	defer rows.Close()
	var all []string
	for rows.Next() {
		var one string
		if err := rows.Scan(&one); err != nil {
			return nil, fmt.Errorf("list tests: %w", damaged(err))
		}
		all = append(all, one)
	}
	return all, damaged(rows.Err())
}

// CellRun is what one cell did in one run.
type CellRun struct {
	Run      string
	Started  time.Time // the run
	Name     string
	Verdict  verdict.Verdict
	Wall     time.Duration
	Programs []ProgramRun // in the order of the cell
}

// ProgramRun is what one of its programs did.
type ProgramRun struct {
	Name    string
	Verdict verdict.Verdict
	Wall    time.Duration
	Tests   []TestRun // in the order of the program
}

// TestRun is what one test of it did.
type TestRun struct {
	Name        string // its own
	Verdict     verdict.Verdict
	Wall        time.Duration // 0 when it is not known
	Fingerprint string        // empty when it was as expected
}

// Cells gives what the cell with a key (see [Key]) did in the newest runs that
// began before a time, at most n of them, the newest first.
func (x *Index) Cells(ctx context.Context, key string, before time.Time, n int) ([]CellRun, error) {
	fail := func(err error) ([]CellRun, error) { return nil, fmt.Errorf("earlier runs of a cell: %w", damaged(err)) }
	rows, err := x.db.QueryContext(ctx, `
		SELECT cell.id, run.name, cell.started, cell.name, cell.verdict, cell.wall
		FROM cell JOIN run ON run.id = cell.run
		WHERE cell.place = (SELECT id FROM place WHERE key = ?) AND cell.started < ?
		ORDER BY cell.started DESC, run.name DESC, cell.name DESC LIMIT ?`, key, before.UnixNano(), n)
	if err != nil {
		return fail(err)
	}
	defer rows.Close()
	var all []CellRun
	var ids []int64
	for rows.Next() {
		var c CellRun
		var id, started int64
		if err := rows.Scan(&id, &c.Run, &started, &c.Name, &c.Verdict, &c.Wall); err != nil {
			return fail(err)
		}
		c.Started = time.Unix(0, started).UTC()
		all, ids = append(all, c), append(ids, id)
	}
	if err := rows.Err(); err != nil {
		return fail(err)
	}
	for i := range all {
		if all[i].Programs, err = x.programs(ctx, ids[i]); err != nil {
			return fail(err)
		}
	}
	return all, nil
}

func (x *Index) programs(ctx context.Context, cell int64) ([]ProgramRun, error) {
	rows, err := x.db.QueryContext(ctx, "SELECT name, verdict, wall FROM program WHERE cell = ? ORDER BY ord", cell)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []ProgramRun
	for rows.Next() {
		var p ProgramRun
		if err := rows.Scan(&p.Name, &p.Verdict, &p.Wall); err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	rows, err = x.db.QueryContext(ctx, `
		SELECT result.program, test.name, result.verdict, result.wall, result.fingerprint
		FROM result JOIN test ON test.id = result.test WHERE result.cell = ? ORDER BY result.program, result.ord`, cell)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var program int
		var print int64
		var t TestRun
		if err := rows.Scan(&program, &t.Name, &t.Verdict, &t.Wall, &print); err != nil {
			return nil, err
		}
		if program < 0 || program >= len(all) {
			return nil, fmt.Errorf("%w: a result of program %d of %d", ErrDamaged, program, len(all))
		}
		t.Fingerprint = digits(print)
		all[program].Tests = append(all[program].Tests, t)
	}
	return all, rows.Err()
}
