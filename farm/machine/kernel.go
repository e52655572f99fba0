// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	"noiommu-farm/internal/fault"
)

// physEntryNote is XEN_ELFNOTE_PHYS32_ENTRY of include/xen/interface/elfnote.h:
// where a loader enters the kernel in 32-bit protected mode.
const physEntryNote = 18

// maxNotes bounds the notes of a kernel, in bytes. Linux 7.3 has about 500.
const maxNotes = 1 << 20

// readable says why the file at path cannot be read.
func readable(path string) error {
	info, err := os.Stat(path) // first: opening a pipe would wait
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return errors.New("not a regular file")
	}
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	return file.Close()
}

// hasPVH says whether the kernel at path can be entered without the boot
// protocol of a bzImage. A file that is not ELF has none; an ELF file without
// the note is a *fault.Usage, because QEMU boots it in no other way.
func hasPVH(path string) (bool, error) {
	file, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer file.Close()
	magic := make([]byte, len(elf.ELFMAG))
	if _, err := io.ReadFull(file, magic); err != nil || string(magic) != elf.ELFMAG {
		return false, nil
	}
	found, err := findNote(file, "Xen", physEntryNote)
	if err == nil && !found {
		err = errors.New("an ELF kernel without a PVH entry (CONFIG_PVH=y makes one)")
	}
	if err != nil {
		return false, &fault.Usage{Key: "kernel", Value: path, Err: err}
	}
	return true, nil
}

// findNote looks for a note in the program headers of an ELF file, as QEMU
// does.
func findNote(file io.ReaderAt, owner string, kind uint32) (bool, error) {
	f, err := elf.NewFile(file)
	if err != nil {
		return false, err
	}
	for _, p := range f.Progs {
		if p.Type != elf.PT_NOTE {
			continue
		}
		if p.Filesz > maxNotes {
			return false, fmt.Errorf("%d bytes of notes", p.Filesz)
		}
		notes, err := io.ReadAll(p.Open())
		if err != nil {
			return false, fmt.Errorf("read notes: %w", err)
		}
		if containsNote(notes, f.ByteOrder, owner, kind) {
			return true, nil
		}
	}
	return false, nil
}

// containsNote walks over notes: three words (length of the name, length of the
// descriptor, type), then name and descriptor, each padded to 4 bytes.
func containsNote(notes []byte, order binary.ByteOrder, owner string, kind uint32) bool {
	for len(notes) >= 12 {
		nameLen, descLen := uint64(order.Uint32(notes)), uint64(order.Uint32(notes[4:]))
		found := order.Uint32(notes[8:])
		notes = notes[12:]
		desc := (nameLen + 3) &^ 3
		end := desc + descLen
		if end > uint64(len(notes)) {
			return false
		}
		if found == kind && string(bytes.TrimRight(notes[:nameLen], "\x00")) == owner {
			return true
		}
		notes = notes[min((end+3)&^3, uint64(len(notes))):]
	}
	return false
}
