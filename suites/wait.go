// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"noiommu-farm/guestagent/prefault"
	"noiommu-farm/guestagent/wire"
)

// maxArgs bounds the arguments that a waiting program gets, in bytes.
const maxArgs = 64 << 10

// waitForArgs says on the socket that everything before the first test is done,
// and returns the arguments that come. The functions under test must be those
// that it was done for.
func waitForArgs(descriptor string, bdfs []string) (options, error) {
	fd, err := strconv.Atoi(descriptor)
	if err != nil {
		return options{}, fmt.Errorf("%s: %w", wire.WaitEnv, err)
	}
	unix.CloseOnExec(fd)      // and it stays open: closing it takes a grace period's work in each guest
	os.Unsetenv(wire.WaitEnv) // the tests' own children have nothing to wait for
	packet := make([]byte, maxArgs)
	// What would be done first in each guest that goes on from here.
	fmt.Fprint(io.Discard, time.NewTimer(time.Hour).Stop())
	prefault.Prefault()
	if _, err := unix.Write(fd, []byte(wire.WaitWord)); err != nil {
		return options{}, fmt.Errorf("say that all is ready: %w", err)
	}
	n, err := readPacket(fd, packet)
	if err != nil {
		return options{}, fmt.Errorf("wait for the arguments: %w", err)
	}
	argv := strings.Split(string(packet[:n]), "\x00")
	o, err := parseWaiting(argv[1:], bdfs)
	if err == nil && !slices.Equal(o.bdfs, bdfs) {
		err = fmt.Errorf("the functions under test are %q, and were %q at first", o.bdfs, bdfs)
	}
	return o, err
}

// parseWaiting is parse, which looks at the most usual arguments itself: making
// a flag set first would be half of what this program does before its first test.
func parseWaiting(args, bdfs []string) (options, error) {
	if len(args) < 2 || args[0] != "-test" || !slices.Equal(args[2:], bdfs) {
		return parse(args, os.Stderr)
	}
	chosen, err := choose("", args[1], "")
	return options{chosen: chosen, bdfs: bdfs}, err
}

// readPacket waits for one packet; an end without any is an error.
func readPacket(fd int, into []byte) (int, error) {
	for {
		n, err := unix.Read(fd, into)
		switch {
		case errors.Is(err, unix.EINTR):
		case err == nil && n == 0:
			return 0, errors.New("nobody needs this program")
		default:
			return n, err
		}
	}
}
