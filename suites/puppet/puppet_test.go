// SPDX-License-Identifier: Apache-2.0

package puppet

import (
	"bytes"
	"io"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"noiommu-farm/suites/contract"
	"noiommu-farm/suites/lab"
	"noiommu-farm/suites/uapi"
)

// run runs a test on a bench, under the name of a statement that applies there;
// what that is about does not matter here.
func run(t *testing.T, test func(*lab.T)) string {
	t.Helper()
	var out bytes.Buffer
	statement := contract.Statements[0]
	for _, s := range contract.Statements {
		if len((contract.Facts{Config: contract.Config{Noiommu: true}, UnsafeMode: true}).Unmet(s.Requires)) == 0 {
			statement = s
			break
		}
	}
	bench := lab.Bench{Facts: contract.Facts{Config: contract.Config{Noiommu: true}, UnsafeMode: true}, Out: &out, Kmsg: io.Discard}
	bench.Run([]lab.Test{{ID: statement.ID, Run: test}})
	return out.String()
}

func mustPass(t *testing.T, ktap string) {
	t.Helper()
	if !strings.Contains(ktap, "\nok 1 ") || strings.Contains(ktap, "# SKIP") {
		t.Errorf("the test did not pass:\n%s", ktap)
	}
}

// TestCalls: the puppet is another process, and answers as the kernel does.
func TestCalls(t *testing.T) {
	ktap := run(t, func(t *lab.T) {
		p := New(t)
		pid, err := p.Do(Call{"", unix.SYS_GETPID, [6]uintptr{}})
		t.OK(err, "getpid")
		lab.Equal(t, int(pid), p.PID(), "pid of the puppet")
		lab.Differ(t, int(pid), os.Getpid(), "pid of the puppet")
		_, err = p.Open("/nonexistent")
		t.Fails(err, unix.ENOENT, "open what is not there")
		fd, err := p.Open("/dev/zero")
		t.OK(err, "open /dev/zero")
		buf := Place[[8]byte](p)
		*buf = [8]byte{1, 2, 3}
		n, err := p.Do(Call{"pread", unix.SYS_PREAD64, [6]uintptr{uintptr(fd), address(buf), 8}})
		t.OK(err, "pread")
		lab.Equal(t, int(n), 8, "bytes read")
		lab.Equal(t, *buf, [8]byte{}, "what was read")
		t.OK(p.Close(fd), "close")
		t.Fails(p.Close(fd), unix.EBADF, "close again")
	})
	mustPass(t, ktap)
	if want := "open:ENOENT=1 open=1 pread=1"; !strings.Contains(ktap, want) {
		t.Errorf("no evidence %q in:\n%s", want, ktap)
	}
}

func address(b *[8]byte) uintptr { return Ioctl(0, ioctlNone, b).Args[2] }

// TestFiles: the puppet has none of the test's files.
func TestFiles(t *testing.T) {
	f, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	mustPass(t, run(t, func(t *lab.T) {
		p := New(t)
		t.Fails(p.Close(int(f.Fd())), unix.EBADF, "close a file of the test")
		entries, err := os.ReadDir("/proc/" + strconv.Itoa(p.PID()) + "/fd")
		t.OK(err, "list the files of the puppet")
		lab.Equal(t, len(entries), 5, "files of the puppet: three streams, two pipes")
	}))
}

// TestOutlivesThreads: threads that end while a puppet lives, as those of
// lab.WithCaps do, do not take it with them.
func TestOutlivesThreads(t *testing.T) {
	mustPass(t, run(t, func(t *lab.T) {
		p := New(t)
		for range 64 {
			done := make(chan bool)
			go func() {
				runtime.LockOSThread() // and never unlocked: the thread ends
				close(done)
			}()
			<-done
		}
		pid, err := p.Do(Call{Nr: unix.SYS_GETPID})
		t.OK(err, "getpid")
		lab.Equal(t, int(pid), p.PID(), "pid of the puppet")
	}))
}

// TestRepeat: the rounds go on until the puppet is killed, which is the end of
// the process, and count.
func TestRepeat(t *testing.T) {
	ktap := run(t, func(t *lab.T) {
		p := New(t)
		p.Repeat(Call{"first", unix.SYS_GETPID, [6]uintptr{}}, Call{"second", unix.SYS_GETPPID, [6]uintptr{}})
		p.AwaitRounds(100)
		p.Kill()
		lab.Above(t, p.Rounds(), 99, "rounds")
		t.Fails(unix.Kill(p.PID(), 0), unix.ESRCH, "signal to the puppet after its end")
		lab.Equal(t, t.Tally.Count("first"), p.Rounds(), "counted")
		lab.Equal(t, t.Tally.Count("second"), p.Rounds(), "counted")
	})
	mustPass(t, ktap)
}

// TestRepeatFails: a call that fails ends the rounds, and the test.
func TestRepeatFails(t *testing.T) {
	ktap := run(t, func(t *lab.T) {
		p := New(t)
		p.Repeat(Call{"good", unix.SYS_GETPID, [6]uintptr{}}, Call{"bad", unix.SYS_CLOSE, [6]uintptr{1 << 20}})
		p.AwaitRounds(1)
		lab.Equal(t, true, false, "reached")
	})
	if !strings.Contains(ktap, "puppet: round 0: bad: EBADF") || !strings.Contains(ktap, "not ok 1 ") {
		t.Errorf("a failing call was not reported:\n%s", ktap)
	}
}

// ioctlNone is no ioctl: the tests above want the address of an argument only.
var ioctlNone = uapi.Ioctl{}
