// SPDX-License-Identifier: Apache-2.0

package console

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"noiommu-farm/guestagent/wire"
)

var update = flag.Bool("update", false, "rewrite testdata/*.want")

// summary is what testdata/NAME.want holds of a finding: all but its lines.
func summary(found []Finding) []Finding {
	out := []Finding{}
	for _, f := range found {
		f.Lines = nil
		out = append(out, f)
	}
	return out
}

func classify(t testing.TB, log []byte) []Finding {
	t.Helper()
	found, err := Classify(bytes.NewReader(log))
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func logs(t testing.TB) []string {
	t.Helper()
	files, err := filepath.Glob("testdata/*.log")
	if err != nil || len(files) == 0 {
		t.Fatalf("no testdata: %v", err)
	}
	return files
}

// TestTestdata classifies consoles of real kernels: see testdata/README.
func TestTestdata(t *testing.T) {
	for _, file := range logs(t) {
		t.Run(filepath.Base(file), func(t *testing.T) {
			log, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := summary(classify(t, log))
			wantFile := strings.TrimSuffix(file, ".log") + ".want"
			if *update {
				data, err := json.MarshalIndent(got, "", "\t")
				if err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(wantFile, append(data, '\n'), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			data, err := os.ReadFile(wantFile)
			if err != nil {
				t.Fatal(err)
			}
			var want []Finding
			if err := json.Unmarshal(data, &want); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("findings (-want +got):\n%s", diff)
			}
		})
	}
}

// TestPrefixes dresses logs of every kind of kernel as other consoles and log files show
// them. The findings must not change.
func TestPrefixes(t *testing.T) {
	type line func(string) string
	for name, dress := range map[string]line{
		"carriage return": func(s string) string { return s + "\r" },
		"level":           func(s string) string { return "<4>" + s },
		"syslog":          func(s string) string { return "Nov 22 16:52:26 host kernel: " + s },
		"journal":         func(s string) string { return "2026-11-22T16:52:26.123456+00:00 host kernel: " + s },
		"colour":          func(s string) string { return "\x1b[32m" + s + "\x1b[0m" },
		"no time stamp": func(s string) string {
			if rest := strings.TrimPrefix(s, stamp.FindString(s)); rest != s {
				return strings.TrimPrefix(rest, " ")
			}
			return s
		},
		"caller": func(s string) string {
			if at := stamp.FindString(s); at != "" {
				return at + "[  T123]" + s[len(at):]
			}
			return s
		},
	} {
		for _, file := range []string{"amd64-lkdtm2.log", "i386-lkdtm.log", "arm-lkdtm.log", "arm64-hung.log", "riscv64-lkdtm-list.log", "s390x-sysrq.log"} {
			t.Run(name+"/"+file, func(t *testing.T) {
				log, err := os.ReadFile(filepath.Join("testdata", file))
				if err != nil {
					t.Fatal(err)
				}
				if len(log) > 12<<10 {
					log = log[:bytes.LastIndexByte(log[:12<<10], '\n')+1]
				}
				var dressed bytes.Buffer
				for _, s := range strings.Split(strings.TrimSuffix(string(log), "\n"), "\n") {
					dressed.WriteString(dress(strings.TrimSuffix(s, "\r")) + "\n")
				}
				want, got := summary(classify(t, log)), summary(classify(t, dressed.Bytes()))
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("findings (-as it was +dressed):\n%s", diff)
				}
			})
		}
	}
}

// TestInterleaved mixes two reports line by line, as two CPUs do. Caller ids
// keep them apart.
func TestInterleaved(t *testing.T) {
	log := `[   1.000000][    T7] ------------[ cut here ]------------
[   1.000001][    C1] ------------[ cut here ]------------
[   1.000002][    T7] WARNING: drivers/vfio/group.c:512 at vfio_df_group_open+0x12/0x34, CPU#0: first/7
[   1.000003][    C1] WARNING: drivers/iommu/iommufd/device.c:77 at iommufd_device_detach+0x56/0x78, CPU#1: swapper/1/0
[   1.000004][    T7] RIP: 0010:vfio_df_group_open+0x12/0x34
[   1.000005][    C1] RIP: 0010:iommufd_device_detach+0x56/0x78
[   1.000006][    C1] ---[ end trace 0000000000000000 ]---
[   1.000007][    T7] ---[ end trace 0000000000000000 ]---
`
	var titles []string
	for _, f := range classify(t, []byte(log)) {
		titles = append(titles, f.String())
	}
	want := []string{"1-8 warning: WARNING in vfio_df_group_open", "2-7 warning: WARNING in iommufd_device_detach"}
	if diff := cmp.Diff(want, titles); diff != "" {
		t.Errorf("findings (-want +got):\n%s", diff)
	}
}

// TestFirstLines reads the line that a report begins with, in the words of
// every age and architecture. Each is a finding by itself.
func TestFirstLines(t *testing.T) {
	for _, c := range []struct {
		line  string
		class Class
		title string
	}{
		{"WARNING: at drivers/vfio/vfio.c:42 vfio_group_add+0x1f/0x30()", Warning, "WARNING in vfio_group_add"},
		{"WARNING: CPU: 1 PID: 2 at drivers/vfio/vfio.c:42 vfio_group_add+0x1f/0x30 [vfio]", Warning, "WARNING in vfio_group_add"},
		{"WARNING: drivers/vfio/vfio_main.c:42 at vfio_group_add.isra.0+0x1f/0x30 [vfio], CPU#1: test/2", Warning, "WARNING in vfio_group_add"},
		{"WARNING: [ret < 0] drivers/vfio/vfio_main.c:42 at vfio_group_add+0x1f/0x30, CPU#1: test/2", Warning, "WARNING in vfio_group_add"},
		{"WARNING: at vfio_group_add.cold+0x1f/0x30, CPU#1: test/2", Warning, "WARNING in vfio_group_add"},
		{"kernel BUG at drivers/vfio/vfio_main.c:42!", Bug, "kernel BUG"},
		{"BUG: kernel NULL pointer dereference, address: 0000000000000008", PageFault, "BUG: unable to handle kernel NULL pointer dereference"},
		{"BUG: unable to handle page fault for address: ffffffffc0ffee00", PageFault, "BUG: unable to handle kernel paging request"},
		{"BUG: unable to handle kernel paging request at ffffffffc0ffee00", PageFault, "BUG: unable to handle kernel paging request"},
		{"Unable to handle kernel NULL pointer dereference at virtual address 0000000000000008", PageFault, "BUG: unable to handle kernel NULL pointer dereference"},
		{"CPU 0 Unable to handle kernel paging request at virtual address 00000000, epc == 80123456, ra == 80123450", PageFault, "BUG: unable to handle kernel paging request"},
		{"BUG: Kernel NULL pointer dereference on read at 0x00000000", PageFault, "BUG: unable to handle kernel NULL pointer dereference"},
		{"BUG: Unable to handle kernel data access on write at 0xc0ffee00", PageFault, "BUG: unable to handle kernel paging request"},
		{"Unable to handle kernel pointer dereference in virtual kernel address space", PageFault, "BUG: unable to handle kernel paging request"},
		{"Oops: general protection fault, probably for non-canonical address 0xdffffc0000000000: 0000 [#1] SMP", GPF, "general protection fault"},
		{"general protection fault: 0000 [#1] SMP", GPF, "general protection fault"},
		{"Oops: divide error: 0000 [#1] SMP NOPTI", Oops, "divide error"},
		{"divide error: 0000 [#1] SMP NOPTI", Oops, "divide error"},
		{"Internal error: Oops: 0000000096000004 [#1] SMP", Oops, "Internal error"},
		{"Oops [#1]", Oops, "Oops"},
		{"Oops: Kernel access of bad area, sig: 11 [#1]", Oops, "Oops"},
		{"addressing exception: 0005 ilc:3 [#1] SMP", Oops, "addressing exception"},
		{"Kernel bug detected[#1]:", Bug, "kernel BUG"},
		{"BUG: KASAN: slab-use-after-free in iommufd_hwpt_detach+0x12/0x34", KASAN, "KASAN: slab-use-after-free in iommufd_hwpt_detach"},
		{"BUG: KFENCE: use-after-free read in vfio_df_close+0x12/0x34", KFENCE, "KFENCE: use-after-free read in vfio_df_close"},
		{"BUG: KCSAN: data-race in vfio_df_open / vfio_df_close", KCSAN, "KCSAN: data-race in vfio_df_open / vfio_df_close"},
		{"UBSAN: array-index-out-of-bounds in drivers/vfio/vfio_main.c:42:7", UBSAN, "UBSAN: array-index-out-of-bounds"},
		{"WARNING: possible circular locking dependency detected", Lockdep, "possible deadlock"},
		{"[ INFO: possible circular locking dependency detected ]", Lockdep, "possible deadlock"},
		{"WARNING: inconsistent lock state", Lockdep, "inconsistent lock state"},
		{"WARNING: suspicious RCU usage", RCU, "WARNING: suspicious RCU usage"},
		{"WARNING: lock held when returning to user space!", Lockdep, "WARNING: lock held when returning to user space"},
		{"BUG: sleeping function called from invalid context at mm/slab.h:42", AtomicSleep, "BUG: sleeping function called from invalid context"},
		{"BUG: scheduling while atomic: test/12/0x00000002", AtomicSleep, "BUG: scheduling while atomic"},
		{"rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:", RCUStall, "INFO: rcu detected stall"},
		{"INFO: rcu_sched self-detected stall on CPU", RCUStall, "INFO: rcu detected stall"},
		{"INFO: task farm:12 blocked for more than 120 seconds.", HungTask, "INFO: task hung"},
		{"watchdog: BUG: soft lockup - CPU#0 stuck for 22s! [test:12]", SoftLockup, "BUG: soft lockup"},
		{"watchdog: CPU0: Watchdog detected hard LOCKUP on cpu 0", HardLockup, "BUG: hard lockup"},
		{"Watchdog detected hard LOCKUP on cpu 0", HardLockup, "BUG: hard lockup"},
		{"BUG: spinlock lockup suspected on CPU#0, test/12", Lockdep, "BUG: spinlock lockup suspected"},
		{"unreferenced object 0xffff888012345678 (size 64):", Kmemleak, "memory leak"},
		{"kmemleak: 3 new suspected memory leaks (see /sys/kernel/debug/kmemleak)", Kmemleak, "memory leak"},
		{"refcount_t: underflow; use-after-free.", Refcount, "WARNING: refcount bug"},
		{"list_del corruption. prev->next should be ffff888012345678, but was 0000000000000000", ListCorruption, "BUG: corrupted list"},
		{"BUG kmalloc-64 (Not tainted): Poison overwritten", SlabCorruption, "BUG: Poison overwritten"},
		{"Time out waiting for iommufd object to become free", IommufdWait, "iommufd: time out waiting for object to become free"},
		{"Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000300", InitDied, "kernel panic: Attempted to kill init!"},
		{"Kernel panic - not syncing: sysrq triggered crash", Panic, "kernel panic: sysrq triggered crash"},
		{"Out of memory: Killed process 12 (test) total-vm:1kB", OOM, "Out of memory: killed process"},
		{"WARNING: this driver is incomplete", Notice, "WARNING: this driver is incomplete"},
		{"Kernel Fault: Code=15 (Data TLB miss fault) at addr 00000000", PageFault, "BUG: unable to handle kernel paging request"},
		{"SError Interrupt on CPU1, code 0xbf000000 -- SError", Oops, "SError"},
		{"hung_task: blocked tasks", HungTask, "hung_task: blocked tasks"},
	} {
		for _, prefix := range []string{"[   12.345678] ", "[   12.345678][  T123] "} {
			found := classify(t, []byte(prefix+c.line+"\n"))
			if len(found) != 1 || found[0].Class != c.class || found[0].Title != c.title {
				t.Errorf("%q\n got %v\nwant %s: %s", c.line, found, c.class, c.title)
			}
		}
	}
}

// TestNoFindings holds lines that sound bad and are not.
func TestNoFindings(t *testing.T) {
	log := `[    0.000000] Command line: console=ttyS0 panic_on_warn=1 BUG: Oops WARNING: KASAN
[    0.000000] Kernel command line: console=ttyS0 note="BUG: KASAN: use-after-free in x"
[    0.100000] calibrate_delay_direct() failed to get a good estimate for loops_per_jiffy. Probably due to long platform interrupts. Consider using "lpj=" boot option.
[    1.000000] vfio-pci 0000:00:02.0: Adding kernel taint for vfio-noiommu group on device
[    1.100000] vfio-pci 0000:00:02.0: Adding kernel taint for vfio-noiommu cdev
[    1.200000] vfio-pci 0000:00:02.0: vfio-noiommu device opened by user (get_pa:42)
[    1.300000] vfio-pci 0000:00:02.0: irq bypass producer (token 00000000deadbeef) registration fails: -16
[    1.400000] Warning: unable to open an initial console.
[    1.600000] ` + wire.Marker + ` start WARNING: in suite
` + wire.Marker + ` start BUG: KASAN: use-after-free in test
# BUG: KASAN: use-after-free in test
#  RUN           vfio.WARNING: CPU: 1 PID: 2 at f.c:12 f+0x1/0x2 ...
ok 1 general protection fault is handled
not ok 2 BUG: in the test
WARNING: Running pip as root
ld: warning: creating DT_TEXTREL
/usr/bin/ld: BUG: nothing
BUG: a user space program says so
test: Oops: no such file
[    1.700000] test[12]: segfault at 8 ip 0000000000401000 sp 00007ffe00000000 error 6
[    1.800000] test[12]: BUG: not the kernel's
`
	if found := classify(t, []byte(log)); len(found) > 0 {
		t.Errorf("findings: %v", found)
	}
}

// TestConsequences checks that the panic after an oops or a warning is part of
// it, and that a second oops is not.
func TestConsequences(t *testing.T) {
	log := `[    1.000000] BUG: kernel NULL pointer dereference, address: 0000000000000008
[    1.000001] Oops: Oops: 0002 [#1] SMP NOPTI
[    1.000002] CPU: 1 UID: 0 PID: 42 Comm: test Not tainted 7.3.4 #1
[    1.000003] RIP: 0010:vfio_df_open+0x12/0x34
[    1.000004] Call Trace:
[    1.000005]  <TASK>
[    1.000006]  vfio_device_fops_unl_ioctl+0x12/0x34
[    1.000007]  </TASK>
[    1.000008] ---[ end trace 0000000000000000 ]---
[    2.000000] WARNING: drivers/vfio/group.c:512 at vfio_df_group_open+0x12/0x34, CPU#0: test/43
[    2.000001] Kernel panic - not syncing: kernel: panic_on_warn set ...
[    2.000002] Call Trace:
[    2.000003]  panic+0x12/0x34
[    2.000004] ---[ end Kernel panic - not syncing: kernel: panic_on_warn set ... ]---
`
	got := summary(classify(t, []byte(log)))
	want := []Finding{
		{Class: PageFault, Title: "BUG: unable to handle kernel NULL pointer dereference in vfio_df_open", Function: "vfio_df_open", CPU: 1, PID: 42, Comm: "test", First: 1, Last: 9},
		{Class: Warning, Title: "WARNING in vfio_df_group_open", Function: "vfio_df_group_open", CPU: 0, PID: 43, Comm: "test", Panicked: true, First: 10, Last: 14},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("findings (-want +got):\n%s", diff)
	}
}

// TestReboot boots twice in one log. The first boot is none.
func TestReboot(t *testing.T) {
	boot := "[    0.000000] Linux version 7.3.4 (gcc 12.2.0) #1\n[    1.500000] vfio: probe\n"
	if found := classify(t, []byte(boot)); len(found) > 0 {
		t.Errorf("one boot: %v", found)
	}
	found := classify(t, []byte(boot+boot))
	if len(found) != 1 || found[0].Class != Reboot || found[0].First != 3 {
		t.Errorf("two boots: %v", found)
	}
}

// TestInitDied tells the end of process 1 from an oops that killed it.
func TestInitDied(t *testing.T) {
	for _, c := range []struct {
		pid  string
		want []Class
	}{
		{"1 Comm: agent", []Class{PageFault}},
		{"77 Comm: test", []Class{PageFault, InitDied}},
	} {
		log := "[    1.000000] BUG: kernel NULL pointer dereference, address: 0000000000000008\n" +
			"[    1.000001] CPU: 0 UID: 0 PID: " + c.pid + " Not tainted 7.3.4 #1\n" +
			"[    1.000002] RIP: 0010:vfio_df_open+0x12/0x34\n" +
			"[    1.000003] ---[ end trace 0000000000000000 ]---\n" +
			"[    1.000004] Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000009\n"
		var got []Class
		for _, f := range classify(t, []byte(log)) {
			got = append(got, f.Class)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("PID %s (-want +got):\n%s", c.pid, diff)
		}
	}
}

// TestScannerStreams feeds a log in lines and must find what Classify finds.
func TestScannerStreams(t *testing.T) {
	for _, file := range logs(t) {
		log, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var s Scanner
		var got []Finding
		for _, line := range strings.Split(strings.TrimSuffix(string(log), "\n"), "\n") {
			got = append(got, s.Line(line)...)
		}
		got = append(got, s.Flush()...)
		if len(s.Flush()) != 0 {
			t.Errorf("%s: a second flush finds more", file)
		}
		if want := classify(t, log); len(want) != len(got) {
			t.Errorf("%s: %d findings in a stream, %d in the whole log", file, len(got), len(want))
		}
	}
}

// check holds what must be true of any finding of any log.
func check(t interface{ Fatalf(string, ...any) }, log []byte, found []Finding) {
	lines := bytes.Count(log, []byte{'\n'}) + 1
	if len(found) > MaxFindings {
		t.Fatalf("%d findings", len(found))
	}
	for _, f := range found {
		if f.First < 1 || f.Last < f.First || f.Last > lines || len(f.Lines) == 0 || len(f.Lines) > MaxLines {
			t.Fatalf("finding %v with %d lines in a log of %d", f, len(f.Lines), lines)
		}
		if f.Class == "" || f.Title == "" || strings.ContainsAny(f.Title, "\n\x00\x1b") {
			t.Fatalf("finding %q %q", f.Class, f.Title)
		}
	}
}

// TestBounds cuts and repeats real logs in any way.
func TestBounds(t *testing.T) {
	var all [][]byte
	for _, file := range logs(t) {
		log, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, log)
	}
	rapid.Check(t, func(t *rapid.T) {
		var log []byte
		for range rapid.IntRange(1, 4).Draw(t, "pieces") {
			from := rapid.SampledFrom(all).Draw(t, "log")
			a := rapid.IntRange(0, len(from)).Draw(t, "a")
			b := rapid.IntRange(a, min(len(from), a+4096)).Draw(t, "b")
			log = append(log, from[a:b]...)
		}
		found, err := Classify(bytes.NewReader(log))
		if err != nil {
			t.Fatal(err)
		}
		check(t, log, found)
	})
}

// TestManyFindings writes more findings than are kept.
func TestManyFindings(t *testing.T) {
	line := "[    1.000000] kernel BUG at drivers/vfio/vfio_main.c:42!\n[    1.000001] ---[ end trace 0 ]---\n"
	log := []byte(strings.Repeat(line, MaxFindings+10))
	found := classify(t, log)
	if len(found) != MaxFindings {
		t.Errorf("%d findings, want %d", len(found), MaxFindings)
	}
	check(t, log, found)
}

func FuzzClassify(f *testing.F) {
	for _, file := range logs(f) {
		log, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(log[:min(len(log), 8<<10)])
	}
	f.Fuzz(func(t *testing.T, log []byte) {
		found, err := Classify(bytes.NewReader(log))
		if err != nil {
			t.Fatal(err)
		}
		check(t, log, found)
	})
}
