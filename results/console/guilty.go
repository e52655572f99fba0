// SPDX-License-Identifier: Apache-2.0

package console

import (
	"regexp"
	"strings"
)

// guilty is the function of a report that a maintainer looks at first: the
// innermost one that is not there for every bug of the kind. For a stall it is
// the operation that does not end, since where it was seen is chance.
func guilty(r *report) string {
	if r.rule.traits&operation != 0 {
		if f := stalled(r.frames, r.rule.class == StackOverflow); f != "" {
			return f
		}
	}
	all := r.frames
	if r.rule.traits&stackOnly != 0 {
		for len(all) > 0 && all[0].stack == 0 && !all[0].pc {
			all = all[1:]
		}
	}
	if r.rule.class == Lockdep {
		all = ofLocks(r, all)
	}
	for _, f := range all {
		if generic(f.function) || (r.rule.traits&asleep != 0 && sleeping.MatchString(f.function)) {
			continue
		}
		if f.function == "synchronize_rcu_expedited" {
			return "synchronize_rcu" // which of the two is a setting
		}
		return f.function
	}
	// Only helpers: better one of them than none.
	for _, f := range all {
		if !reporting.MatchString(f.function) {
			return f.function
		}
	}
	return ""
}

// ofLocks puts the frames of a lockdep report into the order in which they
// matter: where the locks were taken, then the stack at the end. The chain of
// other users of the locks stands between them.
func ofLocks(r *report, all []frame) []frame {
	if r.became > 0 {
		return stackOf(all, r.became)
	}
	last := stackOf(all, r.stack)
	for i, f := range all {
		if f.stack > 0 {
			return append(all[:i:i], last...)
		}
	}
	return all
}

// stackOf is the frames of one stack.
func stackOf(all []frame, stack int) []frame {
	for i, f := range all {
		if f.stack == stack {
			all = all[i:]
			break
		}
	}
	for i, f := range all {
		if f.stack != stack {
			return all[:i]
		}
	}
	return all
}

// stalled finds the operation of the first stack that is neither idle nor
// RCU's own. whole is for a stack that overflowed: all of it did.
func stalled(all []frame, whole bool) string {
	for len(all) > 0 {
		end := 1
		for end < len(all) && all[end].stack == all[0].stack {
			end++
		}
		stack := all[:end]
		all = all[end:]
		// The program counter comes before the stack it belongs to.
		for len(all) > 0 && onlyPC(stack) {
			end = 1
			for end < len(all) && all[end].stack == all[0].stack {
				end++
			}
			stack = append(append([]frame(nil), stack...), all[:end]...)
			all = all[end:]
		}
		if f := operationOf(stack, whole); f != "" {
			return f
		}
	}
	return ""
}

func onlyPC(stack []frame) bool {
	for _, f := range stack {
		if !f.pc {
			return false
		}
	}
	return true
}

// operationOf finds what a stack was doing: its outermost function that is not
// a mere way into the kernel. A system call that dispatches, such as ioctl,
// says less than what it called.
func operationOf(stack []frame, whole bool) string {
	// What interrupted the stalled context is not part of it.
	from := 0
	for i, f := range stack {
		if ticking.MatchString(f.function) {
			from = i + 1
		}
		if grace.MatchString(f.function) {
			return ""
		}
		if idle.MatchString(f.function) {
			stack = stack[:i]
			break
		}
	}
	from = min(from, len(stack))
	for from < len(stack) && interrupted.MatchString(stack[from].function) {
		from++
	}
	stack = stack[from:]
	for i, f := range stack {
		// A softirq or an interrupt stalls, not what it interrupted.
		if i > 0 && !whole && (interrupted.MatchString(f.function) || softirq.MatchString(f.function)) {
			if helpersOnly(stack[:i]) {
				continue
			}
			stack = stack[:i]
			break
		}
	}
	for _, f := range stack[:min(len(stack), 6)] {
		if strings.HasPrefix(f.function, "smp_call_function") {
			return "smp_call_function"
		}
	}
	fallback := ""
	for i := len(stack) - 1; i >= 0; i-- {
		f := stack[i].function
		if call := systemCall(f); call != "" {
			if !dispatcher.MatchString(call) {
				return call
			}
			fallback = call
			continue
		}
		if entry.MatchString(f) || generic(f) {
			continue
		}
		if netlink.MatchString(f) {
			fallback = f
			continue
		}
		return f
	}
	return fallback
}

func helpersOnly(stack []frame) bool {
	for _, f := range stack {
		if !generic(f.function) && !interrupted.MatchString(f.function) && !softirq.MatchString(f.function) {
			return false
		}
	}
	return true
}

var syscallPrefix = regexp.MustCompile(`^(?:__(?:x64|ia32|x32|arm64|riscv|s390x?|powerpc|se|do)_(?:compat_)?sys_|(?:compat_)?SyS_|C_SYSC_|SYSC_)`)

// systemCall is sys_NAME if a function is the entry of a system call.
func systemCall(f string) string {
	if strings.HasPrefix(f, "sys_") {
		return f
	}
	if p := syscallPrefix.FindString(f); p != "" {
		return "sys_" + f[len(p):]
	}
	return ""
}
