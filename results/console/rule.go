// SPDX-License-Identifier: Apache-2.0

package console

import (
	"regexp"
	"strings"
)

// rule is one kind of first line.
type rule struct {
	word  string         // must be in the line; a cheap test before the pattern
	match *regexp.Regexp // at the line's start
	class Class

	// title is the finding's title. $1 is the pattern's first group, $RW is
	// Read or Write as a line below says, and " in $F" is the guilty function
	// or nothing.
	title string

	traits trait
}

type trait int

const (
	kernelOnly trait = 1 << iota // words that user space uses too: only with a time stamp
	death                        // the task or the kernel dies of it
	follows                      // goes on with an oops that is being read
	oneLine                      // no stack follows
	stackOnly                    // the function in the first line says nothing
	operation                    // a stall: the operation counts, not the spot
	asleep                       // the task sleeps: skip how
	announces                    // the finding it announces comes on a later line
	preface                      // the WARNING or BUG line comes on a later or an earlier line
	again                        // only if a kernel ran before
	ignored                      // looks like a first line and is not
	advice                       // a Notice if no stack follows
	needsStack                   // only a finding if a stack follows
)

func r(word, pattern string, class Class, title string, traits trait) rule {
	return rule{word, regexp.MustCompile(`^(?:` + pattern + `)`), class, title, traits}
}

// rules are tried in this order; the first that matches wins. The kernel file
// that prints the line is named where it is not plain.
var rules = []rule{
	r("kasan: bad access", `BUG .*: kasan: bad access detected`, KASAN, "", ignored), // goes on an old KASAN report
	r("Linux version ", `Linux version \d`, Reboot, "unexpected kernel reboot", oneLine|again),

	// Sanitizers: mm/kasan/report.c, mm/kmsan/report.c, kernel/kcsan/report.c,
	// mm/kfence/report.c, lib/ubsan.c.
	r("BUG: KASAN", `BUG: KASAN: (?:double-free or invalid-free|double-free|invalid-free)`, KASAN, "KASAN: invalid-free in $F", 0),
	r("BUG: KASAN", `BUG: KASAN: ([\w-]+)`, KASAN, "KASAN: $1 $RW in $F", 0),
	r("BUG: KASan", `BUG: KASan: ([\w -]+?) (?:access )?in`, KASAN, "KASAN: $1 $RW in $F", 0),
	r("BUG: KMSAN", `BUG: KMSAN: ([\w-]+)`, KMSAN, "KMSAN: $1 in $F", 0),
	r("BUG: KCSAN", `BUG: KCSAN: (.+)`, KCSAN, "KCSAN: $1", 0),
	r("BUG: KFENCE", `BUG: KFENCE: (.+?) in `, KFENCE, "KFENCE: $1 in $F", 0),
	r("UBSAN", `UBSAN: ([\w-]+) in `, UBSAN, "UBSAN: $1 in $F", stackOnly),
	r("UBSAN", `UBSAN: Undefined behaviour in `, UBSAN, "UBSAN: undefined-behaviour in $F", stackOnly),

	// Lock debugging: kernel/locking/lockdep.c, spinlock_debug.c.
	r("locking dependency", `(?:WARNING|\[ INFO): possible (?:circular|recursive) locking(?: dependency)? detected`, Lockdep, "possible deadlock in $F", 0),
	r("lock", `(?:WARNING|\[ INFO): (?:possible irq lock inversion|possible recursive locking|\S+-safe -> \S+-unsafe lock order)`, Lockdep, "possible deadlock in $F", 0),
	r("inconsistent lock state", `(?:WARNING|\[ INFO): inconsistent lock state`, Lockdep, "inconsistent lock state in $F", 0),
	r("RCU usage", `(?:(WARNING)|\[ (INFO)|(INFO)): suspicious RCU usage`, RCU, "$1$2$3: suspicious RCU usage in $F", stackOnly),
	r("lock held when returning", `(?:(WARNING)|\[ (BUG)): lock held when returning to user space`, Lockdep, "$1$2: lock held when returning to user space in $F", 0),
	r("bad unlock balance", `(?:(WARNING)|\[ (BUG)): bad unlock balance detected`, Lockdep, "$1$2: bad unlock balance in $F", 0),
	r("held lock freed", `(?:(WARNING)|\[ (BUG)): held lock freed`, Lockdep, "$1$2: held lock freed in $F", 0),
	r("locks held", `(?:(WARNING)|\[ (BUG)): (?:.* )?still has locks held`, Lockdep, "$1$2: still has locks held in $F", 0),
	r("ested lock", `(?:WARNING|\[ BUG): [Nn]ested lock was not taken`, Lockdep, "WARNING: nested lock was not taken in $F", 0),
	r("wait context", `\[ BUG: Invalid wait context \]`, Lockdep, "WARNING: locking bug in $F", stackOnly),
	r("non-static key", `INFO: trying to register non-static key`, Lockdep, "INFO: trying to register non-static key in $F", stackOnly),
	r("BUG: ", `BUG: (spinlock (?:lockup(?: suspected)?|recursion|bad magic|already unlocked|wrong CPU|wrong owner|trylock failure on UP)|(?:rwlock|rwlock-\w+) (?:lockup|bad magic|recursion|wrong owner|wrong CPU|already unlocked|cpu recursion|uninitialized)) on`, Lockdep, "BUG: $1 in $F", stackOnly),
	r("BUG: MAX_", `BUG: (MAX_\w+ too low!)`, Lockdep, "BUG: $1", 0),

	// Sleeping where it is not allowed: kernel/sched/core.c.
	r("sleeping function", `BUG: sleeping function called from invalid context`, AtomicSleep, "BUG: sleeping function called from invalid context in $F", stackOnly),
	r("preemptible", `BUG: (using \S+) in preemptible`, AtomicSleep, "BUG: $1 in preemptible code in $F", stackOnly),
	r("leaked lock", `BUG: workqueue leaked (?:lock|atomic)`, AtomicSleep, "BUG: workqueue leaked lock or atomic in $F", 0),
	r("while atomic", `(?:BUG: )?scheduling while atomic`, AtomicSleep, "BUG: scheduling while atomic in $F", stackOnly),

	// Stalls: kernel/rcu/tree_stall.h, kernel/hung_task.c, kernel/watchdog.c,
	// kernel/workqueue.c.
	r("stall", `(?:rcu: )?INFO: (?:rcu_?\w* (?:self-)?detected (?:expedited )?stalls?|rcu_\w+ detected|rcu_\w+ self-detected)`, RCUStall, "INFO: rcu detected stall in $F", operation),
	r("stall", `(?:rcu: )?rcu_\w+ kthread starved`, RCUStall, "INFO: rcu detected stall in $F", operation),
	r("blocked", `INFO: task (?:.{1,40}):\d+ (?:<.*> )?(?:is )?blocked (?:(?:on|in) .* )?for more than`, HungTask, "INFO: task hung in $F", asleep),
	r("task", `INFO: task (?:.{1,40}):\d+ can't die for more than`, HungTask, "INFO: task can't die in $F", asleep),
	r("soft lockup", `(?:NMI watchdog: |watchdog: )?BUG: soft lockup`, SoftLockup, "BUG: soft lockup in $F", operation),
	r("hard LOCKUP", `(?:NMI watchdog: |watchdog: )?(?:Watchdog detected|CPU\d+: Watchdog detected) hard LOCKUP`, HardLockup, "BUG: hard lockup in $F", operation),
	r("workqueue lockup", `BUG: workqueue lockup`, WorkqueueStall, "BUG: workqueue lockup", 0),

	// Corruption that the kernel noticed by itself.
	r("corruption", `list_(?:add|del) corruption`, ListCorruption, "BUG: corrupted list in $F", stackOnly|preface),
	r("refcount_t:", `refcount_t: `, Refcount, "WARNING: refcount bug in $F", stackOnly|preface),
	r("usercopy:", `usercopy: Kernel memory (?:exposure|overwrite) attempt`, Bug, "BUG: bad usercopy in $F", stackOnly|preface),
	r("ODEBUG", `ODEBUG: `, DebugObjects, "WARNING: ODEBUG bug in $F", stackOnly|preface|needsStack),
	r("BUG: Bad", `BUG: (Bad (?:page state|page map|rss-counter state|page cache))`, SlabCorruption, "BUG: $1 in $F", 0),
	r("still in use", `BUG: Dentry .* still in use .*\[(unmount)`, Bug, "BUG: Dentry still in use in $1", oneLine),
	r("waiting for", `unregister_netdevice: waiting for \S+ to become free`, Bug, "unregister_netdevice: waiting for DEV to become free", oneLine),
	r("VFS: ", `VFS: (Close: file count is zero|Busy inodes after unmount)`, Bug, "VFS: $1 (use-after-free)", oneLine),
	r("VFS: ", `VFS: Close: file count is 0`, Bug, "VFS: Close: file count is zero (use-after-free)", oneLine),
	r("BUG ", `BUG [\w:.\- ]{1,64} \((?:Not tainted|Tainted: [^)]*)\): (.+)`, SlabCorruption, "BUG: $1", 0),
	r("INFO: ", `INFO: (Slab 0x|Object 0x|Freed in|Allocated in)`, SlabCorruption, "BUG: slab corruption", 0),
	r("stack guard page", `BUG: (?:\w+ )?stack guard page was hit`, StackOverflow, "BUG: stack guard page was hit in $F", death|operation),
	r("stack overflow", `(?:BUG: |Kernel |kernel )?(?:kernel )?stack overflow`, StackOverflow, "kernel stack overflow in $F", death|follows|operation),
	r("Insufficient stack", `Insufficient stack space to handle exception`, StackOverflow, "kernel stack overflow in $F", death|follows|operation),
	r("memory leak", `BUG: memory leak`, Kmemleak, "memory leak in $F", announces),
	r("unreferenced object", `unreferenced object 0x`, Kmemleak, "memory leak in $F", 0),
	r("suspected memory leaks", `kmemleak: \d+ new suspected memory leaks`, Kmemleak, "memory leak", announces),

	// Faults in kernel mode, each architecture in its own words.
	r("BUG: ", `BUG: unable to handle kernel NULL pointer dereference|BUG: [Kk]ernel NULL pointer dereference`, PageFault, "BUG: unable to handle kernel NULL pointer dereference in $F", death),
	r("BUG: ", `BUG: [Uu]nable to handle (?:kernel paging request|page fault|kernel data access|kernel instruction fetch|kernel \w+)`, PageFault, "BUG: unable to handle kernel paging request in $F", death),
	r("nable to handle kernel", `(?:CPU \d+ )?[Uu]nable to handle kernel NULL pointer`, PageFault, "BUG: unable to handle kernel NULL pointer dereference in $F", death),
	r("nable to handle kernel", `(?:CPU \d+ )?[Uu]nable to handle kernel access to user memory`, PageFault, "BUG: unable to handle kernel access to user memory in $F", death),
	r("nable to handle kernel", `(?:CPU \d+ )?[Uu]nable to handle kernel`, PageFault, "BUG: unable to handle kernel paging request in $F", death),
	r("general protection", `(?:Oops: |segment-related |kasan: GPF could be caused by NULL-ptr deref or user memory access)?general protection(?: fault|:)`, GPF, "general protection fault in $F", death),
	r("double fault", `(?:traps: )?PANIC: double fault|(?:Oops: )?double fault:`, Oops, "PANIC: double fault in $F", death),
	r("kernel BUG at", `kernel BUG at|Kernel BUG at`, Bug, "kernel BUG in $F", death),
	r("ernel ", `(?:Oops - )?[Kk]ernel bug detected`, Bug, "kernel BUG in $F", death),
	r("Kernel Fault", `Kernel Fault: Code=`, PageFault, "BUG: unable to handle kernel paging request in $F", death), // parisc
	r("Bad mode in", `Bad mode in .* handler detected`, Oops, "bad mode in $F", death),
	r("SError", `SError Interrupt on CPU\d`, Oops, "SError in $F", death),
	r("[#", `(?:Oops: )?divide[ _]error\b.*\[#\d+\]`, Oops, "divide error in $F", death|follows),
	r("[#", `(?:Oops: )?stack segment\b.*\[#\d+\]`, Oops, "stack segment fault in $F", death|follows),
	r("[#", `(?:Oops: )?(invalid opcode|int3|alignment check|invalid TSS|segment not present|bounds|overflow|control protection fault|machine check|coprocessor segment overrun|device not available)\S*:? .*\[#\d+\]`, Oops, "$1 in $F", death|follows),
	r("[#", `((?:addressing|specification|protection|data|privileged operation|operand|monitor event|illegal operation|fixed point divide|special operation|translation)[\w ]*): [0-9a-f]{4} ilc:`, Oops, "$1 in $F", death|follows),
	r("nternal error", `Internal error: `, Oops, "Internal error in $F", death|follows),
	r("Unhandled fault", `Unhandled (?:fault|prefetch abort):`, Oops, "Unhandled fault in $F", death),
	r("[#", `((?:Reserved|Break) instruction|Unhandled kernel unaligned access|Data bus error|Instruction bus error).*\[#\d+\]`, Oops, "$1 in $F", death),
	r("Oops", `(?:\S+\(\d+\): )?Oops\b.*\[#\d+\]|Oops: [0-9a-f]{8}$|\S+\(\d+\): Oops \d`, Oops, "Oops in $F", death|follows),

	// WARN() and BUG(): kernel/panic.c __warn(), lib/bug.c. The three ages of
	// the line: "at file:1 func()", "CPU: 1 PID: 2 at file:1 func+0x1/0x2",
	// "file:1 at func+0x1/0x2, CPU#1: comm/2".
	r("WARNING: ", `WARNING: (?:CPU: \d+ PID: \d+ )?at `, Warning, "WARNING in $F", 0),
	r("WARNING: ", `WARNING: (?:\[.*\] )?\S+:\d+ at `, Warning, "WARNING in $F", 0),
	r("WARNING: ", `WARNING: (kernel stack (?:regs|frame pointer)) at .* has bad .*value`, Warning, "WARNING: $1 has bad value", 0),

	r("Time out waiting", `(?:\S+ \S+: |\w+: )?Time out waiting for iommufd object`, IommufdWait, "iommufd: time out waiting for object to become free", oneLine),
	r("invoked oom-killer", `(\S+) invoked oom-killer`, OOM, "Out of memory: $1 invoked oom-killer", stackOnly),
	r("Out of memory", `Out of memory: [Kk]ill`, OOM, "Out of memory: killed process", 0),

	// Panics of their own; those that end an oops are its consequence.
	r("Kernel panic", `Kernel panic - not syncing: Attempted to kill init!`, InitDied, "kernel panic: Attempted to kill init!", death),
	r("Kernel panic", `Kernel panic - not syncing: (corrupted stack end)`, StackOverflow, "kernel panic: $1 in $F", death|operation),
	r("Kernel panic", `Kernel panic - not syncing: (?:stack-protector: Kernel )?(stack is corrupted)`, StackOverflow, "kernel panic: $1 in $F", death),
	r("Kernel panic", `Kernel panic - not syncing: (.*)`, Panic, "kernel panic: $1", death),

	// Whatever else begins with the words the kernel uses for its own bugs.
	r("BUG: ", `BUG: (.+)`, Bug, "BUG: $1", kernelOnly),
	r("WARNING: ", `WARNING: (.+)`, Warning, "WARNING: $1", kernelOnly|advice),
	r("hung_task", `hung_task: (.+)`, HungTask, "hung_task: $1", kernelOnly|oneLine),
}

// match finds the rule of a first line.
func match(rec record) (*rule, []string) {
	text := rec.text
	if rec.stamped {
		text = strings.TrimLeft(text, " ")
	}
	for i := range rules {
		rule := &rules[i]
		if !strings.Contains(rec.text, rule.word) {
			continue
		}
		if rule.traits&kernelOnly != 0 && !rec.stamped {
			continue
		}
		if groups := rule.match.FindStringSubmatch(text); groups != nil {
			if rule.traits&ignored != 0 {
				return nil, nil
			}
			return rule, groups
		}
	}
	return nil, nil
}
