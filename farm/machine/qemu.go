// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"time"
)

// MinQEMU is the oldest major version that has the igb device.
const MinQEMU = 8

// askTimeout bounds a question to QEMU that starts no guest.
const askTimeout = 30 * time.Second

var qemuVersion = regexp.MustCompile(`(?m)^QEMU emulator version ((\d+)\.\d+\.\d+)`)

// FindQEMU looks for qemu-system-x86_64 in PATH and asks it for its version,
// such as "10.0.2". An old one is returned with an error.
func FindQEMU() (path, version string, err error) {
	path, err = exec.LookPath("qemu-system-x86_64")
	if err != nil {
		return "", "", fmt.Errorf("find QEMU: %w", err)
	}
	out, err := ask(context.Background(), path, "--version")
	if err != nil {
		return path, "", err
	}
	match := qemuVersion.FindStringSubmatch(out)
	if match == nil {
		return path, "", fmt.Errorf("%s --version: no version in %.200q", path, out)
	}
	version = match[1]
	if major, err := strconv.Atoi(match[2]); err != nil || major < MinQEMU {
		return path, version, fmt.Errorf("QEMU %s (%s) is too old: the igb device came with %d.0", version, path, MinQEMU)
	}
	return path, version, nil
}

// MissingDevices asks QEMU for its device models and returns those that a
// machine may need and that it does not have.
func MissingDevices(ctx context.Context, qemu string) ([]string, error) {
	out, err := ask(ctx, qemu, "-device", "help")
	if err != nil {
		return nil, err
	}
	return missingDevices(out), nil
}

func missingDevices(help string) []string {
	var missing []string
	for _, name := range models() {
		if !regexp.MustCompile(`(?m)^name "` + regexp.QuoteMeta(name) + `"`).MatchString(help) {
			missing = append(missing, name)
		}
	}
	return missing
}

// models are all that a machine may be made of.
func models() []string {
	all := []string{"virtio-serial-pci", "virtserialport", "pcie-root-port"}
	for _, t := range Topologies() {
		for _, one := range t.parts() {
			all = append(all, one.driver)
		}
	}
	for _, d := range Devices() {
		all = append(all, d.driver())
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// ask runs QEMU for what it prints.
func ask(ctx context.Context, qemu string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	out, err := exec.CommandContext(ctx, qemu, args...).Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			err = fmt.Errorf("%w: %s", err, exit.Stderr)
		}
		return "", fmt.Errorf("%s %q: %w", qemu, args, err)
	}
	return string(out), nil
}
