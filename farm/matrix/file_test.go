// SPDX-License-Identifier: Apache-2.0

package matrix

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"noiommu-farm/internal/fault"
	"noiommu-farm/suites/contract"
)

// vocabulary is a small one of this test's own.
func vocabulary() Vocabulary {
	known := map[Axis][]string{
		Source: {"s1", "s2", "s3"}, Configuration: {"all", "off", "dbg"}, Compiler: {"gcc", "clang"},
		Topology: {"none", "intel", "amd"}, Device: {"edu,igb", "edu", "every"},
	}
	return Vocabulary{
		Check: func(axis Axis, value string) error {
			for _, k := range known[axis] {
				if k == value {
					return nil
				}
			}
			return &fault.Usage{Value: value, Allowed: known[axis]}
		},
		Facts: func(c Cell) (contract.Facts, error) {
			if c.Source == "s3" && c.Config == "off" {
				return contract.Facts{}, &fault.Usage{Key: "configuration", Value: c.Config, Err: errors.New("s3 has no off")}
			}
			f := contract.Facts{
				Config:  contract.Config{Group: true, Cdev: true, IOMMUFD: true, Container: true, Noiommu: c.Config != "off"},
				Devices: []contract.Device{{Model: "edu", Behind: c.Topology != "none"}}, Hugepages: 64, Host: true,
				UnsafeMode: c.Config != "off", Privileges: c.Privileges,
			}
			if c.Topology != "none" {
				f.IOMMU.Kind = contract.IOMMUKind(c.Topology)
			}
			return f, nil
		},
	}
}

func planOf(t *testing.T, text string) *Planned {
	t.Helper()
	f, err := ParseFile("m.yaml", []byte(text), vocabulary())
	if err != nil {
		t.Fatal(err)
	}
	p, err := f.Plan(vocabulary())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

const small = `axes:
  source: [s1, s2]
  configuration: [all, off]
  topology: [none, intel]
`

// What a user writes wrongly is refused with its place, and with what could
// stand there.
func TestFileRefused(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"nothing", "", "m.yaml:1:1: "},
		{"no mapping", "[a, b]\n", `m.yaml:1:1: "sequence": must be a mapping (allowed: axes, budget, constraints, exclude, include, sample, strategy, weights)`},
		{"two documents", small + "---\na: b\n", "must be one YAML document"},
		{"broken", "axes: {source: [s1\n", "m.yaml:1:"},
		{"a tab", "axes:\n\tsource: s1\n", "m.yaml:2:1: "},
		{"unknown key", small + "axis: {}\n", `m.yaml:5:1: "axis": no such key (allowed: axes, budget,`},
		{"unknown axis", "axes:\n  source: s1\n  kernal: s1\n", `m.yaml:3:3: axes: "kernal": no such key (allowed: compiler, configuration, device, memory, privileges, source, suite, topology)`},
		{"unknown value", "axes:\n  source: s1\n  topology: [none, intle]\n", `m.yaml:3:20: axes.topology[1]: "intle" is not valid (allowed: none, intel, amd)`},
		{"no value", "axes:\n  source:\n", `m.yaml:2:11: axes.source: "null": must be a word or a number`},
		{"empty list", "axes:\n  source: []\n", `axes.source: "sequence": must be a list with at least one element`},
		{"mapping as value", "axes:\n  source: {a: b}\n", `axes.source: "mapping": must be a word or a number`},
		{"twice", "axes:\n  source: [s1, s1]\n", `m.yaml:2:16: axes.source[1]: "s1": given twice`},
		{"key twice", "axes:\n  source: s1\n  source: s2\n", "m.yaml:3:3"},
		{"missing axis", "axes:\n  source: s1\n", `axes: "configuration": is missing`},
		{"missing axes", "strategy: product\n", `m.yaml:1:1: "axes": is missing`},
		{"anchor", "axes: &a\n  source: s1\n", "must be a mapping"},
		{"alias", small + "include: *a\n", "m.yaml:5:"},
		{"memory", small + "  memory: 0x200\n", `m.yaml:5:11: axes.memory: "0x200": is no number of MiB`},
		{"privileges", small + "  privileges: rot\n", `"rot" is not valid (allowed: root, no-rawio,`},
		{"suite", small + "  suite: [core, PA-99]\n", `m.yaml:5:17: axes.suite[1]: "PA-99" is not valid (allowed: default, core, nightly,`},
		{"suite with default", small + "  suite: core,default\n", "default stands alone"},
		{"strategy", small + "strategy: pair\n", `m.yaml:5:11: strategy: "pair" is not valid (allowed: product, pairwise, sample)`},
		{"sample without cells", small + "strategy: sample\n", "m.yaml:5:11: strategy"},
		{"sample without strategy", small + "sample: {cells: 3}\n", `"sample": is only for strategy: sample`},
		{"sample of none", small + "strategy: sample\nsample: {cells: 0}\n", "m.yaml:6:17: sample.cells: \"0\": is no whole number from 1"},
		{"budget", small + "budget: 8 hours\n", `m.yaml:5:9: budget: "8 hours": is no duration, as in 8h or 90m`},
		{"budget below 0", small + "budget: -8h\n", "is no duration"},
		{"rule without reason", small + "exclude:\n  - topology: none\n", `m.yaml:6:`},
		{"rule without axis", small + "exclude:\n  - reason: x\n", "names no axis"},
		{"rule of no point", small + "exclude:\n  - {topology: amd, reason: x}\n", `m.yaml:6:16: exclude[0].topology: "amd": no point has it (allowed: none, intel)`},
		{"reason where none belongs", small + "weights:\n  - {topology: none, weight: 2, reason: x}\n", `m.yaml:6:33: weights[0]: "reason": no such key`},
		{"weight", small + "weights:\n  - {topology: none, weight: 0}\n", `m.yaml:6:30: weights[0].weight: "0": is no number above 0`},
		{"weight is no number", small + "weights:\n  - {topology: none, weight: .nan}\n", "must be a word or a number"},
		{"fact", small + "constraints:\n  - {topology: none, requires: no-iomu, reason: x}\n", `m.yaml:6:32: constraints[0].requires: "no-iomu" is not valid (allowed: `},
		{"include of two", small + "include:\n  - {topology: [none, amd]}\n", `m.yaml:6:23: include[0].topology[1]: "amd": a point that is included has one value`},
		{"large", strings.Repeat("#", maxFile+1), "larger than"},
		{"deep", strings.Repeat("[", 10000), "m.yaml:1:"},
	} {
		f, err := ParseFile("m.yaml", []byte(c.text), vocabulary())
		var usage *fault.Usage
		if !errors.As(err, &usage) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, %+v; want %s", c.name, err, f, c.want)
		}
	}
}

// What is well formed and yet cannot be is refused with the place of the value
// that makes it impossible.
func TestImpossible(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"a combination", "axes:\n  source: [s1, s3]\n  configuration: [all, off]\n  topology: none\n",
			`m.yaml:3:24: axes.configuration[1]: "off": impossible in s3 off none, exclude it: configuration: "off": s3 has no off`},
		{"one that is included", "axes:\n  source: s1\n  configuration: all\n  topology: none\ninclude:\n  - {source: s3, configuration: off}\n",
			`m.yaml:6:33: include[0].configuration: "off": impossible in s3 off none`},
		{"nothing to test", "axes:\n  source: s1\n  configuration: all\n  topology: [none, intel]\n  suite: vfio\n",
			`m.yaml:5:10: axes.suite: "vfio": impossible in s1 all none vfio, exclude it: suite: "vfio": nothing of it applies there`},
		{"nothing left", small + "exclude:\n  - {source: [s1, s2], reason: x}\n", "no cell is left"},
		{"included twice", small + "include:\n  - {source: s1, configuration: all, topology: none}\n", `m.yaml:6:`},
		{"included and excluded", small + "include:\n  - {topology: amd}\nexclude:\n  - {topology: amd, reason: x}\n", "is left out by another rule"},
	} {
		f, err := ParseFile("m.yaml", []byte(c.text), vocabulary())
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		_, err = f.Plan(vocabulary())
		var usage *fault.Usage
		if !errors.As(err, &usage) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", c.name, err, c.want)
		}
	}
	big := "axes:\n  source: s1\n  configuration: all\n  topology: none\n  memory: ["
	for i := range 1200 {
		big += fmt.Sprintf("%d,", 512+i)
	}
	big = strings.TrimSuffix(big, ",") + "]\n  suite: ["
	for _, s := range contract.Statements {
		big += s.ID + ","
	}
	big = strings.TrimSuffix(big, ",") + "]\n  privileges: [root, no-rawio, user-namespace, unprivileged, low-memlock]\n  compiler: [gcc, clang]\n"
	f, err := ParseFile("m.yaml", []byte(big), Vocabulary{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Plan(Vocabulary{}); err == nil || !strings.Contains(err.Error(), "more than 1000000 points") {
		t.Errorf("a product of millions: %v", err)
	}
}

func TestPlan(t *testing.T) {
	names := func(p *Planned) string {
		var all []string
		for _, c := range p.Cells {
			all = append(all, c.Name)
		}
		return strings.Join(all, " ")
	}
	for _, c := range []struct{ name, text, want string }{
		{"the product", small, "s1_all_none s1_all_intel s1_off_none s1_off_intel s2_all_none s2_all_intel s2_off_none s2_off_intel"},
		{"what is not standard is in the name", "axes:\n  source: s1\n  configuration: all\n  topology: none\n  compiler: clang\n  device: every\n  memory: 1024\n  privileges: no-rawio\n  suite: PE-02\n",
			"s1_all_clang_none_every_1024MiB_no-rawio_PE-02"},
		{"exclude", small + "exclude:\n  - {source: s2, topology: [none], reason: x}\n  - {configuration: off, reason: y}\n", "s1_all_none s1_all_intel s2_all_intel"},
		{"constraints", small + "constraints:\n  - {configuration: off, requires: [no-iommu, no-noiommu], reason: x}\n", "s1_all_none s1_all_intel s1_off_none s2_all_none s2_all_intel s2_off_none"},
		{"include", small + "exclude:\n  - {configuration: off, reason: x}\ninclude:\n  - {topology: amd, source: s2}\n  - {memory: 600}\n", "s1_all_none s1_all_intel s2_all_none s2_all_intel s2_all_amd s1_all_none_600MiB"},
		{"sample of more than there are", small + "strategy: sample\nsample: {cells: 100, seed: 7}\n", "s1_all_none s1_all_intel s1_off_none s1_off_intel s2_all_none s2_all_intel s2_off_none s2_off_intel"},
	} {
		if got := names(planOf(t, c.text)); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
	p := planOf(t, small+"exclude:\n  - {source: s2, topology: none, reason: x}\nconstraints:\n  - {requires: iommu, source: s1, reason: y}\nweights:\n  - {source: s1, weight: 2}\n  - {configuration: off, weight: 1.5}\nbudget: 90m\n")
	if p.Budget != 90*time.Minute || !reflect.DeepEqual(p.Weights, []float64{2, 3, 1, 1.5}) ||
		!reflect.DeepEqual(p.Excluded, []Excluded{{"x", 2}, {"y", 2}}) || p.Possible != 4 {
		t.Errorf("%+v", p)
	}
	if len(p.Unproven) == 0 || len(p.Unproven) == len(contract.Statements) {
		t.Errorf("%d statements are proven nowhere", len(p.Unproven))
	}
	for _, s := range p.Unproven {
		if s.ID == "IP-01" {
			t.Error("IP-01 is proven behind an IOMMU, and is said not to be")
		}
	}
}

// anyFile draws a matrix file that can be planned.
func anyFile(t *rapid.T) string {
	var b strings.Builder
	b.WriteString("axes:\n")
	for _, axis := range []struct {
		name   string
		values []string
	}{
		{"source", []string{"s1", "s2"}}, {"configuration", []string{"all", "off", "dbg"}}, {"compiler", []string{"gcc", "clang"}},
		{"topology", []string{"none", "intel", "amd"}}, {"device", []string{"every", "edu"}}, {"memory", []string{"512", "1024", "2048"}},
		{"suite", []string{"default", "core"}},
	} {
		values := rapid.Permutation(axis.values).Draw(t, axis.name)
		fmt.Fprintf(&b, "  %s: [%s]\n", axis.name, strings.Join(values[:rapid.IntRange(1, len(values)).Draw(t, "values of "+axis.name)], ", "))
	}
	switch rapid.SampledFrom(Strategies()).Draw(t, "strategy") {
	case Pairwise:
		b.WriteString("strategy: pairwise\n")
	case Sample:
		fmt.Fprintf(&b, "strategy: sample\nsample: {cells: %d, seed: %d}\n", rapid.IntRange(1, 50).Draw(t, "cells"), rapid.Uint32().Draw(t, "seed"))
	}
	return b.String()
}

// The same file gives the same plan; pairwise leaves out no pair and no
// strategy makes a cell that is not a point of the product, or one twice.
func TestPlanProperties(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		text := anyFile(r)
		var plans []*Planned
		for range 2 {
			f, err := ParseFile("m.yaml", []byte(text), vocabulary())
			if err != nil {
				r.Fatalf("%s: %v", text, err)
			}
			p, err := f.Plan(vocabulary())
			if err != nil {
				r.Fatalf("%s: %v", text, err)
			}
			plans = append(plans, p)
		}
		if !reflect.DeepEqual(plans[0], plans[1]) {
			r.Fatalf("%s: two plans", text)
		}
		p := plans[0]
		names, keys := make(map[string]bool), make(map[string]bool)
		for _, c := range p.Cells {
			if names[c.Name] || keys[c.Key()] {
				r.Fatalf("%s: %s twice", text, c.Name)
			}
			names[c.Name], keys[c.Key()] = true, true
		}
		switch {
		case p.Strategy != Sample && len(p.Missed) > 0:
			r.Fatalf("%s: misses %v", text, p.Missed)
		case p.Strategy == FullProduct && len(p.Cells) != p.Possible:
			r.Fatalf("%s: %d cells of %d", text, len(p.Cells), p.Possible)
		case p.Strategy == Sample && len(p.Cells) > 50:
			r.Fatalf("%s: %d cells", text, len(p.Cells))
		}
		seen := make(map[Pair]bool)
		for _, q := range p.Points {
			for a := range q {
				for b := a + 1; b < len(q); b++ {
					seen[Pair{Axis(a), Axis(b), q[a], q[b]}] = true
				}
			}
		}
		if len(seen)+len(p.Missed) != p.Pairs {
			r.Fatalf("%s: %d pairs seen, %d missed, %d in all", text, len(seen), len(p.Missed), p.Pairs)
		}
	})
}

// Pairwise is worth its name: far fewer cells than the product.
func TestPairwiseIsSmall(t *testing.T) {
	p := planOf(t, "axes:\n  source: [s1, s2]\n  configuration: [all, off, dbg]\n  topology: [none, intel, amd]\n  compiler: [gcc, clang]\n  device: [edu, every]\n  memory: [512, 600, 700]\n  suite: [default, core]\nstrategy: pairwise\n")
	if p.Possible != 2*3*3*2*2*3*2 || len(p.Cells) > 14 || len(p.Missed) > 0 {
		t.Errorf("%d cells of %d, missed %v", len(p.Cells), p.Possible, p.Missed)
	}
}

// BenchmarkPlan plans 100,000 cells.
func BenchmarkPlan(b *testing.B) {
	for _, strategy := range []string{"product", "pairwise", "sample\nsample: {cells: 1000, seed: 1}"} {
		name, _, _ := strings.Cut(strategy, "\n")
		b.Run(name, func(b *testing.B) {
			text := "axes:\n  source: [s1, s2]\n  configuration: [all, dbg]\n  topology: [none, intel, amd]\n  device: [edu, every]\n  compiler: [gcc, clang]\n  suite: [default, core]\n  memory: ["
			for i := range 1042 {
				text += fmt.Sprintf("%d,", 512+i)
			}
			text = strings.TrimSuffix(text, ",") + "]\nstrategy: " + strategy + "\n"
			for b.Loop() {
				f, err := ParseFile("m.yaml", []byte(text), vocabulary())
				if err != nil {
					b.Fatal(err)
				}
				p, err := f.Plan(vocabulary())
				if err != nil {
					b.Fatal(err)
				}
				if p.Possible < 100_000 {
					b.Fatalf("%d cells", p.Possible)
				}
			}
		})
	}
}
