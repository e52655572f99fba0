// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

// frame is a control frame around any text.
func frame(text string) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(text))), text...)
}

// port is what a Conn reads and what it wrote.
type port struct {
	io.Reader
	bytes.Buffer
}

func (p *port) Read(b []byte) (int, error)  { return p.Reader.Read(b) }
func (p *port) Write(b []byte) (int, error) { return p.Buffer.Write(b) }

func reading(b []byte) *Conn { return NewConn(&port{Reader: bytes.NewReader(b)}) }

// equal compares messages as the protocol does: an empty list and none are one.
var equal = cmpopts.EquateEmpty()

// oneField draws a message with exactly one field set, the way every sender
// makes one: Hellos have this version.
func oneField[M any]() *rapid.Generator[M] {
	return rapid.Custom(func(t *rapid.T) M {
		var m M
		v := reflect.ValueOf(&m).Elem()
		field := v.Field(rapid.IntRange(0, v.NumField()-1).Draw(t, "field"))
		field.Set(reflect.New(field.Type().Elem()))
		fill(t, field.Elem())
		if version := field.Elem().FieldByName("Version"); version.IsValid() {
			version.SetInt(Version)
		}
		return m
	})
}

// fill sets every part of v to something drawn.
func fill(t *rapid.T, v reflect.Value) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fill(t, v.Field(i))
		}
	case reflect.String:
		v.SetString(rapid.String().Draw(t, "string"))
	case reflect.Bool:
		v.SetBool(rapid.Bool().Draw(t, "bool"))
	case reflect.Int, reflect.Int64:
		v.SetInt(rapid.Int64().Draw(t, "int"))
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(rapid.Uint64().Draw(t, "uint") >> (64 - v.Type().Bits()))
	case reflect.Slice:
		n := rapid.IntRange(0, 3).Draw(t, "length")
		v.Set(reflect.MakeSlice(v.Type(), n, n))
		for i := range n {
			fill(t, v.Index(i))
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		for range rapid.IntRange(0, 3).Draw(t, "entries") {
			key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
			fill(t, key)
			fill(t, value)
			v.SetMapIndex(key, value)
		}
	default:
		t.Fatalf("a message has a %v, which this test does not know", v.Type())
	}
}

// Whatever was sent arrives, however the port cuts it up.
func TestConnRoundTrip(t *testing.T) {
	t.Run("to guest", rapid.MakeCheck(roundTrip[ToGuest]))
	t.Run("to host", rapid.MakeCheck(roundTrip[ToHost]))
}

func roundTrip[M any](t *rapid.T) {
	sent := rapid.SliceOfN(oneField[M](), 1, 4).Draw(t, "messages")
	var out port
	for i := range sent {
		if err := NewConn(&out).Send(any(&sent[i]).(Message)); err != nil {
			t.Fatal(err)
		}
	}
	conn := NewConn(&port{Reader: iotest.OneByteReader(bytes.NewReader(out.Bytes()))})
	for i := range sent {
		var got M
		if err := conn.Recv(any(&got).(Message)); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(sent[i], got, equal); diff != "" {
			t.Fatal(diff)
		}
	}
	var none M
	if err := conn.Recv(any(&none).(Message)); err != io.EOF {
		t.Fatalf("after the last message: %v", err)
	}
}

// A stream that ends anywhere inside a frame is never a message and never a
// clean end.
func TestConnCut(t *testing.T) {
	var out port
	if err := NewConn(&out).Send(ToHost{Pong: &Ping{N: 7}}); err != nil {
		t.Fatal(err)
	}
	whole := out.Bytes()
	for n := 1; n < len(whole); n++ {
		var m ToHost
		if err := reading(whole[:n]).Recv(&m); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%d bytes of %d: %v", n, len(whole), err)
		}
	}
}

func TestConnRubbish(t *testing.T) {
	deep := strings.Repeat("[", 20000)
	tests := []struct {
		name string
		in   []byte
		want Violation
	}{
		{"length 0", frame(""), ErrLength},
		{"length over the limit", binary.BigEndian.AppendUint32(nil, MaxFrame+1), ErrLength},
		{"length of all ones", []byte{255, 255, 255, 255}, ErrLength},
		{"console text", []byte("[    0.000000] Linux version 7.3.4"), ErrLength},
		{"not JSON", frame("hello"), ErrJSON},
		{"half JSON", frame(`{"pong":{"n":1}`), ErrJSON},
		{"two values", frame(`{"pong":{"n":1}}{"pong":{"n":1}}`), ErrJSON},
		{"a value and rubbish", frame(`{"pong":{"n":1}}]`), ErrJSON},
		{"a list", frame(`[]`), ErrJSON},
		{"a number", frame(`7`), ErrJSON},
		{"zero bytes", frame("\x00\x00\x00\x00"), ErrPacked},
		{"an unknown packed message", frame("\x05\x00\x00\x00\x00\x00\x00\x00\x01"), ErrPacked},
		{"a packed message of the other direction", frame("\x01" + strings.Repeat("\x00", 24)), ErrPacked},
		{"a packed message, cut off", frame("\x03\x00\x00\x00\x00\x00\x00\x00"), ErrPacked},
		{"a packed message and rubbish", frame("\x03\x00\x00\x00\x00\x00\x00\x00\x01{"), ErrPacked},
		{"a packed number too large", frame("\x03\x00\x00\x00\x01\x00\x00\x00\x00"), ErrPacked},
		{"deep", frame(deep), ErrJSON},
		{"unknown message", frame(`{"reboot":{}}`), ErrJSON},
		{"unknown field", frame(`{"pong":{"n":1,"m":2}}`), ErrJSON},
		{"wrong type", frame(`{"pong":{"n":"1"}}`), ErrJSON},
		{"number below zero", frame(`{"pong":{"n":-1}}`), ErrJSON},
		{"number too large", frame(`{"exited":{"id":4294967296}}`), ErrJSON},
		{"a message of the other direction", frame(`{"run":{"id":1}}`), ErrJSON},
		{"null", frame(`null`), ErrFields},
		{"no field", frame(`{}`), ErrFields},
		{"a null field", frame(`{"pong":null}`), ErrFields},
		{"two fields", frame(`{"pong":{"n":1},"started":{"id":1}}`), ErrFields},
		{"another version", frame(fmt.Sprintf(`{"hello":{"version":%d,"release":"","boot_id":""}}`, Version+1)), ErrVersion},
		{"another version with other fields", frame(fmt.Sprintf(`{"hello":{"version":%d,"name":"x"},"more":1}`, Version+1)), ErrVersion},
		{"no version", frame(`{"hello":{"release":"","boot_id":""}}`), ErrVersion},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var m ToHost
			if err := reading(test.in).Recv(&m); !errors.Is(err, test.want) {
				t.Errorf("%v, want %v", err, test.want)
			}
		})
	}
}

// The Hello of another version can be shown.
func TestConnShowsVersion(t *testing.T) {
	var m ToHost
	err := reading(frame(`{"hello":{"version":9,"release":"8.0","boot_id":"b"}}`)).Recv(&m)
	if !errors.Is(err, ErrVersion) || m.Hello == nil || m.Hello.Version != 9 || m.Hello.Release != "8.0" {
		t.Errorf("%v, %+v", err, m.Hello)
	}
}

// Nothing of an earlier message is left in the variable.
func TestRecvOverwrites(t *testing.T) {
	m := ToHost{Error: &Error{Doing: "x"}}
	if err := reading(frame(`{"pong":{"n":1}}`)).Recv(&m); err != nil || m.Error != nil || m.Pong == nil {
		t.Errorf("%v, %+v", err, m)
	}
}

func TestSendRefuses(t *testing.T) {
	tests := []struct {
		name string
		m    Message
		want Violation
	}{
		{"no field", ToGuest{}, ErrFields},
		{"two fields", &ToHost{Pong: &Ping{}, Started: &Started{}}, ErrFields},
		{"too long", ToHost{Facts: &Facts{ConfigGz: make([]byte, MaxFrame)}}, ErrLength},
	}
	for _, test := range tests {
		var out port
		err := NewConn(&out).Send(test.m)
		if !errors.Is(err, test.want) || out.Len() != 0 {
			t.Errorf("%s: %v and %d bytes, want %v and none", test.name, err, out.Len(), test.want)
		}
	}
	if err := NewConn(&port{Reader: strings.NewReader("")}).Recv(ToGuest{}); err == nil {
		t.Error("received into a copy")
	}
}

// Frames of several senders never mix.
func TestSendAtOnce(t *testing.T) {
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	const senders, each = 8, 50
	conn := NewConn(a)
	var all sync.WaitGroup
	for s := range senders {
		all.Go(func() {
			for i := range each {
				m := ToHost{Error: &Error{Doing: fmt.Sprint(s), Err: strings.Repeat("x", i*37)}}
				if err := conn.Send(m); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	host, seen := NewConn(b), map[string]int{}
	for range senders * each {
		var m ToHost
		if err := host.Recv(&m); err != nil {
			t.Fatal(err)
		}
		if len(m.Error.Err) != seen[m.Error.Doing]*37 {
			t.Fatalf("sender %s: %d bytes in message %d", m.Error.Doing, len(m.Error.Err), seen[m.Error.Doing])
		}
		seen[m.Error.Doing]++
	}
	all.Wait()
}

func TestChunkRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		chunks := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Chunk {
			return Chunk{
				Run:    rapid.Uint32().Draw(t, "run"),
				Stream: rapid.SampledFrom([]Stream{Stdout, Stderr, Core}).Draw(t, "stream"),
				Data:   rapid.SliceOfN(rapid.Byte(), 1, 300).Draw(t, "data"),
			}
		}), 1, 5).Draw(t, "chunks")
		var out bytes.Buffer
		for _, c := range chunks {
			if err := WriteChunk(&out, c); err != nil {
				t.Fatal(err)
			}
		}
		whole := bytes.Clone(out.Bytes())
		in := iotest.HalfReader(&out)
		for _, want := range chunks {
			got, err := ReadChunk(in)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatal(diff)
			}
		}
		if _, err := ReadChunk(in); err != io.EOF {
			t.Fatalf("after the last chunk: %v", err)
		}
		// Cut inside the last chunk.
		last := chunkHeader + len(chunks[len(chunks)-1].Data)
		cut := bytes.NewReader(whole[:len(whole)-rapid.IntRange(1, last-1).Draw(t, "cut")])
		var err error
		for err == nil {
			_, err = ReadChunk(cut)
		}
		if !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatalf("cut: %v", err)
		}
	})
}

func TestChunkLargest(t *testing.T) {
	var out bytes.Buffer
	want := Chunk{Run: 1, Stream: Stdout, Data: bytes.Repeat([]byte{7}, MaxChunk)}
	if err := WriteChunk(&out, want); err != nil {
		t.Fatal(err)
	}
	if got, err := ReadChunk(&out); err != nil || !bytes.Equal(got.Data, want.Data) {
		t.Errorf("%d bytes, %v", len(got.Data), err)
	}
}

func TestChunkRubbish(t *testing.T) {
	head := func(length uint32, stream byte) []byte {
		return append(binary.BigEndian.AppendUint32(nil, length), 0, 0, 0, 1, stream, 'x')
	}
	tests := []struct {
		name string
		in   []byte
		want Violation
	}{
		{"no data", head(0, 1), ErrLength},
		{"too much data", head(MaxChunk+1, 1), ErrLength},
		{"length of all ones", head(1<<32-1, 1), ErrLength},
		{"stream 0", head(1, 0), ErrStream},
		{"stream 4", head(1, 4), ErrStream},
	}
	for _, test := range tests {
		if _, err := ReadChunk(bytes.NewReader(test.in)); !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", test.name, err, test.want)
		}
	}
	for _, c := range []Chunk{{Stream: Stdout}, {Stream: Stdout, Data: make([]byte, MaxChunk+1)}, {Data: []byte{1}}} {
		var out bytes.Buffer
		var v Violation
		if err := WriteChunk(&out, c); !errors.As(err, &v) || out.Len() != 0 {
			t.Errorf("%v with %d bytes: %v, wrote %d bytes", c.Stream, len(c.Data), err, out.Len())
		}
	}
}

// Whatever a guest sends, the host gets messages or one error, and what it
// takes for a message can be sent again and is the same.
func FuzzRecv(f *testing.F) {
	f.Add(frame(fmt.Sprintf(`{"hello":{"version":%d,"release":"7.3.4","boot_id":"x"}}`, Version)))
	f.Add(frame(`{"facts":{"params":{"a/b":"Y"},"pci":[{"bdf":"0000:00:02.0","vendor":4660}],"config_gz":"H4s="}}`))
	f.Add(append(frame(`{"pong":{"n":1}}`), frame(`{"exited":{"id":1,"code":-1,"signal":11}}`)...))
	f.Add([]byte("\x00\x10\x00\x01"))
	f.Add(frame("\x03\x00\x00\x00\x00\x00\x00\x00\x01"))
	f.Fuzz(func(t *testing.T, in []byte) {
		conn := reading(in)
		for {
			var m ToHost
			err := conn.Recv(&m)
			if err != nil {
				var v Violation
				if err != io.EOF && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.As(err, &v) {
					t.Fatalf("untyped error %v", err)
				}
				return
			}
			var out port
			if err := NewConn(&out).Send(m); err != nil {
				// JSON may grow when it is written again: < becomes \u003c.
				if !errors.Is(err, ErrLength) {
					t.Fatal(err)
				}
				continue
			}
			var again ToHost
			if err := reading(out.Bytes()).Recv(&again); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(m, again, equal); diff != "" {
				t.Fatal(diff)
			}
		}
	})
}

func FuzzReadChunk(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x02\x00\x00\x00\x01\x01hi"))
	f.Add([]byte("\xff\xff\xff\xff\x00\x00\x00\x01\x01hi"))
	f.Fuzz(func(t *testing.T, in []byte) {
		r := bytes.NewReader(in)
		for {
			before := len(in) - r.Len()
			c, err := ReadChunk(r)
			if err != nil {
				var v Violation
				if err != io.EOF && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.As(err, &v) {
					t.Fatalf("untyped error %v", err)
				}
				return
			}
			var out bytes.Buffer
			if err := WriteChunk(&out, c); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(out.Bytes(), in[before:len(in)-r.Len()]) {
				t.Fatal("written again it is another chunk")
			}
		}
	})
}

// No part of a packed message is one.
func TestPackedCut(t *testing.T) {
	for _, m := range []ToGuest{
		{Restore: &Restore{Guest: 1, UnixNS: 2, Seed: []byte("seed")}},
		{Run: &Run{ID: 3, Name: "n", Argv: []string{"/a", "b"}, Env: []string{"C=d"}, TimeoutMS: 4, Host: true, Privileges: Root, Warm: true}},
	} {
		var out port
		if err := NewConn(&out).Send(m); err != nil {
			t.Fatal(err)
		}
		body := out.Bytes()[4:]
		for n := 1; n < len(body); n++ {
			var got ToGuest
			if err := reading(frame(string(body[:n]))).Recv(&got); !errors.Is(err, ErrPacked) {
				t.Errorf("%d bytes of %d: %v", n, len(body), err)
			}
		}
	}
}
