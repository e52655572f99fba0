// SPDX-License-Identifier: Apache-2.0

package runner

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"noiommu-farm/farm/machine"
	"noiommu-farm/guestagent/wire"
	"noiommu-farm/internal/fault"
	"noiommu-farm/results"
	"noiommu-farm/results/ktap"
	"noiommu-farm/results/verdict"
	"noiommu-farm/suites/contract"
)

// coreLimit is how much of a core file is kept, in bytes.
const coreLimit = 32 << 20

// cellPlan is what a cell will do, before it boots.
type cellPlan struct {
	planned results.Planned
	phases  phases
}

// checkTests refuses a plan in which nothing would be tested, and says why not.
func checkTests(plans []cellPlan) error {
	var reasons []string
	because := func(reason string) {
		if !slices.Contains(reasons, reason) {
			reasons = append(reasons, reason)
		}
	}
	for _, p := range plans {
		for _, prog := range p.phases.all() {
			if prog.Tests == nil {
				return nil
			}
			for _, t := range prog.Tests {
				if t.Skip == "" {
					return nil
				}
				because(t.Skip)
			}
		}
		for _, a := range p.planned.Absent {
			because(a.Reason)
		}
	}
	if len(reasons) == 0 {
		reasons = []string{"this kernel has no such selftests"}
	}
	return &fault.Usage{
		Key:   "farm run",
		Value: cellNames(plans),
		Err:   fmt.Errorf("nothing of what was asked for applies to any cell, so nothing would be tested: %s", strings.Join(reasons, "; ")),
	}
}

func cellNames(plans []cellPlan) string {
	names := make([]string, len(plans))
	for i, p := range plans {
		names[i] = p.planned.Cell
	}
	return strings.Join(names, ", ")
}

func (r *run) plan(c *prepared) cellPlan {
	config := contract.ParseConfig(c.config)
	facts := c.Facts(c.build.Release, config, hardware(c.machine, config))
	ph, absent := programs(c.Cell, facts, c.build.Selftests, func(own time.Duration) time.Duration {
		if r.Timeout > 0 {
			own = r.Timeout
		}
		return time.Duration(float64(own) * r.scale(c))
	})
	for _, list := range [][]results.Program{ph.unbound, ph.bound, ph.atEnd} {
		for i := range list {
			if list[i].Host {
				list[i].Env = append(list[i].Env, fmt.Sprintf("%s=%g", wire.PatienceEnv, r.scale(c)))
			}
		}
	}
	sum := sha256.Sum256([]byte(c.config))
	return cellPlan{
		phases: ph,
		planned: results.Planned{
			Cell: c.Name,
			Kernel: results.Kernel{
				Source:       c.Source,
				SourceID:     c.build.SourceID,
				Series:       c.Series,
				Patches:      c.build.Series,
				Config:       c.Config,
				Release:      c.build.Release,
				Build:        c.build.Key,
				Compiler:     c.build.Compiler,
				ConfigSHA256: hex.EncodeToString(sum[:]),
			},
			Machine: results.Machine{
				Topology:  c.Topology,
				IOMMU:     c.machine.Topology.IOMMU(),
				Devices:   c.Devices,
				PCI:       underTest(c.machine),
				CPUs:      c.CPUs,
				MemoryMiB: c.MemoryMiB,
				Accel:     string(r.host.accel),
				QEMU:      r.host.version,

				Privileges: facts.Privileges,
				Parameters: kernelParameters(c, facts),
			},
			Image:    c.image.SHA256,
			Facts:    facts,
			Programs: ph.all(),
			Absent:   absent,
			Measured: true,
		},
	}
}

// cell carries out one cell and judges it from what was recorded.
func (r *run) cell(ctx context.Context, runDir string, c *prepared, plan cellPlan) (*verdict.Cell, error) {
	dir := results.CellDir(runDir, c.Name)
	rec, err := results.CreateCell(dir, plan.planned)
	if err != nil {
		return nil, err
	}
	liveErr := r.live(ctx, rec, dir, c, plan)
	if err = rec.Close(); err == nil {
		err = liveErr
	}
	record, readErr := results.ReadCell(dir)
	if readErr != nil {
		return nil, errors.Join(err, readErr)
	}
	judged, judgeErr := verdict.Judge(record)
	if judgeErr != nil {
		return nil, errors.Join(err, judgeErr)
	}
	if writeErr := results.WriteJSON(filepath.Join(dir, "verdict.json"), judged); writeErr != nil {
		err = errors.Join(err, fmt.Errorf("%w: %w", results.ErrNotRecorded, writeErr))
	}
	r.Tell(Progress{Cell: c.Name, Judged: judged})
	return judged, err
}

// live is the life of a cell's guest, from QEMU's start to its end. What goes
// wrong is an event; the error only says that the record is not whole.
func (r *run) live(ctx context.Context, rec *results.CellWriter, dir string, c *prepared, plan cellPlan) error {
	m := c.machine
	m.Accel = r.host.accel
	m.QEMU = r.host.qemu
	m.Kernel = c.build.Vmlinux
	m.Initrd = c.image.Path
	m.Append = plan.planned.Machine.Parameters
	if err := results.WriteFile(filepath.Join(dir, "config"), []byte(c.config)); err != nil {
		return fmt.Errorf("%w: %w", results.ErrNotRecorded, err)
	}
	if r.Keep {
		var err error
		if m.Kernel, err = keep(dir, "vmlinux", m.Kernel); err != nil {
			return err
		}
		if m.Initrd, err = keep(dir, "initramfs.cpio", m.Initrd); err != nil {
			return err
		}
	}
	guest, err := machine.Boot(ctx, m, machine.BootOptions{})
	if err != nil {
		return rec.Event(results.Event{Infra: &results.Infra{Err: err.Error()}})
	}
	defer guest.Close()
	shutdown := guest.Monitor.Subscribe("SHUTDOWN")
	defer shutdown.Close()
	if err := writeScript(filepath.Join(dir, "qemu.sh"), guest.CommandLine()); err != nil {
		return err
	}
	if err := rec.Event(results.Event{Booted: &results.Booted{Command: guest.CommandLine()}}); err != nil {
		return err
	}
	if c.booted != nil {
		c.booted()
	}

	scale := r.scale(c)
	names := make(map[uint32]string)
	for _, p := range plan.planned.Programs {
		names[p.ID] = p.Name
	}
	talk := newConversation(guest.Control(), rec, scale, func(id uint32, t ktap.Test) {
		r.Tell(Progress{Cell: c.Name, Program: names[id], Test: &t})
	})
	var pumps sync.WaitGroup
	pumps.Go(talk.listen)
	pumps.Go(func() { talk.collect(guest.Output()) })
	var consoleErr error
	pumps.Go(func() { consoleErr = pumpConsole(guest.Console(), rec) })

	requests := newDesk(guest, m, talk.patience(unplugPatience))
	defer requests.close()
	talk.answer = requests.answer
	err = r.converse(ctx, c, plan, talk, requests)
	killed, err := r.conclude(ctx, err, rec, guest, talk)
	for range talk.said {
		// What an agent says after the end is recorded, and answered by nobody.
	}
	pumps.Wait()
	if err != nil || consoleErr != nil {
		return errors.Join(err, consoleErr)
	}
	end := ended(guest, killed)
	end.ConsoleDropped = rec.ConsoleDropped()
	select {
	case e := <-shutdown.Events():
		end.Shutdown, _ = e.Data["reason"].(string)
	default: // QEMU did not live to say why
	}
	return rec.Event(results.Event{Ended: end})
}

// keep copies a file into the cell's folder, to be booted from there.
func keep(dir, name, from string) (string, error) {
	text, err := os.ReadFile(from)
	if err != nil {
		return "", fmt.Errorf("keep %s: %w", name, err)
	}
	to := filepath.Join(dir, name)
	if err := results.WriteFile(to, text); err != nil {
		return "", fmt.Errorf("%w: %w", results.ErrNotRecorded, err)
	}
	return to, nil
}

// scale is how much longer than on an idle machine with hardware
// virtualization things may take here.
func (r *run) scale(c *prepared) float64 {
	s := max(1, r.patience)
	if r.host.accel == machine.TCG {
		s *= 2
	}
	switch checkers := countSet(c.build.Config, "KASAN", "PROVE_LOCKING", "DEBUG_KMEMLEAK"); {
	case checkers > 1:
		s *= 6
	case checkers == 1:
		s *= 4
	}
	return s
}

func countSet(config map[string]string, options ...string) (n int) {
	for _, o := range options {
		if config[o] == "y" {
			n++
		}
	}
	return n
}

func kernelParameters(c *prepared, facts contract.Facts) []string {
	// A hung guest is sent an NMI, and says where it was by panicking.
	params := []string{"unknown_nmi_panic"}
	if facts.Config.Noiommu {
		params = append(params, "vfio.enable_unsafe_noiommu_mode=1")
	}
	if facts.SRIOV {
		params = append(params, "vfio_pci.enable_sriov=1")
	}
	if t := c.machine.Topology; t.IOMMU() && !t.InterruptRemapping() {
		// Without it nothing could be bound; IP-06 tests that.
		params = append(params, "iommufd.allow_unsafe_interrupts=1", "vfio_iommu_type1.allow_unsafe_interrupts=1")
	}
	return append(params, c.Append...)
}

// converse leads the agent through the cell: facts first, then the programs.
func (r *run) converse(ctx context.Context, c *prepared, plan cellPlan, talk *conversation, requests *desk) error {
	if err := talk.hello(ctx); err != nil {
		return err
	}
	facts, err := talk.prepare(ctx, wire.Prepare{
		Hugepages:   c.Hugepages,
		Hugepages1G: c.Hugepages1G,
		CoreLimit:   coreLimit,
		Params:      []string{verdict.UnsafeModeParam},
	})
	if err != nil {
		return err
	}
	if diff := verdict.FactsDiffer(plan.planned, facts); len(diff) > 0 {
		return errors.New(verdict.DescribeDifferences(diff))
	}
	if verdict.Belies(plan.planned, facts) != "" {
		return nil // which is the verdict
	}
	var before wire.Measured
	if plan.planned.Measured {
		if before, err = talk.measure(ctx, wire.Measure{Forget: true}); err != nil {
			return err
		}
	}
	bdfs, all := addresses(c.machine.Devices, facts.PCI)
	each := func(list []results.Program) error {
		for _, p := range list {
			r.Tell(Progress{Cell: c.Name, Program: p.Name})
			if err := talk.run(ctx, p, fillIn(p.Argv, bdfs, all)); err != nil {
				return err
			}
			if err := putBack(ctx, p.ID, talk, requests); err != nil {
				return err
			}
		}
		return nil
	}
	if err := each(plan.phases.unbound); err != nil {
		return err
	}
	if err := talk.bind(ctx, all, 0); err != nil {
		return err
	}
	if err := each(plan.phases.bound); err != nil {
		return err
	}
	if err := each(plan.phases.atEnd); err != nil || !plan.planned.Measured {
		return err
	}
	return talk.settled(ctx, plan.planned.Facts, before)
}

// putBack plugs and binds what a program left unplugged, for those after it.
func putBack(ctx context.Context, id uint32, talk *conversation, requests *desk) error {
	away := requests.away()
	if len(away) == 0 {
		return nil
	}
	if err := talk.rec.Event(results.Event{Away: &results.Away{Run: id, BDFs: away}}); err != nil {
		return err
	}
	if err := requests.restore(ctx); err != nil {
		return err
	}
	return talk.bind(ctx, away, talk.patience(answer))
}

// addresses finds the functions under test in the guest: by model, and all of
// them in the order of their addresses.
func addresses(devices []machine.Device, pci []wire.PCI) (byModel map[string][]string, all []string) {
	byModel = make(map[string][]string)
	for _, f := range pci {
		for _, d := range devices {
			if pciID(d) == fmt.Sprintf("%04x:%04x", f.Vendor, f.Device) {
				for _, name := range []string{model(d), sided(model(d), f.IOMMU)} {
					byModel[name] = append(byModel[name], f.BDF)
				}
				all = append(all, f.BDF)
				break
			}
		}
	}
	slices.Sort(all)
	return byModel, slices.Compact(all)
}

// sided is the name of a model on one side of the IOMMU: "igb@iommu".
func sided(model string, behind bool) string {
	if behind {
		return model + "@iommu"
	}
	return model + "@no-iommu"
}

// model is what the tests call a device: they know it by its PCI ids, wherever
// it is plugged in.
func model(d machine.Device) string {
	if pciID(d) == pciID(machine.Edu) {
		return string(machine.Edu)
	}
	return string(d)
}

// pciID is how a model is found in a guest.
func pciID(d machine.Device) string {
	c := d.Capabilities()
	return fmt.Sprintf("%04x:%04x", c.Vendor, c.Device)
}

// conclude ends the guest, however the conversation ended, and records why it
// ended early if it did. It says whether QEMU had to be killed.
func (r *run) conclude(ctx context.Context, end error, rec *results.CellWriter, guest *machine.Guest, talk *conversation) (killed bool, err error) {
	var hung *hungError
	var lost *lostError
	if end == nil {
		// The ordinary way down goes through the kernel's own shutdown, which
		// is tested by it.
		const doing = "the guest to power off"
		if end = talk.send(ctx, doing, wire.ToGuest{PowerOff: &wire.PowerOff{}}); end == nil {
			if over(guest, talk.patience(answer)) {
				return false, nil
			}
			end = &hungError{doing}
		}
	}
	switch {
	case errors.As(end, &hung):
		err = rec.Event(results.Event{Hung: &results.Hung{Doing: hung.doing}})
		r.whereItHangs(ctx, guest)
	case errors.As(end, &lost):
		err = rec.Event(results.Event{Lost: &results.Lost{Doing: lost.doing}})
		// QEMU ends by itself after a panic (-no-reboot) and tells how.
		over(guest, talk.patience(grace))
	case errors.Is(end, results.ErrNotRecorded):
		err = end
	default:
		err = rec.Event(results.Event{Infra: &results.Infra{Err: end.Error()}})
	}
	killed = guest.ExitState() == nil
	guest.Kill()
	return killed, err
}

// over waits for the end of QEMU, and says whether it came in time.
func over(guest *machine.Guest, limit time.Duration) bool {
	select {
	case <-guest.Done():
		return true
	case <-time.After(limit):
		return false
	}
}

// whereItHangs makes a guest that no longer answers show its stacks: an NMI
// reaches a processor whose interrupts are off.
func (r *run) whereItHangs(ctx context.Context, guest *machine.Guest) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	if guest.InjectNMI(ctx) == nil {
		over(guest, grace)
	}
}

func ended(guest *machine.Guest, killed bool) *results.Ended {
	state := guest.Wait()
	e := &results.Ended{QEMU: state.String(), Code: state.ExitCode(), Killed: killed, Stderr: guest.Stderr()}
	if ws, ok := state.Sys().(syscall.WaitStatus); ok && ws.Signaled() && !killed {
		e.Signal = int(ws.Signal())
	}
	return e
}

// Descriptors that only the farm's own QEMU has.
var (
	inherited = regexp.MustCompile(`-add-fd \S+ `)
	consoleTo = regexp.MustCompile(`\w+,id=console,\S+`)
	socketTo  = regexp.MustCompile(`socket,id=(\w+),fd=\d+`)
)

// writeScript writes a script that boots the cell's guest by hand: the same
// command, with the console on the terminal and nobody at the other ports.
func writeScript(path, command string) error {
	command = inherited.ReplaceAllString(command, "")
	command = consoleTo.ReplaceAllString(command, "stdio,id=console,signal=off")
	command = socketTo.ReplaceAllString(command, "null,id=$1")
	text := "#!/bin/sh\n# The guest of this cell, with its console on this terminal. Without the farm at\n" +
		"# its ports the agent gives up after a while and powers off.\nexec " + command + "\n"
	if err := results.WriteFile(path, []byte(text)); err != nil {
		return fmt.Errorf("%w: %w", results.ErrNotRecorded, err)
	}
	return nil
}

// pumpConsole records the console until the guest is gone. It goes on reading
// when it can no longer record: a full serial port would stop the guest.
func pumpConsole(console io.Reader, rec *results.CellWriter) error {
	buf := make([]byte, 32<<10)
	var failed error
	for {
		n, err := console.Read(buf)
		if n > 0 && failed == nil {
			failed = rec.Console(buf[:n])
		}
		if err != nil {
			return failed
		}
	}
}
