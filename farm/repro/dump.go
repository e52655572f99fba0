// SPDX-License-Identifier: Apache-2.0

package repro

import (
	"bytes"
	"context"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"

	"noiommu-farm/farm/qmp"
)

// dumpPatience is how many times longer than usual a guest may be silent whose
// memory is written when it is over.
const dumpPatience = 10

// Dump is one try of a case with the guest's memory written at its end: when it
// powers off after the test, or when the kernel resets after a panic. It goes to
// the file memory.elf in the try's folder, whose path is returned: an ELF core
// as QEMU writes it, with the note VMCOREINFO that crash and drgn look for
// (Documentation/admin-guide/kdump/vmcoreinfo.rst).
func Dump(ctx context.Context, c Case, opt Options) (Result, string, error) {
	dir, err := os.MkdirTemp(opt.Runs, ".memory-")
	if err != nil {
		return Result{}, "", err
	}
	defer os.RemoveAll(dir)
	sockets, err := os.MkdirTemp("", "noiommu-farm-dump-") // a short path
	if err != nil {
		return Result{}, "", err
	}
	defer os.RemoveAll(sockets)
	socket, raw := filepath.Join(sockets, "qmp"), filepath.Join(dir, "raw")
	repeat := c.repeat
	repeat.More = []string{"-qmp", "unix:" + socket + ",server=on,wait=off", "-action", "shutdown=pause"}
	repeat.Patience = dumpPatience
	// Without it the kernel is not where its symbols say.
	repeat.Planned.Machine.Parameters = append(slices.Clone(repeat.Planned.Machine.Parameters), "nokaslr")
	written := make(chan error, 1)
	booted := false
	repeat.Booted = func() {
		booted = true
		go func() { written <- dumpAtEnd(ctx, socket, raw) }()
	}
	result, cell, err := c.once(ctx, repeat, opt)
	if err != nil || !booted {
		return result, "", err
	}
	if err := <-written; err != nil {
		return result, "", fmt.Errorf("write the guest's memory: %w", err)
	}
	info, err := vmcoreinfo(c.repeat.Kernel, c.repeat.Planned.Kernel.Release)
	if err != nil {
		return result, "", err
	}
	path := filepath.Join(cell, "memory.elf")
	if err := describeMemory(raw, path, info); err != nil {
		return result, "", fmt.Errorf("write the guest's memory: %w", err)
	}
	return result, path, nil
}

// dumpAtEnd waits until a guest is over, writes its memory and lets QEMU end.
func dumpAtEnd(ctx context.Context, socket, to string) error {
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return err
	}
	monitor, err := qmp.Open(ctx, conn)
	if err != nil {
		return err
	}
	defer monitor.Disconnect()
	over := monitor.Subscribe("SHUTDOWN")
	defer over.Close()
	select {
	case <-over.Events():
	case <-monitor.Done():
		return errors.New("QEMU was ended before the guest was over")
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	err = monitor.Execute(ctx, "dump-guest-memory", map[string]any{"paging": false, "protocol": "file:" + to}, nil)
	return errors.Join(err, monitor.Execute(ctx, "quit", nil, nil))
}

// vmcoreinfo is what a kernel would say of itself. The farm's say nothing: who
// reads a dump of them finds it here. Whether five levels of page tables are in
// use is for [describeMemory] to add.
func vmcoreinfo(kernel, release string) ([]byte, error) {
	symbols, err := symbolsOf(kernel)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "OSRELEASE=%s\nPAGESIZE=4096\nKERNELOFFSET=0\nNUMBER(phys_base)=0\nNUMBER(sme_mask)=0\n", release)
	// What the kernel calls swapper_pg_dir is init_top_pgt to the linker.
	wanted := map[string]string{"init_top_pgt": "swapper_pg_dir", "_stext": "_stext", "init_uts_ns": "init_uts_ns"}
	found := false
	for _, s := range symbols {
		if as, ok := wanted[s.Name]; ok {
			fmt.Fprintf(&b, "SYMBOL(%s)=%x\n", as, s.Value)
			found = found || s.Name == "init_top_pgt"
		}
	}
	if !found {
		return nil, errors.New("the kernel has no symbol init_top_pgt: nobody could find its memory")
	}
	return b.Bytes(), nil
}

// QEMU's note on a processor (include/sysemu/dump.h, struct QEMUCPUState of
// target/i386/arch_dump.c): where CR4 is in it, and its bit for five levels of
// page tables.
const (
	qemuCR4 = 8 + 18*8 + 10*24 + 4*8
	la57    = 1 << 12
)

// Where an amd64 kernel has all memory, with four and with five levels of page
// tables, and where it has itself (Documentation/arch/x86/x86_64/mm.rst).
var directMap = [2]uint64{0xffff888000000000, 0xff11000000000000}

const kernelMap, kernelMapSize = 0xffffffff80000000, 1 << 30

// maxNotes bounds the notes of a dump, in bytes.
const maxNotes = 1 << 20

// describeMemory copies a dump of QEMU's, with one more note, and with the
// kernel's addresses of what is in it.
func describeMemory(from, to string, info []byte) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	f, err := elf.NewFile(in)
	if err != nil {
		return err
	}
	const maxPrograms = 1 << 10
	if len(f.Progs) > maxPrograms || f.Class != elf.ELFCLASS64 || f.ByteOrder != binary.LittleEndian || len(f.Progs) == 0 || f.Progs[0].Type != elf.PT_NOTE || f.Progs[0].Filesz > maxNotes {
		return errors.New("QEMU wrote no core of an amd64 machine with its notes first")
	}
	notes := make([]byte, f.Progs[0].Filesz)
	if _, err := f.Progs[0].ReadAt(notes, 0); err != nil {
		return err
	}
	five := fiveLevels(notes)
	info = fmt.Appendf(info, "NUMBER(pgtable_l5_enabled)=%d\n", five)
	notes = append(notes, note("VMCOREINFO", 0, info)...)

	// QEMU tells where memory is to the machine. To the kernel all of it is at
	// one place, and what it consists of is at another too.
	offset := directMap[five]
	programs := make([]elf.Prog64, 0, len(f.Progs)+1)
	for _, p := range f.Progs {
		entry := elf.Prog64{
			Type: uint32(p.Type), Flags: uint32(p.Flags), Off: p.Off, Paddr: p.Paddr,
			Filesz: p.Filesz, Memsz: p.Memsz, Align: p.Align,
		}
		if p.Type == elf.PT_LOAD {
			entry.Vaddr = offset + p.Paddr
		}
		programs = append(programs, entry)
		if p.Type == elf.PT_LOAD && p.Paddr == 0 {
			entry.Vaddr = kernelMap
			entry.Filesz, entry.Memsz = min(entry.Filesz, kernelMapSize), min(entry.Memsz, kernelMapSize)
			programs = append(programs, entry)
		}
	}
	begin := uint64(binary.Size(elf.Header64{}))
	data := f.Progs[0].Off + f.Progs[0].Filesz // in QEMU's
	at := begin + uint64(len(programs)*binary.Size(elf.Prog64{})) + uint64(len(notes))
	for i := range programs {
		switch {
		case i == 0:
			programs[i].Off, programs[i].Filesz, programs[i].Memsz = at-uint64(len(notes)), uint64(len(notes)), uint64(len(notes))
		case programs[i].Off < data:
			return errors.New("QEMU wrote memory before its notes")
		default:
			programs[i].Off += at - data
		}
	}
	header := elf.Header64{
		Type: uint16(elf.ET_CORE), Machine: uint16(elf.EM_X86_64), Version: uint32(elf.EV_CURRENT), Phoff: begin,
		Ehsize: uint16(begin), Phentsize: uint16(binary.Size(elf.Prog64{})), Phnum: uint16(len(programs)),
	}
	copy(header.Ident[:], elf.ELFMAG)
	header.Ident[elf.EI_CLASS], header.Ident[elf.EI_DATA], header.Ident[elf.EI_VERSION] = byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)
	var head bytes.Buffer
	for _, part := range []any{header, programs, notes} {
		if err := binary.Write(&head, binary.LittleEndian, part); err != nil {
			return err
		}
	}
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	defer func() {
		if err = errors.Join(err, out.Close()); err != nil {
			os.Remove(to)
		}
	}()
	if _, err := out.Write(head.Bytes()); err != nil {
		return err
	}
	if _, err := in.Seek(int64(data), io.SeekStart); err != nil {
		return err
	}
	return copySparse(out, in)
}

// copySparse appends all that is left of a file to another. Blocks of zeros,
// which is most of a guest's memory, become holes.
func copySparse(out, in *os.File) error {
	const block = 64 << 10
	buf, zeros := make([]byte, block), make([]byte, block)
	for {
		n, err := io.ReadFull(in, buf)
		if bytes.Equal(buf[:n], zeros[:n]) {
			if _, err := out.Seek(int64(n), io.SeekCurrent); err != nil {
				return err
			}
		} else if _, err := out.Write(buf[:n]); err != nil {
			return err
		}
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			size, err := out.Seek(0, io.SeekCurrent)
			if err != nil {
				return err
			}
			return out.Truncate(size)
		case err != nil:
			return err
		}
	}
}

// note is an ELF note.
func note(name string, kind uint32, text []byte) []byte {
	pad := func(b []byte) []byte { return append(b, make([]byte, -len(b)&3)...) }
	var b []byte
	for _, word := range []uint32{uint32(len(name) + 1), uint32(len(text)), kind} {
		b = binary.LittleEndian.AppendUint32(b, word)
	}
	b = append(b, pad(append([]byte(name), 0))...)
	return append(b, pad(text)...)
}

// fiveLevels says by QEMU's note on the first processor whether its page tables
// have five levels: 0 or 1.
func fiveLevels(notes []byte) int {
	for len(notes) >= 12 {
		nameLen, textLen := uint64(binary.LittleEndian.Uint32(notes)), uint64(binary.LittleEndian.Uint32(notes[4:]))
		name, rest := uint64(12), 12+(nameLen+3)&^3
		end := rest + (textLen+3)&^3
		if end > uint64(len(notes)) {
			return 0
		}
		text := notes[rest:end]
		if bytes.HasPrefix(notes[name:rest], []byte("QEMU\x00")) && len(text) >= qemuCR4+8 {
			if binary.LittleEndian.Uint64(text[qemuCR4:])&la57 != 0 {
				return 1
			}
			return 0
		}
		notes = notes[end:]
	}
	return 0
}
