// SPDX-License-Identifier: Apache-2.0

package matrix

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/goccy/go-yaml/ast"

	"noiommu-farm/internal/fault"
	"noiommu-farm/suites/contract"
)

// maxPoints bounds the product of the axes.
const maxPoints = 1_000_000

// File is a matrix that a user wrote, checked. See [ParseFile].
type File struct {
	syntax
	axesAt      place
	values      [axes][]word
	strategy    Strategy
	cells       int // of a sample
	seed        uint64
	include     []rule
	exclude     []rule
	constraints []rule
	weights     []rule

	// Budget is the wall clock that a run may take; 0 is no limit.
	Budget time.Duration
}

// Strategy says which points of the product become cells.
type Strategy string

const (
	FullProduct Strategy = "product"  // all
	Pairwise    Strategy = "pairwise" // as few as have every pair of values
	Sample      Strategy = "sample"   // so many, chosen by a seed
)

// Strategies are all strategies.
func Strategies() []Strategy { return []Strategy{FullProduct, Pairwise, Sample} }

// A rule picks points: those whose value on each axis that it names is one of
// those that it lists.
type rule struct {
	at       place
	values   [axes][]word
	requires []contract.Requirement
	reason   string
	weight   float64
}

func (r rule) picks(p Point) bool {
	for a, list := range r.values {
		if len(list) > 0 && !has(list, p[a]) {
			return false
		}
	}
	return true
}

func has(list []word, value string) bool {
	return slices.ContainsFunc(list, func(w word) bool { return w.text == value })
}

// A Vocabulary says what the words of a matrix file mean; the rooms that know
// are behind it.
type Vocabulary struct {
	// Check refuses a value of an axis, with a *fault.Usage that lists the
	// allowed ones. It is not asked about memory, privileges and suite. Nil
	// allows everything.
	Check func(axis Axis, value string) error
	// Facts foretells a cell's facts. A combination that is impossible is a
	// *fault.Usage whose key is an axis. Nil is a vocabulary without facts.
	Facts func(Cell) (contract.Facts, error)
}

// ParseFile reads a matrix file, YAML with these keys:
//
//	axes         axis → word or list of words; source, configuration and
//	             topology must be there, compiler, device, memory (MiB),
//	             privileges and suite may be
//	strategy     product (the default), pairwise or sample
//	sample       cells: how many; seed: the same seed gives the same cells
//	include      points beside those of the strategy; what one leaves out has
//	             the first value of its axis
//	exclude      points to leave out, each rule with a reason
//	constraints  points to leave out unless the facts of their cell meet what
//	             the rule requires, each with a reason
//	weights      points that matter more or less than 1 when time is short
//	budget       wall clock for a run, as in 8h
//
// An unknown key, a wrong value and a missing one are a *fault.Usage with the
// file's name, line and column.
func ParseFile(name string, text []byte, v Vocabulary) (*File, error) {
	f := &File{syntax: syntax{name}, strategy: FullProduct}
	tree, err := f.parse(text)
	if err != nil {
		return nil, err
	}
	var strategyAt, sampleAt place
	rules := func(to *[]rule, more func(*rule) fields) func(ast.Node, string) error {
		return func(n ast.Node, path string) error {
			return f.sequence(n, path, func(n ast.Node, path string) error {
				r, err := f.rule(n, path, more, v)
				*to = append(*to, r)
				return err
			})
		}
	}
	err = f.mapping(tree, "", fields{
		"axes": func(n ast.Node, path string) error {
			f.axesAt = f.at(n, path)
			return f.mapping(n, path, f.axisFields(&f.values, v))
		},
		"strategy": func(n ast.Node, path string) error {
			w, err := f.word(n, path)
			if f.strategy, strategyAt = Strategy(w.text), w.at; err == nil && !slices.Contains(Strategies(), f.strategy) {
				return f.refuse(w.at, w.text, nil, names(Strategies())...)
			}
			return err
		},
		"sample": func(n ast.Node, path string) error {
			sampleAt = f.at(n, path)
			return f.mapping(n, path, fields{
				"cells": func(n ast.Node, path string) error {
					count, err := f.number(n, path, 1, maxPoints)
					f.cells = int(count)
					return err
				},
				"seed": func(n ast.Node, path string) (err error) {
					f.seed, err = f.number(n, path, 0, 1<<63)
					return err
				},
			})
		},
		"include":     rules(&f.include, nil),
		"exclude":     rules(&f.exclude, func(r *rule) fields { return fields{"reason": f.reason(r)} }),
		"constraints": rules(&f.constraints, func(r *rule) fields { return fields{"reason": f.reason(r), "requires": f.requires(r)} }),
		"weights":     rules(&f.weights, func(r *rule) fields { return fields{"weight": f.weight(r)} }),
		"budget": func(n ast.Node, path string) error {
			w, err := f.word(n, path)
			if err != nil {
				return err
			}
			if f.Budget, err = time.ParseDuration(w.text); err != nil || f.Budget <= 0 {
				return f.refuse(w.at, w.text, errors.New("is no duration, as in 8h or 90m"))
			}
			return nil
		},
	})
	if err != nil {
		return nil, err
	}
	for a, list := range f.values {
		switch {
		case len(list) > 0:
		case standard[a] != "":
			f.values[a] = []word{{standard[a], f.axesAt}}
		case f.axesAt.line == 0:
			return nil, f.refuse(place{line: 1, column: 1}, "axes", errors.New("is missing"))
		default:
			return nil, f.refuse(f.axesAt, Axis(a).String(), errors.New("is missing: this axis has no standard value"))
		}
	}
	switch {
	case f.strategy == Sample && f.cells == 0:
		return nil, f.refuse(strategyAt, string(Sample), errors.New("needs sample: {cells: N, seed: N}"))
	case f.strategy != Sample && sampleAt.line != 0:
		return nil, f.refuse(sampleAt, "sample", errors.New("is only for strategy: sample"))
	}
	for i, r := range f.include {
		for a, list := range r.values {
			if len(list) == 0 {
				f.include[i].values[a] = f.values[a][:1]
			}
		}
	}
	return f, f.checkRules()
}

func names[T ~string](list []T) []string {
	all := make([]string, len(list))
	for i, one := range list {
		all[i] = string(one)
	}
	return all
}

// axisFields read the values of axes.
func (f *File) axisFields(to *[axes][]word, v Vocabulary) fields {
	all := make(fields)
	for _, axis := range AllAxes() {
		all[axis.String()] = func(n ast.Node, path string) error {
			list, err := f.words(n, path)
			if err != nil {
				return err
			}
			for i, w := range list {
				if has(list[:i], w.text) {
					return f.refuse(w.at, w.text, errors.New("given twice"))
				}
				if err := check(axis, w.text, v); err != nil {
					return f.because(w, err)
				}
			}
			to[axis] = list
			return nil
		}
	}
	return all
}

// because is an error about a word, with the word's place.
func (f *File) because(w word, err error) error {
	var usage *fault.Usage
	if errors.As(err, &usage) {
		return f.refuse(w.at, w.text, usage.Err, usage.Allowed...)
	}
	return f.refuse(w.at, w.text, err)
}

// rule reads a rule: axes, and the keys of its section.
func (f *File) rule(n ast.Node, path string, more func(*rule) fields, v Vocabulary) (rule, error) {
	r := rule{at: f.at(n, path)}
	all := f.axisFields(&r.values, v)
	var own fields
	if more != nil {
		own = more(&r)
	}
	for key, read := range own {
		all[key] = read
	}
	if err := f.mapping(n, path, all); err != nil {
		return r, err
	}
	list, _ := entries(n)
	for key := range own {
		if !slices.ContainsFunc(list, func(e *ast.MappingValueNode) bool { return text(e.Key) == key }) {
			return r, f.refuse(r.at, key, errors.New("is missing"))
		}
	}
	if more == nil {
		for _, values := range r.values {
			if len(values) > 1 {
				return r, f.refuse(values[1].at, values[1].text, errors.New("a point that is included has one value on each axis"))
			}
		}
	}
	if len(list) == len(own) {
		return r, f.refuse(r.at, "", errors.New("names no axis"), axisNames[:]...)
	}
	return r, nil
}

func (f *File) reason(r *rule) func(ast.Node, string) error {
	return func(n ast.Node, path string) error {
		w, err := f.word(n, path)
		r.reason = w.text
		return err
	}
}

func (f *File) requires(r *rule) func(ast.Node, string) error {
	return func(n ast.Node, path string) error {
		list, err := f.words(n, path)
		if err != nil {
			return err
		}
		for _, w := range list {
			if !slices.Contains(contract.Requirements(), contract.Requirement(w.text)) {
				return f.refuse(w.at, w.text, nil, names(contract.Requirements())...)
			}
			r.requires = append(r.requires, contract.Requirement(w.text))
		}
		return nil
	}
}

// weight reads a weight, which is above 0 and at most maxWeight.
func (f *File) weight(r *rule) func(ast.Node, string) error {
	return func(n ast.Node, path string) error {
		w, err := f.word(n, path)
		if err != nil {
			return err
		}
		if r.weight, err = strconv.ParseFloat(w.text, 64); err != nil || !(r.weight > 0 && r.weight <= maxWeight) {
			return f.refuse(w.at, w.text, fmt.Errorf("is no number above 0, at most %d", maxWeight))
		}
		return nil
	}
}

const maxWeight = 1000

func (f *File) number(n ast.Node, path string, least, most uint64) (uint64, error) {
	w, err := f.word(n, path)
	if err != nil {
		return 0, err
	}
	count, err := strconv.ParseUint(w.text, 10, 64)
	if _, whole := n.(*ast.IntegerNode); err != nil || !whole || count < least || count > most {
		return 0, f.refuse(w.at, w.text, fmt.Errorf("is no whole number from %d to %d", least, most))
	}
	return count, nil
}

// checkRules refuses a rule that speaks of values that no point has: a typing
// error would otherwise leave nothing out.
func (f *File) checkRules() error {
	for _, rules := range [][]rule{f.exclude, f.constraints, f.weights} {
		for _, r := range rules {
			for a, list := range r.values {
				for _, w := range list {
					if !has(f.values[a], w.text) && !slices.ContainsFunc(f.include, func(i rule) bool { return has(i.values[a], w.text) }) {
						return f.refuse(w.at, w.text, errors.New("no point has it"), texts(f.values[a])...)
					}
				}
			}
		}
	}
	return nil
}

func texts(list []word) []string {
	all := make([]string, len(list))
	for i, w := range list {
		all[i] = w.text
	}
	return all
}
