// SPDX-License-Identifier: Apache-2.0

package verdict

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"noiommu-farm/guestagent/wire"
	"noiommu-farm/results"
	"noiommu-farm/suites/contract"
)

// tale is a cell as it is told to the writer, and what must come of it.
type tale struct {
	name    string
	program results.Program
	out     string // the program's stdout
	console string
	exit    *wire.Exited // nil: the program never ended
	after   []results.Event
	noEnd   bool // the farm was killed
	cut     bool // the console is as it stands here; otherwise it comes to the end of a program that did
	ended   *results.Ended

	cell    Verdict
	reason  string            // part of the cell's or the program's reason
	verdict map[string]string // test → "verdict" or "verdict: part of reason"
}

var (
	planned = results.Program{ID: 1, Name: "get_pa", Tests: []results.Expected{
		{Name: "get_pa.PA-01", Evidence: []string{"IOMMU_IOAS_NOIOMMU_GET_PA"}},
		{Name: "get_pa.PA-04", Skip: "requires hugepages"},
	}}
	free = results.Program{ID: 1, Name: "vfio/x", Skips: []contract.Skip{{Match: "*_1gb.*", Unless: contract.Hugepages1G}}}
)

const (
	good = `KTAP version 1
1..2
# evidence get_pa.PA-01: IOMMU_IOAS_NOIOMMU_GET_PA=2 asserts=3
ok 1 get_pa.PA-01 equals pagemap
ok 2 get_pa.PA-04 # SKIP requires hugepages
`
	markers = "[    1.0] noiommu-farm: start 1 get_pa\n[    1.1] noiommu-farm: test get_pa.PA-01\n%s[    1.3] noiommu-farm: done get_pa.PA-01\n[    1.4] noiommu-farm: end 1\n"
	warn    = `[    1.200000] ------------[ cut here ]------------
[    1.200001] WARNING: CPU: 0 PID: 77 at drivers/iommu/iommu.c:3451 iommu_device_release_dma_owner+0x3c/0x50
[    1.200002] RIP: 0010:iommu_device_release_dma_owner+0x3c/0x50
[    1.200003] Call Trace:
[    1.200004]  <TASK>
[    1.200005]  iommufd_device_destroy+0x30/0x80
[    1.200006]  </TASK>
[    1.200007] ---[ end trace 0000000000000000 ]---
`
	oops = `[    1.200000] BUG: kernel NULL pointer dereference, address: 0000000000000010
[    1.200001] #PF: supervisor read access in kernel mode
[    1.200002] #PF: error_code(0x0000) - not-present page
[    1.200003] Oops: Oops: 0000 [#1] SMP
[    1.200004] CPU: 0 UID: 0 PID: 77 Comm: suites Not tainted 7.3.4 #1
[    1.200005] RIP: 0010:vfio_df_open+0x20/0x90
[    1.200006] Call Trace:
[    1.200007]  <TASK>
[    1.200008]  vfio_device_fops_cdev_open+0x40/0x90
[    1.200009]  </TASK>
[    1.200010] ---[ end trace 0000000000000000 ]---
[    1.200011] Kernel panic - not syncing: Fatal exception
`
)

// late is a warning that comes between the end of a test and that of the program.
var late = strings.Replace(fmt.Sprintf(markers, ""), "[    1.4]", warn+"[    1.4]", 1)

// only is a program with one test.
var only = results.Program{ID: 1, Name: "get_pa", Tests: []results.Expected{{Name: "get_pa.PA-01"}}}

// around is the log around what one program without tests of ours says.
const around = "[    1.0] noiommu-farm: start 1 x\n%s[    1.4] noiommu-farm: end 1\n"

// bad is good with a failure.
const bad = `KTAP version 1
1..2
# getpa.go:1: PA-01: GET_PA is wrong
# evidence get_pa.PA-01: IOMMU_IOAS_NOIOMMU_GET_PA=2 asserts=3
not ok 1 get_pa.PA-01 equals pagemap
ok 2 get_pa.PA-04 # SKIP requires hugepages
`

// believed is the planned program with a finding about its first test.
func believed(until string) results.Program {
	p := planned
	p.Tests = slices.Clone(planned.Tests)
	p.Tests[0].Finding = &contract.Finding{ID: "S9", Test: "get_pa.PA-01", Reason: "it is broken", Expires: until}
	return p
}

// believedSkip is the same where the test must be skipped.
func believedSkip() results.Program {
	p := believed("2999-12-31")
	p.Tests[0].Skip, p.Tests[0].Evidence = "requires iommu", nil
	return p
}

func clean(code int) *wire.Exited { return &wire.Exited{ID: 1, Code: code} }

func TestJudge(t *testing.T) {
	for _, c := range []tale{
		{name: "all as expected", program: planned, out: good, exit: clean(0), cell: Pass,
			verdict: map[string]string{"get_pa.PA-01": "pass", "get_pa.PA-04": "skip: requires hugepages"}},
		{name: "a device left unplugged", program: planned, out: good, exit: clean(0), cell: Fail, reason: "left 0000:01:00.0 unplugged",
			after:   []results.Event{{Away: &results.Away{Run: 1, BDFs: []string{"0000:01:00.0"}}}},
			verdict: map[string]string{"get_pa.PA-01": "pass", "get_pa.PA-04": "skip: requires hugepages"}},
		{name: "an expected failure", program: believed("2999-12-31"), out: bad, exit: clean(1), cell: XFail,
			verdict: map[string]string{"get_pa.PA-01": "xfail: finding S9: it is broken", "get_pa.PA-04": "skip: requires hugepages"}},
		{name: "an expected failure with a warning", program: believed("2999-12-31"), out: bad, exit: clean(1), cell: Fail,
			console: fmt.Sprintf(markers, warn),
			verdict: map[string]string{"get_pa.PA-01": "fail: iommu_device_release_dma_owner", "get_pa.PA-04": "skip: requires hugepages"}},
		{name: "an expected failure that has expired", program: believed("2020-01-31"), out: bad, exit: clean(1), cell: Fail,
			verdict: map[string]string{"get_pa.PA-01": "fail: finding S9 has expired on 2020-01-31", "get_pa.PA-04": "skip: requires hugepages"}},
		{name: "an expected failure that passes", program: believed("2999-12-31"), out: good, exit: clean(0), cell: Fail,
			verdict: map[string]string{"get_pa.PA-01": "fail: xpass", "get_pa.PA-04": "skip: requires hugepages"}},
		{name: "an expected failure that passes without evidence", program: believed("2999-12-31"), out: strings.Replace(good, "GET_PA=2", "GET_PA=0", 1), exit: clean(0), cell: Fail,
			verdict: map[string]string{"get_pa.PA-01": "fail: without evidence", "get_pa.PA-04": "skip: requires hugepages"}},
		{name: "an expected failure that gives no result", program: believed("2999-12-31"), out: "1..2\nok 2 get_pa.PA-04 # SKIP requires hugepages\n", exit: clean(1), cell: Fail, reason: "not complete",
			verdict: map[string]string{"get_pa.PA-01": "fail: no result", "get_pa.PA-04": "skip: requires hugepages"}},
		{name: "a test that must be skipped and fails, with a finding", program: believedSkip(), out: bad, exit: clean(1), cell: Fail,
			verdict: map[string]string{"get_pa.PA-01": "fail: GET_PA", "get_pa.PA-04": "skip: requires hugepages"}},
		{name: "an expected failure of a kernel selftest", program: results.Program{ID: 1, Name: "vfio/x", Findings: []contract.Finding{
			{ID: "S9", Test: "a.b", Reason: "it is broken", Expires: "2999-12-31"}}}, out: "1..2\nnot ok 1 a.b\nok 2 a.c\n", exit: clean(1), cell: Pass,
			verdict: map[string]string{"a.b": "xfail: finding S9", "a.c": "pass"}},
		{name: "no evidence", program: planned, out: strings.Replace(good, "GET_PA=2", "GET_PA=0", 1), exit: clean(0), cell: Fail,
			verdict: map[string]string{"get_pa.PA-01": "fail: without evidence", "get_pa.PA-04": "skip"}},
		{name: "evidence of another test", program: planned, out: strings.Replace(good, "evidence get_pa.PA-01", "evidence get_pa.PA-04", 1), exit: clean(0), cell: Fail,
			verdict: map[string]string{"get_pa.PA-01": "fail: without evidence", "get_pa.PA-04": "skip"}},
		{name: "skipped although it applies", program: planned, out: "1..2\nok 1 get_pa.PA-01 # SKIP requires noiommu\nok 2 get_pa.PA-04 # SKIP requires hugepages\n", exit: clean(0), cell: Fail,
			verdict: map[string]string{"get_pa.PA-01": "fail: skipped (requires noiommu)", "get_pa.PA-04": "skip"}},
		{name: "passed although it does not apply", program: planned, out: strings.Replace(good, " # SKIP requires hugepages", "", 1), exit: clean(0), cell: Fail,
			verdict: map[string]string{"get_pa.PA-01": "pass", "get_pa.PA-04": "fail: passed, although"}},
		{name: "skipped for another reason", program: planned, out: strings.Replace(good, "requires hugepages", "requires edu", 1), exit: clean(0), cell: Infra,
			verdict: map[string]string{"get_pa.PA-01": "pass", "get_pa.PA-04": "infra: host and guest differ"}},
		{name: "not in the program's plan", program: planned, out: "1..1\n# evidence get_pa.PA-01: IOMMU_IOAS_NOIOMMU_GET_PA=1\nok 1 get_pa.PA-01\n", exit: clean(0), cell: Fail,
			verdict: map[string]string{"get_pa.PA-01": "pass", "get_pa.PA-04": "fail: no result"}},
		{name: "a test nobody planned", program: planned, out: strings.Replace(good, "1..2", "1..3", 1) + "ok 3 get_pa.PA-99\n", exit: clean(0), cell: Infra,
			verdict: map[string]string{"get_pa.PA-01": "pass", "get_pa.PA-04": "skip", "get_pa.PA-99": "infra: does not know"}},
		{name: "ends before its plan", program: free, out: "1..3\nok 1 a\n", exit: clean(0), cell: Fail, reason: "not complete",
			verdict: map[string]string{"a": "pass"}},
		{name: "killed after ok", program: free, out: "1..1\nok 1 a\n", exit: &wire.Exited{ID: 1, Code: -1, Signal: 9}, cell: Fail, reason: "killed by signal 9",
			verdict: map[string]string{"a": "pass"}},
		{name: "dumped core", program: free, out: "1..1\n", exit: &wire.Exited{ID: 1, Code: -1, Signal: 11, Core: true}, cell: Fail, reason: "core dumped"},
		{name: "exit code against the results", program: free, out: "1..1\nok 1 a\n", exit: clean(1), cell: Fail, reason: "although no test failed",
			verdict: map[string]string{"a": "pass"}},
		{name: "silent", program: free, exit: clean(0), cell: Fail, reason: "printed no KTAP"},
		{name: "skipped as a whole", program: free, out: "1..0 # SKIP no device\n", exit: clean(4), cell: Fail, reason: "nothing in this cell calls for it: no device"},
		{name: "no plan", program: free, out: "ok 1 a\n", exit: clean(0), cell: Fail, reason: "not complete", verdict: map[string]string{"a": "pass"}},
		{name: "an untyped skip", program: free, out: "1..1\nok 1 a # SKIP why not\n", exit: clean(0), cell: Fail, verdict: map[string]string{"a": "fail: why not"}},
		{name: "a typed skip", program: free, out: "1..2\nok 1 a\nok 2 huge_1gb.x # SKIP mmap\n", exit: clean(0), cell: Pass,
			verdict: map[string]string{"a": "pass", "huge_1gb.x": "skip: requires hugepages-1g"}},
		{name: "a typed skip that passes", program: free, out: "1..1\nok 1 huge_1gb.x\n", exit: clean(0), cell: Fail, verdict: map[string]string{"huge_1gb.x": "fail: forbid"}},
		{name: "only skips", program: free, out: "1..1\nok 1 huge_1gb.x # SKIP mmap\n", exit: clean(0), cell: Skip, verdict: map[string]string{"huge_1gb.x": "skip"}},
		{name: "only skips, and says so", program: free, out: "1..1\nok 1 huge_1gb.x # SKIP mmap\n", exit: clean(4), cell: Skip, verdict: map[string]string{"huge_1gb.x": "skip"}},
		{name: "says that all was skipped, and it was not", program: free, out: "1..2\nok 1 a\nok 2 huge_1gb.x # SKIP mmap\n", exit: clean(4), cell: Fail, reason: "exit code 4",
			verdict: map[string]string{"a": "pass", "huge_1gb.x": "skip"}},
		{name: "not ok", program: free, out: "1..1\n# file.c:12: expected 1, got 2\nnot ok 1 a\n", exit: clean(1), cell: Fail,
			verdict: map[string]string{"a": "fail: file.c:12: expected 1, got 2"}},
		{name: "not ok, after the facts and the evidence", program: planned, out: strings.Replace(bad, "1..2\n", contract.FactsLine+"{\"config\":{}}\n1..2\n"+contract.FactsLine+"{}\n# evidence get_pa.PA-01: asserts=1\n", 1), exit: clean(1), cell: Fail,
			verdict: map[string]string{"get_pa.PA-01": "fail: getpa.go:1: PA-01: GET_PA is wrong", "get_pa.PA-04": "skip"}},
		{name: "xfail", program: free, out: "1..2\nok 1 a\nok 2 b # XFAIL known\n", exit: clean(0), cell: Pass, verdict: map[string]string{"a": "pass", "b": "xfail: known"}},
		{name: "xfail of the contract", program: planned, out: strings.Replace(good, "ok 1 get_pa.PA-01 equals pagemap", "not ok 1 get_pa.PA-01 # TODO later", 1), exit: clean(0), cell: Fail,
			verdict: map[string]string{"get_pa.PA-01": "fail: calls that expected", "get_pa.PA-04": "skip"}},
		{name: "two results", program: planned, out: "1..3\nnot ok 1 get_pa.PA-01\n" + strings.NewReplacer("KTAP version 1\n1..2\n", "", "ok 2", "ok 3", "ok 1", "ok 2").Replace(good), exit: clean(0), cell: Fail,
			verdict: map[string]string{"get_pa.PA-01": "fail: more than one result", "get_pa.PA-04": "skip"}},
		{name: "stuck in the kernel", program: free, out: "1..1\nok 1 a\n", exit: &wire.Exited{ID: 1, Leftovers: 1, Stuck: 1}, cell: Timeout, reason: "stuck in the kernel", verdict: map[string]string{"a": "pass"}},
		{name: "a taint that nothing explains", program: free, out: "1..1\nok 1 a\n", exit: &wire.Exited{ID: 1, Taint: 64 | 512}, cell: Fail, reason: "new bits 0x200", verdict: map[string]string{"a": "pass"}},
		{name: "a taint of user space", program: free, out: "1..1\nok 1 a\n", exit: &wire.Exited{ID: 1, Taint: 64}, cell: Pass, verdict: map[string]string{"a": "pass"}},
		{name: "a taint that a warning does not explain", program: free, out: "1..1\nok 1 a\n", exit: &wire.Exited{ID: 1, Taint: 32 | 512}, console: fmt.Sprintf(around, warn), cell: Fail, reason: "new bits 0x20", verdict: map[string]string{"a": "pass"}},
		{name: "a taint that a warning explains", program: free, out: "1..1\nok 1 a\n", exit: &wire.Exited{ID: 1, Taint: 512}, console: fmt.Sprintf(around, warn), cell: Fail, reason: "iommu_device_release_dma_owner", verdict: map[string]string{"a": "pass"}},
		{name: "a warning, and then the console stops", program: free, out: "1..1\nok 1 a\n", exit: clean(0), cut: true, console: strings.Split(fmt.Sprintf(around, warn), "[    1.4]")[0], cell: Fail, reason: "does not come to the end", verdict: map[string]string{"a": "pass"}},
		{name: "a warning in a program that did not run", program: free, out: "1..1\nok 1 a\n", exit: clean(0), console: fmt.Sprintf(around, "") + "[    1.5] noiommu-farm: start 99 x\n" + warn, cell: Fail, reason: "iommu_device_release_dma_owner", verdict: map[string]string{"a": "pass"}},
		{name: "the console was dropped", program: free, out: "1..1\nok 1 a\n", exit: clean(0), ended: &results.Ended{ConsoleDropped: 7, Shutdown: "guest-shutdown"}, cell: Infra, reason: "7 bytes of the console", verdict: map[string]string{"a": "pass"}},
		{name: "the kernel dropped messages", program: free, out: "1..1\nok 1 a\n", exit: clean(0), console: "** 12 printk messages dropped **\n", cell: Infra, reason: "12 printk messages", verdict: map[string]string{"a": "pass"}},
		{name: "no console", program: free, out: "1..1\nok 1 a\n", exit: clean(0), cut: true, cell: Infra, reason: "does not come to the end", verdict: map[string]string{"a": "pass"}},
		{name: "a console that ends with the program's test", program: planned, out: good, exit: clean(0), cut: true, console: strings.Split(fmt.Sprintf(markers, ""), "[    1.4]")[0], cell: Infra, reason: "does not come to the end",
			verdict: map[string]string{"get_pa.PA-01": "pass", "get_pa.PA-04": "skip"}},
		{name: "a console that has only the end", program: free, out: "1..1\nok 1 a\n", exit: clean(0), cut: true, console: "[    1.4] noiommu-farm: end 1\n", cell: Infra, reason: "does not come to the end", verdict: map[string]string{"a": "pass"}},
		{name: "QEMU dies at power-off", program: free, out: "1..1\nok 1 a\n", exit: clean(0), ended: &results.Ended{QEMU: "signal: segmentation fault", Code: -1, Signal: 11}, cell: Infra, reason: "segmentation fault", verdict: map[string]string{"a": "pass"}},
		{name: "QEMU fails at power-off", program: free, out: "1..1\nok 1 a\n", exit: clean(0), ended: &results.Ended{QEMU: "exit status 1", Code: 1, Stderr: "assertion"}, cell: Infra, reason: "assertion", verdict: map[string]string{"a": "pass"}},
		{name: "resets instead of powering off", program: free, out: "1..1\nok 1 a\n", exit: clean(0), ended: &results.Ended{Shutdown: "guest-reset"}, cell: Crash, reason: "guest-reset", verdict: map[string]string{"a": "pass"}},
		{name: "ends and does not say how", program: free, out: "1..1\nok 1 a\n", exit: clean(0), ended: &results.Ended{QEMU: "exit status 0"}, cell: Infra, reason: "did not say how", verdict: map[string]string{"a": "pass"}},
		{name: "resets while the farm does something for a test", program: planned, out: "1..2\n", after: []results.Event{{Infra: &results.Infra{Err: "unplugged for a test: QEMU closed the connection"}}},
			ended: &results.Ended{Shutdown: "guest-reset"}, cell: Crash, reason: "guest-reset (unplugged", verdict: map[string]string{"get_pa.PA-01": "crash", "get_pa.PA-04": "crash"}},
		{name: "powers off", program: free, out: "1..1\nok 1 a\n", exit: clean(0), ended: &results.Ended{Shutdown: "guest-shutdown"}, cell: Pass, verdict: map[string]string{"a": "pass"}},
		{name: "the agent dies at the end", program: free, out: "1..1\nok 1 a\n", exit: clean(0), console: "[    2.000000] Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000006\n", cell: Infra, reason: "agent died", verdict: map[string]string{"a": "pass"}},
		{name: "an NMI that the host did not send", program: free, out: "1..1\nok 1 a\n", exit: clean(0), console: "[    2.000000] Kernel panic - not syncing: NMI: Not continuing\n", cell: Crash, reason: "NMI", verdict: map[string]string{"a": "pass"}},
		{name: "timeout", program: planned, out: "1..2\n", exit: &wire.Exited{ID: 1, Code: -1, Signal: 9, TimedOut: true}, cell: Timeout, reason: "stopped after",
			verdict: map[string]string{"get_pa.PA-01": "timeout", "get_pa.PA-04": "timeout"}},

		{name: "a warning in a passing test", program: planned, out: good, console: strings.Replace(markers, "%s", warn, 1), exit: clean(0), cell: Fail,
			verdict: map[string]string{"get_pa.PA-01": "fail: iommu_device_release_dma_owner", "get_pa.PA-04": "skip"}},
		{name: "a warning between tests", program: planned, out: good, console: "[ 1.0] noiommu-farm: start 1 get_pa\n" + warn + "[ 1.4] noiommu-farm: end 1\n", exit: clean(0), cell: Fail, reason: "iommu_device_release_dma_owner",
			verdict: map[string]string{"get_pa.PA-01": "pass", "get_pa.PA-04": "skip"}},
		{name: "a warning a while after the only test", program: only, out: "1..1\nok 1 get_pa.PA-01\n", console: late, exit: clean(0), cell: Fail,
			verdict: map[string]string{"get_pa.PA-01": "fail: iommu_device_release_dma_owner"}},
		{name: "a warning a while after one of two tests", program: planned, out: good, console: late, exit: clean(0), cell: Fail, reason: "iommu_device_release_dma_owner",
			verdict: map[string]string{"get_pa.PA-01": "pass", "get_pa.PA-04": "skip"}},
		{name: "a warning while booting", program: planned, out: good, console: warn + strings.Replace(markers, "%s", "", 1), exit: clean(0), cell: Fail, reason: "iommu_device_release_dma_owner",
			verdict: map[string]string{"get_pa.PA-01": "pass", "get_pa.PA-04": "skip"}},
		{name: "panic", program: planned, out: "1..2\n", console: strings.Replace(markers, "%s", oops, 1),
			after: []results.Event{{Lost: &results.Lost{Doing: "the end of program get_pa"}}}, cell: Crash, reason: "NULL pointer dereference",
			verdict: map[string]string{"get_pa.PA-01": "crash", "get_pa.PA-04": "crash"}},
		{name: "the agent dies", program: planned, out: good, console: "[    2.000000] Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000006\n",
			after: []results.Event{{Lost: &results.Lost{Doing: "x"}}}, cell: Infra, reason: "agent died",
			verdict: map[string]string{"get_pa.PA-01": "pass", "get_pa.PA-04": "skip"}},
		{name: "hung", program: planned, out: "1..2\n", after: []results.Event{{Hung: &results.Hung{Doing: "x"}}}, cell: Timeout, reason: "guest hung",
			verdict: map[string]string{"get_pa.PA-01": "timeout", "get_pa.PA-04": "timeout"}},
		{name: "hung, and an NMI shows where", program: planned, out: "1..2\n", after: []results.Event{{Hung: &results.Hung{Doing: "x"}}}, cell: Timeout, reason: "first processor in lkdtm_HARDLOCKUP",
			console: "[   42.123575] Uhhuh. NMI received for unknown reason 21 on CPU 0.\n[   42.125767] Kernel panic - not syncing: NMI: Not continuing\n" +
				"[   42.133218] CPU: 0 UID: 0 PID: 70 Comm: liar Not tainted 7.3.4 #1 PREEMPTLAZY\n[   42.133664] Call Trace:\n[   42.134368]  <NMI>\n[   42.134599]  vpanic+0x2b0/0x330\n" +
				"[   42.135662]  nmi_panic+0x5f/0x90\n[   42.136057] RIP: 0010:lkdtm_HARDLOCKUP+0x13/0x20\n[   42.139349]  </NMI>\n",
			verdict: map[string]string{"get_pa.PA-01": "timeout", "get_pa.PA-04": "timeout"}},
		{name: "reset without a word", program: planned, out: "1..2\n", after: []results.Event{{Lost: &results.Lost{Doing: "x"}}}, cell: Crash, reason: "without a word",
			verdict: map[string]string{"get_pa.PA-01": "crash", "get_pa.PA-04": "crash"}},
		{name: "the farm fails", program: planned, out: good, exit: clean(0), after: []results.Event{{Infra: &results.Infra{Err: "no space"}}}, cell: Infra, reason: "no space",
			verdict: map[string]string{"get_pa.PA-01": "pass", "get_pa.PA-04": "skip"}},
		{name: "the farm is killed", program: planned, out: good, exit: clean(0), noEnd: true, cell: Infra, reason: "did not carry this cell to its end",
			verdict: map[string]string{"get_pa.PA-01": "pass", "get_pa.PA-04": "skip"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := judge(t, c)
			if got.Verdict != c.cell {
				t.Errorf("cell is %s (%s), want %s", got.Verdict, got.Reason, c.cell)
			}
			p := got.Programs[0]
			if all := got.Reason + "; " + p.Reason; !strings.Contains(all, c.reason) {
				t.Errorf("reasons are %q, want %q in them", all, c.reason)
			}
			verdicts := make(map[string]string)
			for _, test := range p.Tests {
				v := string(test.Verdict)
				want := c.verdict[test.Name]
				if _, part, ok := strings.Cut(want, ": "); ok && strings.Contains(test.Reason, part) {
					v += ": " + part
				}
				verdicts[test.Name] = v
			}
			if c.verdict == nil {
				c.verdict = map[string]string{}
			}
			if diff := cmp.Diff(c.verdict, verdicts); diff != "" {
				t.Errorf("verdicts (-want +got):\n%s\n%+v", diff, p.Tests)
			}
		})
	}
}

// judge judges the tale's record.
func judge(t *testing.T, c tale) *Cell {
	t.Helper()
	got, err := Judge(c.record(t))
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// record writes the tale down as a runner would.
func (c tale) record(t *testing.T) *results.Record {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "cell")
	w, err := results.CreateCell(dir, results.Planned{Cell: "cell", Programs: []results.Program{c.program}})
	if err != nil {
		t.Fatal(err)
	}
	must := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	must(w.Event(results.Event{Running: &results.Running{ID: 1}}))
	if c.out != "" {
		must(w.First().Chunk(wire.Chunk{Run: 1, Stream: wire.Stdout, Data: []byte(c.out)}))
	}
	if c.exit != nil && !c.cut && !strings.Contains(c.console, "end 1") {
		c.console = "[    1.0] noiommu-farm: start 1 x\n[    1.4] noiommu-farm: end 1\n" + c.console
	}
	must(w.First().Console([]byte(c.console)))
	if c.exit != nil {
		exit := *c.exit
		exit.Stdout = int64(len(c.out))
		must(w.Event(results.Event{Agent: &wire.ToHost{Exited: &exit}}))
	}
	for _, e := range c.after {
		must(w.Event(e))
	}
	if !c.noEnd {
		if c.ended == nil {
			c.ended = &results.Ended{QEMU: "exit status 0", Shutdown: "guest-shutdown"}
		}
		must(w.Event(results.Event{Ended: c.ended}))
	}
	must(w.Close())
	rec, err := results.ReadCell(dir)
	must(err)
	return rec
}

// Output that the agent sent and that did not arrive is never judged as if it
// were all.
func TestLostOutput(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cell")
	w, err := results.CreateCell(dir, results.Planned{Cell: "cell", Programs: []results.Program{free}})
	if err != nil {
		t.Fatal(err)
	}
	out := "1..1\nok 1 a\n"
	w.Event(results.Event{Running: &results.Running{ID: 1}})
	w.First().Chunk(wire.Chunk{Run: 1, Stream: wire.Stdout, Data: []byte(out)})
	w.Event(results.Event{Agent: &wire.ToHost{Exited: &wire.Exited{ID: 1, Stdout: int64(len(out)) + 1}}})
	w.Event(results.Event{Ended: &results.Ended{Shutdown: "guest-shutdown"}})
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	rec, err := results.ReadCell(dir)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Judge(rec)
	if err != nil {
		t.Fatal(err)
	}
	if got.Verdict != Infra || !strings.Contains(got.Programs[0].Reason, "not whole") {
		t.Errorf("got %s (%s), want infra", got.Verdict, got.Programs[0].Reason)
	}
}

func TestFactsDiffer(t *testing.T) {
	p := results.Planned{
		Kernel:  results.Kernel{Release: "7.3.4"},
		Machine: results.Machine{CPUs: 2, PCI: []results.Function{{ID: "1234:11e8"}}},
		Facts: contract.Facts{
			Config:     contract.Config{Noiommu: true},
			UnsafeMode: true, Hugepages: 64,
		},
	}
	same := func() wire.Facts {
		return wire.Facts{
			Release: "7.3.4", CPUs: 2, Hugepages: 64,
			Params: map[string]string{UnsafeModeParam: "Y"},
			PCI:    []wire.PCI{{BDF: "0000:00:02.0", Vendor: 0x1234, Device: 0x11e8}},
		}
	}
	for what, change := range map[string]func(*wire.Facts){
		"nothing differs":          func(*wire.Facts) {},
		"a taint that is a defect": func(f *wire.Facts) { f.Taint = taintUser },
	} {
		f := same()
		change(&f)
		if diff := FactsDiffer(p, f); len(diff) > 0 {
			t.Fatalf("%s, but: %v", what, diff)
		}
	}
	for what, change := range map[string]func(*wire.Facts){
		"kernel release":  func(f *wire.Facts) { f.Release = "7.2.1" },
		"CPUs":            func(f *wire.Facts) { f.CPUs = 1 },
		"IOMMU present":   func(f *wire.Facts) { f.IOMMUs = []string{"dmar0"} },
		"IOMMU groups":    func(f *wire.Facts) { f.IOMMUGroups = 3 },
		UnsafeModeParam:   func(f *wire.Facts) { f.Params[UnsafeModeParam] = "N" },
		"2 MiB hugepages": func(f *wire.Facts) { f.Hugepages = 63 },
		"taint":           func(f *wire.Facts) { f.Taint = 512 },
		"PCI functions":   func(f *wire.Facts) { f.PCI = nil },
		"behind an IOMMU": func(f *wire.Facts) { f.PCI[0].IOMMU = true },
		"config.gz":       func(f *wire.Facts) { f.ConfigGz = []byte("rubbish") },
	} {
		f := same()
		change(&f)
		if diff := strings.Join(FactsDiffer(p, f), "; "); !strings.Contains(diff, what) {
			t.Errorf("%s: differences are %q", what, diff)
		}
	}
}

// A kernel that has not the parameter that its configuration gives it is bad,
// where nothing else can be the reason.
func TestBelies(t *testing.T) {
	param := map[string]string{UnsafeModeParam: "Y"}
	for _, c := range []struct {
		name   string
		config contract.Config
		found  wire.Facts
		kernel string // what is wrong with it
		differ string
	}{
		{"as it says", contract.Config{Noiommu: true}, wire.Facts{Params: param}, "", ""},
		{"has none and says so", contract.Config{}, wire.Facts{}, "", ""},
		{"no parameter", contract.Config{Noiommu: true}, wire.Facts{}, "ND-09: ", ""},
		{"a parameter too many", contract.Config{}, wire.Facts{Params: param}, "ND-03: ", ""},
		{"no parameter in another kernel", contract.Config{Noiommu: true}, wire.Facts{Release: "6.12"}, "", "kernel release"},
		{"no parameter, perhaps for want of a module", contract.Config{Noiommu: true, Modules: true}, wire.Facts{}, "", "exists: planned true"},
	} {
		p := results.Planned{Facts: contract.Facts{Config: c.config, UnsafeMode: c.config.Noiommu}}
		if got := Belies(p, c.found); !strings.HasPrefix(got, c.kernel) || (got == "") != (c.kernel == "") {
			t.Errorf("%s: belied by %q, want %q", c.name, got, c.kernel)
		}
		if got := strings.Join(FactsDiffer(p, c.found), "; "); !strings.Contains(got, c.differ) || (got == "") != (c.differ == "") {
			t.Errorf("%s: differs in %q, want %q", c.name, got, c.differ)
		}
	}
}

// A program of the suites says what it found; a difference is the farm's.
func TestSuitesDiffer(t *testing.T) {
	planned := contract.Facts{
		UnsafeMode: true, GetPA: true, Hugepages: 64, Privileges: contract.Root,
		IOMMU:   contract.IOMMUFacts{Kind: contract.Intel},
		Devices: []contract.Device{{Model: "edu", MSI: true}, {Model: "igb", Behind: true}},
	}
	said := func(change func(*contract.Facts)) string {
		f := planned
		f.Devices = slices.Clone(planned.Devices)
		change(&f)
		text, err := json.Marshal(f)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	for want, found := range map[string]string{
		"":                                said(func(f *contract.Facts) { f.Hugepages = 3 }),
		"the guest does not say":          "",
		"does not say what it found":      `{"devices":[],"more":1}`,
		"UnsafeMode: planned true":        said(func(f *contract.Facts) { f.UnsafeMode = false }),
		"Privileges: planned root, found": said(func(f *contract.Facts) { f.Privileges = contract.NoRawIO }),
		"IOMMU: planned {Kind:intel":      said(func(f *contract.Facts) { f.IOMMU.Passthrough = true }),
		"Devices: planned [{Model:edu":    said(func(f *contract.Facts) { f.Devices[0].MSI = false }),
		"Devices: planned":                said(func(f *contract.Facts) { f.Devices = f.Devices[:1] }),
		"Config: planned {Group:false":    said(func(f *contract.Facts) { f.Config.KASAN = true }),
	} {
		if diff := suitesDiffer(planned, found); !strings.Contains(diff, want) || (diff == "") != (want == "") {
			t.Errorf("%s: %q, want %q", found, diff, want)
		}
	}
}

func TestSuiteOnAnotherCell(t *testing.T) {
	program := planned
	program.Host = true
	rec := tale{program: program, out: contract.FactsLine + "{}\n" + good, exit: clean(0)}.record(t)
	rec.Planned.Facts.UnsafeMode = true
	got, err := Judge(rec)
	if err != nil || got.Verdict != Infra || !strings.Contains(got.Programs[0].Reason, "UnsafeMode") {
		t.Errorf("%+v, %v", got, err)
	}
	program.Tests = nil
	rec = tale{program: program, out: contract.FactsLine + "{}\n", exit: clean(2)}.record(t)
	if got, err := Judge(rec); err != nil || got.Verdict != Fail {
		t.Errorf("a program that could not begin: %+v, %v", got, err)
	}
}

// The record of Linux 7.3.4 whose parameter a patch gave another name: no test
// of it ran, and none of them is the farm's to answer for.
func TestParameterRenamed(t *testing.T) {
	rec, err := results.ReadCell("testdata/renamed")
	if err != nil {
		t.Fatal(err)
	}
	got, err := Judge(rec)
	if err != nil {
		t.Fatal(err)
	}
	if got.Verdict != Fail || !strings.HasPrefix(got.Reason, "ND-09: ") {
		t.Errorf("%s (%s)", got.Verdict, got.Reason)
	}
	if n := got.Counts(); n[Fail] == 0 || len(n) != 1 {
		t.Errorf("tests: %s, want all to fail", n)
	}
}

// How long a test took is between its marks in the kernel log.
func TestWall(t *testing.T) {
	for console, want := range map[string]time.Duration{
		fmt.Sprintf(markers, ""): 200 * time.Millisecond,
		"[  1.0] noiommu-farm: start 1 get_pa\n[  1.1] noiommu-farm: test get_pa.PA-01\n": 0, // no end
		strings.ReplaceAll(fmt.Sprintf(markers, ""), "[    1.", "<6>["):                   0,
	} {
		got := judge(t, tale{program: planned, out: good, console: console, exit: clean(0)}).Programs[0].Tests[0].Wall
		if got != want {
			t.Errorf("%q: %s, want %s", console, got, want)
		}
	}
}

// A record that breaks off after all that is looked for is not whole either.
func TestTornRecord(t *testing.T) {
	// What the log says of the kernel is not all that is wrong then.
	for said, want := range map[string]Verdict{"": Infra, warn: Fail} {
		rec := tale{program: planned, out: good, exit: clean(0), console: said + fmt.Sprintf(markers, "")}.record(t)
		f, err := os.OpenFile(filepath.Join(rec.Dir, "events.jsonl"), os.O_WRONLY|os.O_APPEND, 0)
		if err != nil {
			t.Fatal(err)
		}
		_, err = f.WriteString(`{"time":"2026-`)
		if err := errors.Join(err, f.Close()); err != nil {
			t.Fatal(err)
		}
		if rec, err = results.ReadCell(rec.Dir); err != nil {
			t.Fatal(err)
		}
		got, err := Judge(rec)
		if err != nil || got.Verdict != want || !strings.Contains(got.Reason, "middle of a line") {
			t.Errorf("got %s (%s), %v; want %s", got.Verdict, got.Reason, err, want)
		}
	}
}
