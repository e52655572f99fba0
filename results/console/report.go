// SPDX-License-Identifier: Apache-2.0

package console

import (
	"regexp"
	"strconv"
	"strings"
)

// report is a finding that is still being read.
type report struct {
	rule    *rule
	groups  []string
	context string
	finding Finding

	frames   []frame
	stack    int    // number of stacks begun
	access   string // "Read", "Write"
	became   int    // the stack of "... which became HARDIRQ-irq-safe at:"
	idle     int    // lines since the last one that is surely part of it
	pending  []string
	ended    bool // its end mark was seen
	deadly   bool // a later line of it says that the task dies
	complete bool // what follows is the panic's own stack
}

var (
	access       = regexp.MustCompile(`^(Read|Write|read|write) (?:of size|at)\b`)
	task         = regexp.MustCompile(`\bCPU: ?(\d+)\b.*?\bPID: (\d+) (?:Comm: (.{1,15}?) (?:Not tainted|Tainted))?`)
	atCPU        = regexp.MustCompile(`, CPU#(\d+): (.{1,15})/(\d+)$`)
	ofTask       = regexp.MustCompile(`^(?:INFO: task |.*\[)([^:\]]{1,15}):(\d+)(?:\]| )`)
	stuck        = regexp.MustCompile(`CPU#(\d+) stuck for`)
	lastFunction = regexp.MustCompile(`^\s*last function: (\w+)`)
	// Functions that are named beside the stack: "hardirqs last enabled at
	// (123): func+0x1/0x2", and where the memory behind arm's registers is from.
	aside = regexp.MustCompile(`irqs last |^Register \w+ information`)

	endOf = regexp.MustCompile(`^---\[ end (?:trace|Kernel panic)`)

	// Lines that belong to a report although they name no function.
	part = regexp.MustCompile(`^(?:\s|Call |Modules linked|Code:|Hardware name|Workqueue:|R[A-Z0-9]{1,2}\d?: |[A-Z]{2}\d?:|e?flags|x\d+ ?:|r\d+ ?:|sp :|pstate|CPU:|CPU |Pid:|Tainted|Comm|Process|Stack|Oops|Internal error|Unable to handle|Krnl|GPR|NIP|LR|MSR|CFAR|IRQMASK|<|-{3}|={3}|Read (?:of|at)|Write (?:of|at)|Allocated by|Freed by|The buggy|page:|Memory state|Disabling lock|irq event|hardirqs|softirqs|other info|Possible unsafe|stack backtrace|locks held|\d+ locks? held|but task|is trying|which lock|the existing|backtrace)`)
)

func (r *report) add(number int, text string) {
	f := &r.finding
	if len(f.Lines) < MaxLines {
		f.Lines = append(f.Lines, text)
	}
	f.Last = number
	if r.access == "" {
		if m := access.FindStringSubmatch(text); m != nil {
			r.access = strings.ToUpper(m[1][:1]) + m[1][1:]
		}
	}
	r.where(text)
	if aside.MatchString(text) || r.complete {
		return
	}
	if stackStart.MatchString(text) {
		r.stack++
		if r.became == 0 && strings.Contains(text, "which became ") {
			r.became = r.stack
		}
	}
	if m := lastFunction.FindStringSubmatch(text); m != nil && r.rule.class == AtomicSleep {
		r.frames = append(r.frames, frame{function: m[1]})
	}
	for _, fr := range frames(text) {
		if fr.start && len(r.finding.Lines) > 1 && (!fr.pc || strings.HasPrefix(text, "Krnl PSW")) {
			continue // the address after a call or trap that ends the function before
		}
		if len(r.frames) < maxFrames {
			fr.stack = r.stack
			r.frames = append(r.frames, fr)
		}
	}
}

// where reads CPU, PID and name of the task.
func (r *report) where(text string) {
	f := &r.finding
	if m := atCPU.FindStringSubmatch(text); m != nil {
		f.CPU, f.Comm, f.PID = number(m[1]), m[2], number(m[3])
	}
	if m := task.FindStringSubmatch(text); m != nil && f.Comm == "" {
		f.CPU, f.PID, f.Comm = number(m[1]), number(m[2]), m[3]
	}
	if m := stuck.FindStringSubmatch(text); m != nil && f.CPU < 0 {
		f.CPU = number(m[1])
	}
	if m := ofTask.FindStringSubmatch(text); m != nil && f.PID < 0 && (r.rule.class == HungTask || r.rule.class == SoftLockup) {
		f.Comm, f.PID = m[1], number(m[2])
	}
}

func number(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		return -1
	}
	return n
}

// finish makes title and function out of what was read.
func (r *report) finish() Finding {
	f := r.finding
	f.Class = r.rule.class
	if r.rule.traits&advice != 0 && !r.hasStack() {
		f.Class, f.Last, f.Lines = Notice, f.First, f.Lines[:1]
		f.Title = r.title(r.rule.title, "")
		return f
	}
	f.Function = guilty(r)
	title := r.rule.title
	for _, special := range specials {
		if special.of == f.Class && special.sign.MatchString(strings.Join(f.Lines[:min(len(f.Lines), 12)], "\n")) {
			f.Class, title = special.class, special.title
			break
		}
	}
	f.Title = r.title(title, f.Function)
	return f
}

// specials are warnings and bugs that one check of the kernel raises on behalf
// of its caller. The sign is in the first lines of the report.
var specials = []struct {
	of    Class
	sign  *regexp.Regexp
	class Class
	title string
}{
	{Warning, regexp.MustCompile(`(?m)^refcount_t: |at lib/refcount\.c`), Refcount, "WARNING: refcount bug in $F"},
	{Warning, regexp.MustCompile(`(?m)^ODEBUG: |at lib/debugobjects\.c`), DebugObjects, "WARNING: ODEBUG bug in $F"},
	{Warning, regexp.MustCompile(`(?m)^WARNING:.* kernel/(?:locking/)?(?:lockdep|mutex|rwsem)\S*\.c`), Lockdep, "WARNING: locking bug in $F"},
	{Warning, regexp.MustCompile(`(?m)^list_(?:add|del) corruption|at lib/list_debug\.c`), ListCorruption, "BUG: corrupted list in $F"},
	{Warning, regexp.MustCompile(`(?m)^WARNING:.* (?:kmalloc_slab|kvmalloc_node\w*|krealloc)\+`), Warning, "WARNING: kmalloc bug in $F"},
	{Warning, regexp.MustCompile(`(?m)^WARNING:.* __vmalloc_node_range\w*\+`), Warning, "WARNING: zero-size vmalloc in $F"},
	{Warning, regexp.MustCompile(`(?m)^WARNING:.* proc_register\+`), Warning, "WARNING: proc registration bug in $F"},
	{Warning, regexp.MustCompile(`(?m)^WARNING:.* lib/kobject\.c`), Warning, "WARNING: kobject bug in $F"},
	{Warning, regexp.MustCompile(`(?m)^WARNING:.* usercopy_warn\+|^Bad or missing usercopy whitelist`), Warning, "WARNING: bad usercopy in $F"},
	{Bug, regexp.MustCompile(`(?m)^kernel BUG at lib/list_debug\.c`), ListCorruption, "BUG: corrupted list in $F"},
	{Bug, regexp.MustCompile(`(?m)^kernel BUG at mm/usercopy\.c`), Bug, "BUG: bad usercopy in $F"},
}

func (r *report) title(template, function string) string {
	values := []string{" $RW", "", " in $F", ""}
	if r.access != "" {
		values[1] = " " + r.access
	}
	if function != "" {
		values[3] = " in " + function
	}
	for i, group := range r.groups {
		group = symbol.ReplaceAllStringFunc(strings.TrimSpace(group), func(s string) string {
			return clip(s[:strings.IndexByte(s, '+')])
		})
		values = append(values, "$"+strconv.Itoa(i), group)
	}
	return strings.NewReplacer(values...).Replace(template)
}

// hasStack says whether the report shows where the kernel was.
func (r *report) hasStack() bool {
	for _, f := range r.frames {
		if f.stack > 0 || f.pc {
			return true
		}
	}
	return false
}

// dying says whether a panic that comes next is a consequence of the report.
func (r *report) dying() bool { return r != nil && (r.deadly || r.rule.traits&death != 0) }

// includes says whether another first line is part of the report, or a
// consequence of it, instead of a new finding.
func (r *report) includes(next *rule, text string) bool {
	if r.ended && !strings.HasPrefix(text, "Kernel panic") {
		return false
	}
	if next.class == InitDied {
		return r.dying() && (r.finding.PID <= 1 || r.finding.Comm == "init")
	}
	if strings.HasPrefix(text, "Kernel panic") {
		return r.dying() || strings.Contains(text, "panic_on_warn") || strings.Contains(text, "kasan.fault") || r.rule.class == AtomicSleep || r.rule.class == OOM || r.rule.class == SoftLockup || r.rule.class == HungTask || r.rule.class == RCUStall || r.rule.class == HardLockup
	}
	if next.traits&follows != 0 && r.dying() {
		return true
	}
	early := len(r.finding.Lines) < 8
	switch {
	case r.rule.traits&preface != 0:
		return early && (next.class == Bug || next.class == Warning) || next.traits&follows != 0
	case r.rule.class == SlabCorruption:
		return next.class == SlabCorruption && strings.HasPrefix(text, "INFO: ")
	case r.rule.class == OOM:
		return next.class == OOM && strings.HasPrefix(text, "Out of memory")
	case r.rule.class == Warning:
		return early && next.traits&preface != 0
	}
	return false
}

// read takes the next line of the report's context.
func (r *report) read(number int, text string) {
	if r.ended {
		return
	}
	if part.MatchString(text) || stackStart.MatchString(text) || symbol.MatchString(text) {
		r.idle = 0
		for _, text := range r.pending {
			if len(r.finding.Lines) < MaxLines {
				r.finding.Lines = append(r.finding.Lines, text)
			}
		}
		r.pending = nil
		r.add(number, text)
		if endOf.MatchString(text) {
			r.ended = true
		}
		return
	}
	if len(r.pending) < maxIdle {
		r.pending = append(r.pending, text)
	}
}

// join takes a first line that is part of the report or follows from it.
func (r *report) join(next *rule, text string) {
	r.deadly = r.deadly || next.traits&death != 0
	if strings.HasPrefix(text, "Kernel panic") {
		r.finding.Panicked, r.ended = true, false
		r.complete = r.hasStack()
	}
}
