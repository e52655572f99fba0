// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Limits bound what a program and all that it starts may use. Zero stands for
// the value in [Defaults].
type Limits struct {
	Processes int           // processes and threads at once
	Memory    int64         // bytes resident, of all processes together
	File      int64         // bytes of a file
	Disk      int64         // bytes in all writable mounts together
	Files     int           // files in all writable mounts together
	Scratch   int64         // bytes in /tmp, which is memory
	Output    int64         // bytes printed, but for a Stdout of its own: that is data
	Time      time.Duration // until it must have ended
}

// Defaults are what no build of a kernel comes near and a runaway one reaches.
var Defaults = Limits{
	Processes: 4096,
	Memory:    16 << 30,
	File:      8 << 30,
	Disk:      24 << 30,
	Files:     1_000_000,
	Scratch:   2 << 30,
	Output:    64 << 20,
	Time:      4 * time.Hour,
}

func (l Limits) orDefaults() Limits {
	fill := func(v *int64, d int64) {
		if *v == 0 {
			*v = d
		}
	}
	processes, files, duration := int64(l.Processes), int64(l.Files), int64(l.Time)
	fill(&processes, int64(Defaults.Processes))
	fill(&files, int64(Defaults.Files))
	fill(&duration, int64(Defaults.Time))
	l.Processes, l.Files, l.Time = int(processes), int(files), time.Duration(duration)
	fill(&l.Memory, Defaults.Memory)
	fill(&l.File, Defaults.File)
	fill(&l.Disk, Defaults.Disk)
	fill(&l.Scratch, Defaults.Scratch)
	fill(&l.Output, Defaults.Output)
	return l
}

// A LimitError is a program that was stopped because it wanted more than its
// [Limits].
type LimitError struct {
	Program string
	What    string // "it ran more than 64 processes at once"
}

func (e *LimitError) Error() string { return fmt.Sprintf("%s was stopped: %s", e.Program, e.What) }

// reserve is what the disk must keep (bytes): a program that holds open what
// it deleted is seen by nothing else.
const reserve = 512 << 20

// How often the processes are looked at. They are counted from outside because
// a limit that the kernel enforces (RLIMIT_NPROC) does not hold for root, and
// none counts the memory of them all.
const lookEvery = 400 * time.Millisecond

// watch looks at what the sandbox under the process root uses until ctx ends,
// and says to stop when it is too much.
func watch(ctx context.Context, root int, c Command, stop func(error)) {
	limits := c.Limits.orDefaults()
	over := func(format string, args ...any) {
		stop(&LimitError{Program: c.Args[0], What: fmt.Sprintf(format, args...)})
	}
	var writable []string
	for _, m := range c.Mounts {
		if m.Writable {
			writable = append(writable, m.Outside)
		}
	}
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	var walked time.Time // when the files were last counted
	var pause time.Duration
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		tasks, memory := processes(root)
		switch {
		case tasks > limits.Processes:
			over("it ran more than %d processes at once", limits.Processes)
			return
		case memory > limits.Memory:
			over("it used more than %s of memory", size(limits.Memory))
			return
		}
		for _, dir := range writable {
			var st unix.Statfs_t
			if unix.Statfs(dir, &st) == nil && int64(st.Bavail)*st.Bsize < reserve {
				if disk, _ := usage(ctx, writable, limits); disk > limits.Disk {
					over("it wrote more than %s", size(limits.Disk))
				} else {
					stop(fmt.Errorf("the disk under %s is full: less than %s is left", dir, size(reserve)))
				}
				return
			}
		}
		if time.Since(walked) < pause {
			continue
		}
		start := time.Now()
		disk, files := usage(ctx, writable, limits)
		switch {
		case disk > limits.Disk:
			over("it wrote more than %s", size(limits.Disk))
			return
		case files > limits.Files:
			over("it made more than %d files", limits.Files)
			return
		}
		// A build directory has 20,000 files: counting should cost a hundredth
		// of a processor. But what makes many files on purpose makes counting
		// slow too, and would have ever more time for it.
		walked = time.Now()
		pause = min(max(time.Second, 100*walked.Sub(start)), longestPause)
	}
}

// processes counts the tasks below a process, and the bytes that are resident
// for them. What ends meanwhile is not counted.
func processes(root int) (tasks int, memory int64) {
	type process struct {
		threads  int
		resident int64
	}
	all := map[int]process{}
	children := map[int][]int{}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return 0, 0
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		stat, err := os.ReadFile(filepath.Join("/proc", e.Name(), "stat"))
		if err != nil {
			continue
		}
		// A name may hold anything, also parentheses: it ends at the last.
		text := string(stat)
		fields := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
		if len(fields) < 22 {
			continue
		}
		parent, _ := strconv.Atoi(fields[1])
		threads, _ := strconv.Atoi(fields[17])
		pages, _ := strconv.ParseInt(fields[21], 10, 64)
		all[pid] = process{threads, pages * int64(os.Getpagesize())}
		children[parent] = append(children[parent], pid)
	}
	for queue := children[root]; len(queue) > 0; {
		pid := queue[0]
		queue = append(queue[1:], children[pid]...)
		tasks += all[pid].threads
		memory += all[pid].resident
	}
	return tasks, memory
}

// longestPause is how long files may be made uncounted.
const longestPause = 5 * time.Second

// usage counts the files below directories and the bytes that they take, as far
// as the limits. Files come and go meanwhile: errors are no more than files that
// went.
func usage(ctx context.Context, dirs []string, limits Limits) (bytes int64, files int) {
	for _, dir := range dirs {
		filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			switch {
			case ctx.Err() != nil, files > limits.Files, bytes > limits.Disk:
				return fs.SkipAll
			case err != nil:
				return nil
			}
			files++
			var st unix.Stat_t
			if unix.Lstat(path, &st) == nil {
				bytes += st.Blocks * 512
			}
			return nil
		})
	}
	return bytes, files
}

func size(bytes int64) string {
	switch {
	case bytes >= 1<<30 && bytes%(1<<30) == 0:
		return fmt.Sprintf("%d GiB", bytes>>30)
	case bytes < 1<<20:
		return fmt.Sprintf("%d KiB", bytes>>10)
	}
	return fmt.Sprintf("%d MiB", bytes>>20)
}

// A meter lets so many bytes through and says to stop at the next.
type meter struct {
	mu   sync.Mutex
	left int64
	stop func()
}

// through is a writer to w that the meter counts.
func (m *meter) through(w io.Writer) io.Writer { return metered{m, w} }

type metered struct {
	*meter
	w io.Writer
}

func (m metered) Write(p []byte) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.left < 0 {
		return len(p), nil // the program is being stopped
	}
	if m.left -= int64(len(p)); m.left < 0 {
		m.stop()
		return len(p), nil
	}
	return m.w.Write(p)
}

// userNamespaces says whether programs of this machine may have user
// namespaces. Where they may not, the sandbox has none either.
func userNamespaces() bool {
	text, err := os.ReadFile("/proc/sys/user/max_user_namespaces")
	return !errors.Is(err, fs.ErrNotExist) && strings.TrimSpace(string(text)) != "0"
}
