// SPDX-License-Identifier: Apache-2.0

package index

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"noiommu-farm/results/failure"
	"noiommu-farm/results/verdict"
)

// collected makes ten runs of a cell, of which so many are as expected, the
// others fail, and gives the index of them.
func collected(t *testing.T, runs, letters string) *Index {
	t.Helper()
	for i, letter := range letters {
		run := addRun(t, runs, i, "a_x")
		one := test(1, verdict.Pass, "")
		switch letter {
		case 'f':
			one = test(1, verdict.Fail, "no")
		case 'g':
			one = test(1, verdict.Fail, "another")
		}
		endCell(t, run, "a_x", "k", one)
		must(t, os.WriteFile(filepath.Join(run, "console.log"), make([]byte, 1<<20), 0o644))
		if letter != 'r' { // it runs
			endRun(t, run, one.Verdict)
		}
	}
	x := open(t, runs)
	if _, err := x.Update(context.Background()); err != nil {
		t.Fatal(err)
	}
	return x
}

func TestPlan(t *testing.T) {
	known := failure.Of(test(1, verdict.Fail, "no")).Fingerprint("get_pa.PA-01")
	for _, c := range []struct {
		name    string
		letters string // a run each, a day each
		days    int    // runs before this day go; 0 for none
		bytes   int64
		known   []string
		want    string            // a letter a run: x goes, + is kept although it would go, . stays
		why     map[string]string // of those that are kept
	}{
		{"nothing is asked for", "pppp", 0, -1, nil, "....", nil},
		{"by age", "pppp", 2, -1, nil, "xx..", nil},
		{"the last green", "pffff", 4, -1, nil, "+xxx.", map[string]string{"run-00000": "a_x was as expected"}},
		{"a known issue", "fgpp", 3, -1, []string{known, "000000000001"}, "+xx.", map[string]string{"run-00000": known}},
		{"the newest", "pppp", 100, -1, nil, "xxx+", map[string]string{"run-00003": "newest"}},
		{"what has not ended", "rp", 100, -1, nil, "++", map[string]string{"run-00000": "not ended", "run-00001": "newest"}},
		{"by size", "pppp", 0, 5 << 19, nil, "xx..", nil},
		{"by size, and the last green", "pfff", 0, 5 << 19, nil, "+xx.", map[string]string{"run-00000": "as expected"}},
		{"no size at all", "pp", 0, 0, nil, "x+", map[string]string{"run-00001": "newest"}},
		{"no runs", "", 0, 0, nil, "", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			runs := t.TempDir()
			x := collected(t, runs, c.letters)
			defer x.Close()
			limits := Limits{Bytes: c.bytes, Known: c.known}
			if c.days > 0 {
				limits.Before = epoch.AddDate(0, 0, c.days)
			}
			plan, err := x.Plan(context.Background(), limits)
			must(t, err)
			var got strings.Builder
			why := make(map[string]string)
			for _, k := range plan {
				switch {
				case k.Goes:
					got.WriteByte('x')
				case k.Why != "":
					got.WriteByte('+')
					why[k.Run] = k.Why
				default:
					got.WriteByte('.')
				}
			}
			if got.String() != c.want {
				t.Errorf("%s, want %s: %+v", got.String(), c.want, plan)
			}
			for run, text := range c.why {
				if !strings.Contains(why[run], text) {
					t.Errorf("%s is kept because %q, want %q", run, why[run], text)
				}
			}
			// Nothing is removed by planning.
			names, err := x.names()
			if err != nil || len(names) != len(c.letters) {
				t.Errorf("%d runs are left, %v", len(names), err)
			}
		})
	}
}

// A run that a farm resumed is its own, whatever it ended with before.
func TestPlanKeepsLocked(t *testing.T) {
	runs := t.TempDir()
	x := collected(t, runs, "fp")
	defer x.Close()
	lock, err := os.Create(filepath.Join(runs, "run-00000", "lock"))
	must(t, err)
	for _, held := range []bool{true, false} {
		if held {
			must(t, unix.Flock(int(lock.Fd()), unix.LOCK_EX))
		} else {
			must(t, lock.Close())
		}
		plan, err := x.Plan(context.Background(), Limits{Bytes: 0})
		if err != nil || plan[0].Goes == held || held && plan[0].Why != "it goes on" {
			t.Errorf("held %v: %+v, %v", held, plan, err)
		}
	}
}

func TestCollect(t *testing.T) {
	ctx := context.Background()
	runs, elsewhere := t.TempDir(), t.TempDir()
	x := collected(t, runs, "pppp")
	defer x.Close()
	must(t, os.WriteFile(filepath.Join(elsewhere, "mine"), nil, 0o644))
	must(t, os.Symlink(elsewhere, filepath.Join(runs, "run-00000", "out")))
	must(t, os.Mkdir(filepath.Join(runs, removed+"run-x"), 0o755)) // of a collection that was killed
	plan, err := x.Plan(ctx, Limits{Before: epoch.AddDate(0, 0, 2), Bytes: -1})
	must(t, err)
	must(t, x.Collect(ctx, plan))
	left, err := filepath.Glob(filepath.Join(runs, "*run-*"))
	must(t, err)
	for i := range left {
		left[i] = filepath.Base(left[i])
	}
	if diff := cmp.Diff([]string{"run-00002", "run-00003"}, left); diff != "" {
		t.Errorf("left (-want +got):\n%s", diff)
	}
	if _, err := os.Stat(filepath.Join(elsewhere, "mine")); err != nil {
		t.Errorf("a link was followed: %v", err)
	}
	all, err := x.History(ctx, "PA-01")
	if err != nil || len(all) != 1 || len(all[0].Results) != 2 {
		t.Errorf("history of what is left: %+v, %v", all, err)
	}
}

func TestFirstSeen(t *testing.T) {
	ctx := context.Background()
	x := collected(t, t.TempDir(), "pfgf")
	defer x.Close()
	got := make(map[string]string)
	for _, reason := range []string{"no", "another", "neither"} {
		run, err := x.FirstSeen(ctx, failure.Of(test(1, verdict.Fail, reason)).Fingerprint("get_pa.PA-01"))
		must(t, err)
		got[reason] = run
	}
	if want := map[string]string{"no": "run-00001", "another": "run-00002", "neither": ""}; !maps.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if run, err := x.FirstSeen(ctx, ""); err != nil || run != "" {
		t.Errorf("no fingerprint at all was seen in %q, %v", run, err)
	}
}

// A directory of runs is measured while a farm writes to it.
func TestMeasure(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "a"), make([]byte, 100), 0o644))
	must(t, os.Symlink("/", filepath.Join(dir, "root")))
	bytes, written, err := measure(dir)
	if err != nil || bytes != 100 || time.Since(written) > time.Hour {
		t.Errorf("%d bytes, written %s, %v", bytes, written, err)
	}
}
