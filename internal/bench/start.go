// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"noiommu-farm/farm/machine"
	"noiommu-farm/guestagent/wire"
)

// starts measures how long it takes from nothing to the first line of a test,
// in the ways that there are, one after the other and that again and again.
func starts(ctx context.Context, l *lab) error {
	saved, err := l.save(ctx)
	if err != nil {
		return err
	}
	defer saved.Close()
	ways := []struct {
		name string
		run  func(context.Context, int) (time.Duration, error)
	}{
		{"a guest that is booted, to the agent's first word", l.bootToHello},
		{"a guest that is booted, to the first line of a program", l.bootToProgram},
		{"a guest that is booted, with its devices bound, to the first line of a test", l.bootToTest},
		{"saving a booted guest", l.saving},
		{"a QEMU for a restored guest, started before it is needed", func(ctx context.Context, _ int) (time.Duration, error) { return standby(ctx, saved) }},
		{"a restored guest, to the first line of a test", func(ctx context.Context, n int) (time.Duration, error) { return l.restoreToTest(ctx, saved, n+1) }},
		{"QEMU's defaults with bzImage, to the first line of the same program as init", l.plainToProgram},
	}
	_, err = exec.LookPath("vng")
	virtme := err == nil && l.build.Config["9P_FS"] == "y"
	if virtme {
		ways = append(ways, struct {
			name string
			run  func(context.Context, int) (time.Duration, error)
		}{"virtme-ng, to the first line of the same program", l.virtmeToProgram})
	}
	took := make([][]time.Duration, len(ways))
	for n := range l.pairs {
		for i, way := range ways {
			d, err := way.run(ctx, n)
			if err != nil {
				return fmt.Errorf("%s: %w", way.name, err)
			}
			took[i] = append(took[i], d)
		}
	}
	for i, way := range ways {
		l.table.row(way.name, median(took[i]), spread(took[i]))
	}
	l.table.row("restored, as a part of booted (first line of a test)", fmt.Sprintf("%.3f", ratio(took[5], took[2])))
	l.table.row("booted, as a part of QEMU's defaults (first line of a program)", fmt.Sprintf("%.3f", ratio(took[1], took[6])))
	if virtme {
		l.table.row("booted, as a part of virtme-ng (first line of a program)", fmt.Sprintf("%.3f", ratio(took[1], took[7])))
	} else {
		fmt.Fprintln(l.log, "bench: virtme-ng is not measured: there is no vng, or the kernel has no CONFIG_9P_FS for it (-config noiommu,FILE)")
	}
	return nil
}

func (l *lab) bootToHello(ctx context.Context, _ int) (time.Duration, error) {
	began := time.Now()
	m, err := machine.Boot(ctx, l.machine, machine.BootOptions{})
	if err != nil {
		return 0, err
	}
	g := newGuest(m)
	defer g.Close()
	_, err = g.hear(ctx)
	return time.Since(began), err
}

func (l *lab) bootToProgram(ctx context.Context, _ int) (time.Duration, error) {
	began := time.Now()
	m, err := machine.Boot(ctx, l.machine, machine.BootOptions{})
	if err != nil {
		return 0, err
	}
	g := newGuest(m)
	defer g.Close()
	if _, err := g.hear(ctx); err != nil {
		return 0, err
	}
	for _, m := range []wire.ToGuest{
		{Hello: &wire.HostHello{Version: wire.Version}},
		{Run: &wire.Run{ID: 1, Name: "hello", Argv: []string{helloPath}, TimeoutMS: patience.Milliseconds()}},
	} {
		if err := g.agent.Send(m); err != nil {
			return 0, err
		}
	}
	err = g.firstLine(ctx)
	return time.Since(began), err
}

func (l *lab) bootToTest(ctx context.Context, _ int) (time.Duration, error) {
	began := time.Now()
	g, err := l.boot(ctx, false)
	if err != nil {
		return 0, err
	}
	defer g.Close()
	if err := g.agent.Send(wire.ToGuest{Run: l.test(false)}); err != nil {
		return 0, err
	}
	err = g.firstLine(ctx)
	return time.Since(began), err
}

func (l *lab) saving(ctx context.Context, _ int) (time.Duration, error) {
	g, err := l.boot(ctx, true)
	if err != nil {
		return 0, err
	}
	defer g.Close()
	began := time.Now()
	saved, err := g.Save(ctx)
	if err != nil {
		return 0, err
	}
	defer saved.Close()
	return time.Since(began), nil
}

func standby(ctx context.Context, saved *machine.Saved) (time.Duration, error) {
	began := time.Now()
	in, err := saved.Standby(ctx, machine.BootOptions{})
	if err != nil {
		return 0, err
	}
	took := time.Since(began)
	return took, in.Close()
}

func (l *lab) restoreToTest(ctx context.Context, saved *machine.Saved, n int) (time.Duration, error) {
	in, err := saved.Standby(ctx, machine.BootOptions{})
	if err != nil {
		return 0, err
	}
	began := time.Now()
	g, err := l.restore(ctx, in, n)
	if err != nil {
		return 0, err
	}
	defer g.Close()
	err = g.firstLine(ctx)
	return time.Since(began), err
}

// plainToProgram boots the same kernel and image in a QEMU with the devices that
// it has by default, as somebody would by hand: the program is the guest's init.
func (l *lab) plainToProgram(ctx context.Context, _ int) (time.Duration, error) {
	return toLine(exec.CommandContext(ctx, l.machine.QEMU, "-M", "q35", "-m", strconv.Itoa(l.machine.MemoryMiB), "-nographic", "-no-reboot",
		"-cpu", "max", "-kernel", l.build.BzImage, "-initrd", l.machine.Initrd, "-append", "console=ttyS0 quiet panic=-1 rdinit="+helloPath))
}

// virtmeToProgram boots the same kernel with virtme-ng, whose guest has the
// host's file system, and so the program from there.
func (l *lab) virtmeToProgram(ctx context.Context, _ int) (time.Duration, error) {
	dir, err := os.MkdirTemp("", "bench-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	program := filepath.Join(dir, "hello")
	build := exec.CommandContext(ctx, "go", "build", "-o", program, "./internal/bench/hello")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return 0, fmt.Errorf("%w: %s", err, out)
	}
	// Linux 7.3 mounts no root on 9p of which the source has no name.
	return toLine(exec.CommandContext(ctx, "vng", "--run", l.build.BzImage, "--disable-kvm", "--cpus", "1", "--append", "root=/dev/root",
		"--memory", fmt.Sprintf("%dM", l.machine.MemoryMiB), "--qemu", l.machine.QEMU, "--exec", program))
}

// toLine runs a command until it says the program's first line, and says how
// long that took.
func toLine(cmd *exec.Cmd) (time.Duration, error) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, in, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	defer out.Close()
	cmd.Stdout, cmd.Stderr = in, in
	began := time.Now()
	err = cmd.Start()
	in.Close()
	if err != nil {
		return 0, err
	}
	stop := time.AfterFunc(2*patience, func() { syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
	defer stop.Stop()
	var said []string
	took := time.Duration(0)
	for scan := bufio.NewScanner(out); scan.Scan(); {
		if strings.Contains(scan.Text(), "KTAP version 1") {
			took = time.Since(began)
			break
		}
		said = append(said, scan.Text())
	}
	syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // what it started too
	go io.Copy(io.Discard, out)
	cmd.Wait()
	if took == 0 {
		return 0, errors.New("it ended before the program said anything: " + strings.Join(said[max(0, len(said)-5):], "; "))
	}
	return took, nil
}
