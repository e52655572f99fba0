// SPDX-License-Identifier: Apache-2.0

package lab

import (
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
	fd, err := unix.Open("/dev/kmsg", unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	t.Must(err, "open /dev/kmsg")
	t.Cleanup(func() { t.OK(unix.Close(fd), "cleanup: close /dev/kmsg") })
	_, err = unix.Seek(fd, 0, unix.SEEK_END)
	t.Must(err, "seek to the end of /dev/kmsg")
	return &KernelLog{fd, t}
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
	for deadline := time.Now().Add(Patience(patience)); Count(messages, words...) == 0; {
		if !readable(l.fd, deadline) {
			l.t.Fatalf("no message with %q in the kernel log after %v", words, Patience(patience))
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
