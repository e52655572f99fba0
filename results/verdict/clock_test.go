// SPDX-License-Identifier: Apache-2.0

package verdict

import (
	"strings"
	"testing"
	"time"

	"noiommu-farm/guestagent/wire"
)

// A guest that is sure to have waited for two minutes, which lasted seconds.
func TestFastClock(t *testing.T) {
	bad := strings.Replace(good, "ok 1 get_pa.PA-01", "not ok 1 get_pa.PA-01", 1)
	for _, c := range []struct {
		name    string
		tale    tale
		host    time.Duration
		verdict Verdict
	}{
		{"a time limit", tale{program: planned, out: "1..2\n", exit: &wire.Exited{ID: 1, Code: -1, Signal: 9, TimedOut: true, WallMS: 120_000}}, 3 * time.Second, Infra},
		{"a time limit that was one", tale{program: planned, out: "1..2\n", exit: &wire.Exited{ID: 1, Code: -1, Signal: 9, TimedOut: true, WallMS: 120_000}}, 121 * time.Second, Timeout},
		{"a wrong answer", tale{program: planned, out: bad, exit: &wire.Exited{ID: 1, Code: 1, WallMS: 40_000}}, 2 * time.Second, Infra},
		{"a wrong answer in time", tale{program: planned, out: bad, exit: &wire.Exited{ID: 1, Code: 1, WallMS: 40_000}}, 41 * time.Second, Fail},
		{"a warning", tale{program: planned, out: bad, console: strings.Replace(markers, "%s", warn, 1), exit: &wire.Exited{ID: 1, Code: 1, WallMS: 40_000}}, 2 * time.Second, Fail},
		{"a pass", tale{program: planned, out: good, exit: &wire.Exited{ID: 1, WallMS: 40_000}}, 2 * time.Second, Pass},
		{"too short to tell", tale{program: planned, out: bad, exit: &wire.Exited{ID: 1, Code: 1, WallMS: 2_000}}, time.Millisecond, Fail},
	} {
		rec := c.tale.record(t)
		for i := range rec.Events {
			// From the program's end on, as much later as the host's clock says.
			if m := rec.Events[i].Agent; m != nil && m.Exited != nil {
				for j := i; j < len(rec.Events); j++ {
					rec.Events[j].Time = rec.Events[0].Time.Add(c.host)
				}
				break
			}
			rec.Events[i].Time = rec.Events[0].Time
		}
		got, err := Judge(rec)
		if err != nil {
			t.Fatal(err)
		}
		if got.Verdict != c.verdict {
			t.Errorf("%s: %s (%s: %+v), want %s", c.name, got.Verdict, got.Programs[0].Reason, got.Programs[0].Tests, c.verdict)
		}
		if text := got.Programs[0].Reason + got.Programs[0].Tests[0].Reason; c.verdict == Infra && !strings.Contains(text, "times too fast") {
			t.Errorf("%s: it says %q", c.name, text)
		}
	}
}
