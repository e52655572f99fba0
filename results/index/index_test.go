// SPDX-License-Identifier: Apache-2.0

package index

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"noiommu-farm/results"
	"noiommu-farm/results/verdict"
)

// indexIn is set in the environment of a child that brings an index up to date.
const indexIn = "INDEX_TEST_RUNS"

func TestMain(m *testing.M) {
	if runs := os.Getenv(indexIn); runs != "" {
		x, err := Open(context.Background(), runs)
		if err == nil {
			fmt.Println("open")
			_, err = x.Update(context.Background())
		}
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// fataler is of a test, or of one trial of a property.
type fataler interface {
	Helper()
	Fatal(...any)
	Fatalf(string, ...any)
}

func must(t fataler, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

var epoch = time.Date(2026, 1, 1, 2, 0, 0, 0, time.UTC)

// addRun makes the head of the nth run, with cells that have not ended.
func addRun(t fataler, runs string, n int, cells ...string) string {
	t.Helper()
	dir := filepath.Join(runs, fmt.Sprintf("run-%05d", n))
	must(t, os.MkdirAll(filepath.Join(dir, "cells"), 0o755))
	must(t, results.WriteJSON(filepath.Join(dir, "run.json"), results.Run{ID: filepath.Base(dir), Started: epoch.AddDate(0, 0, n), Command: []string{"farm", "run"}, Cells: cells}))
	return dir
}

// endCell writes a cell's verdict, of the source that its name begins with.
func endCell(t fataler, run, name, build string, tests ...verdict.Test) {
	t.Helper()
	dir := results.CellDir(run, name)
	must(t, os.MkdirAll(dir, 0o755))
	source, _, _ := strings.Cut(name, "_")
	c := verdict.Cell{Name: name, Kernel: results.Kernel{Source: source, Build: build}, Machine: results.Machine{Topology: "none"}, Wall: time.Minute,
		Programs: []verdict.Program{{Name: "get_pa", Tests: tests, Wall: time.Second}}}
	for _, test := range tests {
		c.Programs[0].Verdict = verdict.Worst(c.Programs[0].Verdict, test.Verdict)
	}
	c.Verdict = c.Programs[0].Verdict
	must(t, results.WriteJSON(filepath.Join(dir, "verdict.json"), c))
}

func endRun(t fataler, run string, v verdict.Verdict) {
	t.Helper()
	must(t, results.WriteJSON(filepath.Join(run, "results.json"), map[string]any{"verdict": v}))
}

func open(t fataler, runs string) *Index {
	t.Helper()
	x, err := Open(context.Background(), runs)
	must(t, err)
	return x
}

// dump is all that an index says, whatever numbers its rows have.
func dump(t fataler, x *Index) []string {
	t.Helper()
	var all []string
	for _, query := range []string{
		"SELECT 'run ' || name || ' ' || started || ' ' || command || ' ' || verdict FROM run",
		"SELECT 'cell ' || run.name || ' ' || cell.name || ' ' || place.key || ' ' || cell.started || ' ' || cell.build || ' ' || cell.verdict || ' ' || cell.reason || ' ' || cell.wall FROM cell JOIN run ON run.id = cell.run JOIN place ON place.id = cell.place",
		"SELECT 'program ' || run.name || ' ' || cell.name || ' ' || ord || ' ' || program.name || ' ' || program.verdict || ' ' || program.wall FROM program JOIN cell ON cell.id = program.cell JOIN run ON run.id = cell.run",
		"SELECT 'result ' || run.name || ' ' || cell.name || ' ' || program || ' ' || ord || ' ' || test.title || ' ' || test.name || ' ' || result.started || ' ' || result.verdict || ' ' || text.text || ' ' || result.wall || ' ' || fingerprint || ' ' || follows FROM result JOIN test ON test.id = result.test JOIN cell ON cell.id = result.cell JOIN run ON run.id = cell.run JOIN text ON text.id = result.reason",
		"SELECT 'check ' || integrity_check FROM pragma_integrity_check",
	} {
		tx, err := x.db.Begin()
		must(t, err)
		lines, err := column(tx, query+" ORDER BY 1")
		must(t, err)
		must(t, tx.Rollback())
		all = append(all, lines...)
	}
	return all
}

func test(n int, v verdict.Verdict, reason string) verdict.Test {
	return verdict.Test{Name: fmt.Sprintf("get_pa.PA-%02d", n), Verdict: v, Reason: reason, Wall: time.Duration(n) * time.Millisecond}
}

// Whatever happens to run directories, and whenever the index is brought up to
// date, it has what one that is made anew has.
func TestUpdateIsRebuild(t *testing.T) {
	runs := t.TempDir()
	x := open(t, runs)
	defer x.Close()
	rapid.Check(t, func(r *rapid.T) {
		left, err := filepath.Glob(filepath.Join(runs, "run-*"))
		must(r, err)
		for _, dir := range left {
			must(r, os.RemoveAll(dir))
		}
		update := func() {
			if _, err := x.Update(context.Background()); err != nil {
				r.Fatal(err)
			}
		}
		// A file's size says that it was written again where its time does
		// not, so no two are alike.
		written := 0
		for range rapid.IntRange(1, 16).Draw(r, "steps") {
			number := rapid.IntRange(0, 3).Draw(r, "run")
			run := filepath.Join(runs, fmt.Sprintf("run-%05d", number))
			switch rapid.IntRange(0, 6).Draw(r, "step") {
			case 0:
				if _, err := os.Stat(run); err != nil {
					addRun(r, runs, number, "a_x", "b_x", "../c")
				}
			case 1, 2:
				if _, err := os.Stat(run); err != nil {
					continue
				}
				written++
				cell := rapid.SampledFrom([]string{"a_x", "b_x"}).Draw(r, "cell")
				reason := rapid.SampledFrom([]string{"no", "0x12345678 is wrong"}).Draw(r, "reason")
				endCell(r, run, cell, "k", test(1, verdict.Pass, ""), test(2, verdict.Fail, reason+strings.Repeat("!", written)))
			case 3:
				if _, err := os.Stat(run); err == nil {
					written++
					endRun(r, run, verdict.Verdict(strings.Repeat("x", written)))
				}
			case 4:
				must(r, os.RemoveAll(run))
			case 5:
				update()
			case 6: // what cannot be read is not there
				broken := rapid.SampledFrom([]string{"run.json", "results.json", "cells/a_x/verdict.json"}).Draw(r, "broken")
				if _, err := os.Stat(filepath.Join(run, filepath.Dir(broken))); err == nil {
					written++
					must(r, os.WriteFile(filepath.Join(run, broken), []byte(strings.Repeat("{", written)), 0o644))
				}
			}
		}
		// A run that has ended is read again when its end is.
		dirs, err := filepath.Glob(filepath.Join(runs, "run-*"))
		must(r, err)
		for _, dir := range dirs {
			written++
			endRun(r, dir, verdict.Verdict(strings.Repeat("x", written)))
		}
		update()
		got := dump(r, x)
		if _, err := x.Rebuild(context.Background()); err != nil {
			r.Fatal(err)
		}
		if diff := cmp.Diff(dump(r, x), got); diff != "" {
			r.Fatalf("brought up to date it differs (-rebuilt +updated):\n%s", diff)
		}
	})
}

// perRun is how many tests a run of many has.
const perRun = 60

// many makes runs with enough in them to be killed in.
func many(t *testing.T, runs string, n int) {
	t.Helper()
	var tests []verdict.Test
	for i := range perRun {
		tests = append(tests, test(i, verdict.Pass, ""))
	}
	for i := range n {
		run := addRun(t, runs, i, "a_x")
		endCell(t, run, "a_x", "k", tests...)
		endRun(t, run, verdict.Pass)
	}
}

// Two farms that index at once leave what one does.
func TestAtOnce(t *testing.T) {
	runs := t.TempDir()
	many(t, runs, 20)
	var both sync.WaitGroup
	for range 3 {
		x := open(t, runs)
		defer x.Close()
		both.Go(func() {
			if _, err := x.Update(context.Background()); err != nil {
				t.Error(err)
			}
		})
	}
	both.Wait()
	x := open(t, runs)
	defer x.Close()
	got := dump(t, x)
	if _, err := x.Rebuild(context.Background()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(dump(t, x), got); diff != "" {
		t.Errorf("(-rebuilt +updated):\n%s", diff)
	}
}

// Killed at any moment, the index is right about the runs that it has, and the
// next one goes on.
func TestKilled(t *testing.T) {
	runs := t.TempDir()
	many(t, runs, 40)
	killed := 0
	for i := range 4 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), indexIn+"="+runs)
		out, err := cmd.StdoutPipe()
		must(t, err)
		must(t, cmd.Start())
		if _, err := out.Read(make([]byte, 1)); err != nil { // it is open
			t.Fatal(err)
		}
		x := open(t, runs)
		// Killed when it has so many more runs, whatever it is at then.
		for have := 0; have < (i+1)*8; {
			must(t, x.db.QueryRow("SELECT count(*) FROM run").Scan(&have))
		}
		must(t, cmd.Process.Kill())
		if cmd.Wait() != nil {
			killed++
		}
		var half int
		must(t, x.db.QueryRow("SELECT count(*) FROM run WHERE (SELECT count(*) FROM result JOIN cell ON cell.id = result.cell WHERE cell.run = run.id) != ?", perRun).Scan(&half))
		if half > 0 {
			t.Errorf("%d runs are there by half", half)
		}
		must(t, x.Close())
	}
	if killed == 0 {
		t.Error("none was killed before its end")
	}
	x := open(t, runs)
	defer x.Close()
	if _, err := x.Update(context.Background()); err != nil {
		t.Fatal(err)
	}
	got := dump(t, x)
	if _, err := x.Rebuild(context.Background()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(dump(t, x), got); diff != "" {
		t.Errorf("(-rebuilt +updated):\n%s", diff)
	}
}

func TestDamaged(t *testing.T) {
	runs := t.TempDir()
	many(t, runs, 2)
	must(t, os.WriteFile(filepath.Join(runs, File), []byte(strings.Repeat("no index. ", 1000)), 0o644))
	if x, err := Open(context.Background(), runs); !errors.Is(err, ErrDamaged) {
		t.Fatalf("opened as %v, %v", x, err)
	}
	must(t, Remove(runs))
	x := open(t, runs)
	defer x.Close()
	if done, err := x.Update(context.Background()); err != nil || done.Results != 2*perRun || done.Runs != 2 {
		t.Errorf("%+v, %v", done, err)
	}
	if done, err := x.Update(context.Background()); err != nil || done.Results != 0 || done.Runs != 0 {
		t.Errorf("nothing has changed, but: %+v, %v", done, err)
	}
}

// An index of another version is made again.
func TestOtherLayout(t *testing.T) {
	runs := t.TempDir()
	many(t, runs, 2)
	x := open(t, runs)
	if _, err := x.Update(context.Background()); err != nil {
		t.Fatal(err)
	}
	if _, err := x.db.Exec("CREATE TABLE more (x); PRAGMA user_version = 77"); err != nil {
		t.Fatal(err)
	}
	must(t, x.Close())
	x = open(t, runs)
	defer x.Close()
	if done, err := x.Update(context.Background()); err != nil || done.Results != 2*perRun {
		t.Errorf("%+v, %v", done, err)
	}
}

// What cannot be read is told, and stops nothing.
func TestUnreadable(t *testing.T) {
	runs := t.TempDir()
	many(t, runs, 1)
	bad := addRun(t, runs, 1, "a_x", "b_x", "../../etc")
	endCell(t, bad, "a_x", "k", test(1, verdict.Pass, ""))
	must(t, os.MkdirAll(results.CellDir(bad, "b_x"), 0o755))
	must(t, os.WriteFile(filepath.Join(results.CellDir(bad, "b_x"), "verdict.json"), []byte("{"), 0o644))
	broken := addRun(t, runs, 2)
	must(t, os.WriteFile(filepath.Join(broken, "run.json"), []byte("rubbish"), 0o644))
	long := addRun(t, runs, 3, "a_x")
	endCell(t, long, "a_x", "k", verdict.Test{Name: strings.Repeat("\xff", 1000), Verdict: verdict.Fail, Reason: strings.Repeat("é", 1<<16)})
	x := open(t, runs)
	defer x.Close()
	done, err := x.Update(context.Background())
	if err != nil || done.Results != perRun+2 || len(done.Notes) != 3 {
		t.Errorf("%+v, %v", done, err)
	}
}
