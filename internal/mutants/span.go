// SPDX-License-Identifier: Apache-2.0

package main

import (
	"slices"
	"strconv"
	"strings"

	"noiommu-farm/suites/contract"
)

// A span is some lines of a file of the kernel.
type span struct {
	file        string
	first, last int
}

// newSpan is n lines from the first on, in the digits of a patch; "" is one.
func newSpan(file, first, n string) span {
	from, _ := strconv.Atoi(first)
	count := 1
	if n != "" {
		count, _ = strconv.Atoi(n)
	}
	return span{file, from, from + count - 1}
}

// sourceSpan is a source of a statement: FILE, FILE:LINE or FILE:FIRST-LAST.
func sourceSpan(source string) span {
	file, lines, ok := strings.Cut(source, ":")
	if !ok {
		return span{file: file}
	}
	first, last, ok := strings.Cut(lines, "-")
	if !ok {
		last = first
	}
	from, _ := strconv.Atoi(first)
	to, _ := strconv.Atoi(last)
	return span{file, from, to}
}

// How near a statement is to a mutant.
const (
	itsLines = iota
	itsFile
	elsewhere
)

// distance is how near the source of a statement is to what the mutant
// changes.
func (m mutant) distance(id string) int {
	s, _ := contract.ByID(id)
	least := elsewhere
	for _, source := range s.Source {
		at := sourceSpan(source)
		if slices.Contains(m.files, at.file) {
			least = min(least, itsFile)
		}
		if slices.ContainsFunc(m.hunks, func(h span) bool { return h.file == at.file && h.first <= at.last && at.first <= h.last }) {
			return itsLines
		}
	}
	return least
}

// nearest are ids of statements, and names of what is none, those that are
// about what the mutant changes first.
func (m mutant) nearest(ids []string) []string {
	ids = slices.Clone(ids)
	slices.SortStableFunc(ids, func(a, b string) int { return m.distance(a) - m.distance(b) })
	return ids
}
