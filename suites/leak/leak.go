// SPDX-License-Identifier: Apache-2.0

// Package leak counts what the kernel has allocated and finds what it has
// lost: objects of the slab allocator, memory that is available, and what
// kmemleak reports.
//
// In comes a running test; out go numbers to compare with later ones. It does
// not know what a test may take.
package leak

import (
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"noiommu-farm/suites/contract"
	"noiommu-farm/suites/lab"
)

const slabs = "/sys/kernel/slab"

// Slab is how many objects of each of kmalloc's caches, and how many open
// files, were allocated at a time.
type Slab struct {
	t      *lab.T
	caches []cache
}

// cache is one of them. Its files are opened once: every open of a
// file in sysfs is an object that is freed later.
type cache struct {
	name            string
	shrink, objects *os.File
	before          int
}

// CountSlab counts them, after what the processors keep for themselves was
// given back. With KASAN, which holds freed objects back for a while, nothing
// is counted: there it is for [None] to tell. So a statement whose test counts
// requires contract.LeakCheck, and the test calls both.
func CountSlab(t *lab.T) *Slab {
	s := &Slab{t: t}
	if t.Facts.Meets(contract.KASAN) {
		return s
	}
	dirs, err := filepath.Glob(slabs + "/kmalloc-*")
	t.Must(err, "list the caches")
	if len(dirs) == 0 {
		t.Fatalf("no kmalloc cache in %s: the kernel needs CONFIG_SLUB_DEBUG", slabs)
	}
	// Who forgets to let go of an iommufd or a group leaves an open file.
	dirs = append(dirs, slabs+"/filp")
	open := func(path string, flags int) *os.File {
		f, err := os.OpenFile(path, flags, 0)
		t.Must(err, "open %s", path)
		t.Cleanup(func() { f.Close() })
		return f
	}
	for _, dir := range dirs {
		s.caches = append(s.caches, cache{
			name: filepath.Base(dir), shrink: open(dir+"/shrink", os.O_WRONLY), objects: open(dir+"/objects", os.O_RDONLY),
		})
	}
	s.count() // the first read of each file allocates what it is read with
	for i, n := range s.count() {
		s.caches[i].before = n
	}
	return s
}

// count is how many objects each cache has now.
func (s *Slab) count() []int {
	for _, c := range s.caches {
		_, err := c.shrink.WriteAt([]byte("1"), 0)
		s.t.Tally.Did("sysfs.writes", err)
		s.t.Must(err, "shrink %s", c.name)
	}
	counts := make([]int, len(s.caches))
	text := make([]byte, 128)
	for i, c := range s.caches {
		// "123 N0=123"
		n, err := c.objects.ReadAt(text, 0)
		if err != io.EOF {
			s.t.Must(err, "read the objects of %s", c.name)
		}
		number, _, _ := strings.Cut(strings.TrimSpace(string(text[:n])), " ")
		counts[i], err = strconv.Atoi(number)
		s.t.Tally.Did("sysfs.reads", err)
		s.t.Must(err, "parse the objects of %s", c.name)
	}
	return counts
}

// Rounds is how often something is done to see what it loses each time: n times,
// and a tenth of it where nothing is counted, because kmemleak sees one object.
func (s *Slab) Rounds(n int) int {
	if len(s.caches) == 0 {
		return max(1, n/10)
	}
	return n
}

// Flat asserts that no cache has grown by limit objects or more since they were
// counted. The limit leaves room for what the rest of the kernel does
// meanwhile, so it must be less than what one lost object a round would make.
// What is freed late is waited for. Each cache counts as one of "leak.checks",
// of which there are none with KASAN.
func (s *Slab) Flat(limit int, what string) {
	var counts []int
	grown := func() bool {
		counts = s.count()
		for i, c := range s.caches {
			if counts[i] >= c.before+limit {
				return true
			}
		}
		return false
	}
	for deadline := time.Now().Add(lab.Patience(late)); grown() && time.Now().Before(deadline); {
		time.Sleep(100 * time.Millisecond)
	}
	s.t.Tally.Add("leak.checks", uint64(len(s.caches)))
	for i, c := range s.caches {
		lab.Above(s.t, limit, counts[i]-c.before, "%s: objects of %s that may be more than before", what, c.name)
	}
}

// late is how long the kernel may take to free what nobody has any more: it
// waits for all processors, and does some of it in bulk.
const late = 10 * time.Second

// Available is MemAvailable of /proc/meminfo, in kB.
func Available(t *lab.T) int {
	for _, line := range t.Lines("/proc/meminfo") {
		if rest, ok := strings.CutPrefix(line, "MemAvailable:"); ok {
			n, err := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(rest), " kB"))
			t.Must(err, "parse %q", line)
			return n
		}
	}
	t.Fatalf("no MemAvailable in /proc/meminfo")
	return 0
}

// kmemleak is where it is controlled and read.
const kmemleak = "/sys/kernel/debug/kmemleak"

// grace is longer than MSECS_MIN_AGE of mm/kmemleak.c: younger objects are not
// reported.
const grace = 6 * time.Second

// Forget makes kmemleak say nothing of what was lost until now.
func Forget(t *lab.T) {
	if t.Facts.Meets(contract.Kmemleak) {
		t.Must(t.WriteFile(kmemleak, "scan"), "scan for lost memory")
		t.Must(t.WriteFile(kmemleak, "clear"), "clear kmemleak")
	}
}

// None asserts that kmemleak, if the kernel has it, finds nothing that was
// lost since [Forget]. It scans twice, as an object that is changed between
// two scans is alive. It counts as one of "leak.checks".
func None(t *lab.T, what string) {
	if !t.Facts.Meets(contract.Kmemleak) {
		return
	}
	t.Must(t.WriteFile(kmemleak, "scan"), "scan for lost memory")
	time.Sleep(grace)
	t.Must(t.WriteFile(kmemleak, "scan"), "scan for lost memory")
	report, err := os.ReadFile(kmemleak)
	t.Must(err, "read kmemleak")
	t.Tally.Add("leak.checks", 1)
	if lab.Equal(t, strings.Count(string(report), "unreferenced object"), 0, "%s: lost objects", what) {
		return
	}
	// The stack says who lost it. Into the kernel's log, which is read for it.
	for line := range strings.Lines(string(report[:min(len(report), maxReport)])) {
		logLine(t, strings.TrimRight(line, "\n"))
	}
}

// maxReport bounds how much of a report is shown, in bytes.
const maxReport = 4096

// logLine writes a warning to the kernel's log.
func logLine(t *lab.T, line string) {
	fd, err := unix.Open("/dev/kmsg", unix.O_WRONLY|unix.O_CLOEXEC, 0)
	t.Must(err, "open /dev/kmsg")
	defer unix.Close(fd)
	_, err = unix.Write(fd, []byte("<4>"+line))
	t.Must(err, "write to /dev/kmsg")
}
