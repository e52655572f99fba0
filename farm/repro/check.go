// SPDX-License-Identifier: Apache-2.0

package repro

import (
	"context"
	"errors"
	"fmt"
	"path"
	"regexp"
	"time"

	"noiommu-farm/farm/runner"
	"noiommu-farm/results"
)

// Limits on what a capsule may ask for. The guest is as hostile as the capsule
// is, and is kept as every guest is; this is about the host.
const (
	maxArguments = 64
	maxArgument  = 4096    // bytes
	maxHugepages = 1 << 16 // of either size
	maxTimeout   = 24 * time.Hour
)

var (
	// A cell's name becomes a folder's.
	cellName    = regexp.MustCompile(`^[a-zA-Z0-9_+,][a-zA-Z0-9.,+_~-]{0,199}$`)
	programName = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9._@#/+-]{0,199}$`)
)

// check refuses what no farm would have written.
func (m manifest) check() error {
	p := m.Planned
	switch {
	case !cellName.MatchString(p.Cell):
		return fmt.Errorf("%.100q is no name of a cell", p.Cell)
	case len(p.Programs) > 1:
		return fmt.Errorf("%d programs; at most one is allowed", len(p.Programs))
	case len(p.Programs) == 0 && (m.Program != "" || m.Test != ""):
		return errors.New("a test without its program")
	case p.Facts.Hugepages < 0 || p.Facts.Hugepages > maxHugepages || p.Facts.Hugepages1G < 0 || p.Facts.Hugepages1G > maxHugepages:
		return errors.New("more hugepages than a machine can have")
	}
	for _, one := range p.Programs {
		if one.Name != m.Program {
			return fmt.Errorf("the program is %.100q, and the plan has %.100q", m.Program, one.Name)
		}
		if err := checkProgram(one); err != nil {
			return err
		}
	}
	return nil
}

func checkProgram(p results.Program) error {
	switch {
	case !programName.MatchString(p.Name):
		return fmt.Errorf("%.100q is no name of a program", p.Name)
	case len(p.Argv) == 0 || len(p.Argv)+len(p.Env) > maxArguments:
		return fmt.Errorf("%s: no arguments, or more than %d", p.Name, maxArguments)
	case !path.IsAbs(p.Argv[0]):
		return fmt.Errorf("%s: %.100q is not an absolute path", p.Name, p.Argv[0])
	case p.Timeout <= 0 || p.Timeout > maxTimeout:
		return fmt.Errorf("%s: a time limit of %v", p.Name, p.Timeout)
	}
	for _, a := range append(p.Argv[:len(p.Argv):len(p.Argv)], p.Env...) {
		if len(a) > maxArgument {
			return fmt.Errorf("%s: an argument of %d bytes", p.Name, len(a))
		}
	}
	return nil
}

// Elsewhere says what differs between the machine that a case was recorded on
// and this one.
func (c Case) Elsewhere(ctx context.Context) ([]string, error) {
	version, accel, err := runner.QEMUVersion(ctx)
	if err != nil {
		return nil, err
	}
	return differences(c.repeat.Planned.Machine, version, accel), nil
}

func differences(recorded results.Machine, version, accel string) []string {
	var all []string
	if recorded.QEMU != version {
		all = append(all, fmt.Sprintf("recorded with QEMU %s, this machine has %s", recorded.QEMU, version))
	}
	if recorded.Accel == "kvm" && accel != "kvm" {
		all = append(all, "recorded with KVM, which does not work here: TCG is used, which is slower and times things differently")
	}
	return all
}
