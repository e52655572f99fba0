// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"io/fs"
	"net/mail"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// gateReport is what of report.json is looked at here.
type gateReport struct {
	Verdict string
	Dir     string
	States  []struct {
		Verdict string
		Mended  []struct{ Since int }
		Cells   []struct {
			Topology, Dir string
			Counts        map[string]int
		}
	}
	Found []struct {
		Patch     int
		Statement string
		Repro     string
		Repeated  struct {
			Done, Flaky  bool
			With, Before struct{ Failed, Tried int }
		}
	}
}

var slow = flag.Bool("noiommu.slow", false, "gate a series of five patches: several minutes of both processors")

// A series of five, in an mbox with a reply in it: two patches that change
// nothing, one that breaks what GET_PA promises, its revert, and a selftest.
// The gate is killed in the middle and started again, and comes to the same as
// one that was not.
func TestGate(t *testing.T) {
	if !*slow {
		t.Skip("builds five kernels and boots each twice: run with -noiommu.slow (make verify-gate)")
	}
	gate := func(runs string) []string {
		return []string{"gate", "--plan", "quick", "--out", runs, "testdata/series/five.mbox"}
	}
	whole := t.TempDir()
	if code, out, stderr := farmVerb(t, gate(whole)...); code != 1 {
		t.Fatalf("exit code %d\n%s%s", code, out, stderr)
	}

	runs := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Minute)
	defer cancel()
	var first bytes.Buffer
	cmd := command(ctx, gate(runs)...)
	cmd.Stderr = &first
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	// Killed once the second patch has been booted.
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for killed := false; !killed; {
		found, _ := filepath.Glob(filepath.Join(runs, "gate-*", "states", "002.json"))
		if killed = len(found) > 0; killed {
			cmd.Process.Kill()
			<-ended
			break
		}
		select {
		case err := <-ended:
			t.Fatalf("the gate ended before it could be killed: %v\n%s", err, first.String())
		case <-tick.C:
		}
	}
	before := listRuns(t, runs)

	code, out, stderr := farmVerb(t, gate(runs)...)
	if code != 1 {
		t.Fatalf("exit code %d\n%s%s", code, out, stderr)
	}
	for _, name := range []string{"report.json", "report.md", "reply.eml"} {
		if want, got := gateFile(t, whole, name), gateFile(t, runs, name); want != got {
			t.Errorf("%s of the gate that was killed differs:\n%s\n\nuninterrupted:\n%s", name, got, want)
		}
	}
	if line, _, _ := strings.Cut(out, "\n"); !strings.HasPrefix(line, `FAIL patch 3/5 "iommufd: Start the contiguous length at a whole page": PA-02: `) {
		t.Errorf("the first line is %q", line)
	}
	if !strings.Contains(stderr, "going on with the gate") {
		t.Errorf("it did not go on:\n%s", stderr)
	}
	for _, dir := range before {
		if _, err := os.Stat(dir); err != nil {
			t.Errorf("what was run before the kill is gone: %v", err)
		}
	}
	dirs, _ := filepath.Glob(filepath.Join(runs, "gate-*", "report.json"))
	if len(dirs) != 1 {
		t.Fatalf("reports: %v", dirs)
	}
	var r gateReport
	text, err := os.ReadFile(dirs[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &r); err != nil {
		t.Fatal(err)
	}
	if len(r.States) != 6 || r.Verdict != "fail" {
		t.Fatalf("%d states, %s", len(r.States), r.Verdict)
	}
	for i, want := range []string{1: "pass", 2: "pass", 3: "fail", 4: "pass", 5: "pass"} {
		if i > 0 && r.States[i].Verdict != want {
			t.Errorf("patch %d: %s, want %s\n%s", i, r.States[i].Verdict, want, out)
		}
	}
	if len(r.States[4].Mended) == 0 || r.States[4].Mended[0].Since != 3 {
		t.Errorf("the revert mends %+v", r.States[4].Mended)
	}
	repro := ""
	for _, d := range r.Found {
		if d.Patch == 3 && d.Statement == "PA-02" {
			repro = d.Repro
			if x := d.Repeated; !x.Done || x.Flaky || x.With.Failed != 4 || x.With.Tried != 4 || x.Before.Failed != 0 || x.Before.Tried != 4 {
				t.Errorf("PA-02 was repeated so: %+v", x)
			}
		}
	}
	// The selftest that the last patch adds was run with it.
	selftest := false
	for _, c := range r.States[5].Cells {
		text, err := os.ReadFile(filepath.Join(c.Dir, "verdict.json"))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		selftest = selftest || bytes.Contains(text, []byte("cdev_has_sysfs_name"))
	}
	if !selftest {
		t.Error("the new selftest was not run")
	}

	// Its failure is back in one command, and the mail answers the guilty patch.
	words := strings.Fields(repro)
	if len(words) != 3 {
		t.Fatalf("the command is %q", repro)
	}
	if code, out, stderr := farmVerb(t, words[1:]...); code != 1 || !strings.Contains(out, "the same way in 1 of 1") {
		t.Errorf("%s: exit code %d\n%s%s", repro, code, out, stderr)
	}
	f, err := os.Open(filepath.Join(filepath.Dir(dirs[0]), "reply.eml"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	m, err := mail.ReadMessage(f)
	if err != nil {
		t.Fatal(err)
	}
	if m.Header.Get("In-Reply-To") != "<20261122-getpa-3@example.org>" ||
		m.Header.Get("References") != "<20261122-getpa-0@example.org> <20261122-getpa-3@example.org>" ||
		m.Header.Get("Subject") != "Re: [PATCH 3/5] iommufd: Start the contiguous length at a whole page" {
		t.Errorf("headers %v", m.Header)
	}
	// git sends it as it is.
	git := exec.Command("git", "send-email", "--dry-run", "--confirm=never", "--suppress-cc=all", "--to=list@example.org", "--from=farm@example.org", "--smtp-server=/bin/false", f.Name())
	if text, err := git.CombinedOutput(); err != nil || !strings.Contains(string(text), "In-Reply-To: <20261122-getpa-3@example.org>") {
		t.Errorf("git send-email: %v\n%s", err, text)
	}
}

// gateFile is a file of the one gate in a directory without what every gate has
// of its own: where it ran, when, and how long.
func gateFile(t *testing.T, runs, name string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(runs, "gate-*", name))
	if err != nil || len(found) != 1 {
		t.Fatalf("%s: %v, %v", name, found, err)
	}
	text, err := os.ReadFile(found[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, own := range []struct{ pattern, as string }{
		{regexp.QuoteMeta(runs), "RUNS"},
		{`[0-9]{8}-[0-9]{6}-[0-9a-f]{4}`, "RUN"},
		{`"took_ns": [0-9]+`, `"took_ns": 0`},
		{` in [0-9hms.]+ \|`, " in TIME |"},
		{`\b0x[0-9a-f]{5,}\b`, "ADDRESS"},
	} {
		text = regexp.MustCompile(own.pattern).ReplaceAll(text, []byte(own.as))
	}
	return string(text)
}

func listRuns(t *testing.T, runs string) []string {
	t.Helper()
	dirs, err := filepath.Glob(filepath.Join(runs, "gate-*", "runs", "2*"))
	if err != nil || len(dirs) < 2 {
		t.Fatalf("runs before the kill: %v, %v", dirs, err)
	}
	return dirs
}

// No patch is a series too, and breaks nothing.
func TestGateOfNothing(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty.mbox")
	if err := os.WriteFile(empty, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	code, out, stderr := farmVerb(t, "gate", "--out", t.TempDir(), empty)
	if code != 0 || !strings.HasPrefix(out, "SKIP: nothing was run: the series is empty\n") {
		t.Errorf("exit code %d\n%s%s", code, out, stderr)
	}
}
