// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"fmt"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"noiommu-farm/farm/matrix"
)

// TestEveryStatement counts the contract: a statement that is nowhere, twice,
// or tested on no kernel and machine, is a hole in it.
func TestEveryStatement(t *testing.T) {
	all, err := covered("7.3.4")
	if err != nil {
		t.Fatal(err)
	}
	rows := make(map[string]matrix.Covered)
	for _, r := range all {
		if _, twice := rows[r.ID]; twice {
			t.Errorf("%s is listed twice", r.ID)
		}
		rows[r.ID] = r
	}
	statements, withTest := 0, 0
	for _, f := range matrix.Families {
		for i := 1; i <= f.Size; i++ {
			statements++
			id := fmt.Sprintf("%s-%02d", f.Prefix, i)
			r, ok := rows[id]
			delete(rows, id)
			if r.Test != "" {
				withTest++
			}
			switch {
			case !ok:
				t.Errorf("%s is not listed", id)
			case r.Own():
				t.Errorf("%s is not one of the contract's", id)
			case (r.Test == "") == (r.Reason == ""):
				t.Errorf("%s has test %q and reason %q, want one of them", id, r.Test, r.Reason)
			case r.Duties != nil && !passes(r):
				t.Errorf("%s must pass on no profile and machine: nothing would ever test it", id)
			}
		}
	}
	for id, r := range rows {
		if !r.Own() || r.Test == "" || r.Finding == "" && !passes(r) {
			t.Errorf("%s is no statement of the contract, and tests nothing of the suites' own", id)
		}
	}
	if statements != 178 || withTest < 165 {
		t.Errorf("%d statements, %d with a test, want 178 and at least 165", statements, withTest)
	}
}

func passes(r matrix.Covered) bool {
	for _, machines := range r.Duties {
		for _, duty := range machines {
			if duty == matrix.MustPass {
				return true
			}
		}
	}
	return false
}

// TestCoverageDocument holds docs/coverage.md to what farm suites says.
func TestCoverageDocument(t *testing.T) {
	all, err := covered("7.3.4")
	if err != nil {
		t.Fatal(err)
	}
	var want bytes.Buffer
	if err := writeMarkdown(&want, all); err != nil {
		t.Fatal(err)
	}
	have, err := os.ReadFile("../../docs/coverage.md")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(have), want.String()); diff != "" {
		t.Errorf("docs/coverage.md is not what farm suites says; run make docs (-have +want):\n%s", diff)
	}
}
