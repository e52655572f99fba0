// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// nursery starts processes and reaps every child of this one, also those that
// it only inherited: orphans go to process 1. There is one wait for all, so
// nothing else here may wait for a process (os/exec would).
type nursery struct {
	mu      sync.Mutex
	born    *sync.Cond // signalled when a process was started
	waiting map[int]chan<- unix.WaitStatus
}

func newNursery() *nursery {
	n := &nursery{waiting: make(map[int]chan<- unix.WaitStatus)}
	n.born = sync.NewCond(&n.mu)
	go n.reap()
	return n
}

// start starts a process. Its wait status arrives on the channel.
func (n *nursery) start(argv []string, attr *syscall.ProcAttr) (pid int, ended <-chan unix.WaitStatus, err error) {
	// Held over the fork: the reaper cannot look up a child that is not
	// written down yet.
	n.mu.Lock()
	defer n.mu.Unlock()
	pid, err = syscall.ForkExec(argv[0], argv, attr)
	if err != nil {
		return 0, nil, err
	}
	status := make(chan unix.WaitStatus, 1)
	n.waiting[pid] = status
	n.born.Signal()
	return pid, status, nil
}

func (n *nursery) reap() {
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, 0, nil)
		switch err {
		case nil:
			n.mu.Lock()
			if ended, ok := n.waiting[pid]; ok {
				delete(n.waiting, pid)
				ended <- status
			}
			n.mu.Unlock()
		case unix.ECHILD:
			// Without a child there is no orphan to come either.
			n.mu.Lock()
			for len(n.waiting) == 0 {
				n.born.Wait()
			}
			n.mu.Unlock()
		}
	}
}

// process is one running process. A pid alone may come again; with its start
// time it does not.
type process struct {
	pid    int
	parent int
	start  string // field 22 of /proc/PID/stat
}

// descendants lists the running processes below this one, without the dead
// that only wait to be reaped.
func descendants() ([]process, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	all := make(map[int]process)
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		p, alive, err := readProcess(pid)
		if err == nil && alive {
			all[pid] = p
		}
	}
	self := os.Getpid()
	var below []process
	for _, p := range all {
		// A chain is never longer than there are processes; the bound is for
		// a listing that changed while it was read.
		at := p
		for range len(all) {
			if at.parent == self {
				below = append(below, p)
				break
			}
			next, ok := all[at.parent]
			if !ok {
				break
			}
			at = next
		}
	}
	return below, nil
}

// readProcess reads /proc/PID/stat (Documentation/filesystems/proc.rst).
func readProcess(pid int) (p process, alive bool, err error) {
	stat, err := readText(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return process{}, false, err
	}
	// The command in parentheses may hold anything, parentheses too.
	i := strings.LastIndexByte(stat, ')')
	fields := strings.Fields(stat[i+1:]) // from field 3 on
	if i < 0 || len(fields) < 20 {
		return process{}, false, fmt.Errorf("stat of process %d: %q", pid, stat)
	}
	state := fields[0]
	parent, err := strconv.Atoi(fields[1])
	return process{pid: pid, parent: parent, start: fields[19]}, state != "Z" && state != "X", err
}

// sweep kills everything below this process and waits until it is gone, at
// most within. It counts what it had to kill beside the program itself, and
// what is still there in the end.
func sweep(program int, within time.Duration) (killed, stuck int, err error) {
	if childless() {
		return 0, 0, nil
	}
	deadline := time.Now().Add(within)
	type key struct {
		pid   int
		start string
	}
	seen := make(map[key]bool)
	for pause := backoff(time.Millisecond); ; {
		left, err := descendants()
		if err != nil {
			return killed, 0, fmt.Errorf("list processes: %w", err)
		}
		for _, p := range left {
			if k := (key{p.pid, p.start}); p.pid != program && !seen[k] {
				seen[k] = true
				killed++
			}
		}
		// Also when none was seen: one that forks and exits all the time may
		// hide from a listing.
		kill(left)
		if len(left) == 0 || time.Now().After(deadline) {
			return killed, len(left), nil
		}
		pause.wait()
	}
}

// childless says whether there is nothing below this process: an orphan is a
// child of it. Reading all of /proc takes long on an emulated processor.
func childless() bool {
	return unix.Waitid(unix.P_ALL, 0, nil, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil) == unix.ECHILD
}

// kill sends SIGKILL. Process 1 sends it to everything else at once (kill(2),
// pid -1), which nothing can fork away from; another process, as in a test,
// has neighbours and goes by the list. What is gone by now is no error.
func kill(list []process) {
	if os.Getpid() == 1 {
		_ = unix.Kill(-1, unix.SIGKILL)
		return
	}
	for _, p := range list {
		_ = unix.Kill(p.pid, unix.SIGKILL)
	}
}
