// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// tinyMatrix is two cells that take seconds.
const tinyMatrix = "axes:\n  source: debian:7.3\n  configuration: noiommu\n  topology: [none, intel]\n  suite: TL-01\n"

// matrixFile writes a matrix file for a test.
func matrixFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "matrix.yaml")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// attempt is a "farm matrix run" or "farm matrix resume" as a process.
type attempt struct {
	*exec.Cmd
	lines  *bufio.Scanner // of stderr
	stdout bytes.Buffer
	said   strings.Builder
}

func startMatrix(t *testing.T, args ...string) *attempt {
	t.Helper()
	a := &attempt{Cmd: command(t.Context(), append([]string{"matrix"}, args...)...)}
	a.Stdout = &a.stdout
	stderr, err := a.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Start(); err != nil {
		t.Fatal(err)
	}
	a.lines = bufio.NewScanner(stderr)
	return a
}

// until reads what is said until a line has the text; false at its end.
func (a *attempt) until(text string) bool {
	for a.lines.Scan() {
		fmt.Fprintln(&a.said, a.lines.Text())
		if strings.Contains(a.lines.Text(), text) {
			return true
		}
	}
	return false
}

// end waits for the end, and returns the exit code.
func (a *attempt) end() int {
	for a.until("\x00") {
	}
	a.Wait()
	return a.ProcessState.ExitCode()
}

// kill ends it as a power cut would, and waits until nothing that it started is
// left.
func (a *attempt) kill(t *testing.T) {
	t.Helper()
	started := descendants(a.Process.Pid)
	a.Process.Kill()
	a.end()
	nothingLeft(t, started)
}

// nothingLeft waits until none of the processes of a killed farm is left.
func nothingLeft(t *testing.T, started []process) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		left := slices.DeleteFunc(slices.Clone(started), func(p process) bool { return !p.alive() })
		if len(left) == 0 {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("after the farm was killed these were left: %v", left)
		}
	}
}

// process is one at work, told apart from a later one of the same number by
// the time of its start.
type process struct {
	pid, parent int
	name, start string
}

func readProcess(pid int) (process, bool) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return process{}, false
	}
	open, shut := bytes.IndexByte(text, '('), bytes.LastIndexByte(text, ')')
	fields := strings.Fields(string(text[shut+1:]))
	if fields[0] == "Z" {
		return process{}, false
	}
	parent, _ := strconv.Atoi(fields[1])
	return process{pid, parent, string(text[open+1 : shut]), fields[19]}, true
}

func (p process) alive() bool {
	now, ok := readProcess(p.pid)
	return ok && now.start == p.start
}

func descendants(pid int) []process {
	entries, _ := os.ReadDir("/proc")
	var all []process
	for _, e := range entries {
		if n, err := strconv.Atoi(e.Name()); err == nil {
			if p, ok := readProcess(n); ok {
				all = append(all, p)
			}
		}
	}
	family := []int{pid}
	var found []process
	for i := 0; i < len(family); i++ {
		for _, p := range all {
			if p.parent == family[i] {
				family, found = append(family, p.pid), append(found, p)
			}
		}
	}
	return found
}

// began says when each finished cell of a run was begun.
func began(t *testing.T, dir string) map[string]time.Time {
	t.Helper()
	all := make(map[string]time.Time)
	for name, s := range seals(t, dir) {
		all[name] = s.Began
	}
	return all
}

// seal is what a finished cell has in done.json.
type seal struct {
	Began time.Time     `json:"began"`
	Wall  time.Duration `json:"wall_ns"`
}

func seals(t *testing.T, dir string) map[string]seal {
	t.Helper()
	files, _ := filepath.Glob(filepath.Join(dir, "cells", "*", "done.json"))
	all := make(map[string]seal)
	for _, f := range files {
		var done seal
		text, err := os.ReadFile(f)
		if err == nil {
			err = json.Unmarshal(text, &done)
		}
		if err != nil {
			t.Fatal(err)
		}
		all[filepath.Base(filepath.Dir(f))] = done
	}
	return all
}

// verdicts are those of every test of every cell, as results.json has them.
func verdicts(t *testing.T, dir string) map[string]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "results.json"))
	if err != nil {
		t.Fatal(err)
	}
	var run struct {
		Cells []struct {
			Name     string
			Verdict  string
			Programs []struct {
				Name  string
				Tests []struct{ Name, Verdict string }
			}
		} `json:"judged"`
	}
	if err := json.Unmarshal(text, &run); err != nil {
		t.Fatal(err)
	}
	all := make(map[string]string)
	for _, c := range run.Cells {
		all[c.Name] = c.Verdict
		for _, p := range c.Programs {
			for _, x := range p.Tests {
				all[c.Name+" "+p.Name+" "+x.Name] = x.Verdict
			}
		}
	}
	return all
}

// onlyHalfDone fails if a cell that was put aside had a verdict of the kernel.
func onlyHalfDone(t *testing.T, dir string) {
	t.Helper()
	files, _ := filepath.Glob(filepath.Join(dir, "attempts", "*", "verdict.json"))
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		var judged struct{ Verdict string }
		if err := json.Unmarshal(text, &judged); err != nil || judged.Verdict != "infra" {
			t.Errorf("%s was judged %s (%v), and was done again", filepath.Dir(f), judged.Verdict, err)
		}
	}
}

func latest(t *testing.T, runs string) string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(filepath.Join(runs, "latest"))
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// A run of a matrix that is killed goes on where it was: what was finished is
// not done again.
func TestMatrixResumes(t *testing.T) {
	t.Parallel()
	file, runs := matrixFile(t, tinyMatrix), t.TempDir()
	a := startMatrix(t, "run", file, "--out", runs, "-j", "1")
	if !a.until("TL-01: PASS") {
		t.Fatalf("no cell passed:\n%s", a.said.String())
	}
	a.kill(t)
	dir := latest(t, runs)
	first := began(t, dir)
	// The line is printed just before the cell is sealed; when the farm dies in
	// between, there is a verdict, and whoever goes on seals it.
	a = startMatrix(t, "resume", "--out", runs)
	if code := a.end(); code != 0 {
		t.Fatalf("resume: exit code %d\n%s%s", code, a.said.String(), a.stdout.String())
	}
	all := began(t, dir)
	if len(all) != 2 {
		t.Errorf("finished: %v", all)
	}
	for name, at := range first {
		if !all[name].Equal(at) {
			t.Errorf("%s was done again", name)
		}
	}
	if n := strings.Count(a.said.String(), ": PASS"); n != 1 {
		t.Errorf("%d cells were carried out after the kill, want 1:\n%s", n, a.said.String())
	}
	onlyHalfDone(t, dir)
	// There is nothing left to do.
	a = startMatrix(t, "resume", "--out", runs)
	if code := a.end(); code != 0 || !reflect.DeepEqual(began(t, dir), all) || strings.Contains(a.said.String(), "PASS") {
		t.Errorf("resume of a finished run: exit code %d\n%s", code, a.said.String())
	}
	if got := verdicts(t, dir); got["debian-7.3_noiommu_none_TL-01 taint@boot taint.TL-01"] != "pass" {
		t.Errorf("verdicts: %v", got)
	}
	// A run that is gone on with has come to nothing until it ends again.
	if err := os.RemoveAll(filepath.Join(dir, "cells", "debian-7.3_noiommu_none_TL-01")); err != nil {
		t.Fatal(err)
	}
	a = startMatrix(t, "resume", "--out", runs)
	if !a.until("building") {
		t.Fatalf("nothing was begun:\n%s", a.said.String())
	}
	a.kill(t)
	if _, err := os.Stat(filepath.Join(dir, "results.json")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a killed run has results: %v", err)
	}
}

// Ctrl-C ends a run cleanly, with the exit code of what is nobody's verdict,
// and says how it goes on.
func TestMatrixInterrupted(t *testing.T) {
	t.Parallel()
	file, runs := matrixFile(t, tinyMatrix), t.TempDir()
	a := startMatrix(t, "run", file, "--out", runs, "-j", "1")
	if !a.until("building") {
		t.Fatalf("nothing was begun:\n%s", a.said.String())
	}
	started := descendants(a.Process.Pid)
	a.Process.Signal(syscall.SIGINT)
	if code := a.end(); code != 3 || !strings.Contains(a.said.String(), `"farm matrix resume `+filepath.Base(latest(t, runs))+`" goes on from here`) {
		t.Errorf("exit code %d:\n%s", code, a.said.String())
	}
	for _, p := range started {
		if p.alive() {
			t.Errorf("%v was left", p)
		}
	}
}

// The smoke matrix, killed at ten random moments and gone on with each time,
// ends as one that nobody disturbed.
func TestMatrixTenKills(t *testing.T) {
	if !*slow {
		t.Skip("takes minutes, and builds eight kernels where they are not in the cache: make verify-matrix")
	}
	const smoke = "../matrix.smoke.yaml"
	calm := t.TempDir()
	a := startMatrix(t, "run", smoke, "--out", calm)
	if code := a.end(); code > 1 {
		t.Fatalf("undisturbed: exit code %d\n%s", code, a.said.String())
	}
	// A cell takes some seconds, and so does it to begin. Four of the kills come
	// after a cell was finished, or chance might kill all before that.
	var cell time.Duration
	for _, s := range seals(t, latest(t, calm)) {
		cell = max(cell, s.Wall)
	}
	after := []bool{true, true, true, true, false, false, false, false, false, false}
	seed := uint64(time.Now().UnixNano())
	random := rand.New(rand.NewPCG(seed, 0))
	t.Logf("the longest cell takes %v, seed %d", cell, seed)
	random.Shuffle(len(after), func(i, j int) { after[i], after[j] = after[j], after[i] })

	runs := t.TempDir()
	args := []string{"run", smoke, "--out", runs}
	done := make(map[string]time.Time)
	halfway := 0
	for kill := range 10 {
		a := startMatrix(t, args...)
		wait := time.Duration(float64(cell) * random.Float64())
		if after[kill] {
			wait /= 4
			if !a.until(" in ") {
				t.Fatalf("kill %d: it ended of itself\n%s", kill, a.said.String())
			}
		}
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			a.until("\x00")
		}()
		select {
		case <-time.After(wait):
		case <-ended:
			t.Fatalf("kill %d: it ended of itself\n%s", kill, a.said.String())
		}
		started := descendants(a.Process.Pid)
		a.Process.Kill()
		<-ended
		a.Wait()
		nothingLeft(t, started)
		if _, err := os.Lstat(filepath.Join(runs, "latest")); err != nil {
			continue // it had not begun
		}
		dir := latest(t, runs)
		now := began(t, dir)
		for name, at := range done {
			if !now[name].Equal(at) {
				t.Errorf("kill %d: %s was finished, and was done again", kill, name)
			}
		}
		done = now
		t.Logf("kill %d, %v after a cell (%v) or the beginning: %d processes, %d cells are finished", kill, wait, after[kill], len(started), len(done))
		if len(done) > 0 {
			halfway++
		}
		args = []string{"resume", "--out", runs}
	}
	if halfway == 0 {
		t.Error("no kill came after a finished cell")
	}
	a = startMatrix(t, args...)
	if code := a.end(); code > 1 {
		t.Fatalf("at last: exit code %d\n%s", code, a.said.String())
	}
	dir := latest(t, runs)
	onlyHalfDone(t, dir)
	want, got := verdicts(t, latest(t, calm)), verdicts(t, dir)
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if got[name] != want[name] {
			t.Errorf("%s: %s, undisturbed %s", name, got[name], want[name])
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d verdicts, undisturbed %d", len(got), len(want))
	}
}

// The commands of the units in dist/ are commands of the farm.
func TestUnits(t *testing.T) {
	text, err := os.ReadFile("../dist/noiommu-farm.service")
	if err != nil {
		t.Fatal(err)
	}
	commands := 0
	for line := range strings.Lines(string(text)) {
		key, rest, _ := strings.Cut(strings.TrimSpace(line), "=")
		if !strings.HasPrefix(key, "Exec") {
			continue
		}
		commands++
		words := strings.Fields(rest)
		if words[0] != "/opt/noiommu-farm/bin/farm" {
			t.Errorf("%s: another program", line)
		}
		// Flags and arguments are read before the help is printed.
		if out, err := command(t.Context(), append(words[1:], "--help")...).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", line, err, out)
		}
	}
	if commands != 2 {
		t.Errorf("%d commands", commands)
	}
}
