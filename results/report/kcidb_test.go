// SPDX-License-Identifier: Apache-2.0

package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"noiommu-farm/internal/fault"
	"noiommu-farm/results"
	"noiommu-farm/results/console"
	"noiommu-farm/results/verdict"
)

func TestKCIDB(t *testing.T) {
	s := loadSchema(t, "testdata/kcidb-v5.0.schema.json")
	r := sample()
	r.Started = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	var b bytes.Buffer
	if err := KCIDB(&b, r, Origin); err != nil {
		t.Fatal(err)
	}
	if bad := s.check(b.Bytes()); len(bad) > 0 {
		t.Errorf("not valid: %s", strings.Join(bad, "\n"))
	}
	golden(t, "kcidb.json", b.String())
}

// Whatever names and texts a guest, a user or a kernel tree brings, the report
// is valid, every id is there once, and every test has its build.
func TestKCIDBIsValid(t *testing.T) {
	s := loadSchema(t, "testdata/kcidb-v5.0.schema.json")
	verdicts := rapid.SampledFrom([]verdict.Verdict{verdict.Pass, verdict.Skip, verdict.XFail, verdict.Fail, verdict.Timeout, verdict.Crash, verdict.Infra})
	rapid.Check(t, func(rt *rapid.T) {
		text := func(what string) string { return string(rapid.SliceOf(rapid.Byte()).Draw(rt, what)) }
		r := Run{Run: results.Run{ID: text("run"), Started: time.Unix(rapid.Int64Range(0, 1<<32).Draw(rt, "started"), 0)}}
		for range rapid.IntRange(0, 3).Draw(rt, "cells") {
			c := &verdict.Cell{Name: text("cell"), Verdict: verdicts.Draw(rt, "verdict"), Reason: text("reason"),
				Kernel:  results.Kernel{Source: text("source"), Series: text("series"), Config: text("config"), Compiler: text("compiler"), Build: text("build")},
				Machine: results.Machine{Topology: text("topology")}}
			if rapid.Bool().Draw(rt, "patched") {
				c.Kernel.Patches = []string{text("patch")}
			}
			for range rapid.IntRange(0, 3).Draw(rt, "programs") {
				p := verdict.Program{Name: text("program"), Verdict: verdicts.Draw(rt, "verdict"), Reason: text("reason")}
				for range rapid.IntRange(0, 3).Draw(rt, "tests") {
					p.Tests = append(p.Tests, verdict.Test{Name: text("test"), Verdict: verdicts.Draw(rt, "verdict"), Reason: text("reason"),
						Diagnostics: []string{text("diagnostic")}, Findings: []console.Finding{{Title: text("title"), Lines: []string{strings.Repeat(text("line"), 1000)}}}})
				}
				c.Programs = append(c.Programs, p)
			}
			r.Cells = append(r.Cells, c)
		}
		var b bytes.Buffer
		if err := KCIDB(&b, r, "x"); err != nil {
			rt.Fatal(err)
		}
		if bad := s.check(b.Bytes()); len(bad) > 0 {
			rt.Fatalf("not valid: %s\n%s", strings.Join(bad, "\n"), b.String())
		}
		var got kcidbReport
		if err := json.Unmarshal(b.Bytes(), &got); err != nil {
			rt.Fatal(err)
		}
		builds, tests := make(map[string]bool), make(map[string]bool)
		for _, one := range got.Builds {
			if builds[one.ID] {
				rt.Fatalf("build %q is there twice", one.ID)
			}
			builds[one.ID] = true
		}
		for _, one := range got.Tests {
			if !builds[one.BuildID] {
				rt.Fatalf("test %q has no build", one.ID)
			}
			tests[one.ID] = true
		}
		names := make(map[string]bool)
		for _, c := range r.Cells {
			names[c.Name] = true
		}
		if len(names) == len(r.Cells) && len(tests) != len(got.Tests) {
			rt.Fatalf("%d tests, and only %d ids", len(got.Tests), len(tests))
		}
	})
}

func TestKCIDBOrigin(t *testing.T) {
	for _, origin := range []string{"", "Farm", "a b", "a:b", "ü"} {
		var usage *fault.Usage
		if err := KCIDB(new(bytes.Buffer), Run{}, origin); !errors.As(err, &usage) {
			t.Errorf("origin %q: %v", origin, err)
		}
	}
}
