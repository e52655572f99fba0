// SPDX-License-Identifier: Apache-2.0

package gate

import (
	"bytes"
	"strings"
	"testing"

	"noiommu-farm/results/verdict"
)

// What shows with the patch alone is the patch's even if it does not show every
// time; what showed once only is nobody's, and no reason to pass.
func TestRepeated(t *testing.T) {
	for name, c := range map[string]struct {
		new          bool // the test came with the patch
		with, before Rate // of the repetitions
		want         verdict.Verdict
		told         string
	}{
		"every time":                  {false, Rate{3, 3}, Rate{0, 3}, verdict.Fail, "fails 4 of 4 with the patch, 0 of 4 before it (98.6 % sure)"},
		"a race":                      {false, Rate{2, 3}, Rate{0, 3}, verdict.Fail, "fails 3 of 4 with the patch, 0 of 4 before it (92.9 % sure); not every time"},
		"a rare race":                 {false, Rate{1, 3}, Rate{0, 3}, verdict.Fail, "fails 2 of 4 with the patch, 0 of 4 before it (78.6 % sure); not every time"},
		"seen once":                   {false, Rate{0, 6}, Rate{0, 6}, verdict.Infra, "UNCLEAR: fails 1 of 7 with the patch, 0 of 7 before it (50.0 % sure); not every time"},
		"seen once, and before":       {false, Rate{0, 6}, Rate{1, 6}, verdict.Pass, "FLAKY: fails 1 of 7 with the patch, 1 of 7 before it (23.1 % sure); not every time"},
		"every time, and once before": {false, Rate{3, 3}, Rate{1, 3}, verdict.Pass, "FLAKY: fails 4 of 4 with the patch, 1 of 4 before it (92.9 % sure)"},
		"hardly tried before":         {false, Rate{1, 2}, Rate{0, 1}, verdict.Infra, "UNCLEAR: fails 2 of 3 with the patch, 0 of 2 before it (70.0 % sure); not every time"},
		"never tried again":           {false, Rate{}, Rate{}, verdict.Infra, "UNCLEAR: fails 1 of 1 with the patch, 0 of 1 before it (50.0 % sure)"},
		"new":                         {true, Rate{3, 3}, Rate{}, verdict.Fail, "fails 4 of 4 with the patch, new with it"},
		"new, now and then":           {true, Rate{1, 3}, Rate{}, verdict.Infra, "UNCLEAR: fails 2 of 4 with the patch, new with it; not every time"},
	} {
		t.Run(name, func(t *testing.T) {
			d := Difference{Kind: TestFails, Patch: 1, Repeated: Repeated{Done: true, With: Rate{1, 1}}}
			if !c.new {
				d.Repeated.Before = Rate{0, 1}
			}
			d.Repeated.count(c.with, c.before)
			if got := ofFound([]Difference{d}); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
			if got := d.repeated(); got != c.told {
				t.Errorf("got  %q\nwant %q", got, c.told)
			}
		})
	}
	untried := Difference{Repeated: Repeated{With: Rate{1, 1}, Flaky: true}}
	if got := ofFound([]Difference{untried}); got != verdict.Infra {
		t.Errorf("untried: %s", got)
	}
	if got := ofFound([]Difference{untried, {}}); got != verdict.Fail {
		t.Errorf("untried beside a sure one: %s", got)
	}
}

// A mail vouches for nothing that was not judged or not booted.
func TestMailVouches(t *testing.T) {
	once := sample()
	once.Found, once.Verdict = once.Found[3:], verdict.Infra
	once.Found[0].Repeated = Repeated{Done: true, With: Rate{1, 7}, Before: Rate{0, 7}, Flaky: true}
	lost := passes()
	lost.Verdict = verdict.Infra
	text := passes()
	text.States = text.States[:1:1]
	text.States = append(text.States, sample().States[2])
	text.Series.Patches = 1
	for name, c := range map[string]struct {
		report *Report
		want   string
		kept   bool
	}{
		"passes":        {passes(), "was built and booted", true},
		"seen once":     {once, "could not judge this series", false},
		"the farm":      {lost, "could not judge this series", false},
		"nothing boots": {text, "nothing was run: vfio.rst: no kernel has it.", false},
	} {
		var b bytes.Buffer
		if err := c.report.Mail(&b); err != nil {
			t.Fatal(err)
		}
		got := strings.Join(strings.Fields(b.String()), " ")
		if !strings.Contains(got, c.want) || strings.Contains(got, "kept the promises") != c.kept {
			t.Errorf("%s: %s", name, got)
		}
	}
}
