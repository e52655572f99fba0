// SPDX-License-Identifier: Apache-2.0

package index

import (
	"context"
	"fmt"
	"math"
	"os"
	"testing"
	"time"

	"noiommu-farm/results/verdict"
)

func TestRate(t *testing.T) {
	for _, c := range []struct {
		bad, of   int
		low, high float64 // as R's binom::binom.wilson gives them
	}{
		{0, 0, 0, 1},
		{0, 10, 0, 0.2775328},
		{1, 10, 0.0178762, 0.4041500},
		{5, 10, 0.2365931, 0.7634069},
		{10, 10, 0.7224672, 1},
		{3, 1000, 0.0010207, 0.0087830},
	} {
		got := NewRate(c.bad, c.of)
		if math.Abs(got.Low-c.low) > 1e-6 || math.Abs(got.High-c.high) > 1e-6 {
			t.Errorf("%d of %d: %.7f to %.7f, want %.7f to %.7f", c.bad, c.of, got.Low, got.High, c.low, c.high)
		}
	}
}

func TestSummarize(t *testing.T) {
	for _, c := range []struct {
		name     string
		history  string // a letter a result: of build 1, lower case, or build 2
		firstBad int    // index; -1 for none
		lastGood int
		bad, of  int
	}{
		{"nothing", "", -1, -1, 0, 0},
		{"only passes", "ppp", -1, 2, 0, 3},
		{"broken by a new kernel", "pppFFF", 3, 2, 0, 3},
		{"flaky", "pfpp", -1, 3, 1, 4},
		{"flaky and bad now", "pfpf", 3, 2, 2, 4},
		{"skips and the farm's failures say nothing", "psfifs", 2, 0, 2, 3},
		{"mended", "fffPP", -1, 4, 0, 2},
		{"not run because of another", "pnp", -1, 2, 0, 2},
		{"never passed", "ff", 0, -1, 0, 0},
	} {
		var history []Result
		for _, letter := range c.history {
			r := Result{Build: "1", Wall: time.Second}
			if letter < 'a' {
				r.Build = "2"
			}
			switch letter | 0x20 {
			case 'p':
				r.Verdict = verdict.Pass
			case 'f':
				r.Verdict = verdict.Fail
			case 'n':
				r.Verdict, r.Follows = verdict.Crash, true
			case 's':
				r.Verdict = verdict.Skip
			case 'i':
				r.Verdict = verdict.Infra
			}
			history = append(history, r)
		}
		s := summarize(history)
		at := func(r *Result) int {
			for i := range history {
				if r == &history[i] {
					return i
				}
			}
			return -1
		}
		if at(s.FirstBad) != c.firstBad || at(s.LastGood) != c.lastGood || s.Flaky.Bad != c.bad || s.Flaky.Of != c.of {
			t.Errorf("%s: first bad %d, last good %d, flaky %d of %d", c.name, at(s.FirstBad), at(s.LastGood), s.Flaky.Bad, s.Flaky.Of)
		}
	}
}

func TestHistory(t *testing.T) {
	ctx := context.Background()
	runs := t.TempDir()
	for i, v := range []verdict.Verdict{verdict.Pass, verdict.Pass, verdict.Fail, verdict.Fail} {
		run := addRun(t, runs, i, "a_x", "b_x")
		reason := ""
		if v == verdict.Fail {
			reason = fmt.Sprintf("get_pa.go:%d: %#x is wrong", 40+i, 0x123450+i)
		}
		endCell(t, run, "a_x", fmt.Sprint("build ", v), test(2, v, reason), test(22, verdict.Pass, ""))
		endCell(t, run, "b_x", "build", test(2, verdict.Pass, ""))
	}
	x := open(t, runs)
	defer x.Close()
	if _, err := x.Update(ctx); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"PA-02", "get_pa.PA-02"} {
		all, err := x.History(ctx, name)
		if err != nil || len(all) != 2 {
			t.Fatalf("%s: %+v, %v", name, all, err)
		}
		a, b := all[0], all[1]
		if a.Cell != "a_x" || len(a.Results) != 4 || a.FirstBad == nil || a.FirstBad.Run != "run-00002" || a.LastGood.Run != "run-00001" || a.Took != 2*time.Millisecond || a.Key == b.Key {
			t.Errorf("%s in a: %+v", name, a)
		}
		if p := a.Results[2].Fingerprint; len(p) != 12 || p != a.Results[3].Fingerprint || a.Results[0].Fingerprint != "" {
			t.Errorf("fingerprints: %+v", a.Results)
		}
		if b.FirstBad != nil || b.Flaky.Of != 4 || b.Flaky.Bad != 0 {
			t.Errorf("%s in b: %+v", name, b)
		}
	}
	for _, name := range []string{"", "%", "PA-0_", "PA-99", "'; DROP TABLE run; --"} {
		if all, err := x.History(ctx, name); err != nil || len(all) != 0 {
			t.Errorf("%q: %+v, %v", name, all, err)
		}
	}
	if names, err := x.Tests(ctx, "pa-", 1); err != nil || len(names) != 1 || names[0] != "get_pa.PA-02" {
		t.Errorf("%q, %v", names, err)
	}

	all, err := x.History(ctx, "PA-02")
	if err != nil {
		t.Fatal(err)
	}
	cells, err := x.Cells(ctx, all[0].Key, epoch.AddDate(0, 0, 3), 2)
	if err != nil || len(cells) != 2 || cells[0].Run != "run-00002" || cells[1].Run != "run-00001" {
		t.Fatalf("%+v, %v", cells, err)
	}
	if p := cells[0].Programs; len(p) != 1 || p[0].Name != "get_pa" || p[0].Wall != time.Second || len(p[0].Tests) != 2 ||
		p[0].Tests[0].Verdict != verdict.Fail || p[0].Tests[1].Name != "get_pa.PA-22" || p[0].Tests[1].Wall != 22*time.Millisecond {
		t.Errorf("%+v", cells[0])
	}
	if cells, err := x.Cells(ctx, "no such", epoch, 2); err != nil || len(cells) != 0 {
		t.Errorf("%+v, %v", cells, err)
	}
}

// million is a directory of runs with 1,000,000 results: 143 runs of 20 cells
// of 350 tests, one in a hundred bad.
func million(b *testing.B) string {
	b.Helper()
	runs := b.TempDir()
	for i := range 143 {
		var cells []string
		for c := range 20 {
			cells = append(cells, fmt.Sprintf("source%d_x", c))
		}
		run := addRun(b, runs, i, cells...)
		for c, name := range cells {
			tests := make([]verdict.Test, 350)
			for n := range tests {
				tests[n] = test(n, verdict.Pass, "")
				if (n+i+c)%100 == 0 {
					tests[n] = test(n, verdict.Fail, fmt.Sprintf("get_pa.go:41: %d is wrong", (n+c)%7))
				}
			}
			endCell(b, run, name, fmt.Sprint(i/10), tests...)
		}
		endRun(b, run, verdict.Fail)
	}
	return runs
}

func BenchmarkIndex(b *testing.B) {
	ctx := context.Background()
	runs := million(b)
	var x *Index
	b.Run("update", func(b *testing.B) {
		for b.Loop() {
			if x != nil {
				must(b, x.Close())
			}
			must(b, Remove(runs))
			x = open(b, runs)
			done, err := x.Update(ctx)
			if err != nil || done.Results != 1_001_000 {
				b.Fatal(done, err)
			}
		}
		b.ReportMetric(1_001_000*float64(b.N)/b.Elapsed().Seconds(), "results/s")
		info, err := os.Stat(runs + "/" + File)
		must(b, err)
		b.ReportMetric(float64(info.Size())/(1<<20), "MiB")
	})
	b.Run("nothing-new", func(b *testing.B) {
		for b.Loop() {
			if _, err := x.Update(ctx); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("history", func(b *testing.B) {
		for b.Loop() {
			all, err := x.History(ctx, "PA-41")
			if err != nil || len(all) != 20 || len(all[0].Results) != 143 {
				b.Fatal(len(all), err)
			}
		}
	})
	b.Run("cells", func(b *testing.B) {
		all, err := x.History(ctx, "PA-41")
		must(b, err)
		for b.Loop() {
			if cells, err := x.Cells(ctx, all[0].Key, time.Now().AddDate(10, 0, 0), 20); err != nil || len(cells) != 20 {
				b.Fatal(len(cells), err)
			}
		}
	})
	b.Run("rebuild", func(b *testing.B) {
		for b.Loop() {
			if _, err := x.Rebuild(ctx); err != nil {
				b.Fatal(err)
			}
		}
	})
	must(b, x.Close())
}
