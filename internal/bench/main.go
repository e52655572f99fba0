// SPDX-License-Identifier: Apache-2.0

// Bench measures what the farm costs, against what somebody would use instead
// on the same kernel, the same QEMU and the same machine. In goes the farm's own
// kernel, built or from the cache; out goes a table in Markdown for
// docs/benchmarks.md. It judges no kernel, and changes nothing but the caches.
//
//	go run ./internal/bench [-only NAMES] [-n PAIRS]
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"noiommu-farm/farm/machine"
	"noiommu-farm/farm/runner"
	"noiommu-farm/guestagent/wire"
	"noiommu-farm/images"
	"noiommu-farm/internal/fault"
	"noiommu-farm/kernels"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := do(ctx, os.Args[1:], os.Stdout, os.Stderr)
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
	}
	os.Exit(fault.ExitCode(err))
}

// lab is what everything is measured with.
type lab struct {
	machine  machine.Machine
	build    *kernels.Build
	pairs    int
	restores int
	farm     string // path of the command
	cache    string
	log      io.Writer
	table    *table
}

// measurements are all there are, in their order.
var measurements = []struct {
	name string
	run  func(context.Context, *lab) error
}{
	{"start", starts},
	{"memory", memory},
	{"output", throughput},
	{"image", image},
	{"suite", suite},
	{"leaks", endurance},
}

func do(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	var names []string
	for _, m := range measurements {
		names = append(names, m.name)
	}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	only := flags.String("only", strings.Join(names, ","), "measure only these `things`")
	l := &lab{log: stderr}
	flags.IntVar(&l.pairs, "n", 15, "how often everything that is compared is done")
	flags.IntVar(&l.restores, "restores", 1000, "how many guests are restored in a row")
	flags.StringVar(&l.farm, "farm", "bin/farm", "the `farm` whose runs are measured")
	config := flags.String("config", "noiommu", "the kernel's `configuration`")
	home, _ := os.UserCacheDir()
	flags.StringVar(&l.cache, "cache", filepath.Join(home, "noiommu-farm"), "`directory` of the farm's caches")
	if err := flags.Parse(args); err != nil {
		return &fault.Usage{Key: "bench", Err: err}
	}
	chosen := strings.Split(*only, ",")
	for _, name := range chosen {
		if !slices.Contains(names, name) {
			return &fault.Usage{Key: "-only", Value: name, Allowed: names}
		}
	}
	if err := l.prepare(ctx, *config); err != nil {
		return err
	}
	l.table = newTable(l)
	for _, m := range measurements {
		if !slices.Contains(chosen, m.name) {
			continue
		}
		fmt.Fprintf(stderr, "bench: %s\n", m.name)
		if err := m.run(ctx, l); err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
	}
	return l.table.write(stdout)
}

// prepare has the kernel and the image made.
func (l *lab) prepare(ctx context.Context, config string) error {
	qemu, _, err := machine.FindQEMU()
	if err != nil {
		return err
	}
	source, err := kernels.ParseSource("debian:7.3")
	if err != nil {
		return err
	}
	configuration, err := kernels.LoadConfiguration(config)
	if err != nil {
		return err
	}
	cache := &kernels.Cache{Dir: l.cache, Jobs: runtime.NumCPU(), Log: func(text string) { fmt.Fprintln(l.log, text) }}
	if l.build, err = cache.Build(ctx, kernels.Request{Source: source, Config: configuration, BzImage: true}, func(kernels.Progress) {}); err != nil {
		return err
	}
	image, err := images.Build(ctx, spec(), filepath.Join(l.cache, "images"))
	if err != nil {
		return err
	}
	l.machine = machine.Machine{
		Topology: machine.None, Devices: []machine.Device{machine.Edu, machine.IGB}, CPUs: 1, MemoryMiB: 512, Accel: machine.TCG,
		QEMU: qemu, Kernel: l.build.Vmlinux, Initrd: image.Path, Append: []string{"vfio.enable_unsafe_noiommu_mode=1"},
		ControlPort: wire.ControlPort, OutputPort: wire.OutputPort, TSCKHz: machine.TSCKHz(),
	}
	if ok, _, err := machine.ProbeKVM(ctx, qemu); err == nil && ok {
		l.machine.Accel = machine.KVM
	}
	return nil
}

// spec is the image of the farm's suites, with the programs of this one.
func spec() images.Spec {
	s := runner.Suites()
	for path, program := range map[string]string{helloPath: "hello", floodPath: "flood"} {
		s.Programs = append(s.Programs, images.GoProgram{Package: "noiommu-farm/internal/bench/" + program, Path: path})
	}
	slices.SortFunc(s.Programs, func(a, b images.GoProgram) int { return strings.Compare(a.Path, b.Path) })
	return s
}

// image measures how long an image takes that was made before.
func image(ctx context.Context, l *lab) error {
	var took []time.Duration
	for range l.pairs {
		began := time.Now()
		if _, err := images.Build(ctx, spec(), filepath.Join(l.cache, "images")); err != nil {
			return err
		}
		took = append(took, time.Since(began))
	}
	l.table.row("initramfs with nothing changed", median(took))
	return nil
}
