// SPDX-License-Identifier: Apache-2.0

package runner

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"noiommu-farm/guestagent/wire"
	"noiommu-farm/results"
)

// cutUp shows parts as one line each.
func cutUp(all []part) string {
	var lines []string
	for _, p := range all {
		line := p.program.Name + " " + strings.Join(p.program.Argv, " ")
		for _, e := range p.program.Tests {
			line += " " + e.Name
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

func TestParts(t *testing.T) {
	programs := []results.Program{
		{Name: "nodes", Argv: []string{"/s", "-test", "ND-04,ND-05,ND-06,ND-07", "{...}"}, Tests: []results.Expected{
			{Name: "nodes.ND-04"}, {Name: "nodes.ND-05"}, {Name: "nodes.ND-06", Skip: "requires no-group"}, {Name: "nodes.ND-07"},
		}},
		{Name: "vfio/x", Argv: []string{"/x"}},
	}
	want := map[results.Isolation]string{
		results.PerTest: "nodes /s -test ND-04 {...} nodes.ND-04\n" +
			"nodes /s -test ND-07 {...} nodes.ND-07\n" +
			"nodes /s -test ND-05,ND-06 {...} nodes.ND-05 nodes.ND-06\n" + // what reads and what is skipped
			"vfio/x /x",
		results.PerSuite: "nodes /s -test ND-04,ND-05,ND-06,ND-07 {...} nodes.ND-04 nodes.ND-05 nodes.ND-06 nodes.ND-07\nvfio/x /x",
	}
	for level, want := range want {
		if got := cutUp(parts(programs, level)); got != want {
			t.Errorf("by %s:\n%s\nwant:\n%s", level, got, want)
		}
	}
	if programs[0].Argv[2] != "ND-04,ND-05,ND-06,ND-07" {
		t.Errorf("the plan was changed: %q", programs[0].Argv)
	}
}

func TestLongestFirst(t *testing.T) {
	all := parts([]results.Program{
		{Name: "s", Tests: []results.Expected{{Name: "s.A"}, {Name: "s.B"}, {Name: "s.C", Skip: "x"}, {Name: "s.D"}}},
		{Name: "known", Timeout: time.Hour},
		{Name: "new", Timeout: time.Minute},
	}, results.PerTest)
	longestFirst(all, map[string]time.Duration{"s.A": time.Second, "s.B": 3 * time.Second, "known": 2 * time.Second})
	want := "new \ns  s.B\nknown \ns  s.A\ns  s.D\ns  s.C"
	if got := cutUp(all); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

func TestAvailable(t *testing.T) {
	if n, err := availableMiB("MemTotal:  8 kB\nMemAvailable:    2097152 kB\n"); n != 2048 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	if _, err := availableMiB("MemTotal: 8 kB\n"); err == nil {
		t.Error("an older kernel's meminfo was understood")
	}
}

// Guests take what there is, wait for what there is not, and one that is too
// large for the machine waits until it is alone.
func TestBudget(t *testing.T) {
	var b budget
	all, err := b.take(t.Context(), 1<<20, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	waiting := make(chan error)
	go func() {
		_, err := b.take(ctx, 1, 1)
		waiting <- err
	}()
	why := errors.New("interrupted")
	cancel(why)
	if err := <-waiting; !errors.Is(err, why) {
		t.Errorf("a guest beside one that takes everything: %v", err)
	}
	all()
	var releases []func()
	for range b.maxCPU {
		release, err := b.take(t.Context(), 1, 1)
		if err != nil {
			t.Fatal(err)
		}
		releases = append(releases, release)
	}
	if b.cpus.TryAcquire(1) {
		t.Error("there is room for more guests than the machine is for")
	}
	for _, release := range releases {
		release()
	}
	if !b.cpus.TryAcquire(b.maxCPU) || !b.mib.TryAcquire(b.maxMiB) {
		t.Error("not everything was given back")
	}
}

// The end of a program on the console is found in any pieces of it.
func TestMarks(t *testing.T) {
	m := newMarks()
	for _, line := range []string{"[ 1.0] noiommu-farm: end 2\r", "[ 1.0] noiommu-farm: end x", "noiommu-farm: test end 7"} {
		m.line(line, 0)
	}
	if err := m.await(t.Context(), 2, time.Minute); err != nil {
		t.Error(err)
	}
	m.over()
	var lost *lostError
	if err := m.await(t.Context(), 7, time.Minute); !errors.As(err, &lost) {
		t.Errorf("a console that ended: %v", err)
	}
	if err := newMarks().await(t.Context(), 7, time.Nanosecond); err == nil || !strings.Contains(err.Error(), fmt.Sprint("program ", 7)) {
		t.Errorf("a console that says nothing: %v", err)
	}
}

// What a restored agent says before it knows that it was restored is of the
// guest that was saved, and is not believed.
func TestResume(t *testing.T) {
	for _, c := range []struct {
		name string
		says []wire.ToHost
		err  string
	}{
		{"as it should be", []wire.ToHost{{Restored: &wire.Restored{Guest: 7}}, {Facts: &wire.Facts{}}}, ""},
		{"a stale answer", []wire.ToHost{{Facts: &wire.Facts{}}}, "rubbish: it does not know that it was restored"},
		{"another guest", []wire.ToHost{{Restored: &wire.Restored{Guest: 6}}}, "rubbish: it does not know that it was restored"},
		{"a refusal", []wire.ToHost{{Error: &wire.Error{Doing: "serve", Err: "no clock"}}}, "agent: serve: no clock"},
	} {
		t.Run(c.name, func(t *testing.T) {
			rec, err := results.CreateCell(filepath.Join(t.TempDir(), "cell"), results.Planned{Cell: "c"})
			if err != nil {
				t.Fatal(err)
			}
			defer rec.Close()
			host, guest := net.Pipe()
			defer host.Close()
			defer guest.Close()
			talk := newConversation(host, rec.First(), 1, nil)
			go talk.listen()
			go func() {
				agent := wire.NewConn(guest)
				var heard wire.ToGuest
				for range 2 {
					agent.Recv(&heard)
					if r := heard.Restore; r != nil && r.Check() != nil {
						t.Errorf("%v", r.Check())
					}
				}
				for _, m := range c.says {
					agent.Send(m)
				}
			}()
			err = talk.resume(t.Context(), 7)
			if err == nil {
				_, err = talk.prepare(t.Context(), wire.Prepare{})
			}
			if c.err == "" && err != nil || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
				t.Errorf("got %v, want %q", err, c.err)
			}
		})
	}
}
