// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"

	"noiommu-farm/guestagent/wire"
)

// asking is a program's line to the host: one request at a time, each with an
// answer, as long as the program runs.
type asking struct {
	run  uint32 // to be set before the host can answer
	send func(wire.ToHost) error

	ours    *net.UnixConn
	answers chan wire.Answer // from the host
	over    chan struct{}    // the program has ended
	done    chan struct{}    // nothing more is sent to the host; nil before begin
}

// newAsking makes the line of a program and the program's end of it.
func newAsking(send func(wire.ToHost) error) (*asking, *os.File, error) {
	ours, theirs, err := packetSocket("host")
	if err != nil {
		return nil, nil, err
	}
	return &asking{send: send, ours: ours, answers: make(chan wire.Answer, 1), over: make(chan struct{})}, theirs, nil
}

// begin begins to carry.
func (a *asking) begin() {
	a.done = make(chan struct{})
	go a.carry()
}

// carry carries requests to the host and answers back until the program's end
// is closed or the line is.
func (a *asking) carry() {
	defer close(a.done)
	defer a.ours.Close()
	packet := make([]byte, wire.MaxRequest+1)
	for n := uint32(1); ; n++ {
		length, err := a.ours.Read(packet)
		if err != nil || length == 0 {
			return
		}
		reply, err := a.ask(n, packet[:length])
		if err != nil {
			return
		}
		text, err := json.Marshal(reply)
		if err != nil {
			return
		}
		if _, err := a.ours.Write(text); err != nil {
			return
		}
	}
}

// errOver says that the program ended before it got its answer.
var errOver = errors.New("the program has ended")

// ask gets the reply to one packet. What is no request, the program is told at
// once.
func (a *asking) ask(n uint32, packet []byte) (wire.Reply, error) {
	request, err := wire.ParseRequest(packet)
	if err != nil {
		return wire.Reply{Err: err.Error()}, nil
	}
	if n > wire.MaxRequests {
		return wire.Reply{Err: fmt.Sprintf("more than %d requests", wire.MaxRequests)}, nil
	}
	select {
	case <-a.over:
		return wire.Reply{}, errOver
	default:
	}
	if err := a.send(wire.ToHost{Ask: &wire.Ask{Run: a.run, N: n, Request: request}}); err != nil {
		return wire.Reply{}, err
	}
	for {
		select {
		case answer := <-a.answers:
			if answer.N == n {
				return answer.Reply, nil
			}
		case <-a.over:
			return wire.Reply{}, errOver
		}
	}
}

// answered passes the host's answer on. One that nobody waits for is dropped:
// it and the program's end may have met.
func (a *asking) answered(answer wire.Answer) {
	if answer.Run != a.run {
		return
	}
	select {
	case a.answers <- answer:
	default:
	}
}

// end closes the line and waits until nothing more of it reaches the host.
func (a *asking) end() {
	close(a.over)
	a.ours.Close()
	if a.done != nil {
		<-a.done
	}
}
