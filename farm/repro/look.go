// SPDX-License-Identifier: Apache-2.0

package repro

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"noiommu-farm/farm/runner"
	"noiommu-farm/guestagent/wire"
	"noiommu-farm/images"
	"noiommu-farm/internal/fault"
	"noiommu-farm/results"
)

// inside is the program that helps in the guest.
const (
	insidePackage = "noiommu-farm/farm/repro/inside"
	insidePath    = "/repro/inside"
)

// watched is how many times longer than usual a guest may be silent that
// somebody looks at.
const watched = 1e6

// Shell boots a case's guest with its devices bound and gives the user's
// terminal a shell in it, until the shell or the guest ends. The outcome is
// nil when it did not come to a guest.
func Shell(ctx context.Context, c Case, in, out *os.File, opt Options) (*runner.Outcome, error) {
	dir, err := os.MkdirTemp("", "noiommu-farm-shell-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	repeat := c.repeat
	if repeat.Initrd, repeat.Planned.Image, err = with(ctx, c, helper(true), dir, opt); err != nil {
		return nil, err
	}
	t, err := newTerminal(dir, in, out)
	if err != nil {
		return nil, fmt.Errorf("make a terminal: %w", err)
	}
	defer t.close()
	repeat.More, repeat.Patience = t.arguments(), watched

	argv := []string{insidePath, "shell"}
	env := []string{"PATH=/bin:/suites:/kselftest/vfio:/kselftest/iommu:/repro", "HOME=/root", "TERM=" + terminalName()}
	var devices []string
	for _, d := range repeat.Planned.Machine.Devices {
		if !slices.Contains(devices, d) {
			devices = append(devices, d)
			argv = append(argv, "  "+d+" is {"+d+"}")
		}
	}
	argv = append(argv, "The devices are bound to vfio-pci. Ctrl-D ends the guest, Ctrl-] at once.")
	for _, p := range c.repeat.Planned.Programs {
		argv = append(argv, "The test: "+strings.Join(p.Argv, " "))
	}
	repeat.Planned.Programs = []results.Program{{ID: 1, Name: "shell", Argv: argv, Env: env, Timeout: forever}}

	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	joined := make(chan error, 1)
	go func() { joined <- t.join(ctx, func(why error) { cancel(why) }) }()
	outcome, err := runner.Again(ctx, []runner.Repeat{repeat}, opt.runner())
	t.close() // QEMU may never have connected
	cancel(nil)
	joinErr := <-joined
	if errors.Is(err, errEscaped) || errors.Is(joinErr, errEscaped) {
		return outcome, nil
	}
	if outcome == nil {
		return nil, err
	}
	return outcome, err
}

func terminalName() string {
	if name := os.Getenv("TERM"); name != "" {
		return name
	}
	return "dumb"
}

// helper is the program that helps in the guest, with commands for a shell if
// asked for.
func helper(shell bool) images.Spec {
	return images.Spec{Programs: []images.GoProgram{{Package: insidePackage, Path: insidePath}}, Shell: shell}
}

// with is the case's initramfs with more in it. What the test found there is
// unchanged: the kernel unpacks one archive after the other.
func with(ctx context.Context, c Case, spec images.Spec, dir string, opt Options) (path, sum string, err error) {
	more, err := images.Build(ctx, spec, opt.Images)
	if err != nil {
		return "", "", err
	}
	var whole bytes.Buffer
	for _, one := range []string{c.repeat.Initrd, more.Path} {
		text, err := os.ReadFile(one)
		if err != nil {
			return "", "", fmt.Errorf("join initramfs: %w", err)
		}
		whole.Write(text)
		for whole.Len()%512 != 0 { // as cpio does, and the kernel expects 4
			whole.WriteByte(0)
		}
	}
	path = filepath.Join(dir, "initramfs.cpio")
	if err := os.WriteFile(path, whole.Bytes(), 0o600); err != nil {
		return "", "", err
	}
	return path, hash(whole.Bytes()), nil
}

// traceNeeds is the option that a kernel needs for its functions to be traced,
// and the fragment that has it.
const traceNeeds, traceFragment = "FUNCTION_TRACER", "trace"

// Trace is one try of a case with the kernel's tracer on. words are patterns of
// functions ("iommufd_*") and events ("irq:irq_handler_entry"). The trace is
// written to the file trace.txt in the try's folder, whose path it returns.
func Trace(ctx context.Context, c Case, words []string, opt Options) (Result, string, error) {
	if c.repeat.Set[traceNeeds] != "y" {
		return Result{}, "", &fault.Usage{Key: "--trace", Value: strings.Join(words, ","), Err: fmt.Errorf(
			"the kernel has no function tracer: run the test with --config %s,%s first", c.repeat.Planned.Kernel.Config, traceFragment)}
	}
	if len(c.repeat.Planned.Programs) == 0 {
		return Result{}, "", &fault.Usage{Key: "--trace", Value: c.Cell, Err: errors.New("needs a test: before the agent runs there is nobody to switch it on")}
	}
	dir, err := os.MkdirTemp("", "noiommu-farm-trace-")
	if err != nil {
		return Result{}, "", err
	}
	defer os.RemoveAll(dir)
	repeat := c.repeat
	if repeat.Initrd, repeat.Planned.Image, err = with(ctx, c, helper(false), dir, opt); err != nil {
		return Result{}, "", err
	}
	test := c.repeat.Planned.Programs[0]
	// The tracer must be switched at the time at which the test runs.
	_, phase, _ := strings.Cut(test.Name, "@")
	if phase != "" {
		phase = "@" + phase
	}
	inside := func(id uint32, verb string, words ...string) results.Program {
		return results.Program{ID: id, Name: verb + phase, Argv: append([]string{insidePath, verb}, words...), Timeout: test.Timeout}
	}
	repeat.Planned.Programs = []results.Program{inside(traceStart, "trace-start", words...), test, inside(traceStop, "trace-stop")}
	result, cell, err := c.once(ctx, repeat, opt)
	if err != nil || cell == "" {
		return result, "", err
	}
	rec, err := results.ReadCell(cell)
	if err != nil {
		return result, "", err
	}
	said, err := printed(rec, traceStart, wire.Stderr)
	if err != nil {
		return result, "", err
	}
	if len(said) > 0 { // it says nothing when all is well
		return Result{}, "", &fault.Usage{Key: "--trace", Value: strings.Join(words, ","), Err: fmt.Errorf(
			"nothing was recorded: %s", strings.TrimSpace(string(said)))}
	}
	path := filepath.Join(cell, "trace.txt")
	if err := saveTrace(rec, path); err != nil {
		return result, "", err
	}
	return result, path, nil
}

// traceStart and traceStop are the numbers of the programs that switch the tracer
// on before the test and off after it.
const traceStart, traceStop = 2, 3

// printed is all that a program printed.
func printed(rec *results.Record, id uint32, stream wire.Stream) ([]byte, error) {
	from, err := rec.Output(id, stream)
	if err != nil {
		return nil, err
	}
	defer from.Close()
	return io.ReadAll(from)
}

// saveTrace writes what the tracer printed as diagnostics.
func saveTrace(rec *results.Record, path string) error {
	text, err := printed(rec, traceStop, wire.Stdout)
	if err != nil {
		return fmt.Errorf("read trace: %w", err)
	}
	var trace bytes.Buffer
	for line := range bytes.Lines(text) {
		if rest, ok := bytes.CutPrefix(line, []byte("# ")); ok {
			trace.Write(rest)
		}
	}
	if trace.Len() == 0 {
		return errors.New("read trace: the guest gave none: it was gone before its trace could be read")
	}
	return results.WriteFile(path, trace.Bytes())
}
