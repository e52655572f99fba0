// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"noiommu-farm/farm/cli"
)

// The tests run this binary itself as the command farm.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"farm": func() { os.Exit(cli.Run(os.Args[1:], os.Stdout, os.Stderr)) },
	})
}

// Scripts are what a user types and sees; none of them boots anything.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/scripts",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(e *testscript.Env) error {
			e.Setenv("XDG_CACHE_HOME", e.Getenv("WORK")+"/cache")
			e.Setenv("XDG_STATE_HOME", e.Getenv("WORK")+"/state")
			farm, err := exec.LookPath("farm")
			e.Setenv("FARM", farm)
			e.Setenv("SH", "/bin/sh")
			repo, err2 := filepath.Abs("..")
			e.Setenv("REPO", repo)
			err = errors.Join(err, err2)
			return err
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": exits},
	})
}

// exits CODE COMMAND...: runs a command that must end with that exit code.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND...")
	}
	err := ts.Exec(args[1], args[2:]...)
	code := 0
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		code = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if want, _ := strconv.Atoi(args[0]); code != want {
		ts.Fatalf("exit code %d, want %s", code, args[0])
	}
}

// outcome is what a run left behind.
type outcome struct {
	code           int
	stdout, stderr string
	dir            string // the run directory
	results        struct {
		Verdict string `json:"verdict"`
		Cells   []struct {
			Verdict  string `json:"verdict"`
			Reason   string `json:"reason"`
			Programs []struct {
				Name    string `json:"name"`
				Verdict string `json:"verdict"`
				Reason  string `json:"reason"`
				Tests   []struct {
					Name     string           `json:"name"`
					Verdict  string           `json:"verdict"`
					Reason   string           `json:"reason"`
					Evidence map[string]int64 `json:"evidence"`
				} `json:"tests"`
			} `json:"programs"`
		} `json:"judged"`
	}
}

// said is all reasons in one text.
func (o outcome) said() string {
	var b strings.Builder
	for _, c := range o.results.Cells {
		fmt.Fprintln(&b, c.Verdict, c.Reason)
		for _, p := range c.Programs {
			fmt.Fprintln(&b, p.Name, p.Verdict, p.Reason)
			for _, t := range p.Tests {
				fmt.Fprintln(&b, t.Name, t.Verdict, t.Reason)
			}
		}
	}
	return b.String()
}

// command is the farm as a process of its own.
func command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "farm", args...)
	cmd.WaitDelay = 10 * time.Second
	return cmd
}

// farm runs "farm run" with a run directory of its own.
func farm(t *testing.T, args ...string) outcome {
	t.Helper()
	return farmIn(t, t.TempDir(), args...)
}

func farmIn(t *testing.T, runs string, args ...string) outcome {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 40*time.Minute) // a cold kernel build is in it
	defer cancel()
	var o outcome
	var stdout, stderr bytes.Buffer
	cmd := command(ctx, append([]string{"run", "--json", "--out", runs}, args...)...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("farm %s: %v\n%s", args, err, stderr.String())
	}
	o.code = cmd.ProcessState.ExitCode()
	o.stdout, o.stderr = stdout.String(), stderr.String()
	if stdout.Len() > 0 {
		if err := json.Unmarshal(stdout.Bytes(), &o.results); err != nil {
			t.Fatalf("farm %s: results: %v\n%s", args, err, o.stdout)
		}
	}
	o.dir, _ = filepath.EvalSymlinks(filepath.Join(runs, "latest"))
	return o
}

// liar builds the test program that misbehaves.
func liar(t *testing.T) string { return built(t, "liar") }

// The main job: everything that is on by default, without and with an IOMMU.
func TestMainJob(t *testing.T) {
	o := farm(t)
	if o.code != 0 || o.results.Verdict != "pass" {
		t.Errorf("exit code %d, verdict %s\n%s\n%s", o.code, o.results.Verdict, o.stderr, o.said())
	}
	if len(o.results.Cells) != 2 {
		t.Fatalf("%d cells, want none and intel", len(o.results.Cells))
	}
	// What the kernel's own tests of Linux 7.3 have to show on intel with igb.
	want := map[string]string{
		"vfio/vfio_iommufd_setup_test":        "6 pass",
		"vfio/vfio_pci_device_test":           "5 pass",
		"vfio/vfio_dma_mapping_test":          "25 pass 5 skip",
		"vfio/vfio_dma_mapping_mmio_test":     "15 pass",
		"vfio/vfio_pci_device_init_perf_test": "5 pass",
		"vfio/vfio_pci_sriov_uapi_test":       "45 pass",
	}
	proved := make(map[string]bool)
	for i, c := range o.results.Cells {
		for _, p := range c.Programs {
			count := make(map[string]int)
			for _, test := range p.Tests {
				count[test.Verdict]++
				proved[test.Name] = proved[test.Name] || test.Verdict == "pass" || test.Verdict == "xfail" // a finding's: a pass would be a failure
			}
			expected, ok := want[p.Name]
			if !ok {
				continue
			}
			got := fmt.Sprintf("%d pass", count["pass"])
			if n := count["skip"]; n > 0 {
				got += fmt.Sprintf(" %d skip", n)
			}
			if got != expected || len(p.Tests) != count["pass"]+count["skip"] {
				t.Errorf("cell %d: %s: %s (%v), want %s", i, p.Name, got, count, expected)
			}
			delete(want, p.Name)
		}
	}
	for name := range want {
		t.Errorf("%s did not run", name)
	}
	// A statement that neither cell proves is one that neither can: it is about
	// another kernel or another machine.
	elsewhere := []string{
		"no-group", "no-cdev", "no-noiommu", "no-noiommu-cdev", "modules", "mtty", "kvm-device", "lockdown", "lockdep", "failslab",
		"mixed", "multifunction", "memory-above-4g", "no-interrupt-remapping", "passthrough", "iommu-off", "p2pdma",
	}
	for _, c := range o.results.Cells {
		for _, p := range c.Programs {
			for _, test := range p.Tests {
				if proved[test.Name] || strings.HasPrefix(p.Name, "vfio/") {
					continue
				}
				words, requires := strings.CutPrefix(test.Reason, "requires ")
				if test.Verdict != "skip" || !requires || !slices.ContainsFunc(strings.Split(words, ","), func(word string) bool { return slices.Contains(elsewhere, word) }) {
					t.Errorf("%s passed in no cell: %s %s", test.Name, test.Verdict, test.Reason)
				}
			}
		}
	}
}

// Without hugepages nothing that needs them passes; the rest still does.
func TestNoHugepages(t *testing.T) {
	o := farm(t, "--topology", "none", "--suite", "get_pa,cdev", "--hugepages", "0", "--isolation", "suite")
	if o.code != 0 || len(o.results.Cells) != 1 {
		t.Fatalf("exit code %d\n%s\n%s", o.code, o.stderr, o.said())
	}
	if !strings.Contains(o.said(), "get_pa.PA-04 skip requires hugepages") || !strings.Contains(o.said(), "cdev.CD-01 pass") {
		t.Errorf("PA-04 must be skipped for want of hugepages, CD-01 must pass:\n%s", o.said())
	}
	for _, p := range o.results.Cells[0].Programs {
		for _, test := range p.Tests {
			// PA-19 is about a feature that this kernel does not have, and proves that.
			if p.Name == "get_pa" && test.Verdict == "pass" && test.Name != "get_pa.PA-19" && test.Evidence["IOMMU_IOAS_NOIOMMU_GET_PA"] == 0 {
				t.Errorf("%s passed without one GET_PA: %v", test.Name, test.Evidence)
			}
		}
	}

	// Where nothing at all would be tested, there is no green table either.
	o = farm(t, "--topology", "none", "--test", "PA-04", "--hugepages", "0")
	if o.code != 2 || !strings.Contains(o.stderr, "requires hugepages") {
		t.Errorf("exit code %d, want 2 and the reason:\n%s", o.code, o.stderr)
	}
}

// With --keep a run can be booted again by hand, with nothing but its
// directory and QEMU.
func TestKeep(t *testing.T) {
	runs := t.TempDir()
	o := farmIn(t, runs, "--topology", "none", "--suite", "cdev", "--keep", "--isolation", "cell")
	if o.code != 0 {
		t.Fatalf("exit code %d\n%s\n%s", o.code, o.stderr, o.said())
	}
	scripts, _ := filepath.Glob(filepath.Join(o.dir, "cells", "*", "qemu.sh"))
	if len(scripts) != 1 {
		t.Fatalf("scripts: %v", scripts)
	}
	text, err := os.ReadFile(scripts[0])
	if err != nil || !bytes.Contains(text, []byte("-kernel "+filepath.Dir(scripts[0]))) {
		t.Errorf("%v; the script does not boot the kept kernel:\n%s", err, text)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	sh := exec.CommandContext(ctx, "sh", scripts[0])
	console, err := sh.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := sh.Start(); err != nil {
		t.Fatal(err)
	}
	seen := false
	for lines := bufio.NewScanner(console); !seen && lines.Scan(); {
		seen = strings.Contains(lines.Text(), "Linux version 7.3")
	}
	sh.Process.Kill()
	sh.Wait()
	if !seen {
		t.Error("the script's guest did not boot")
	}
}

// A guest that is not the planned one is the farm's failure, and not one test
// of it counts.
func TestOtherFacts(t *testing.T) {
	for _, c := range []struct{ param, say string }{
		{"vfio.enable_unsafe_noiommu_mode=0", "vfio/enable_unsafe_noiommu_mode: planned true, found false"},
		{"maxcpus=1", "CPUs: planned 2, found 1"},
	} {
		t.Run(c.param, func(t *testing.T) {
			t.Parallel()
			o := farm(t, "--topology", "none", "--suite", "get_pa", "--cpus", "2", "--append", c.param)
			if o.code != 3 || !strings.Contains(o.said(), c.say) {
				t.Errorf("exit code %d, want 3 and %q:\n%s\n%s", o.code, c.say, o.stderr, o.said())
			}
			if strings.Contains(o.said(), "pass") {
				t.Errorf("something passed:\n%s", o.said())
			}
		})
	}
}

// The hardware's facts are found out too: the kernel does not see the IOMMU
// that the cell has.
func TestIOMMUOff(t *testing.T) {
	o := farm(t, "--topology", "intel", "--suite", "iommu_present", "--append", "intel_iommu=off")
	if o.code != 3 || !strings.Contains(o.said(), "IOMMU present: planned true, found false") {
		t.Errorf("exit code %d\n%s\n%s", o.code, o.stderr, o.said())
	}
}

// start starts a farm whose guest sleeps, and waits until the guest does.
func startSleeper(t *testing.T, runs string) (cmd *exec.Cmd, qemu int, stderr *bytes.Buffer) {
	t.Helper()
	stderr = &bytes.Buffer{}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	t.Cleanup(cancel)
	cmd = command(ctx, "run", "--out", runs, "--topology", "none", "--device", "edu", "--config", "noiommu,lkdtm",
		"--timeout", "10m", "--program", liar(t)+" sleep")
	cmd.Stderr = stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	deadline := time.Now().Add(8 * time.Minute)
	for time.Now().Before(deadline) {
		events, _ := filepath.Glob(filepath.Join(runs, "*", "cells", "*", "events.jsonl"))
		for _, e := range events {
			if text, _ := os.ReadFile(e); bytes.Contains(text, []byte(`"started"`)) {
				if pid := childQEMU(cmd.Process.Pid); pid > 0 {
					return cmd, pid, stderr
				}
			}
		}
		time.Sleep(50 * time.Millisecond) // polls a file of another process
	}
	t.Fatalf("the guest did not start:\n%s", stderr)
	return nil, 0, nil
}

// childQEMU finds the QEMU that a process has started.
func childQEMU(parent int) int {
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", parent))
	for _, task := range tasks {
		text, _ := os.ReadFile(task)
		for _, word := range strings.Fields(string(text)) {
			if comm, _ := os.ReadFile("/proc/" + word + "/comm"); strings.HasPrefix(string(comm), "qemu-system") {
				pid, _ := strconv.Atoi(word)
				return pid
			}
		}
	}
	return 0
}

func gone(pid int) bool {
	for range 200 {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil || bytes.Contains(stat, []byte(") Z ")) {
			return true
		}
		time.Sleep(25 * time.Millisecond) // the kernel's delivery of a signal to another process
	}
	return false
}

func TestQEMUKilled(t *testing.T) {
	t.Parallel()
	runs := t.TempDir()
	cmd, qemu, stderr := startSleeper(t, runs)
	if err := syscall.Kill(qemu, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 3 {
		t.Errorf("exit code %d, want 3\n%s", code, stderr)
	}
	text, err := os.ReadFile(filepath.Join(runs, "latest", "results.json"))
	if err != nil || !bytes.Contains(text, []byte("QEMU died (signal: killed)")) {
		t.Errorf("results.json (%v) does not say that QEMU died:\n%s", err, text)
	}
}

// However the farm dies, no guest outlives it, and the next run is clean.
func TestFarmKilled(t *testing.T) {
	t.Parallel()
	runs := t.TempDir()
	cmd, qemu, _ := startSleeper(t, runs)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
	if !gone(qemu) {
		t.Fatalf("QEMU %d outlived the farm", qemu)
	}
	dead, err := filepath.EvalSymlinks(filepath.Join(runs, "latest"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dead, "results.json")); err == nil {
		t.Error("a run that was killed has results")
	}
	o := farmIn(t, runs, "--topology", "none", "--suite", "cdev")
	if o.code != 0 || o.dir == dead {
		t.Errorf("the next run: exit code %d in %s\n%s", o.code, o.dir, o.stderr)
	}
}

// Ctrl-C ends guests at once, and what did not finish is not green.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	runs := t.TempDir()
	cmd, qemu, stderr := startSleeper(t, runs)
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 3 || !strings.Contains(stderr.String(), "interrupted") {
		t.Errorf("exit code %d, want 3 and a word about it:\n%s", code, stderr)
	}
	if !gone(qemu) {
		t.Errorf("QEMU %d outlived the farm", qemu)
	}
}

// A disk that fills up under the run directory: a clear error, no pass.
func TestFullDisk(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("mounting a small file system needs root")
	}
	runs := t.TempDir()
	for _, size := range []string{"20k", "64k"} {
		t.Run(size, func(t *testing.T) {
			if err := syscall.Mount("tmpfs", runs, "tmpfs", 0, "size="+size); err != nil {
				t.Fatalf("mount a small tmpfs: %v", err)
			}
			defer syscall.Unmount(runs, 0)
			o := farmIn(t, runs, "--topology", "none")
			if o.code != 3 {
				t.Errorf("exit code %d, want 3\n%s", o.code, o.stderr)
			}
			if !strings.Contains(o.stderr, "no space left") {
				t.Errorf("it does not say that the disk is full:\n%s", o.stderr)
			}
			if o.results.Verdict == "pass" {
				t.Error("the run is a pass")
			}
		})
	}
}
