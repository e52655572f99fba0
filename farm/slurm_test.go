// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// slurmMatrix is four cells.
const slurmMatrix = "axes:\n  source: debian:7.3\n  configuration: noiommu\n  topology: [none, intel]\n  suite: [TL-01, \"nodes,ND-01\"]\n"

// slurmCluster is a controller and two nodes on this machine, with keys,
// state and ports of their own.
type slurmCluster struct {
	t     *testing.T
	dir   string
	nodes map[string]*exec.Cmd
}

// slurmPrograms and the Debian packages that have them.
var slurmPrograms = map[string]string{"slurmctld": "slurmctld", "slurmd": "slurmd", "munged": "munge", "sbatch": "slurm-client"}

func startSlurm(t *testing.T) *slurmCluster {
	t.Helper()
	for program, pkg := range slurmPrograms {
		if _, err := exec.LookPath(program); err != nil {
			t.Fatalf("%s is not installed (Debian package: %s); make verify-slurm installs it", program, pkg)
		}
	}
	c := &slurmCluster{t: t, dir: t.TempDir(), nodes: make(map[string]*exec.Cmd)}
	for _, d := range []string{"munge", "state"} {
		if err := os.Mkdir(filepath.Join(c.dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	key := make([]byte, 1024)
	rand.Read(key)
	if err := os.WriteFile(filepath.Join(c.dir, "munge", "key"), key, 0o600); err != nil {
		t.Fatal(err)
	}
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	conf := fmt.Sprintf(`ClusterName=farm
SlurmctldHost=%[1]s(127.0.0.1)
SlurmctldPort=%[3]d
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket=%[2]s/munge/socket
SlurmUser=root
SlurmdUser=root
StateSaveLocation=%[2]s/state
SlurmdSpoolDir=%[2]s/spool-%%n
SlurmctldPidFile=%[2]s/slurmctld.pid
SlurmdPidFile=%[2]s/slurmd-%%n.pid
ProctrackType=proctrack/pgid
TaskPlugin=task/none
MpiDefault=none
ReturnToService=2
SlurmdTimeout=10
KillWait=2
SchedulerParameters=sched_interval=2,bf_interval=2
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
JobAcctGatherType=jobacct_gather/none
NodeName=n1 NodeAddr=127.0.0.1 NodeHostname=%[1]s Port=%[4]d CPUs=1 RealMemory=3000
NodeName=n2 NodeAddr=127.0.0.1 NodeHostname=%[1]s Port=%[5]d CPUs=1 RealMemory=3000
PartitionName=all Nodes=n1,n2 Default=YES State=UP
`, host, c.dir, freePort(t), freePort(t), freePort(t))
	path := filepath.Join(c.dir, "slurm.conf")
	if err := os.WriteFile(path, []byte(conf), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SLURM_CONF", path)
	in := func(name string) string { return filepath.Join(c.dir, "munge", name) }
	c.start("munged", "--foreground", "--force", "--key-file="+in("key"), "--socket="+in("socket"), "--pid-file="+in("pid"), "--log-file="+in("log"), "--seed-file="+in("seed"))
	c.eventually("munge answers", func() bool { return exec.Command("munge", "-n", "-S", in("socket")).Run() == nil })
	c.start("slurmctld", "-D", "-i", "-f", path)
	c.eventually("the controller answers", func() bool { return exec.Command("scontrol", "ping").Run() == nil })
	for _, n := range []string{"n1", "n2"} {
		c.nodes[n] = c.start("slurmd", "-D", "-N", n, "-f", path)
	}
	c.eventually("both nodes are idle", func() bool {
		out, _ := exec.Command("sinfo", "--noheader", "--format=%D %T").Output()
		return strings.TrimSpace(string(out)) == "2 idle"
	})
	return c
}

// start runs a daemon until the test is over.
func (c *slurmCluster) start(program string, args ...string) *exec.Cmd {
	c.t.Helper()
	log, err := os.Create(filepath.Join(c.dir, fmt.Sprintf("%s-%d.log", program, len(args)+len(c.nodes))))
	if err != nil {
		c.t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(program, args...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		time.AfterFunc(10*time.Second, func() { cmd.Process.Kill() })
		cmd.Wait()
		if c.t.Failed() {
			text, _ := os.ReadFile(log.Name())
			c.t.Logf("%s:\n%s", filepath.Base(log.Name()), text[max(0, len(text)-3000):])
		}
	})
	return cmd
}

func (c *slurmCluster) eventually(what string, holds func() bool) {
	c.t.Helper()
	for end := time.Now().Add(time.Minute); !holds(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			c.t.Fatalf("it did not come to this: %s", what)
		}
	}
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// onNode lists the processes of jobs on a node, those of Slurm that watch over
// them first.
func onNode(node string) []process {
	entries, _ := os.ReadDir("/proc")
	var steps, all []process
	for _, e := range entries {
		text, err := os.ReadFile(filepath.Join("/proc", e.Name(), "environ"))
		if err != nil || !slices.Contains(strings.Split(string(text), "\x00"), "SLURMD_NODENAME="+node) {
			continue
		}
		var pid int
		fmt.Sscan(e.Name(), &pid)
		p, ok := readProcess(pid)
		if !ok {
			continue
		}
		all = append(all, p)
		if parent, ok := readProcess(p.parent); ok && strings.HasPrefix(parent.name, "slurmstepd") {
			steps = append(steps, parent)
		}
	}
	return append(steps, all...)
}

// nodeAtWork is a node on which a cell of a run is half done.
func nodeAtWork(dir string) string {
	files, _ := filepath.Glob(filepath.Join(dir, "cells", "*", "begun.json"))
	for _, f := range files {
		var who struct{ PID int }
		if text, err := os.ReadFile(f); err != nil || json.Unmarshal(text, &who) != nil {
			continue
		}
		if _, err := os.Stat(filepath.Join(filepath.Dir(f), "done.json")); err == nil {
			continue
		}
		environment, _ := os.ReadFile(fmt.Sprintf("/proc/%d/environ", who.PID))
		for _, v := range strings.Split(string(environment), "\x00") {
			if node, ok := strings.CutPrefix(v, "SLURMD_NODENAME="); ok {
				return node
			}
		}
	}
	return ""
}

// cut takes a node away as a power cut would.
func (c *slurmCluster) cut(node string) {
	c.t.Helper()
	c.nodes[node].Process.Kill()
	lost := onNode(node)
	for _, p := range lost {
		syscall.Kill(p.pid, syscall.SIGKILL)
	}
	if len(lost) == 0 {
		c.t.Fatalf("nothing ran on %s", node)
	}
	c.t.Logf("%s is gone, and with it %d processes", node, len(lost))
}

// The same plan through a cluster gives the same verdicts; with a node that
// dies in the middle too. What is stopped leaves nothing in the queue.
func TestSlurm(t *testing.T) {
	if !*slow {
		t.Skip("starts a Slurm cluster: make verify-slurm")
	}
	file, runs := matrixFile(t, slurmMatrix), t.TempDir()
	carry := func(args ...string) map[string]string {
		t.Helper()
		a := startMatrix(t, append([]string{"run", file, "--out", runs}, args...)...)
		if code := a.end(); code != 0 {
			t.Fatalf("%s: exit code %d\n%s%s", args, code, a.said.String(), a.stdout.String())
		}
		return verdicts(t, latest(t, runs))
	}
	want := carry()
	c := startSlurm(t)
	queue := func() string {
		out, _ := exec.Command("squeue", "--noheader").Output()
		return string(bytes.TrimSpace(out))
	}
	t.Run("whole", func(t *testing.T) {
		if got := carry("--executor", "slurm"); !reflect.DeepEqual(got, want) {
			t.Errorf("%v\nlocally %v", got, want)
		}
	})
	t.Run("interrupted", func(t *testing.T) {
		a := startMatrix(t, "run", file, "--out", runs, "--executor", "slurm")
		if !a.until("PASS") {
			t.Fatal(a.said.String())
		}
		dir := latest(t, runs)
		before := began(t, dir)
		a.Process.Signal(syscall.SIGINT)
		if code := a.end(); code != 3 || queue() != "" {
			t.Errorf("exit code %d, queue %s\n%s", code, queue(), a.said.String())
		}
		a = startMatrix(t, "resume", "--out", runs, "--executor", "slurm")
		if code := a.end(); code != 0 {
			t.Fatalf("resume: exit code %d\n%s", code, a.said.String())
		}
		for name, at := range before {
			if !began(t, dir)[name].Equal(at) {
				t.Errorf("%s was done again", name)
			}
		}
		if got := verdicts(t, dir); !reflect.DeepEqual(got, want) {
			t.Errorf("%v\nlocally %v", got, want)
		}
	})
	t.Run("a node dies", func(t *testing.T) {
		a := startMatrix(t, "run", file, "--out", runs, "--executor", "slurm")
		if !a.until("running") {
			t.Fatal(a.said.String())
		}
		node := ""
		c.eventually("a cell is at work", func() bool {
			node = nodeAtWork(latest(t, runs))
			return node != ""
		})
		c.cut(node)
		if code := a.end(); code != 0 {
			t.Fatalf("exit code %d\n%s%s", code, a.said.String(), a.stdout.String())
		}
		dir := latest(t, runs)
		if got := verdicts(t, dir); !reflect.DeepEqual(got, want) {
			t.Errorf("%v\nlocally %v", got, want)
		}
		onlyHalfDone(t, dir)
		if attempts, _ := os.ReadDir(filepath.Join(dir, "attempts")); len(attempts) == 0 {
			t.Error("the node died, and nothing was done again")
		}
	})
}
