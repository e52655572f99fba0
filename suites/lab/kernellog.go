// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// maxRecord bounds one record of /dev/kmsg, in bytes (PRINTKRB_RECORD_MAX is
// smaller).
const maxRecord = 8192

// KernelLog are the messages that the kernel logs from now on.
type KernelLog struct {
	fd int
	t  *T
}

// KernelLog begins to listen to the kernel log; the test ends when it cannot.
func (t *T) KernelLog() *KernelLog {
	fd := t.openKmsg()
	t.Cleanup(func() { t.OK(unix.Close(fd), "cleanup: close /dev/kmsg") })
	return &KernelLog{fd, t}
}

// openKmsg opens the kernel log at its end; the test ends when it cannot.
func (t *T) openKmsg() int {
	fd, err := unix.Open("/dev/kmsg", unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	t.Must(err, "open /dev/kmsg")
	_, err = unix.Seek(fd, 0, unix.SEEK_END)
	t.Must(err, "seek to the end of /dev/kmsg")
	return fd
}

// NoWarning asserts, when the test has ended, everything is closed and the
// bindings are put back, that the kernel has not warned since now.
func (t *T) NoWarning() {
	const bad = TaintWarn | TaintDie | TaintBadPage
	before, fd := t.Taint(), t.openKmsg()
	t.cleanups = slices.Insert(t.cleanups, 0, func() {
		defer unix.Close(fd)
		Equal(t, t.Taint()&bad, before&bad, "cleanup: taint, bits W, D and B")
		// The bits tell of the first warning since boot only, the log of each.
		Equal(t, t.firstWarning(fd), "", "cleanup: the first warning of the kernel")
	})
}

// firstWarning is the next warning in the kernel log. Reading for it is no
// evidence of anything.
func (t *T) firstWarning(fd int) string {
	record := make([]byte, maxRecord)
	for {
		n, err := unix.Read(fd, record)
		switch err {
		case nil:
			if warns(string(record[:n])) {
				return message(string(record[:n]))
			}
		case unix.EPIPE: // the oldest messages have been overwritten
		case unix.EAGAIN:
			return ""
		default:
			t.Must(err, "read /dev/kmsg")
		}
	}
}

// warns says whether a record is the first line of a warning or worse, of the
// kernel itself: what a process logs has a facility.
func warns(record string) bool {
	priority, _, _ := strings.Cut(record, ",")
	if n, err := strconv.Atoi(priority); err != nil || n >= 8 {
		return false
	}
	text := message(record)
	return slices.ContainsFunc([]string{"WARNING: ", "BUG: ", "kernel BUG at ", "Oops: "}, func(first string) bool { return strings.HasPrefix(text, first) })
}

// Messages are the texts of the messages since the last call. They are counted
// as "kmsg.reads".
func (l *KernelLog) Messages() []string {
	var messages []string
	record := make([]byte, maxRecord)
	for {
		n, err := unix.Read(l.fd, record)
		if err == unix.EAGAIN {
			return messages
		}
		l.t.Tally.Did("kmsg.reads", err)
		l.t.Must(err, "read /dev/kmsg")
		messages = append(messages, message(string(record[:n])))
	}
}

// Await waits until the kernel has logged a message that holds all the words,
// and returns the messages up to then; the test ends when none comes.
func (l *KernelLog) Await(words ...string) []string {
	var messages []string
	for deadline := time.Now().Add(Patience(eventLimit)); Count(messages, words...) == 0; {
		if !readable(l.fd, deadline) {
			l.t.Fatalf("no message with %q in the kernel log after %v", words, Patience(eventLimit))
		}
		messages = append(messages, l.Messages()...)
	}
	return messages
}

// message is the text in a record: "6,339,5140900,-;text\n KEY=value\n".
func message(record string) string {
	_, text, _ := strings.Cut(record, ";")
	text, _, _ = strings.Cut(text, "\n")
	return text
}

// Count is how many of messages hold all the words.
func Count(messages []string, words ...string) int {
	n := 0
next:
	for _, m := range messages {
		for _, w := range words {
			if !strings.Contains(m, w) {
				continue next
			}
		}
		n++
	}
	return n
}
