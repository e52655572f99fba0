// SPDX-License-Identifier: Apache-2.0

package meaning

import (
	"errors"
	"testing"

	"noiommu-farm/farm/matrix"
	"noiommu-farm/farm/matrix/schedule"
	"noiommu-farm/internal/fault"
)

// The words of a matrix mean what they mean to a run.
func TestWords(t *testing.T) {
	w := NewWords()
	for axis, words := range Lists() {
		for _, word := range words.Words {
			if err := w.check(axis, word); err != nil {
				t.Errorf("%s %s: %v", axis, word, err)
			}
		}
	}
	noiommu := matrix.Kernel{Source: "debian:7.3", Config: "noiommu"}
	at := func(source, config, compiler string) matrix.Kernel {
		return matrix.Kernel{Source: source, Config: config, Compiler: compiler}
	}
	if d := w.Distance(noiommu, at("debian:7.3", "k-cdev", "")); d < 1 || d >= schedule.Far {
		t.Errorf("k-cdev from noiommu: %d", d)
	}
	for _, k := range []matrix.Kernel{at("debian:7.2", "noiommu", ""), at("debian:7.3", "k-dbg", ""), at("debian:7.3", "k-more", "")} {
		if d := w.Distance(noiommu, k); d != schedule.Far {
			t.Errorf("%v from noiommu: %d", k, d)
		}
	}
	if d := w.Distance(noiommu, at("debian:7.3", "noiommu", "clang")); d >= 0 {
		t.Errorf("with another compiler: %d", d)
	}
	_, err := w.facts(matrix.Cell{Source: "debian:7.2", Config: "k-cdev", Topology: "none", Guest: matrix.Guest{Devices: []string{"edu"}, CPUs: 1, MemoryMiB: 512}})
	var usage *fault.Usage
	if !errors.As(err, &usage) || usage.Key != "configuration" {
		t.Errorf("k-cdev of 7.2: %v", err)
	}
}
