// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	"pgregory.net/rapid"
)

func TestHasPVH(t *testing.T) {
	image := kernelImage(helloCode)
	path := filepath.Join(t.TempDir(), "kernel")
	has := func(content []byte) (bool, error) {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return hasPVH(path)
	}
	if ok, err := has(image); !ok || err != nil {
		t.Errorf("a PVH kernel: %v, %v", ok, err)
	}
	for _, other := range []string{"", "\x7f", "MZ and no ELF at all"} {
		if ok, err := has([]byte(other)); ok || err != nil {
			t.Errorf("%q: %v, %v", other, ok, err)
		}
	}
	if ok, err := has(bytes.Replace(image, []byte("Xen\x00"), []byte("GNU\x00"), 1)); ok || err == nil {
		t.Errorf("a note of another owner: %v, %v", ok, err)
	}
	if self, err := os.Executable(); err != nil {
		t.Error(err)
	} else if ok, err := hasPVH(self); ok || err == nil {
		t.Errorf("this program: %v, %v", ok, err)
	}
	huge := bytes.Clone(image)
	binary.LittleEndian.PutUint64(huge[64+56+32:], 1<<40) // p_filesz of the notes
	if ok, err := has(huge); ok || err == nil {
		t.Errorf("a terabyte of notes: %v, %v", ok, err)
	}
	// Up to its last note, every truncated kernel is refused.
	notesEnd := len(image) - len(helloCode)
	for n := len(elf.ELFMAG); n < notesEnd; n++ {
		if ok, err := has(image[:n]); ok || err == nil {
			t.Fatalf("the first %d bytes: %v, %v", n, ok, err)
		}
	}
}

// The wanted note is found behind any others, and nothing makes the walk leave
// its bytes.
func TestContainsNote(t *testing.T) {
	note := func(name string, desc []byte, kind uint32) []byte {
		var b []byte
		b = binary.LittleEndian.AppendUint32(b, uint32(len(name)))
		b = binary.LittleEndian.AppendUint32(b, uint32(len(desc)))
		b = binary.LittleEndian.AppendUint32(b, kind)
		pad := func(part []byte) { b = append(append(b, part...), make([]byte, -len(part)&3)...) }
		pad([]byte(name))
		pad(desc)
		return b
	}
	rapid.Check(t, func(t *rapid.T) {
		var notes []byte
		for range rapid.IntRange(0, 5).Draw(t, "others") {
			notes = append(notes, note(
				rapid.StringMatching(`[a-z]{0,9}`).Draw(t, "name"),
				rapid.SliceOfN(rapid.Byte(), 0, 9).Draw(t, "desc"),
				rapid.Uint32Range(0, 20).Draw(t, "kind"))...)
		}
		if containsNote(notes, binary.LittleEndian, "Xen", physEntryNote) {
			t.Fatal("found a note that is not there")
		}
		notes = append(notes, note("Xen\x00", make([]byte, 8), physEntryNote)...)
		if !containsNote(notes, binary.LittleEndian, "Xen", physEntryNote) {
			t.Fatal("the note was not found")
		}
	})
	rapid.Check(t, func(t *rapid.T) {
		containsNote(rapid.SliceOfN(rapid.Byte(), 0, 100).Draw(t, "notes"), binary.LittleEndian, "Xen", physEntryNote)
	})
}
