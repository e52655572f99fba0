// SPDX-License-Identifier: Apache-2.0

// Guestagent is the init of a test guest, process 1. It mounts the kernel's
// file systems, binds devices to vfio-pci, runs test programs one at a time
// and streams what they print, as the host asks for it over two virtio-serial
// ports (package wire, docs/protocol.md).
//
// In: messages of the host. Out: facts, output, and how each program ended. It
// never judges: it knows nothing of tests, expectations or verdicts, and it
// never lingers: when the host is gone, or the agent cannot go on, it says so
// in the kernel log and powers the guest off.
package main

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"time"

	"noiommu-farm/guestagent/wire"
)

const (
	// portsWithin bounds the time from the start of init until both ports
	// have appeared. Virtio devices are probed before init starts; only the
	// names come later, by a control message of QEMU.
	portsWithin = 60 * time.Second
	// hostWithin bounds each wait for the host: to connect at first, to answer
	// the hello, and to come back after it went away.
	hostWithin = 60 * time.Second
	// farewellWithin bounds the last message before the agent gives up.
	farewellWithin = 2 * time.Second
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == launchWord {
		fmt.Fprintln(os.Stderr, "guestagent:", launch(os.Args[2:]))
		os.Exit(127)
	}
	if os.Getpid() != 1 {
		fmt.Fprintln(os.Stderr, "guestagent: it is the init of a test guest, and this is not process 1")
		os.Exit(2)
	}
	// A test program is root and may signal everything. Without a handler Go
	// would end the process, and the kernel with it.
	signal.Notify(make(chan os.Signal, 1))

	log, err := start()
	if err == nil {
		err = converse(log)
	}
	if err != nil {
		log.fatal(err)
	}
	powerOff(log)
}

// start makes the guest a place where programs can run.
func start() (*kernelLog, error) {
	err := mountAll(mounts)
	log := openKernelLog("/")
	return log, err
}

// converse serves the host until it asks for the end (nil) or nothing more can
// be done.
func converse(log *kernelLog) error {
	control, err := openPort("/", wire.ControlPort, portsWithin)
	if err != nil {
		return err
	}
	output, err := openPort("/", wire.OutputPort, portsWithin)
	if err != nil {
		return err
	}
	g := guest{root: "/"}
	g.loadModules(log)
	a := newAgent(g, control, &programs{
		nursery: newNursery(),
		output:  &outputPort{w: output},
		log:     log,
		tmp:     "/tmp",
		cores:   "/run/cores",
		taint:   g.taint,
		quiet:   g.quiet,
		stuck:   stuckAfter,
	})
	err = a.serve()
	if err != nil {
		// The port may be what failed; the kernel log has it in any case.
		_ = control.SetWriteDeadline(time.Now().Add(farewellWithin))
		err = errors.Join(err, a.farewell(err))
	}
	return err
}
