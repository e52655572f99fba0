// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// probeTimeout bounds one run of the probe's guest, which says its word in
// about a tenth of a second, translated or not.
const probeTimeout = 20 * time.Second

// ProbeKVM finds out whether guests run on /dev/kvm, by booting one: a kernel
// of some hundred bytes that enters long mode and executes what every Linux
// kernel executes. That /dev/kvm can be opened proves nothing: where it is
// itself emulated, QEMU reports an internal error, does not exit, and the guest
// stands still.
//
// The answer is yes, no for the reason in why, or an error when it could not
// be found out. A no is conclusive: the same guest runs without KVM.
func ProbeKVM(ctx context.Context, qemu string) (ok bool, why string, err error) {
	device, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return false, "/dev/kvm does not exist", nil
	}
	if err != nil {
		return false, "/dev/kvm cannot be opened: " + errors.Unwrap(err).Error(), nil
	}
	device.Close()

	why, err = runProbe(ctx, qemu, KVM)
	if err != nil {
		return false, "", fmt.Errorf("probe KVM: %w", err)
	}
	if why == "" {
		return true, "", nil
	}
	control, err := runProbe(ctx, qemu, TCG)
	if err == nil && control != "" {
		err = errors.New(control)
	}
	if err != nil {
		return false, "", fmt.Errorf("probe KVM: the guest does not run on it (%s), but not without it either: %w", why, err)
	}
	return false, "/dev/kvm opens but a guest does not run on it: " + why, nil
}

// runProbe boots the probe's guest. why is empty when it ran.
func runProbe(ctx context.Context, qemu string, accel Accel) (why string, err error) {
	dir, err := os.MkdirTemp("", "noiommu-farm-probe-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	kernel := filepath.Join(dir, "kernel")
	if err := os.WriteFile(kernel, kernelImage(probeCode), 0o600); err != nil {
		return "", err
	}
	guest, err := Boot(ctx, Machine{
		Topology: None, CPUs: 1, MemoryMiB: MinMemoryMiB, Accel: accel,
		QEMU: qemu, Kernel: kernel,
		ControlPort: "control", OutputPort: "output",
	}, BootOptions{})
	var ended *EndedError
	if errors.As(err, &ended) {
		return ended.Error(), nil
	}
	if err != nil {
		return "", err
	}
	defer guest.Close()

	said := make(chan bool, 1)
	go func() {
		text, _ := io.ReadAll(io.LimitReader(guest.Console(), int64(len(probeWord))))
		said <- bytes.Equal(text, probeWord)
	}()
	stopped := guest.Monitor.Subscribe("STOP")
	timeout, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	// The guest may have been stopped before the subscription began.
	if why, err := stopReason(timeout, guest); why != "" || err != nil {
		return why, err
	}
	select {
	case right := <-said:
		if right {
			return "", nil
		}
		return "QEMU ended: " + guest.Wait().String(), nil
	case <-stopped.Events():
		return stopReason(timeout, guest)
	case <-timeout.Done():
		if err := ctx.Err(); err != nil {
			return "", err
		}
		return fmt.Sprintf("it said nothing within %v", probeTimeout), nil
	}
}

// stopReason says why QEMU does not execute the guest; it is empty when QEMU
// does.
func stopReason(ctx context.Context, guest *Guest) (string, error) {
	var status struct {
		Status  string
		Running bool
	}
	if err := guest.Monitor.Execute(ctx, "query-status", nil, &status); err != nil {
		return "", err
	}
	switch {
	case status.Running:
		return "", nil
	case status.Status == "internal-error":
		// QEMU's first line, "KVM internal error. Suberror: 1", is
		// followed by the registers.
		if line, _, _ := strings.Cut(guest.Stderr(), "\n"); strings.HasPrefix(line, "KVM internal error") {
			return line, nil
		}
		return "KVM internal error", nil
	default:
		return "QEMU stopped it: " + status.Status, nil
	}
}

// probeWord is what the probe's guest says on the console when it has
// executed everything.
var probeWord = []byte("the guest runs\n")

// probeCode is the guest, assembled for loadAddress. It ends in hlt without its
// word when an instruction has a wrong result.
var probeCode = []byte{
	// start: 32-bit protected mode without paging, as PVH defines it
	0xfa, // cli
	// Page tables that map the first 4 MiB onto themselves.
	0xc7, 0x05, 0x00, 0x00, 0x20, 0x00, 0x03, 0x10, 0x20, 0x00, // movl $0x201003, 0x200000
	0xc7, 0x05, 0x00, 0x10, 0x20, 0x00, 0x03, 0x20, 0x20, 0x00, // movl $0x202003, 0x201000
	0xc7, 0x05, 0x00, 0x20, 0x20, 0x00, 0x83, 0x00, 0x00, 0x00, // movl $0x000083, 0x202000
	0xc7, 0x05, 0x08, 0x20, 0x20, 0x00, 0x83, 0x00, 0x20, 0x00, // movl $0x200083, 0x202008
	// PAE, OSFXSR, OSXMMEXCPT; page tables; long mode; paging on, x87 emulation off.
	0xb8, 0x20, 0x06, 0x00, 0x00, // movl $0x620, %eax
	0x0f, 0x22, 0xe0, // movl %eax, %cr4
	0xb8, 0x00, 0x00, 0x20, 0x00, // movl $0x200000, %eax
	0x0f, 0x22, 0xd8, // movl %eax, %cr3
	0xb9, 0x80, 0x00, 0x00, 0xc0, // movl $0xc0000080, %ecx
	0x0f, 0x32, // rdmsr
	0x0d, 0x00, 0x01, 0x00, 0x00, // orl $0x100, %eax
	0x0f, 0x30, // wrmsr
	0x0f, 0x20, 0xc0, // movl %cr0, %eax
	0x83, 0xe0, 0xfb, // andl $0xfffffffb, %eax
	0x0d, 0x03, 0x00, 0x00, 0x80, // orl $0x80000003, %eax
	0x0f, 0x22, 0xc0, // movl %eax, %cr0
	0x0f, 0x01, 0x15, 0xbf, 0x00, 0x10, 0x00, // lgdtl 0x100000+gdtr-start
	0xea, 0x63, 0x00, 0x10, 0x00, 0x08, 0x00, // ljmp $8, $(0x100000+long-start)
	// long: 64-bit mode
	0x31, 0xc0, // xorl %eax, %eax
	0x0f, 0xa2, // cpuid
	// A 16-byte compare-and-exchange, which the kernel's allocator uses.
	0x31, 0xc0, // xorl %eax, %eax
	0x31, 0xd2, // xorl %edx, %edx
	0xbb, 0x11, 0x00, 0x00, 0x00, // movl $0x11, %ebx
	0xb9, 0x22, 0x00, 0x00, 0x00, // movl $0x22, %ecx
	0xbf, 0x00, 0x30, 0x20, 0x00, // movl $0x203000, %edi
	0xf0, 0x48, 0x0f, 0xc7, 0x0f, // lock cmpxchg16b (%rdi)
	0x75, 0x3b, // jne stop
	0x83, 0x7f, 0x08, 0x22, // cmpl $0x22, 8(%rdi)
	0x75, 0x35, // jne stop
	// A vector addition, which every program uses.
	0x66, 0x0f, 0x6e, 0xc3, // movd %ebx, %xmm0
	0x66, 0x0f, 0xfe, 0xc0, // paddd %xmm0, %xmm0
	0x66, 0x0f, 0x7e, 0xc0, // movd %xmm0, %eax
	0x83, 0xf8, 0x22, // cmpl $0x22, %eax
	0x75, 0x24, // jne stop
	0x48, 0x8d, 0x35, 0x36, 0x00, 0x00, 0x00, // leaq message(%rip), %rsi
	// next:
	0x8a, 0x1e, // movb (%rsi), %bl
	0x48, 0xff, 0xc6, // incq %rsi
	0x84, 0xdb, // testb %bl, %bl
	0x74, 0x14, // je stop
	0xba, 0xfd, 0x03, 0x00, 0x00, // movl $0x3fd, %edx
	// wait:
	0xec,       // inb (%dx), %al
	0xa8, 0x20, // testb $0x20, %al
	0x74, 0xfb, // je wait
	0xba, 0xf8, 0x03, 0x00, 0x00, // movl $0x3f8, %edx
	0x88, 0xd8, // movb %bl, %al
	0xee,       // outb %al, (%dx)
	0xeb, 0xe3, // jmp next
	// stop:
	0xf4,       // hlt
	0xeb, 0xfd, // jmp stop
	// gdtr: limit and address of gdt
	0x0f, 0x00, // .word 15
	0xc5, 0x00, 0x10, 0x00, // .long 0x100000+gdt-start
	// gdt: nothing, and a 64-bit code segment
	0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, // .quad 0
	0x00, 0x00, 0x00, 0x00, 0x00, 0x9a, 0x20, 0x00, // .quad 0x00209a0000000000
	// message:
	0x74, 0x68, 0x65, 0x20, 0x67, 0x75, 0x65, 0x73, 0x74, 0x20, 0x72, 0x75, 0x6e, 0x73, 0x0a, 0x00, // .asciz "the guest runs\n"
}
