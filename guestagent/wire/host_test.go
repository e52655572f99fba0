// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestParseRequest(t *testing.T) {
	for _, good := range []Request{
		{Do: Unplug, BDF: "0000:01:00.0"},
		{Do: Unplugged, BDF: "0000:01:00.0"},
		{Do: Plug, BDF: "10000:01:00.0"},
		{Do: ReadMemory, Length: 1},
		{Do: ReadMemory, Address: ^uint64(0), Length: MaxRead},
		{Do: InjectNMI},
	} {
		packet, err := json.Marshal(good)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := ParseRequest(packet); err != nil || got != good {
			t.Errorf("%s: %+v, %v", packet, got, err)
		}
	}
	for _, bad := range []string{
		"", "null", "{}", "[]", "unplug", `{"do":"unplug"}`, `{"do":"reboot"}`, `{"do":"UNPLUG","bdf":"0000:01:00.0"}`,
		`{"do":"unplug","bdf":"0000:01:00.0","id":"serial"}`, `{"do":"unplug","bdf":"0000:01:00.0"}{}`,
		`{"do":"unplug","bdf":"` + strings.Repeat("0", 21) + `"}`, `{"do":"plug","bdf":"0000:01:00.0","length":1}`,
		`{"do":"read-memory"}`, `{"do":"read-memory","length":65537}`, `{"do":"read-memory","length":-1}`,
		`{"do":"read-memory","length":1,"address":-1}`, `{"do":"read-memory","length":1,"address":18446744073709551616}`,
		`{"do":"read-memory","length":1,"bdf":"0000:01:00.0"}`, `{"do":"inject-nmi","bdf":"0000:01:00.0"}`,
		`{"do":"inject-nmi"}` + strings.Repeat(" ", MaxRequest),
	} {
		if got, err := ParseRequest([]byte(bad)); err == nil {
			t.Errorf("%.80s: %+v", bad, got)
		}
	}
	if _, err := ParseRequest(make([]byte, MaxRequest+1)); !errors.Is(err, ErrLength) {
		t.Errorf("too long: %v", err)
	}
}

// Whatever a program sends, what passes keeps every bound.
func TestParseRequestAny(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		packet := rapid.OneOf(
			rapid.SliceOf(rapid.Byte()),
			rapid.Custom(func(r *rapid.T) []byte {
				text, _ := json.Marshal(map[string]any{
					"do": rapid.SampledFrom(Actions).Draw(r, "do"), "bdf": rapid.String().Draw(r, "bdf"),
					"address": rapid.Uint64().Draw(r, "address"), "length": rapid.Int().Draw(r, "length"),
				})
				return text
			}),
		).Draw(r, "packet")
		got, err := ParseRequest(packet)
		if err != nil {
			return
		}
		if len(got.BDF) > 20 || got.Length < 0 || got.Length > MaxRead || (got.Do == ReadMemory) != (got.Length > 0) {
			r.Fatalf("%+v", got)
		}
	})
}

// The largest reply fits into its packet, and into a frame.
func TestMaxReply(t *testing.T) {
	reply := Reply{Data: make([]byte, MaxRead)}
	if text, err := json.Marshal(reply); err != nil || len(text) > MaxReply {
		t.Errorf("%d bytes, %v", len(text), err)
	}
	if err := NewConn(&port{}).Send(ToGuest{Answer: &Answer{Run: 1, N: 1, Reply: reply}}); err != nil {
		t.Error(err)
	}
}
