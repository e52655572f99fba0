// SPDX-License-Identifier: Apache-2.0

package matrix

import (
	"errors"
	"slices"
	"strconv"
	"strings"

	"noiommu-farm/internal/fault"
	"noiommu-farm/suites/contract"
)

// Axis is one dimension of a matrix file.
type Axis int

// The axes, outermost first: cells that share a kernel stand together.
const (
	Source Axis = iota
	Configuration
	Compiler
	Topology
	Device
	Memory
	Privileges
	Suite
	axes // how many there are
)

var axisNames = [axes]string{"source", "configuration", "compiler", "topology", "device", "memory", "privileges", "suite"}

func (a Axis) String() string { return axisNames[a] }

// AllAxes are the axes in order.
func AllAxes() []Axis {
	all := make([]Axis, axes)
	for a := range all {
		all[a] = Axis(a)
	}
	return all
}

// standard are the values of axes that a file leaves out; "" must be given.
var standard = [axes]string{Compiler: "gcc", Device: "edu,igb", Memory: "512", Privileges: string(contract.Root), Suite: "default"}

// EveryDevice, as a value of the axis device, is what the contract's machines
// have: every model, and two of the one that most tests drive.
const EveryDevice = "every"

// hugepages of 2 MiB that a matrix's guests reserve.
const hugepages = 64

// A Point has one value on each axis, as the file writes it.
type Point [axes]string

// String is the values that are not the standard ones, with spaces between.
func (p Point) String() string { return strings.Join(p.words(), " ") }

func (p Point) words() []string {
	var words []string
	for a, v := range p {
		switch {
		case v == standard[a]:
		case Axis(a) == Memory:
			words = append(words, v+"MiB")
		default:
			words = append(words, v)
		}
	}
	return words
}

// Cell is what a point with checked values stands for.
func (p Point) Cell() Cell {
	memory, _ := strconv.Atoi(p[Memory])
	c := Cell{
		Name:       cellName(p.words()...),
		Source:     p[Source],
		Config:     p[Configuration],
		Topology:   p[Topology],
		Privileges: contract.Privileges(p[Privileges]),
		Guest:      Guest{Devices: strings.Split(p[Device], ","), CPUs: 1, MemoryMiB: memory, Hugepages: hugepages},
	}
	if p[Compiler] != standard[Compiler] {
		c.Compiler = p[Compiler]
	}
	if p[Device] == EveryDevice {
		c.Devices = slices.Clone(every.Devices)
	}
	c.Selection, _ = selection(p[Suite])
	return c
}

// Words of the axis suite that are no suite.
const (
	suiteDefault = "default"
	suiteCore    = "core"
	suiteNightly = "nightly"
)

// selection reads a value of the axis suite: words with commas between, which
// add up. A word is default, core, nightly, a suite, SUITE/PROGRAM of the
// kernel's own selftests, or the id of a statement.
func selection(value string) (Selection, error) {
	var s Selection
	words := strings.Split(value, ",")
	for _, word := range words {
		_, statement := contract.ByID(word)
		switch {
		case word == suiteDefault, word == suiteNightly:
			if len(words) > 1 {
				return s, &fault.Usage{Key: "suite", Value: value, Err: errors.New(word + " stands alone")}
			}
			s.Nightly = word == suiteNightly
		case word == suiteCore:
			s.Core = true
		case statement:
			s.Tests = append(s.Tests, word)
		default:
			s.Suites = append(s.Suites, word)
		}
	}
	if err := s.check(); err != nil {
		return s, &fault.Usage{Key: "suite", Value: value, Allowed: SuiteWords()}
	}
	return s, nil
}

// SuiteWords are the words of the axis suite; PROGRAM stands for the name of a
// selftest.
func SuiteWords() []string {
	words := slices.Concat([]string{suiteDefault, suiteCore, suiteNightly}, ContractSuites(), KselftestSuites())
	for _, s := range KselftestSuites() {
		words = append(words, s+"/PROGRAM")
	}
	return append(words, StatementIDs()...)
}

// check refuses what is no value of an axis.
func check(axis Axis, value string, v Vocabulary) error {
	switch axis {
	case Memory:
		n, err := strconv.Atoi(value)
		if err != nil || n < 1 || strconv.Itoa(n) != value {
			return &fault.Usage{Value: value, Err: errors.New("is no number of MiB")}
		}
	case Privileges:
		if !slices.Contains(contract.AllPrivileges, contract.Privileges(value)) {
			return &fault.Usage{Value: value, Allowed: allPrivileges()}
		}
	case Suite:
		_, err := selection(value)
		return err
	default:
		if v.Check != nil {
			return v.Check(axis, value)
		}
	}
	return nil
}
