// SPDX-License-Identifier: Apache-2.0

package gate

import (
	"errors"
	"math/bits"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"noiommu-farm/kernels/series"
)

// Whatever cannot be tried: the first bad state is among those named, no good
// one before a known good one is, and without skips it is found alone in
// logarithmic time.
func TestSearch(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		n := rapid.IntRange(1, 200).Draw(r, "n")
		first := rapid.IntRange(1, n).Draw(r, "first bad")
		skip := make(map[int]bool)
		for _, i := range rapid.SliceOfN(rapid.IntRange(1, n), 0, 20).Draw(r, "skipped") {
			skip[i] = i < n // the ends were tried before
		}
		tried := make(map[int]bool)
		got, err := search(n, func(i int) (Word, error) {
			if i <= 0 || i >= n || tried[i] {
				r.Fatalf("state %d of 1 to %d is tried, or tried again", i, n-1)
			}
			tried[i] = true
			switch {
			case skip[i]:
				return Skip, nil
			case i < first:
				return Good, nil
			}
			return Bad, nil
		})
		if err != nil || !slices.Contains(got, first) {
			r.Fatalf("got %v, %v; want %d in it", got, err, first)
		}
		for _, i := range got[:len(got)-1] {
			if !skip[i] {
				r.Fatalf("state %d is named, and could be tried: %v", i, got)
			}
		}
		if skips := len(slices.Collect(func(yield func(int) bool) {
			for i, s := range skip {
				if s && !yield(i) {
					return
				}
			}
		})); skips == 0 && (len(got) != 1 || len(tried) > bits.Len(uint(n))) {
			r.Fatalf("%v after %d probes of %d states", got, len(tried), n)
		}
	})
	broken := errors.New("broken")
	if _, err := search(9, func(int) (Word, error) { return Skip, broken }); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}

func TestTriesFor(t *testing.T) {
	for _, c := range []struct {
		rate        Rate
		least, want int
	}{
		{Rate{3, 3}, 3, 3},
		{Rate{3, 3}, 1, 1},
		{Rate{2, 3}, 3, 5}, // 3^-5 < 1 %
		{Rate{1, 2}, 1, 7}, // 2^-7 < 1 %
		{Rate{1, 20}, 3, maxTries},
	} {
		if got := triesFor(c.rate, c.least); got != c.want {
			t.Errorf("%v, at least %d: %d, want %d", c.rate, c.least, got, c.want)
		}
	}
}

// git replays the log of a range of commits.
func TestLogReplays(t *testing.T) {
	dir := t.TempDir()
	git := func(args ...string) string {
		t.Helper()
		cmd := exec.Command("git", append([]string{"-c", "user.name=Ada", "-c", "user.email=ada@example.org"}, args...)...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	git("init", "-q")
	var commits []string
	for range 6 {
		git("commit", "-q", "--allow-empty", "-m", "x")
		commits = append(commits, git("rev-parse", "HEAD"))
	}
	s := series.Series{Spec: dir + "@" + commits[0] + ".." + commits[5]}
	for _, c := range commits[1:] {
		s.Patches = append(s.Patches, series.Patch{Subject: "x", Origin: "commit " + c})
	}
	b := Bisection{Test: "PA-02", First: []int{3}, Probes: []Probe{
		{Index: 5, Word: Bad, Rate: Rate{3, 3}}, {Index: 0, Word: Good, Rate: Rate{0, 3}}, {Index: 4, Word: Skip}, {Index: 2, Word: Good, Rate: Rate{0, 3}}, {Index: 3, Word: Bad, Rate: Rate{1, 3}},
	}, Sure: 1}
	log := filepath.Join(dir, "log")
	write(t, log, b.Log(s))
	if out := git("bisect", "replay", log); !strings.Contains(out, commits[3]+" is the first bad commit") {
		t.Errorf("git says %q of\n%s", out, b.Log(s))
	}
	if got := b.Headline(s); got != `PA-02 fails from patch 3/5 "x" on (100.0 % sure)` {
		t.Errorf("got %q", got)
	}
	// Patches that are no commits are comments.
	s.Patches[0].Origin, s.Spec = "0001.patch", "/x.mbox"
	b.Probes = []Probe{{Index: 1, Word: Bad, Rate: Rate{1, 1}}, {Index: 0, Word: Good, Rate: Rate{0, 1}}}
	if log := b.Log(s); strings.Contains(log, "git bisect bad") || !strings.Contains(log, `# bad: patch 1/5 "x", fails 1 of 1`) {
		t.Errorf("got %s", log)
	}
}
