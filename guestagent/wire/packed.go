// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"encoding/binary"
	"math"
)

// The first byte of a frame that is not JSON but packed, which no JSON begins
// with. These are the messages with which a restored guest begins its test. Its
// processor is emulated, and has to translate every piece of code that it has not
// met since it was restored: reading and writing JSON is a tenth of all that it
// meets until the first line of a test.
const (
	packedRestore  = 1
	packedRun      = 2
	packedStarted  = 3
	packedRestored = 4
)

// pack is the body of a message that is packed.
func (m ToGuest) pack() ([]byte, bool) {
	switch {
	case m.Restore != nil:
		r := m.Restore
		p := packed{packedRestore}
		p.number(uint64(r.Guest))
		p.number(uint64(r.UnixNS))
		p.text(string(r.Seed))
		return p, true
	case m.Run != nil:
		r := m.Run
		p := packed{packedRun}
		p.number(uint64(r.ID))
		p.text(r.Name)
		p.texts(r.Argv)
		p.texts(r.Env)
		p.number(uint64(r.TimeoutMS))
		p.truth(r.Host)
		p.text(r.Privileges)
		p.truth(r.Warm)
		return p, true
	}
	return nil, false
}

func (m ToHost) pack() ([]byte, bool) {
	switch {
	case m.Started != nil:
		p := packed{packedStarted}
		p.number(uint64(m.Started.ID))
		return p, true
	case m.Restored != nil:
		p := packed{packedRestored}
		p.number(uint64(m.Restored.Guest))
		return p, true
	}
	return nil, false
}

// unpack reads the body of a packed frame, and says whether it is exactly one
// such message.
func (m *ToGuest) unpack(body []byte) bool {
	u := unpacker{rest: body[1:]}
	switch body[0] {
	case packedRestore:
		m.Restore = &Restore{Guest: u.id(), UnixNS: int64(u.number()), Seed: []byte(u.text())}
	case packedRun:
		m.Run = &Run{
			ID: u.id(), Name: u.text(), Argv: u.texts(), Env: u.texts(), TimeoutMS: int64(u.number()),
			Host: u.truth(), Privileges: u.text(), Warm: u.truth(),
		}
	default:
		return false
	}
	return u.whole()
}

func (m *ToHost) unpack(body []byte) bool {
	u := unpacker{rest: body[1:]}
	switch body[0] {
	case packedStarted:
		m.Started = &Started{ID: u.id()}
	case packedRestored:
		m.Restored = &Restored{Guest: u.id()}
	default:
		return false
	}
	return u.whole()
}

// packed is the body of a frame: numbers of 8 bytes, big-endian; a text is its
// length and its bytes, a list its length and its texts, a truth one byte.
type packed []byte

func (p *packed) number(n uint64) { *p = binary.BigEndian.AppendUint64(*p, n) }

func (p *packed) text(s string) {
	p.number(uint64(len(s)))
	*p = append(*p, s...)
}

func (p *packed) texts(list []string) {
	p.number(uint64(len(list)))
	for _, s := range list {
		p.text(s)
	}
}

func (p *packed) truth(b bool) {
	if b {
		*p = append(*p, 1)
	} else {
		*p = append(*p, 0)
	}
}

// unpacker takes apart what packed put together. Once something was not there,
// all is zero.
type unpacker struct {
	rest []byte
	bad  bool
}

// take takes n bytes.
func (u *unpacker) take(n uint64) []byte {
	if u.bad || n > uint64(len(u.rest)) {
		u.bad = true
		return nil
	}
	taken := u.rest[:n]
	u.rest = u.rest[n:]
	return taken
}

func (u *unpacker) number() uint64 {
	b := u.take(8)
	if u.bad {
		return 0
	}
	return binary.BigEndian.Uint64(b)
}

// id is a number of 32 bits.
func (u *unpacker) id() uint32 {
	n := u.number()
	u.bad = u.bad || n > math.MaxUint32
	return uint32(n)
}

func (u *unpacker) text() string { return string(u.take(u.number())) }

func (u *unpacker) texts() []string {
	n := u.number()
	if u.bad || n > uint64(len(u.rest))/8 { // each has at least its length
		u.bad = true
		return nil
	}
	list := make([]string, n)
	for i := range list {
		list[i] = u.text()
	}
	return list
}

func (u *unpacker) truth() bool {
	b := u.take(1)
	if u.bad || b[0] > 1 {
		u.bad = true
		return false
	}
	return b[0] == 1
}

func (u *unpacker) whole() bool { return !u.bad && len(u.rest) == 0 }
