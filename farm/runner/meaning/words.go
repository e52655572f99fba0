// SPDX-License-Identifier: Apache-2.0

// Package meaning says what the names of a plan stand for: the machine of a
// cell, the facts that will hold in it, the programs that it runs and what each
// of their tests must do, and what its initramfs holds. In comes a cell, and
// later its kernel; it builds and boots nothing.
package meaning

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"noiommu-farm/farm/machine"
	"noiommu-farm/farm/matrix"
	"noiommu-farm/farm/matrix/schedule"
	"noiommu-farm/internal/fault"
	"noiommu-farm/kernels"
	"noiommu-farm/suites/contract"
)

// Words says what the words of a matrix file mean. It remembers what it was
// asked, so that a hundred thousand cells are planned at once. It reads the
// version of a kernel tree, and the user's configuration files; it builds
// nothing.
type Words struct {
	configs  map[configAt]asked
	releases map[string]string
}

type configAt struct{ config, release string }

// asked is what a configuration asks of a kernel.
type asked struct {
	facts contract.Config
	set   map[string]string
	err   error
}

// NewWords knows nothing yet.
func NewWords() *Words {
	return &Words{configs: make(map[configAt]asked), releases: make(map[string]string)}
}

// Vocabulary is what a matrix file is read with.
func (w *Words) Vocabulary() matrix.Vocabulary {
	return matrix.Vocabulary{Check: w.check, Facts: w.facts}
}

var clang = regexp.MustCompile(`^clang(-[0-9]{1,3})?$`)

// check refuses what is no value of an axis. Whether a source can be fetched,
// or a compiler is installed, is seen when it is needed.
func (w *Words) check(axis matrix.Axis, value string) error {
	var err error
	switch axis {
	case matrix.Source:
		_, err = kernels.ParseSource(value)
	case matrix.Configuration:
		_, err = kernels.LoadConfiguration(value)
	case matrix.Compiler:
		if value != "gcc" && !clang.MatchString(value) {
			err = &fault.Usage{Value: value, Allowed: compilers()}
		}
	case matrix.Topology:
		_, err = machine.ParseTopology(value)
	case matrix.Device:
		if value == matrix.EveryDevice {
			return nil
		}
		for d := range strings.SplitSeq(value, ",") {
			var usage *fault.Usage
			if _, err = machine.ParseDevice(d); errors.As(err, &usage) {
				return &fault.Usage{Value: d, Allowed: append(usage.Allowed, matrix.EveryDevice), Err: usage.Err}
			}
		}
	}
	return err
}

// compilers are the forms of the axis compiler.
func compilers() []string { return []string{"gcc", "clang", "clang-N"} }

// facts foretells those of a cell.
func (w *Words) facts(c matrix.Cell) (contract.Facts, error) {
	release, err := w.release(c.Source)
	if err != nil {
		return contract.Facts{}, &fault.Usage{Key: matrix.Source.String(), Value: c.Source, Err: err}
	}
	config := w.config(c.Config, release)
	if config.err != nil {
		return contract.Facts{}, &fault.Usage{Key: matrix.Configuration.String(), Value: c.Config, Err: config.err}
	}
	if c.Privileges == contract.UserNamespace && !config.facts.UserNS {
		return contract.Facts{}, &fault.Usage{Key: matrix.Privileges.String(), Value: string(c.Privileges), Err: errors.New("the configuration has no USER_NS")}
	}
	m, err := machineOf(c)
	if err != nil {
		return contract.Facts{}, err
	}
	return c.Facts(contract.HasGetPA(release), config.facts, Hardware(m, config.facts)), nil
}

// newest is the release that is assumed of a source that does not say one
// before it is unpacked.
const newest = "7.3"

// release is the Linux release of a source, as far as facts depend on it.
func (w *Words) release(source string) (string, error) {
	if known, ok := w.releases[source]; ok {
		return known, nil
	}
	s, err := kernels.ParseSource(source)
	if err != nil {
		return "", err
	}
	release, err := s.Release()
	if err != nil {
		return "", err
	}
	if release == "" {
		release = newest
	}
	w.releases[source] = release
	return release, nil
}

// config is what a configuration asks of a kernel of a release, and whether
// that can be.
func (w *Words) config(name, release string) asked {
	at := configAt{name, release}
	if known, ok := w.configs[at]; ok {
		return known
	}
	var a asked
	c, err := kernels.LoadConfiguration(name)
	if err == nil {
		text := c.Text(release)
		a.facts = foretoldConfig(text, release)
		a.set, err = kernels.ReadConfig(strings.NewReader(text))
	}
	if err == nil && a.facts.Noiommu && !a.facts.Group && !contract.HasGetPA(release) {
		// drivers/vfio/Kconfig until 7.2: VFIO_NOIOMMU depends on VFIO_GROUP.
		err = fmt.Errorf("before Linux %s VFIO_NOIOMMU depends on VFIO_GROUP, which it switches off", newest)
	}
	a.err = err
	w.configs[at] = a
	return a
}

// Distance says how much of a kernel must be compiled again when it starts
// from another (see [schedule.Distance]): every option that differs may be one
// that every file includes, and another version is compiled anew.
func (w *Words) Distance(from, to matrix.Kernel) int {
	if from.Compiler != to.Compiler {
		return -1
	}
	if from.Source != to.Source || from.Series != to.Series {
		return schedule.Far
	}
	release, err := w.release(to.Source)
	if err != nil {
		return -1
	}
	a, b := w.config(from.Config, release), w.config(to.Config, release)
	if a.err != nil || b.err != nil {
		return -1
	}
	if sanitized(a.facts) != sanitized(b.facts) {
		return schedule.Far // they instrument every file
	}
	n := 0
	for name, value := range a.set {
		if b.set[name] != value {
			n++
		}
	}
	for name := range b.set {
		if _, ok := a.set[name]; !ok {
			n++
		}
	}
	if n > maxNear {
		return schedule.Far
	}
	return n
}

// maxNear is how many options may differ without nearly everything being
// compiled again: some are in structures that every file includes.
const maxNear = 6

func sanitized(c contract.Config) bool { return c.KASAN || c.ProveLocking }

// machineOf is [Machine], with what cannot be told by its axis of a matrix file.
func machineOf(c matrix.Cell) (machine.Machine, error) {
	m, err := Machine(c)
	var usage *fault.Usage
	if errors.As(err, &usage) {
		axis := map[string]string{"--hugepages": "memory", "hugepages_1g": "memory", "--device": "device"}[usage.Key]
		if axis == "" {
			axis = usage.Key
		}
		return m, &fault.Usage{Key: axis, Value: usage.Value, Allowed: usage.Allowed, Err: usage.Err}
	}
	return m, err
}

// Lists are the words that an editor offers in a matrix file.
func Lists() matrix.Lists {
	devices := append(names(machine.Devices()), matrix.EveryDevice)
	return matrix.Lists{
		matrix.Source:        {Words: []string{"debian:7.3", "debian:7.2", "debian:6.12"}, Open: "^(tree|tarball):."},
		matrix.Configuration: {Words: kernels.Configurations(), Open: `,|/|\.config$|^defconfig$`},
		matrix.Compiler:      {Words: []string{"gcc", "clang"}, Open: clang.String()},
		matrix.Topology:      {Words: names(machine.Topologies())},
		matrix.Device:        {Words: devices, Open: "^[^,]+(,[^,]+)+$"},
	}
}

func names[T ~string](list []T) []string {
	all := make([]string, len(list))
	for i, one := range list {
		all[i] = string(one)
	}
	return all
}
