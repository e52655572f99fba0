// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"regexp"
	"slices"
	"strings"
	"testing"

	"noiommu-farm/suites/contract"
)

// TestEveryStatementIsTested: one test for each statement and one statement
// for each test.
func TestEveryStatementIsTested(t *testing.T) {
	var statements, tested []string
	for _, s := range contract.Statements {
		statements = append(statements, s.ID)
	}
	for _, test := range tests {
		tested = append(tested, test.ID)
		if test.Run == nil {
			t.Errorf("%s has no test", test.ID)
		}
	}
	for _, id := range statements {
		if n := len(slices.DeleteFunc(slices.Clone(tested), func(other string) bool { return other != id })); n != 1 {
			t.Errorf("statement %s has %d tests", id, n)
		}
	}
	for _, id := range tested {
		if !slices.Contains(statements, id) {
			t.Errorf("test %s has no statement", id)
		}
	}
}

func TestChoose(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string // a pattern for the whole output
		exit int
	}{
		{[]string{"-list", "-test", "PA-02"}, `^get_pa\.PA-02 +bound +An IOVA [^\n]+\n$`, exitPass},
		{[]string{"-list", "-test", "get_pa.PA-02,TL-05,ND-04"}, `^nodes\.ND-04 [^\n]+\nget_pa\.PA-02 [^\n]+\ntaint\.TL-05 +end [^\n]+\n$`, exitPass},
		{[]string{"-list", "-suite", "iommu_present"}, `^(iommu_present\.IP-\d\d [^\n]+\n)+$`, exitPass},
		{[]string{"-list", "-phase", "end"}, `^(\w+\.\w\w-\d\d +end [^\n]+\n)+$`, exitPass},
		{[]string{"-list", "-phase", "unbound"}, `^(\w+\.\w\w-\d\d +unbound [^\n]+\n)+$`, exitPass},
		{[]string{"-list"}, `^(\w+\.\w\w-\d\d +bound [^\n]+\n)+$`, exitPass},
		{[]string{"-list", "-suite", "get_pa", "-phase", "end"}, `^$`, exitUsage},
		{[]string{"-suite", "bogus"}, `^$`, exitUsage},
		{[]string{"-test", "PA-2"}, `^$`, exitUsage},
		{[]string{"-phase", "middle"}, `^$`, exitUsage},
		{[]string{"-bogus"}, `^$`, exitUsage},
		{[]string{"-test", "PA-02", "../etc"}, `^$`, exitUsage},
	} {
		var stdout, stderr bytes.Buffer
		exit := run(c.args, &stdout, &stderr)
		if exit != c.exit {
			t.Errorf("%v: exit %d, want %d: %s", c.args, exit, c.exit, &stderr)
		}
		if !regexp.MustCompile(c.want).MatchString(stdout.String()) {
			t.Errorf("%v: stdout %q does not match %s", c.args, &stdout, c.want)
		}
		if (exit == exitUsage) != (stderr.Len() > 0) {
			t.Errorf("%v: exit %d with stderr %q", c.args, exit, &stderr)
		}
	}
}

func TestListNamesEveryPhase(t *testing.T) {
	listed := 0
	for _, phase := range []string{"unbound", "bound", "end"} {
		var stdout, stderr bytes.Buffer
		if exit := run([]string{"-list", "-phase", phase}, &stdout, &stderr); exit != exitPass {
			t.Errorf("-phase %s: exit %d: %s", phase, exit, &stderr)
		}
		listed += strings.Count(stdout.String(), "\n")
	}
	if listed != len(contract.Statements) {
		t.Errorf("the phases list %d of %d statements", listed, len(contract.Statements))
	}
}
