// SPDX-License-Identifier: Apache-2.0

package profile

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"noiommu-farm/guestagent/wire"
	"noiommu-farm/results"
)

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// at is an event so many seconds after noon.
func at(seconds float64, guest uint32, e results.Event) results.Event {
	e.Time, e.Guest = noon.Add(time.Duration(seconds*1e9)), guest
	return e
}

func TestSpansOf(t *testing.T) {
	agent := func(m wire.ToHost) results.Event { return results.Event{Agent: &m} }
	rec := &results.Record{Planned: results.Planned{Cell: "c", Programs: []results.Program{{ID: 1, Name: "s"}, {ID: 2, Name: "s@end"}}}, Events: []results.Event{
		at(0, 0, results.Event{Planned: &results.Planned{}}),
		at(0.1, 0, results.Event{Booted: &results.Booted{}}),
		at(1, 0, agent(wire.ToHost{Hello: &wire.AgentHello{}})),
		at(1.5, 0, agent(wire.ToHost{Measured: &wire.Measured{}})),
		at(2, 0, results.Event{Running: &results.Running{ID: 2}}),
		at(2, 1, results.Event{Assigned: &results.Assigned{Program: 1, Tests: []string{"s.A"}, Restored: 1}}),
		at(2.1, 1, results.Event{Running: &results.Running{ID: 1}}),
		at(3, 0, agent(wire.ToHost{Exited: &wire.Exited{ID: 2}})),
		at(3.1, 1, agent(wire.ToHost{Exited: &wire.Exited{ID: 1}})),
		at(3.2, 1, agent(wire.ToHost{Measured: &wire.Measured{}})),
		at(3.25, 0, agent(wire.ToHost{Measured: &wire.Measured{}})),
		at(3.3, 1, results.Event{Ended: &results.Ended{}}),
		at(4, 0, results.Event{Ended: &results.Ended{}}),
	}}
	var got []string
	spans := spansOf(rec)
	for _, s := range spans {
		got = append(got, strings.TrimSpace(fmt.Sprintf("%d %s %.2f+%.2f %s", s.Guest, s.What, s.Began.Sub(noon).Seconds(), s.Took.Seconds(), s.Name)))
	}
	want := "0 boot 0.00+1.00; 0 prepare 1.00+1.00; 1 restore 2.00+0.10; 0 test 2.00+1.00 s@end; 1 test 2.10+1.00 s.A; " +
		"1 measure 3.10+0.10; 0 measure 3.00+0.25; 1 end 3.20+0.10; 0 end 3.25+0.75"
	if text := strings.Join(got, "; "); text != want {
		t.Errorf("got  %s\nwant %s", text, want)
	}

	var b bytes.Buffer
	if err := Write(&b, spans, 2); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"test  ", "2s", "2 times", "4s", "of it 2.7s fewer than the 2 processors"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("want %q in\n%s", want, b.String())
		}
	}
	dir := t.TempDir()
	if err := WriteTrace(dir, spans); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, traceFile))
	if err != nil {
		t.Fatal(err)
	}
	var trace struct {
		TraceEvents []traceEvent `json:"traceEvents"`
	}
	if err := json.Unmarshal(text, &trace); err != nil || len(trace.TraceEvents) != len(spans)+1 {
		t.Errorf("%v; %d events in the trace:\n%s", err, len(trace.TraceEvents), text)
	}
}
