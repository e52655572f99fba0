// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
)

// Limits of what a test program may ask of the host.
const (
	// MaxRequest and MaxReply bound one packet on a program's socket, in bytes.
	MaxRequest = 1 << 10
	MaxReply   = 128 << 10
	// MaxRead bounds one read of guest memory, in bytes.
	MaxRead = 64 << 10
	// MaxRequests bounds how often one program may ask.
	MaxRequests = 20_000
)

// Action is what a test program may ask of the host.
type Action string

const (
	Unplug     Action = "unplug"      // press the attention button of the slot of BDF; QEMU's yes is the answer
	Unplugged  Action = "unplugged"   // wait until the guest has let go of the slot of BDF
	Plug       Action = "plug"        // put the device back into the slot of BDF; QEMU's yes is the answer
	ReadMemory Action = "read-memory" // read Length bytes of guest-physical memory at Address
	InjectNMI  Action = "inject-nmi"  // send a non-maskable interrupt to every processor
)

// Actions are all there are.
var Actions = []Action{Unplug, Unplugged, Plug, ReadMemory, InjectNMI}

// Request is one question of a test program to the host.
type Request struct {
	Do      Action `json:"do"`
	BDF     string `json:"bdf,omitempty"`     // of any function of a device under test
	Address uint64 `json:"address,omitempty"` // physical, in the guest
	Length  int    `json:"length,omitempty"`  // bytes, 1 to MaxRead
}

// Reply is the host's answer. An Err says what was not done, and then there
// are no data.
type Reply struct {
	Data []byte `json:"data,omitempty"`
	Err  string `json:"err,omitempty"`
}

// Ask carries a Request of the running program to the host. There is one at a
// time: the next one comes after the Answer.
type Ask struct {
	Run uint32 `json:"run"`
	N   uint32 `json:"n"` // counts the program's requests from 1
	Request
}

// Answer carries the host's Reply to the Ask with these numbers.
type Answer struct {
	Run uint32 `json:"run"`
	N   uint32 `json:"n"`
	Reply
}

// Check says what is wrong with the shape of a request.
func (r Request) Check() error {
	if !slices.Contains(Actions, r.Do) {
		return fmt.Errorf("%.40q is none of %q", r.Do, Actions)
	}
	if slot := r.Do == Unplug || r.Do == Unplugged || r.Do == Plug; slot != (r.BDF != "") || len(r.BDF) > 20 {
		return fmt.Errorf("%s of the PCI function %.40q", r.Do, r.BDF)
	}
	if r.Do != ReadMemory {
		if r.Address != 0 || r.Length != 0 {
			return fmt.Errorf("%s with an address", r.Do)
		}
	} else if r.Length < 1 || r.Length > MaxRead {
		return fmt.Errorf("%s of %d bytes, not 1 to %d", r.Do, r.Length, MaxRead)
	}
	return nil
}

// ParseRequest reads a packet of a program.
func ParseRequest(packet []byte) (Request, error) {
	var r Request
	if len(packet) > MaxRequest {
		return r, fmt.Errorf("request: more than %d bytes: %w", MaxRequest, ErrLength)
	}
	if err := strictly(packet, &r); err != nil {
		return r, fmt.Errorf("request: %w", err)
	}
	if err := r.Check(); err != nil {
		return r, fmt.Errorf("request: %w", err)
	}
	return r, nil
}

// strictly decodes exactly one JSON value without unknown fields.
func strictly(text []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return fmt.Errorf("%w: %w", ErrJSON, err)
	}
	if _, err := d.Token(); err != io.EOF {
		return fmt.Errorf("%w: more than one JSON value", ErrJSON)
	}
	return nil
}
