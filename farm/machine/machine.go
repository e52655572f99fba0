// SPDX-License-Identifier: Apache-2.0

// Package machine turns the description of a virtual machine into a running
// guest.
//
// A [Machine] comes in: a value, whose QEMU arguments are a pure function of
// it. A [Guest] goes out: the QEMU process, its QMP monitor, the serial console
// and two virtio-serial ports, all of them over inherited descriptors, so that
// nothing of a guest is found in the file system or on the network.
//
// It never speaks with the agent in the guest, never judges a kernel, and never
// builds anything.
package machine

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"noiommu-farm/internal/fault"
)

// Machine is everything that becomes QEMU's arguments.
type Machine struct {
	Topology    Topology
	Devices     []Device // in any order; at most 8 on the root bus and 8 behind root ports
	CPUs        int
	MemoryMiB   int
	Hugepages1G int // pages of 1 GiB that the kernel reserves at boot, part of MemoryMiB
	Accel       Accel

	QEMU   string   // path of qemu-system-x86_64
	Kernel string   // path of a vmlinux with a PVH note, or of a bzImage
	Initrd string   // path of the initramfs; "" is none
	Append []string // more kernel arguments; they come last and so they win

	ControlPort, OutputPort string // names of the two virtio-serial ports

	// TSCKHz is the rate of the processor's time stamp counter; see [TSCKHz].
	// The kernel is told under TCG, where it would measure it against timers
	// that a busy host delays. 0 leaves it to the kernel.
	TSCKHz int

	// More are further arguments of QEMU, as they are: a debugger's stub, a
	// terminal. They come last.
	More []string
}

// Limits of a machine.
const (
	MaxCPUs      = 64
	MinMemoryMiB = 64
	MaxMemoryMiB = 1 << 20
	// maxCommandLine is COMMAND_LINE_SIZE of arch/x86/include/asm/setup.h.
	// The kernel cuts off what is longer, without a word.
	maxCommandLine = 2048
)

// kernelMemoryMiB is what must be left beside the 1 GiB pages.
const kernelMemoryMiB = 512

var portName = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// Validate returns a *fault.Usage for the first field that cannot be used. It
// looks at no file; [Boot] does.
func (m Machine) Validate() error {
	if _, err := ParseTopology(string(m.Topology)); err != nil {
		return err
	}
	if _, err := ParseAccel(string(m.Accel)); err != nil {
		return err
	}
	for _, d := range m.Devices {
		if _, err := ParseDevice(string(d)); err != nil {
			return err
		}
	}
	for _, p := range m.places() {
		if p.at >= perPlace {
			return usage("device", p.device, "more than %d devices on the root bus, or behind root ports", perPlace)
		}
	}
	if m.CPUs < 1 || m.CPUs > MaxCPUs {
		return usage("cpus", m.CPUs, "not between 1 and %d", MaxCPUs)
	}
	if m.MemoryMiB < MinMemoryMiB || m.MemoryMiB > MaxMemoryMiB {
		return usage("memory", m.MemoryMiB, "not between %d and %d MiB", MinMemoryMiB, MaxMemoryMiB)
	}
	if m.Hugepages1G < 0 || m.Hugepages1G > MaxMemoryMiB/1024 {
		return usage("hugepages_1g", m.Hugepages1G, "not between 0 and %d", MaxMemoryMiB/1024)
	}
	if need := m.Hugepages1G*1024 + kernelMemoryMiB; m.Hugepages1G > 0 && m.MemoryMiB < need {
		return usage("memory", m.MemoryMiB, "%d pages of 1 GiB need a machine of at least %d MiB", m.Hugepages1G, need)
	}
	for _, port := range []string{m.ControlPort, m.OutputPort} {
		if !portName.MatchString(port) {
			return usage("port", port, "not a name of 1 to 64 letters, digits, dots, dashes and underscores")
		}
	}
	if m.ControlPort == m.OutputPort {
		return usage("port", m.OutputPort, "both ports have this name")
	}
	for _, arg := range m.Append {
		if strings.ContainsFunc(arg, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return usage("append", arg, "has a control character")
		}
	}
	if line := strings.Join(m.KernelArgs(), " "); len(line) >= maxCommandLine {
		return usage("append", line, "the kernel reads only %d bytes of its command line", maxCommandLine-1)
	}
	return nil
}

func usage(key string, value any, format string, args ...any) error {
	return &fault.Usage{Key: key, Value: fmt.Sprint(value), Err: fmt.Errorf(format, args...)}
}

// KernelArgs is the kernel command line, one argument an element.
func (m Machine) KernelArgs() []string {
	args := []string{
		// The same port twice: from the kernel's first steps, without which
		// an early panic says nothing at all, and then through its driver.
		// Before loglevel, so that the log begins with the kernel's version
		// and this command line.
		"earlycon=uart8250,io,0x3f8", "console=ttyS0",
		// Warnings and above are shown from the first line on; everything
		// else costs time on an emulated serial port.
		"loglevel=5",
		"printk.devkmsg=on", // /dev/kmsg is not rate limited: the agent's markers arrive
		"panic=-1",          // restart at once, which ends QEMU (-no-reboot)
		"reboot=t",          // by triple fault, which needs no device
		"no_timer_check",    // the timer check fails on a busy host
		"tsc=reliable",      // and so does the clock source watchdog
		// Firmware hands the root ports, and with them hotplug, only to a
		// kernel that also manages their power (CONFIG_PCIEASPM).
		"pcie_ports=native",
		// No I/O ports are set aside for what may be plugged: edu, which the tests
		// unplug and plug, has none, and on a small host bridge the kernel would take them from
		// another port, whose device then cannot be enabled
		// (drivers/pci/setup-bus.c).
		"pci=hpiosize=0",
	}
	if m.Accel == TCG {
		// A timer that rearms itself. With one-shot timers about one guest in
		// forty stopped on a busy host, its second processor idle over a timer
		// that had expired and was not set again.
		args = append(args, "highres=off", "nohz=off")
		if m.TSCKHz > 0 {
			args = append(args, "tsc_early_khz="+strconv.Itoa(m.TSCKHz))
		}
	}
	if m.Hugepages1G > 0 {
		args = append(args, "hugepagesz=1G", "hugepages="+strconv.Itoa(m.Hugepages1G))
	}
	args = append(args, m.Topology.kernelArgs()...)
	return append(args, m.Append...)
}

// MemoryAbove4G says whether the guest has memory above 4 GiB. A q35 machine
// keeps up to 2.75 GiB below, and of more than that 2 GiB (hw/i386/pc_q35.c in
// QEMU's source).
func (m Machine) MemoryAbove4G() bool { return m.MemoryMiB >= 2816 }

// Wiring is what the arguments need to know of the start itself.
type Wiring struct {
	QMP, Control, Output int // descriptors of connected sockets in QEMU
	Console              int // descriptor of a pipe's writing end in QEMU

	PVH bool // the kernel is an ELF file with a PVH entry

	// Memory is the descriptor of a file that is the guest's memory, and
	// State that of one for the state of its devices; both are 0 for a guest
	// that is not saved.
	Memory, State int
	// Restored says that both are of a saved guest, which is to go on. Its
	// memory is read from the file, and what it writes stays its own.
	Restored bool
}

// memory are the arguments of memory in a file, and what the machine has to
// say of it (docs/system/vm-templating.rst in QEMU's source).
func (m Machine) memory(w Wiring) (args []string, option string) {
	if w.Memory == 0 {
		return nil, ""
	}
	sharing := "share=on"
	if w.Restored {
		sharing = "share=off,readonly=on,rom=off"
	}
	return []string{"-object", fmt.Sprintf("memory-backend-file,id=memory,size=%dM,mem-path=%s,%s",
		m.MemoryMiB, descriptorPath(w.Memory), sharing)}, ",memory-backend=memory"
}

// descriptorPath is what QEMU opens to have a file anew that it has inherited.
func descriptorPath(fd int) string { return fmt.Sprintf("/proc/self/fd/%d", fd) }

// Args is the whole argument list of QEMU, without its own name. It depends on
// nothing but m and w. The machine must be valid.
func (m Machine) Args(w Wiring) []string {
	// The HPET stays: on a busy host the kernel cannot measure the TSC's rate
	// with the PIT, and without another reference it falls back to a clock
	// that counts timer interrupts.
	options := "q35,sata=off,usb=off,smbus=off,vmport=off"
	if m.Accel == KVM && m.Topology.splitIRQChip() {
		options += ",kernel-irqchip=split" // or QEMU refuses intremap=on
	}
	memory, option := m.memory(w)
	options += option
	args := []string{
		"-nodefaults", "-no-user-config",
		"-display", "none",
		"-no-reboot",
		"-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
		"-M", options,
		// pciehp finds what is plugged and unplugged, not ACPI.
		"-global", "ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off",
	}
	args = append(args, m.Accel.args()...)
	args = append(args,
		"-smp", strconv.Itoa(m.CPUs),
		"-m", strconv.Itoa(m.MemoryMiB)+"M",
	)
	args = append(args, memory...)
	args = append(args,
		"-chardev", fmt.Sprintf("socket,id=qmp,fd=%d", w.QMP),
		"-mon", "chardev=qmp,mode=control",
		"-add-fd", fmt.Sprintf("fd=%d,set=1", w.Console),
		"-chardev", "file,id=console,path=/dev/fdset/1,append=on",
		"-serial", "chardev:console",
	)
	for _, one := range m.Topology.parts() {
		args = append(args, one.args()...)
	}
	args = append(args,
		// With event indexes the guest kicks a queue only when QEMU has asked
		// for it, and QEMU's virtio-serial looks for more work without a
		// barrier after asking: output was seen to stay in the queue for ever.
		// Without them every write is a kick, and it is handled at once.
		"-device", fmt.Sprintf("virtio-serial-pci,id=serial,bus=pcie.0,addr=%#x,event_idx=off,ioeventfd=off", serialSlot),
		"-chardev", fmt.Sprintf("socket,id=control,fd=%d", w.Control),
		"-device", "virtserialport,bus=serial.0,nr=1,chardev=control,name="+m.ControlPort,
		"-chardev", fmt.Sprintf("socket,id=output,fd=%d", w.Output),
		"-device", "virtserialport,bus=serial.0,nr=2,chardev=output,name="+m.OutputPort,
	)
	for _, p := range m.places() {
		for _, one := range slices.Concat(p.port(m.Topology), p.functions()) {
			args = append(args, one.args()...)
		}
	}
	if w.PVH && m.Topology.qboot() {
		args = append(args, "-bios", "qboot.rom")
	}
	if w.Restored {
		// What is booted is in memory already.
		return append(append(args, "-incoming", "defer"), m.More...)
	}
	args = append(args, "-kernel", m.Kernel)
	if m.Initrd != "" {
		args = append(args, "-initrd", m.Initrd)
	}
	args = append(args, "-append", strings.Join(m.KernelArgs(), " "))
	return append(args, m.More...)
}

// checkFiles returns a *fault.Usage for a file that is not there.
func (m Machine) checkFiles() error {
	for _, file := range []struct{ key, path string }{{"qemu", m.QEMU}, {"kernel", m.Kernel}, {"initrd", m.Initrd}} {
		if file.path == "" && file.key == "initrd" {
			continue
		}
		if err := readable(file.path); err != nil {
			return &fault.Usage{Key: file.key, Value: file.path, Err: err}
		}
	}
	return nil
}
