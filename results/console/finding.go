// SPDX-License-Identifier: Apache-2.0

// Package console finds what a Linux kernel complained about in its console
// log, for any architecture's and any age's format.
//
// In goes a log, whole ([Classify]) or a line at a time while it grows
// ([Scanner]). Out comes one [Finding] for every complaint: its class, a title
// as a maintainer would write it, the guilty function, and the lines.
//
// It never judges a test: which test a finding belongs to, and what follows
// from it, is for who knows when tests ran. It never takes user space's word
// for the kernel's: a line that only contains "BUG:" is not a finding. It
// keeps a bounded part of any log.
package console

import "fmt"

// Class is what kind of complaint a finding is.
type Class string

const (
	Panic          Class = "panic"      // a panic that follows from nothing else in the log
	InitDied       Class = "init-died"  // "Attempted to kill init!": process 1 ended
	Oops           Class = "oops"       // a fault in kernel mode that has no class of its own
	PageFault      Class = "page-fault" // bad address, NULL dereference included
	GPF            Class = "gpf"        // x86 general protection fault
	Bug            Class = "bug"        // BUG(), and "BUG:" lines without a class of their own
	Warning        Class = "warning"    // WARN(), and "WARNING:" lines without a class of their own
	Notice         Class = "notice"     // a line that begins with "WARNING:" and shows no stack: no WARN(), the kernel's advice
	KASAN          Class = "kasan"
	KMSAN          Class = "kmsan"
	KCSAN          Class = "kcsan"
	KFENCE         Class = "kfence"
	UBSAN          Class = "ubsan"
	Lockdep        Class = "lockdep"      // lockdep and the lock debugging around it
	RCU            Class = "rcu"          // suspicious RCU usage
	AtomicSleep    Class = "atomic-sleep" // sleeping or scheduling in atomic context
	RCUStall       Class = "rcu-stall"
	HungTask       Class = "hung-task"
	SoftLockup     Class = "soft-lockup"
	HardLockup     Class = "hard-lockup"
	WorkqueueStall Class = "workqueue-stall"
	Kmemleak       Class = "kmemleak" // a leak that kmemleak described
	Refcount       Class = "refcount" // refcount_t saturated, underflowed or was used after free
	ListCorruption Class = "list-corruption"
	SlabCorruption Class = "slab-corruption" // SLUB or page allocator found a bad object
	StackOverflow  Class = "stack-overflow"  // guard page hit, stack end or canary overwritten
	OOM            Class = "oom"             // the OOM killer ended a process
	Reboot         Class = "reboot"          // the kernel began to boot again in the same log
	DebugObjects   Class = "debug-objects"   // ODEBUG
	IommufdWait    Class = "iommufd-wait"    // "Time out waiting for iommufd object to become free"
)

// Finding is one complaint of the kernel.
type Finding struct {
	Class    Class    `json:"class"`
	Title    string   `json:"title"`              // "WARNING in iommu_device_release_dma_owner"
	Function string   `json:"function,omitempty"` // the guilty frame, if the log shows one
	CPU      int      `json:"cpu"`                // -1 if the log does not say
	PID      int      `json:"pid"`                // -1 if the log does not say
	Comm     string   `json:"comm,omitempty"`     // name of the task, if the log says it
	Panicked bool     `json:"panicked,omitempty"` // the kernel panicked because of it
	First    int      `json:"first"`              // line number of its first line, from 1
	Last     int      `json:"last"`               // of its last line
	Lines    []string `json:"lines"`              // its lines without prefixes, at most MaxLines
}

// String is the finding on one line: "12-40 warning: WARNING in f".
func (f Finding) String() string {
	s := fmt.Sprintf("%d-%d %s: %s", f.First, f.Last, f.Class, f.Title)
	if f.Panicked {
		s += " (panicked)"
	}
	return s
}
