// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"noiommu-farm/guestagent/wire"
)

// host plays the agent's end of the line.
func host(t *testing.T, answer func(wire.Request) wire.Reply) (line int) {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		packet := make([]byte, wire.MaxRequest+1)
		for {
			n, err := unix.Read(pair[1], packet)
			if err != nil || n == 0 {
				return
			}
			reply := wire.Reply{}
			if r, err := wire.ParseRequest(packet[:n]); err != nil {
				reply.Err = err.Error()
			} else {
				reply = answer(r)
			}
			text, _ := json.Marshal(reply)
			unix.Write(pair[1], text)
		}
	}()
	t.Cleanup(func() {
		unix.Close(pair[0])
		<-done
		unix.Close(pair[1])
	})
	return pair[0]
}

func TestAskHost(t *testing.T) {
	var asked []wire.Request
	line := host(t, func(r wire.Request) wire.Reply {
		asked = append(asked, r)
		if r.Do == wire.ReadMemory {
			return wire.Reply{Data: bytes.Repeat([]byte{0xa5}, r.Length)}
		}
		return wire.Reply{Err: "refused"}
	})
	data, err := ask(line, wire.Request{Do: wire.ReadMemory, Address: 1 << 40, Length: wire.MaxRead})
	if err != nil || len(data) != wire.MaxRead || data[wire.MaxRead-1] != 0xa5 {
		t.Errorf("%d bytes, %v", len(data), err)
	}
	if _, err := ask(line, wire.Request{Do: wire.Plug, BDF: "0000:01:00.0"}); err == nil || err.Error() != "refused" {
		t.Errorf("refused: %v", err)
	}
	if _, err := ask(line, wire.Request{Do: wire.Plug}); err == nil || !strings.Contains(err.Error(), "request: ") {
		t.Errorf("no request: %v", err)
	}
	if len(asked) != 2 || asked[0].Address != 1<<40 || asked[1].BDF != "0000:01:00.0" {
		t.Errorf("asked %+v", asked)
	}
}

// A host that goes away is an error, not a wait.
func TestAskNobody(t *testing.T) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pair[0])
	unix.Close(pair[1])
	if _, err := ask(pair[0], wire.Request{Do: wire.InjectNMI}); err == nil {
		t.Error("somebody answered")
	}
}

func TestPatience(t *testing.T) {
	for text, want := range map[string]float64{"": 1, "8": 8, "2.5": 2.5, "0.1": 1, "-3": 1, "NaN": 1, "x": 1, "1e300": maxPatience, "+Inf": maxPatience} {
		if got := patienceOf(text); got != want {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
	if got := Patience(time.Second); got < time.Second {
		t.Errorf("a second is %v", got)
	}
}
