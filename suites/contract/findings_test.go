// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

var notInAnchors = regexp.MustCompile(`[^a-z0-9 -]+`)

// anchors are the links to the headings of a Markdown file.
func anchors(text string) []string {
	var all []string
	for line := range strings.Lines(text) {
		if heading, ok := strings.CutPrefix(strings.TrimSpace(line), "#"); ok {
			plain := notInAnchors.ReplaceAllString(strings.ToLower(strings.TrimLeft(heading, "# ")), "")
			all = append(all, strings.ReplaceAll(plain, " ", "-"))
		}
	}
	return all
}

func TestFindings(t *testing.T) {
	for i, f := range Findings {
		if f.ID == "" || slices.ContainsFunc(Findings[:i], func(g Finding) bool { return g.Test == f.Test }) {
			t.Errorf("%+v: no id, or its test is there twice", f)
		}
		statement := slices.ContainsFunc(Statements, func(s Statement) bool { return s.Name() == f.Test })
		if !statement && !strings.Contains(f.Test, ":") {
			t.Errorf("%s: there is no test %q", f.ID, f.Test)
		}
		if len(f.Reason) < 40 || !strings.HasSuffix(f.Reason, ".") {
			t.Errorf("%s: %q is no reason", f.ID, f.Reason)
		}
		if _, err := time.Parse(time.DateOnly, f.Expires); err != nil {
			t.Errorf("%s: %v", f.ID, err)
		}
		if strings.HasPrefix(f.Link, "https://") {
			continue
		}
		path, anchor, _ := strings.Cut(f.Link, "#")
		text, err := os.ReadFile(filepath.Join("../..", path))
		if err != nil || anchor != "" && !slices.Contains(anchors(string(text)), anchor) {
			t.Errorf("%s: nothing is at %s (%v)", f.ID, f.Link, err)
		}
		if got := FindingOf(f.Test); got == nil || got.ID != f.ID {
			t.Errorf("FindingOf(%s) = %v", f.Test, got)
		}
	}
	if FindingOf("get_pa.PA-01") != nil {
		t.Error("something is believed of PA-01")
	}
}

func TestExpired(t *testing.T) {
	for now, want := range map[string]bool{
		"2027-06-29T12:00:00Z": false, "2027-06-30T23:59:59Z": false, "2027-07-01T00:00:00Z": true, "2030-01-01T00:00:00Z": true,
	} {
		at, err := time.Parse(time.RFC3339, now)
		if err != nil {
			t.Fatal(err)
		}
		if got := (Finding{Expires: "2027-06-30"}).Expired(at); got != want {
			t.Errorf("%s: %v", now, got)
		}
	}
	if !(Finding{Expires: "soon"}).Expired(time.Time{}) {
		t.Error("a day that is none has passed")
	}
}
