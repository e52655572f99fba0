// SPDX-License-Identifier: Apache-2.0

package gate

import (
	"context"
	"encoding/json"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"noiommu-farm/farm/runner"
	"noiommu-farm/results"
	"noiommu-farm/results/verdict"
)

// opens is a gate of nothing on a base, with what it says.
func opens(runs string, said chan<- string) *gate {
	return &gate{Options: Options{Base: "debian:7.3", Level: Quick, Runs: runs, Tell: func(p runner.Progress) {
		if said != nil {
			said <- p.Note
		}
	}}}
}

// One gate at a time is in a directory. One that waited for the same gate goes on
// where that one was stopped, or has its answer.
func TestOpen(t *testing.T) {
	for name, c := range map[string]struct {
		report  *Report // of the first gate; nil if it was stopped
		bench   string  // of the second
		fresh   bool
		answers bool
		kept    bool // what the first did
		told    string
	}{
		"stopped":         {nil, "b", false, false, true, "going on with the gate that was begun at"},
		"passed":          {passes(), "b", false, true, true, "the other gate's answer is this one's"},
		"failed":          {sample(), "b", false, true, true, "the other gate's answer is this one's"},
		"the farm failed": {&Report{Verdict: verdict.Infra}, "b", false, false, false, ""},
		"another bench":   {passes(), "c", false, false, false, ""},
		"fresh":           {passes(), "b", true, false, false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			runs := t.TempDir()
			first := opens(runs, nil)
			release, answer, err := first.open(t.Context(), "b")
			if err != nil || answer != nil {
				t.Fatal(answer, err)
			}
			said := make(chan string, 4)
			second := opens(runs, said)
			second.Fresh = c.fresh
			type opened struct {
				answer *Report
				err    error
			}
			done := make(chan opened, 1)
			go func() {
				release, answer, err := second.open(context.Background(), c.bench)
				if err == nil {
					release()
				}
				done <- opened{answer, err}
			}()
			if note := <-said; !strings.Contains(note, "the same gate is at work in "+first.dir) {
				t.Fatalf("it says %q", note)
			}
			select {
			case <-done:
				t.Fatal("two gates are in one directory")
			default:
			}
			if err := results.WriteJSON(filepath.Join(first.dir, statesDir, "000.json"), State{}); err != nil {
				t.Fatal(err)
			}
			if c.report != nil {
				if err := results.WriteJSON(filepath.Join(first.dir, reportFile), c.report); err != nil {
					t.Fatal(err)
				}
			}
			release()
			o := <-done
			if o.err != nil || (o.answer != nil) != c.answers {
				t.Fatalf("answer %v, %v", o.answer, o.err)
			}
			if c.answers {
				if diff := cmp.Diff(shown(t, c.report), shown(t, o.answer)); diff != "" {
					t.Errorf("the answer (-want +got)\n%s", diff)
				}
			}
			if got := exists(filepath.Join(second.dir, statesDir, "000.json")); got != c.kept {
				t.Errorf("what was done is kept: %v", got)
			}
			close(said)
			told := ""
			for note := range said {
				told += note
			}
			if !strings.HasPrefix(told, c.told) {
				t.Errorf("it says %q, want %q", told, c.told)
			}
			if aside, _ := filepath.Glob(second.dir + ".2*"); (len(aside) == 1) == c.kept {
				t.Errorf("put aside: %q", aside)
			}
		})
	}
}

// shown is all that is made of a report.
func shown(t *testing.T, r *Report) string {
	t.Helper()
	var b strings.Builder
	for _, err := range []error{r.Table(&b, false), r.Markdown(&b), r.Mail(&b), r.GitHub(&b), json.NewEncoder(&b).Encode(r)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return b.String()
}

// A gate that waits can be stopped, and one that had come to its end begins again.
func TestOpenAgain(t *testing.T) {
	runs := t.TempDir()
	release, _, err := opens(runs, nil).open(t.Context(), "b")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	waiting := opens(runs, nil)
	waiting.Tell = func(runner.Progress) { cancel(enough) }
	if _, _, err := waiting.open(ctx, "b"); !errors.Is(err, enough) {
		t.Errorf("got %v, want %v", err, enough)
	}
	release()
	for n := range 3 {
		g := opens(runs, nil)
		release, answer, err := g.open(t.Context(), "b")
		if err != nil || answer != nil {
			t.Fatal(answer, err)
		}
		if err := results.WriteJSON(filepath.Join(g.dir, reportFile), passes()); err != nil {
			t.Fatal(err)
		}
		release()
		// The first time it only goes on. Within a second each has a name.
		if aside, _ := filepath.Glob(g.dir + ".2*"); len(aside) != n {
			t.Errorf("round %d: put aside %q", n, aside)
		}
	}
}
