// SPDX-License-Identifier: Apache-2.0

// Command liar is a test program that misbehaves in the way its argument
// names. The farm's own tests run it in real guests: none of it may come out
// as a pass.
package main

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// provoke makes the kernel misbehave (CONFIG_LKDTM, drivers/misc/lkdtm).
func provoke(crashpoint string) {
	if err := os.WriteFile("/sys/kernel/debug/provoke-crash/DIRECT", []byte(crashpoint), 0); err != nil {
		fmt.Println("not ok 1 - provoke", crashpoint, err)
		os.Exit(1)
	}
}

func must(err error) {
	if err != nil {
		fmt.Println("Bail out!", err)
		os.Exit(1)
	}
}

// crashAgent makes process 1 jump to address 0. It cannot simply be killed: the
// kernel keeps signals from it, and the agent ignores what is left.
func crashAgent() {
	runtime.LockOSThread() // ptrace is per thread
	must(syscall.PtraceAttach(1))
	var status syscall.WaitStatus
	_, err := syscall.Wait4(1, &status, syscall.WALL, nil)
	must(err)
	var regs syscall.PtraceRegs
	must(syscall.PtraceGetRegs(1, &regs))
	regs.Rip = 0
	regs.Orig_rax = ^uint64(0) // no system call to restart
	must(syscall.PtraceSetRegs(1, &regs))
	must(syscall.PtraceDetach(1))
}

func main() {
	fmt.Println("KTAP version 1")
	switch lie := os.Args[1]; lie {
	case "honest":
		fmt.Println("1..1")
		fmt.Println("ok 1 honest")
	case "early": // ends before its plan is complete, with exit code 0
		fmt.Println("1..3")
		fmt.Println("ok 1 first")
	case "killed": // says ok and is killed
		fmt.Println("1..1")
		fmt.Println("ok 1 only")
		must(syscall.Kill(os.Getpid(), syscall.SIGKILL))
	case "exit": // every test ok, and exit code 1
		fmt.Println("1..1")
		fmt.Println("ok 1 only")
		os.Exit(1)
	case "noplan":
		fmt.Println("ok 1 only")
	case "skip": // a skip that nothing in the cell calls for
		fmt.Println("1..2")
		fmt.Println("ok 1 first")
		fmt.Println("ok 2 second # SKIP no hugepages")
	case "skipall":
		fmt.Println("1..0 # SKIP no device")
		os.Exit(4)
	case "silent":
		os.Stdout.Close()
	case "sleep":
		fmt.Println("1..1")
		time.Sleep(time.Hour)
	case "flood": // a line without an end
		fmt.Println("1..1")
		w := bufio.NewWriter(os.Stdout)
		junk := strings.Repeat("x", 1<<16)
		for range 512 {
			w.WriteString(junk)
		}
		w.Flush()
		fmt.Println("\nok 1 only")
	case "escape": // text that must not reach a terminal as it is
		fmt.Println("1..1")
		fmt.Println("# \x1b]0;owned\x07\x1b[2J")
		fmt.Println("not ok 1 \x1b[31mred\x1b[0m\xff<script>")
	case "warn": // a kernel warning in the middle of a passing test
		fmt.Println("1..2")
		fmt.Println("ok 1 first")
		provoke("WARNING")
		fmt.Println("ok 2 second")
	case "stuck": // a child that the kernel never lets go
		fmt.Println("1..1")
		if _, err := os.StartProcess("/proc/self/exe", []string{"liar", "hung-task"}, &os.ProcAttr{}); err != nil {
			must(err)
		}
		time.Sleep(time.Second) // the child has to get there
		fmt.Println("ok 1 only")
	case "hung-task":
		provoke("HUNG_TASK")
	case "panic":
		fmt.Println("1..1")
		provoke("PANIC")
	case "hang": // one processor spins with interrupts off
		fmt.Println("1..1")
		provoke("HARDLOCKUP")
	case "reboot": // the machine is reset without a word
		fmt.Println("1..1")
		must(os.WriteFile("/proc/sysrq-trigger", []byte("b"), 0))
		time.Sleep(time.Hour)
	case "init": // the agent dies
		fmt.Println("1..1")
		crashAgent()
		time.Sleep(time.Hour)
	default:
		fmt.Println("Bail out! no such lie:", lie)
		os.Exit(2)
	}
}
