// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
)

// loadAddress is where kernelImage puts its code, in bytes of physical memory:
// the first megabyte boundary, where a Linux kernel goes too.
const loadAddress = 0x100000

// kernelImage makes a kernel with a PVH entry of code, which is entered at its
// first byte in 32-bit protected mode, with the address of struct
// hvm_start_info (include/xen/interface/hvm/start_info.h) in ebx.
func kernelImage(code []byte) []byte {
	const (
		headers = 64 + 2*56      // the file header and two program headers
		note    = 3*4 + 4 + 8    // "Xen" and a 64-bit address
		text    = headers + note // offset of the code in the file
	)
	header := elf.Header64{
		Ident:     [elf.EI_NIDENT]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)},
		Type:      uint16(elf.ET_EXEC),
		Machine:   uint16(elf.EM_X86_64),
		Version:   uint32(elf.EV_CURRENT),
		Entry:     loadAddress,
		Phoff:     64,
		Ehsize:    64,
		Phentsize: 56,
		Phnum:     2,
	}
	programs := [2]elf.Prog64{{
		Type: uint32(elf.PT_LOAD), Flags: uint32(elf.PF_R | elf.PF_W | elf.PF_X), Off: text,
		Vaddr: loadAddress, Paddr: loadAddress, Filesz: uint64(len(code)), Memsz: uint64(len(code)), Align: 1,
	}, {
		Type: uint32(elf.PT_NOTE), Off: headers, Filesz: note, Memsz: note, Align: 4,
	}}
	var image bytes.Buffer
	for _, part := range []any{
		header, programs,
		[]uint32{4, 8, physEntryNote}, []byte("Xen\x00"), uint64(loadAddress),
		code,
	} {
		binary.Write(&image, binary.LittleEndian, part) // to memory: cannot fail
	}
	return image.Bytes()
}
