// SPDX-License-Identifier: Apache-2.0

package verdict

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"noiommu-farm/guestagent/wire"
	"noiommu-farm/results"
	"noiommu-farm/results/console"
	"noiommu-farm/results/ktap"
	"noiommu-farm/suites/contract"
)

// Judge derives the verdict of a cell from its record. An error means that the
// record itself could not be read.
func Judge(rec *results.Record) (*Cell, error) {
	guests, err := readGuests(rec)
	if err != nil {
		return nil, err
	}
	cell := &Cell{
		Name:    rec.Planned.Cell,
		Kernel:  rec.Planned.Kernel,
		Machine: rec.Planned.Machine,
		Absent:  rec.Planned.Absent,
		Dir:     rec.Dir,
		Wall:    rec.Events[len(rec.Events)-1].Time.Sub(rec.Events[0].Time),
		Guests:  howMany(guests),
	}
	for _, p := range rec.Planned.Programs {
		judged, err := judgeParts(rec, p, guests)
		if err != nil {
			return nil, err
		}
		cell.Programs = append(cell.Programs, judged)
		cell.Verdict = Worst(cell.Verdict, judged.Verdict)
	}
	for _, b := range rec.Planned.Broken {
		// It left no output; a number of its own keeps it from being taken for another.
		reason := firstLine(b.Err)
		if len(b.Missing) > 0 {
			reason += "; without " + strings.Join(b.Missing, " ")
		}
		cell.Programs = append(cell.Programs, Program{
			ID: uint32(len(cell.Programs) + 1), Name: b.Name, Verdict: Fail,
			Tests: []Test{{Name: "compiles", Verdict: Fail, Reason: reason, Diagnostics: strings.Split(b.Err, "\n")}},
		})
		cell.Verdict = Worst(cell.Verdict, Fail)
	}
	for _, g := range guests {
		if g.cause.verdict != "" {
			cell.tell(g.cause.verdict, g.named(rec.Planned, g.cause.reason))
			if cell.Tail == nil {
				cell.Tail = g.cons.tail
			}
		}
		cell.Findings = append(cell.Findings, g.outside()...)
		if !rec.Planned.Measured || g.cause.verdict != "" {
			continue
		}
		if err := judgeLeaks(cell, rec.Planned, g); err != nil {
			return nil, err
		}
	}
	if rec.Torn {
		cell.tell(Infra, "the record ends in the middle of a line")
	}
	// After all else: what the log says may be known, and excused.
	for _, f := range cell.Findings {
		cell.tell(severity(f), f.Title)
	}
	if cell.Verdict == "" {
		// Nothing failed, and nothing passed either.
		cell.Verdict, cell.Reason = Skip, "nothing that was asked for applies to this cell"
	}
	return cell, nil
}

// cause is why a cell was not carried to its end; the zero value when it was.
type cause struct {
	verdict Verdict
	reason  string
}

// story is what the events of a cell tell of the guest as a whole.
type story struct {
	running map[uint32]time.Time
	exited  map[uint32]*wire.Exited
	refused map[uint32]*wire.Error // the agent could not start it
	hung    *results.Hung
	lost    *results.Lost
	infra   *results.Infra
	unbuilt *results.Unbuilt
	ended   *results.Ended
	belied  string // see [Belies]

	taintBefore map[uint32]int64    // before a program ran
	away        map[uint32][]string // devices that a program left unplugged
	measured    []wire.Measured
	saved       []saved // as the guest was saved
	unsavable   string  // why it could not be saved
	exitedAt    map[uint32]time.Time
}

// saved is what was known of a guest when it was saved.
type saved struct {
	measured wire.Measured
	taint    int64
}

// readStory reads what the events tell of one guest. from is what was known of
// the one that it goes on from; nil for one that was booted.
func readStory(rec *results.Record, guest uint32, from *saved) story {
	s := story{
		running: make(map[uint32]time.Time),
		exited:  make(map[uint32]*wire.Exited),
		refused: make(map[uint32]*wire.Error),

		taintBefore: make(map[uint32]int64),
		away:        make(map[uint32][]string),
		exitedAt:    make(map[uint32]time.Time),
	}
	var last uint32
	var taint int64
	if from != nil {
		taint = from.taint
		s.measured = []wire.Measured{from.measured}
	}
	for _, e := range rec.Events {
		switch {
		case e.Guest != guest:
		case e.Running != nil:
			last = e.Running.ID
			s.running[last] = e.Time
			s.taintBefore[last] = taint
		case e.Agent != nil && e.Agent.Exited != nil:
			s.exited[e.Agent.Exited.ID] = e.Agent.Exited
			s.exitedAt[e.Agent.Exited.ID] = e.Time
			taint = e.Agent.Exited.Taint
		case e.Agent != nil && e.Agent.Facts != nil:
			taint = e.Agent.Facts.Taint
			s.belied = Belies(rec.Planned, *e.Agent.Facts)
		case e.Agent != nil && e.Agent.Measured != nil:
			s.measured = append(s.measured, *e.Agent.Measured)
		case e.Agent != nil && e.Agent.Bound != nil:
			taint = e.Agent.Bound.Taint
		case e.Agent != nil && e.Agent.Error != nil && last != 0:
			s.refused[last] = e.Agent.Error
		case e.Saved != nil && e.Saved.Err == "":
			now := saved{taint: taint}
			if n := len(s.measured); n > 0 {
				now.measured = s.measured[n-1]
			}
			s.saved = append(s.saved, now)
		case e.Saved != nil:
			s.unsavable = e.Saved.Err
		case e.Away != nil:
			s.away[e.Away.Run] = e.Away.BDFs
		case e.Hung != nil && s.hung == nil:
			s.hung = e.Hung
		case e.Lost != nil && s.lost == nil:
			s.lost = e.Lost
		case e.Infra != nil && s.infra == nil:
			s.infra = e.Infra
		case e.Unbuilt != nil:
			s.unbuilt = e.Unbuilt
		case e.Ended != nil:
			s.ended = e.Ended
		}
	}
	return s
}

// cause says why the cell ended early. What the kernel said of itself is
// believed first: a panic explains a lost connection, not the other way round.
func (s story) cause(cons *consoleLog) cause {
	early := s.hung != nil || s.lost != nil
	fatal := cons.fatal()
	switch {
	case s.unbuilt != nil:
		return cause{Fail, "the kernel could not be built: " + s.unbuilt.Stage + ": " + s.unbuilt.Err}
	case s.belied != "" && fatal == nil:
		return cause{Fail, s.belied}
	case s.infra != nil && !early && s.reset():
		// What the farm was about to do then, it could not do.
		return cause{Crash, fmt.Sprintf("guest ended by %s (%s)", s.ended.Shutdown, s.infra.Err)}
	case s.infra != nil && !early:
		return cause{Infra, s.infra.Err}
	case early && fatal != nil:
		return cause{Crash, fatal.Title}
	case s.hung != nil:
		where := ""
		if at := interrupted(cons.stuck); at != "" {
			where = ", its first processor in " + at
		}
		return cause{Timeout, "guest hung while the host was waiting for " + s.hung.Doing + where}
	case s.lost != nil && cons.agentDied != nil:
		return cause{Infra, "agent died: " + cons.agentDied.Title}
	case s.lost != nil && s.ended == nil:
		return cause{Infra, "connection to the agent lost while waiting for " + s.lost.Doing}
	case s.lost != nil && s.ended.Killed:
		return cause{Infra, "agent closed its port while the host was waiting for " + s.lost.Doing}
	case s.lost != nil && s.ended.Signal != 0:
		return cause{Infra, fmt.Sprintf("QEMU died (%s) while the host was waiting for %s", s.ended.QEMU, s.lost.Doing)}
	case s.lost != nil && s.ended.Code != 0:
		return cause{Infra, fmt.Sprintf("QEMU ended (%s: %s) while the host was waiting for %s", s.ended.QEMU, lastLine(s.ended.Stderr), s.lost.Doing)}
	case s.lost != nil:
		// The machine was reset and nothing on the console says why: a
		// triple fault, or a reboot that nobody asked for.
		return cause{Crash, "guest reset without a word while the host was waiting for " + s.lost.Doing}
	case s.infra != nil:
		return cause{Infra, s.infra.Err}
	case s.ended == nil:
		return cause{Infra, "the farm did not carry this cell to its end"}

	// The programs are done; the guest was told to power off.
	case cons.agentDied != nil:
		return cause{Infra, "agent died: " + cons.agentDied.Title}
	case !s.ended.Killed && (s.ended.Signal != 0 || s.ended.Code != 0):
		return cause{Infra, fmt.Sprintf("QEMU ended badly (%s: %s)", s.ended.QEMU, lastLine(s.ended.Stderr))}
	case fatal == nil && s.reset():
		return cause{Crash, "guest did not power off but ended by " + s.ended.Shutdown}
	case !s.ended.Killed && s.ended.Shutdown == "":
		return cause{Infra, "QEMU ended and did not say how the guest had, so it may not have powered off"}
	case s.ended.ConsoleDropped > 0:
		return cause{Infra, fmt.Sprintf("%d bytes of the console were not recorded, so it cannot be called clean", s.ended.ConsoleDropped)}
	case cons.dropped != "":
		return cause{Infra, "the kernel could not print all it had to say: " + cons.dropped}
	case cons.full:
		return cause{Crash, fmt.Sprintf("more than %d findings on the console", console.MaxFindings)}
	}
	return cause{}
}

// reset says that the machine stopped by itself and was not powered off: a
// triple fault, or a reboot that nobody asked for (ShutdownCause in QEMU's
// qapi/run-state.json).
func (s story) reset() bool {
	return s.ended != nil && !s.ended.Killed && s.ended.Code == 0 && s.ended.Signal == 0 &&
		s.ended.Shutdown != "" && s.ended.Shutdown != "guest-shutdown"
}

// interrupted is the function that an NMI found a processor in: the report of
// the panic that it caused shows that in its second set of registers.
func interrupted(f *console.Finding) string {
	if f == nil {
		return ""
	}
	for _, line := range f.Lines {
		if _, at, ok := strings.Cut(line, "RIP: "); ok {
			_, at, _ = strings.Cut(at, ":")
			at, _, _ = strings.Cut(at, "+")
			return at
		}
	}
	return f.Function
}

func lastLine(text string) string {
	text = strings.TrimSpace(text)
	return text[strings.LastIndexByte(text, '\n')+1:]
}

// judgeProgram judges what a program did in one guest.
func judgeProgram(rec *results.Record, p results.Program, g *guest) (Program, error) {
	s, cons, why := g.story, g.cons, g.cause
	out := Program{ID: p.ID, Name: p.Name}
	tell := out.tell
	if _, ok := s.running[p.ID]; !ok {
		v, reason := notFinished(why)
		tell(v, "not run: %s", reason)
		for _, e := range p.Tests {
			out.Tests = append(out.Tests, Test{Name: e.Name, Verdict: v, Reason: out.Reason})
		}
		return out, nil
	}

	report, facts, kept, err := readKTAP(rec, g.number, p.ID)
	if err != nil {
		return out, err
	}
	if p.Host && (report.Plan >= 0 || len(report.Tests) > 0) {
		if diff := suitesDiffer(rec.Planned.Facts, facts); diff != "" {
			tell(Infra, "host and guest differ on what this cell is: %s", diff)
		}
	}
	exit := s.exited[p.ID]
	// missing is what becomes of a test that gave no result.
	missing := Test{Verdict: Fail, Reason: "no result"}
	switch refused := s.refused[p.ID]; {
	case exit == nil && refused != nil:
		missing = Test{Verdict: Infra, Reason: fmt.Sprintf("not run: %s: %s", refused.Doing, refused.Err)}
		tell(Infra, "%s: %s", refused.Doing, refused.Err)
	case exit == nil:
		v, reason := notFinished(why)
		missing = Test{Verdict: v, Reason: "did not finish: " + reason}
		tell(v, "did not finish: %s", reason)
	case exit.TimedOut:
		out.Wall = time.Duration(exit.WallMS) * time.Millisecond
		missing = Test{Verdict: Timeout, Reason: fmt.Sprintf("no result when the program was stopped after %s", p.Timeout)}
		tell(Timeout, "stopped after %s", p.Timeout)
	default:
		out.Wall = time.Duration(exit.WallMS) * time.Millisecond
		missing.Reason = "no result: the program ended before it (" + exitWords(exit) + ")"
		switch {
		case exit.Stdout > kept && exit.Stdout > results.MaxOutput:
			tell(Fail, "printed %d bytes; only %d are allowed", exit.Stdout, results.MaxOutput)
		case exit.Stdout != kept:
			tell(Infra, "output is not whole: %d of %d bytes arrived", kept, exit.Stdout)
		}
		if exit.Stuck > 0 {
			tell(Timeout, "%d of its processes could not be killed: stuck in the kernel", exit.Stuck)
		}
		if exit.Signal != 0 {
			tell(Fail, "%s", exitWords(exit))
		}
		if away := s.away[p.ID]; len(away) > 0 {
			tell(Fail, "left %s unplugged", strings.Join(away, " "))
		}
		if report.Plan < 0 && len(report.Tests) == 0 {
			tell(Fail, "printed no KTAP (%s)", exitWords(exit))
		} else if err := report.Complete(); err != nil {
			tell(Fail, "KTAP is not complete: %v", err)
		}
		if report.Skipped != "" {
			tell(Fail, "skipped as a whole, and nothing in this cell calls for it: %s", report.Skipped)
		}
	}

	if p.Tests != nil {
		out.Tests = judgeExpected(p, report, missing)
	} else {
		out.Tests = judgeOwn(p, report, rec.Planned.Facts)
	}
	for i := range out.Tests {
		out.Tests[i].judgeFinding(rec.Events[0].Time)
	}
	failed := false
	said := cons.of(p)
	for i := range out.Tests {
		t := &out.Tests[i]
		t.Wall, t.Guest = cons.took[timed{p.ID, t.Name}], g.number
		failed = failed || !t.Verdict.Good() || t.Verdict == XFail
		for _, l := range said {
			if l.test != t.Name {
				continue
			}
			t.Findings = append(t.Findings, l.Finding)
			if v := severity(l.Finding); rank[v] > rank[t.Verdict] {
				t.Verdict, t.Reason = v, l.Title
			}
		}
		out.Verdict = Worst(out.Verdict, t.Verdict)
	}
	// The exit code must tell the same story as the results.
	if exit != nil && exit.Signal == 0 && !exit.TimedOut && exit.Code != 0 && !failed && out.Reason == "" &&
		!(exit.Code == kselftestSkip && out.Counts()[Skip] == len(out.Tests)) {
		tell(Fail, "%s, although no test failed", exitWords(exit))
	}
	// A log that ends before the program does (a dead port, a file that was
	// lost) is not a clean one. This and the taint come before what the log does
	// say: that may be known, and excused.
	if exit != nil && why.verdict == "" && !cons.ended[p.ID] {
		tell(Infra, "the console does not come to the end of the program, so it cannot be called clean")
	}
	// The taint must tell the same story as the console.
	if exit != nil {
		if bits := exit.Taint &^ s.taintBefore[p.ID] & complaints &^ explained(said); bits != 0 {
			tell(Fail, "the kernel's taint has the new bits %#x, and the console does not say why", bits)
		}
	}
	for _, l := range said {
		if !slices.ContainsFunc(out.Tests, func(t Test) bool { return t.Name == l.test }) {
			out.Findings = append(out.Findings, l.Finding)
			tell(severity(l.Finding), "%s", l.Title)
		}
	}
	out.excuse(s.clockRate())
	if out.Verdict == "" {
		out.Verdict = Skip
	}
	return out, nil
}

// complaints are the taint bits that the kernel sets when something is wrong:
// a machine check, a bad page, an oops, a warning, a soft lockup
// (Documentation/admin-guide/tainted-kernels.rst).
const (
	taintMachineCheck = 1 << 4
	taintBadPage      = 1 << 5
	taintDie          = 1 << 7
	taintWarn         = 1 << 9
	taintSoftlockup   = 1 << 14

	complaints = taintMachineCheck | taintBadPage | taintDie | taintWarn | taintSoftlockup
)

// explained are the taint bits that complaints on the console account for. A
// warning, which the kernel gives for anything, does for no more than itself.
func explained(said []located) (bits int64) {
	for _, l := range said {
		switch l.Class {
		case console.Warning, console.Refcount, console.DebugObjects, console.IommufdWait, console.AtomicSleep, console.RCU, console.Lockdep,
			console.HungTask, console.RCUStall, console.WorkqueueStall, console.UBSAN, console.KCSAN, console.OOM:
			bits |= taintWarn
		case console.SoftLockup:
			bits |= taintWarn | taintSoftlockup
		case console.KASAN, console.KMSAN, console.KFENCE, console.SlabCorruption:
			bits |= taintWarn | taintBadPage
		case console.Notice, console.Kmemleak:
		default: // what ends a process or the kernel comes with anything
			bits |= complaints
		}
	}
	return bits
}

// kselftestSkip is the exit code of a program in which every test was skipped
// (KSFT_SKIP, tools/testing/selftests/kselftest.h).
const kselftestSkip = 4

// notFinished is the verdict on what a cell's early end left undone.
func notFinished(why cause) (Verdict, string) {
	if why.verdict == "" {
		return Infra, "the farm did not get to it"
	}
	return why.verdict, why.reason
}

func exitWords(e *wire.Exited) string {
	switch {
	case e.Signal != 0 && e.Core:
		return fmt.Sprintf("killed by %s, core dumped", signalName(e.Signal))
	case e.Signal != 0:
		return "killed by " + signalName(e.Signal)
	default:
		return fmt.Sprintf("exit code %d", e.Code)
	}
}

func signalName(n int) string {
	s := syscall.Signal(n)
	return fmt.Sprintf("signal %d (%s)", n, s)
}

// readKTAP parses what a program printed, with the facts that it found, if it
// tells them, and counts its bytes.
func readKTAP(rec *results.Record, guest, id uint32) (report ktap.Report, facts string, kept int64, err error) {
	out, err := rec.OutputOf(guest, id, wire.Stdout)
	if err != nil {
		return ktap.Report{}, "", 0, err
	}
	defer out.Close()
	var parser ktap.Parser
	var lines ktap.Lines
	emit := func(line string, _ int) {
		if text, ok := strings.CutPrefix(line, contract.FactsLine); ok && facts == "" {
			facts = text
		}
		parser.Line(line)
	}
	buf := make([]byte, 64<<10)
	for {
		n, err := out.Read(buf)
		kept += int64(n)
		lines.Feed(buf[:n], emit)
		if err == io.EOF {
			break
		}
		if err != nil {
			return ktap.Report{}, "", 0, fmt.Errorf("read program output: %w", err)
		}
	}
	lines.Flush(emit)
	return parser.Report(), facts, kept, nil
}

// judgeExpected judges a program whose tests are known beforehand.
func judgeExpected(p results.Program, report ktap.Report, missing Test) []Test {
	byName := make(map[string]ktap.Test, len(report.Tests))
	twice := make(map[string]bool)
	for _, t := range report.Tests {
		if _, ok := byName[key(t.Name)]; ok {
			twice[key(t.Name)] = true
		}
		byName[key(t.Name)] = t
	}
	var tests []Test
	for _, e := range p.Tests {
		got, ok := byName[e.Name]
		if !ok {
			missing.Name = e.Name
			tests = append(tests, missing)
			continue
		}
		delete(byName, e.Name)
		if twice[e.Name] {
			tests = append(tests, Test{Name: e.Name, Verdict: Fail, Reason: "more than one result"})
			continue
		}
		tests = append(tests, judgeOne(e, got))
	}
	for _, t := range report.Tests {
		if _, ok := byName[key(t.Name)]; ok {
			tests = append(tests, Test{Name: t.Name, Verdict: Infra, Reason: "a result that the plan does not know"})
		}
	}
	return tests
}

// key is the name of a test without the title that may follow it.
func key(name string) string {
	name, _, _ = strings.Cut(name, " ")
	return name
}

func judgeOne(e results.Expected, got ktap.Test) Test {
	t := Test{Name: e.Name, Diagnostics: got.Diagnostics, Evidence: evidence(e.Name, got.Diagnostics)}
	set := func(v Verdict, format string, args ...any) Test {
		t.Verdict, t.Reason = v, fmt.Sprintf(format, args...)
		return t
	}
	switch got.Outcome {
	case ktap.OK:
		if e.Skip != "" {
			return set(Fail, "passed, although the cell's facts forbid it (%s)", e.Skip)
		}
		for _, counter := range e.Evidence {
			if t.Evidence[counter] <= 0 {
				return set(Fail, "said ok without evidence: %s is 0", counter)
			}
		}
		t.Finding = e.Finding
		return set(Pass, "")
	case ktap.NotOK:
		if e.Skip == "" {
			t.Finding = e.Finding
		}
	case ktap.Skip:
		switch {
		case e.Skip == "":
			return set(Fail, "skipped (%s), although the cell meets all that it requires", got.Reason)
		case got.Reason != e.Skip:
			return set(Infra, "host and guest differ on why it is skipped: host says %q, guest says %q", e.Skip, got.Reason)
		}
		return set(Skip, "%s", e.Skip)
	case ktap.XFail:
		// What a test of the contract must do is for the cell's facts to say.
		return set(Fail, "failed, and calls that expected: %s", got.Reason)
	}
	return judgeBad(t, got)
}

// judgeFinding judges a test that is expected to fail because of a finding, in
// a cell that began at a time.
func (t *Test) judgeFinding(began time.Time) {
	f := t.Finding
	switch {
	case f == nil:
	case t.Verdict == Pass:
		t.Verdict, t.Reason = Fail, fmt.Sprintf("xpass: passed, although finding %s says that it fails: %s", f.ID, f.Reason)
	case t.Verdict == Fail && f.Expired(began):
		t.Reason = fmt.Sprintf("finding %s has expired on %s: %s", f.ID, f.Expires, t.Reason)
	case t.Verdict == Fail:
		t.Verdict, t.Reason = XFail, fmt.Sprintf("finding %s: %s", f.ID, f.Reason)
	}
}

// judgeBad judges an outcome that is neither ok nor skip.
func judgeBad(t Test, got ktap.Test) Test {
	t.Verdict = Fail
	switch got.Outcome {
	case ktap.XFail:
		t.Verdict, t.Reason = XFail, got.Reason
	case ktap.XPass:
		t.Reason = "passed, although it says that it must fail"
	case ktap.Timeout:
		t.Verdict, t.Reason = Timeout, "the program's own time limit"
	default:
		t.Reason = firstComplaint(got)
	}
	return t
}

// firstComplaint is the most telling line of a failed test.
func firstComplaint(got ktap.Test) string {
	for _, d := range got.Diagnostics {
		text := strings.TrimSpace(strings.TrimLeft(d, "# "))
		if text == "" || strings.HasPrefix(d, contract.FactsLine) || strings.HasPrefix(text, "evidence ") || strings.HasPrefix(text, "RUN ") || strings.HasPrefix(text, "FAIL ") {
			continue
		}
		return text
	}
	if got.Reason != "" {
		return got.Reason
	}
	return "not ok"
}

// judgeOwn judges a program that decides for itself which tests it has: one of
// the kernel's own, or the user's.
func judgeOwn(p results.Program, report ktap.Report, facts contract.Facts) []Test {
	if p.Device != nil {
		facts.Devices = []contract.Device{*p.Device}
	}
	var tests []Test
	for _, got := range report.Tests {
		t := Test{Name: got.Name, Diagnostics: got.Diagnostics}
		if t.Name == "" {
			t.Name = strconv.Itoa(got.Number)
		}
		var unmet string
		for _, s := range p.Skips {
			if s.Matches(t.Name) && !facts.Meets(s.Unless) {
				unmet = contract.SkipReason([]contract.Requirement{s.Unless})
				break
			}
		}
		switch {
		case got.Outcome == ktap.OK && unmet != "":
			t.Verdict, t.Reason = Fail, "passed, although the cell's facts forbid it ("+unmet+")"
		case got.Outcome == ktap.OK:
			t.Verdict = Pass
		case got.Outcome == ktap.Skip && unmet != "":
			t.Verdict, t.Reason = Skip, unmet
		case got.Outcome == ktap.Skip:
			t.Verdict, t.Reason = Fail, fmt.Sprintf("skipped (%s), although nothing in this cell calls for it", got.Reason)
		default:
			t = judgeBad(t, got)
		}
		if i := slices.IndexFunc(p.Findings, func(f contract.Finding) bool { return f.Test == t.Name }); i >= 0 &&
			(t.Verdict == Pass || t.Verdict == Fail && got.Outcome == ktap.NotOK) {
			t.Finding = &p.Findings[i]
		}
		tests = append(tests, t)
	}
	return tests
}

// evidence reads the counters of a test from its diagnostics:
// "# evidence NAME: key=value key=value".
func evidence(name string, diagnostics []string) map[string]int64 {
	counters := make(map[string]int64)
	for _, d := range diagnostics {
		list, ok := strings.CutPrefix(strings.TrimSpace(strings.TrimPrefix(d, "#")), "evidence "+name+":")
		if !ok {
			continue
		}
		for word := range strings.FieldsSeq(list) {
			k, v, _ := strings.Cut(word, "=")
			if n, err := strconv.ParseInt(v, 10, 64); err == nil && n > 0 {
				counters[k] = n
			}
		}
	}
	return counters
}

// severity is the verdict that a line on the console asks for.
func severity(f console.Finding) Verdict {
	if isFatal(f) {
		return Crash
	}
	return Fail
}
