// SPDX-License-Identifier: Apache-2.0

package failure

import (
	"testing"

	"noiommu-farm/results/verdict"
)

func TestName(t *testing.T) {
	for _, c := range []struct{ program, test, want string }{
		{"get_pa", "get_pa.PA-02", "get_pa.PA-02"},
		{"taint@boot", "taint.TL-01", "taint.TL-01"},
		{"vfio/vfio_pci_device_test", "irq.msi", "vfio/vfio_pci_device_test:irq.msi"},
		{"get_pa", "", "get_pa"},
		{"", "", "cell"},
	} {
		if got := Name(c.program, c.test); got != c.want {
			t.Errorf("Name(%q, %q) = %q, want %q", c.program, c.test, got, c.want)
		}
	}
}

func failed(reason string) verdict.Test {
	return verdict.Test{Name: "get_pa.PA-02", Verdict: verdict.Fail, Reason: reason}
}

// besides is a test that complained of more.
func besides(reason string, more ...string) verdict.Test {
	t := failed(reason)
	for _, line := range append([]string{reason}, more...) {
		t.Diagnostics = append(t.Diagnostics, "# "+line)
	}
	return t
}

func TestFingerprint(t *testing.T) {
	print := func(t verdict.Test) string { return Of(t).Fingerprint(Name("get_pa", t.Name)) }
	const text = "get_pa.go:41: GET_PA(0x10000abc) = 0x1a3f000, want 0x1a3fabc"
	base := print(failed(text))
	if len(base) != 12 {
		t.Fatalf("fingerprint %q", base)
	}
	timeout := failed(text)
	timeout.Verdict = verdict.Timeout
	other := failed(text)
	other.Name = "get_pa.PA-03"
	for _, c := range []struct {
		name string
		test verdict.Test
		same bool
	}{
		{"in another boot", failed("get_pa.go:41: GET_PA(0x10000def) = 0x2b3f000, want 0x2b3fdef"), true},
		{"after a line was put in before it", failed("get_pa.go:44: GET_PA(0x10000abc) = 0x1a3f000, want 0x1a3fabc"), true},
		{"in another file", failed("helper.go:41: GET_PA(0x10000abc) = 0x1a3f000, want 0x1a3fabc"), false},
		{"another assertion of that kind", failed("get_pa.go:41: GET_PA(#) = 12, want -1"), true},
		{"another assertion", failed("get_pa.go:41: errno = EINVAL, want EPERM"), false},
		{"another test", other, false},
		{"with the assertion again, of something else", besides(text, "get_pa.go:52: GET_PA(0x10000abc) = 0x1, want 0x2"), true},
		{"with a line that asserts nothing", besides(text, "mapped 3 pages", "evidence get_pa.PA-02: asserts=4"), true},
		{"with another assertion besides", besides(text, "get_pa.go:60: errno = EINVAL, want EPERM"), false},
		{"with a warning besides", verdict.Test{Name: "get_pa.PA-02", Verdict: verdict.Fail, Reason: text, Findings: warned(t, "f").Findings}, false},
	} {
		if got := print(c.test); (got == base) != c.same {
			t.Errorf("%s: %s and %s, want the same: %v", c.name, got, base, c.same)
		}
	}
	leak := func(cache string, found string) string {
		return print(failed("leak.go:58: objects in " + cache + " = " + found + ", want more than 632"))
	}
	if leak("kmalloc-96", "615") != leak("kmalloc-96", "99") || leak("kmalloc-96", "615") == leak("kmalloc-64", "615") {
		t.Error("a count that was found tells failures apart, or what was counted does not")
	}
	if a, b := warned(t, "f"), warned(t, "g"); print(a) == print(b) {
		t.Error("a warning that came another way has the same fingerprint")
	}
	if a, b := warned(t, "f"), both(t, "f", "g"); print(a) == print(b) {
		t.Error("a warning that came another way too has the fingerprint of the one")
	}
	if a, b := both(t, "f", "g"), both(t, "g", "f"); print(a) != print(b) {
		t.Error("the fingerprint depends on which came first")
	}
}

// crashed is a cell that a warning, taken for a crash, ended in its second
// program's first test.
func crashed(t *testing.T) *verdict.Cell {
	bad := warned(t, "f")
	bad.Name, bad.Verdict = "dma.DM-01", verdict.Crash
	title := bad.Findings[0].Title
	bad.Reason = "did not finish: " + title
	notRun := func(name string) verdict.Test {
		return verdict.Test{Name: name, Verdict: verdict.Crash, Reason: "not run: " + title}
	}
	return &verdict.Cell{Name: "a", Verdict: verdict.Crash, Reason: title, Programs: []verdict.Program{
		{Name: "get_pa", Verdict: verdict.Fail, Tests: []verdict.Test{{Name: "get_pa.PA-01", Verdict: verdict.Pass}, failed("get_pa.go:1: no")}},
		{Name: "dma", Verdict: verdict.Crash, Reason: "did not finish: " + title, Tests: []verdict.Test{bad, {Name: "dma.DM-02", Verdict: verdict.Crash, Reason: "did not finish: " + title}}},
		{Name: "stress", Verdict: verdict.Crash, Reason: "not run: " + title, Tests: []verdict.Test{notRun("stress.ST-01"), notRun("stress.ST-02")}},
	}}
}

// A crash is one problem, whatever it leaves undone.
func TestProblems(t *testing.T) {
	all := Problems(crashed(t))
	if len(all) != 8 {
		t.Fatalf("%d problems: %+v", len(all), all)
	}
	crash := all[3]
	if crash.Name != "dma.DM-01" || crash.Follows {
		t.Fatalf("the crash is %+v", crash)
	}
	for i, p := range all {
		switch i {
		case 1: // the wrong answer before it
			if p.Fingerprint == crash.Fingerprint || p.Follows || p.Name != "get_pa.PA-02" {
				t.Errorf("%+v", p)
			}
		case 3:
		default:
			if p.Fingerprint != crash.Fingerprint || !p.Follows {
				t.Errorf("does not follow from the crash: %+v", p)
			}
		}
	}
}

func TestGroups(t *testing.T) {
	a, b := crashed(t), crashed(t)
	b.Name = "b"
	groups := Groups([]*verdict.Cell{a, b})
	if len(groups) != 2 {
		t.Fatalf("%d groups: %+v", len(groups), groups)
	}
	if g := groups[0]; g.Name != "dma.DM-01" || g.Follows || g.Results != 14 || g.Follow != 12 || len(g.Cells) != 2 {
		t.Errorf("the crash: %+v", g)
	}
	if g := groups[1]; g.Name != "get_pa.PA-02" || g.Results != 2 || g.Follow != 0 {
		t.Errorf("the wrong answer: %+v", g)
	}
}

// What ends one program does not explain another's.
func TestProblemsOfPrograms(t *testing.T) {
	c := &verdict.Cell{Name: "a", Verdict: verdict.Timeout, Programs: []verdict.Program{
		{Name: "get_pa", Verdict: verdict.Timeout, Reason: "stopped after 2m0s", Tests: []verdict.Test{
			{Name: "get_pa.PA-01", Verdict: verdict.Timeout, Reason: "no result when the program was stopped after 2m0s"}}},
		{Name: "dma", Verdict: verdict.Fail, Tests: []verdict.Test{{Name: "dma.DM-01", Verdict: verdict.Fail, Reason: "no result: the program ended before it (exit code 1)"}}},
	}}
	all := Problems(c)
	if len(all) != 3 || all[0].Follows || !all[1].Follows || all[0].Fingerprint != all[1].Fingerprint || all[2].Follows || all[2].Fingerprint == all[0].Fingerprint {
		t.Errorf("%+v", all)
	}
}

// With a guest for each test, a crash ends that guest alone, and is told again
// of its program and of the cell.
func TestProblemsOfGuests(t *testing.T) {
	crash := warned(t, "f")
	crash.Name, crash.Verdict = "dma.DM-01", verdict.Crash
	title := crash.Findings[0].Title
	c := &verdict.Cell{Name: "a", Verdict: verdict.Crash, Reason: "guest 5 (dma.DM-01): " + title, Programs: []verdict.Program{
		{Name: "dma", Verdict: verdict.Crash, Reason: "did not finish: " + title, Tests: []verdict.Test{crash, {Name: "dma.DM-02", Verdict: verdict.Pass}}},
		{Name: "stress", Verdict: verdict.Crash, Reason: "did not finish: " + title + "; exit code 1, although no test failed", Tests: []verdict.Test{{Name: "stress.ST-01", Verdict: verdict.Pass}}},
	}}
	all := Problems(c)
	if len(all) != 4 {
		t.Fatalf("%+v", all)
	}
	for i, want := range []bool{true, true, false, false} {
		if all[i].Follows != want || (all[i].Fingerprint == all[2].Fingerprint) != (i < 3) {
			t.Errorf("%+v", all[i])
		}
	}
}

// A warning at boot is its own problem, even if a test has the same one.
func TestProblemsOfTheSameTitle(t *testing.T) {
	test := warned(t, "f")
	test.Name = "dma.DM-01"
	c := &verdict.Cell{Name: "a", Verdict: verdict.Fail, Reason: test.Findings[0].Title, Findings: test.Findings, Programs: []verdict.Program{
		{Name: "dma", Verdict: verdict.Fail, Reason: test.Findings[0].Title, Findings: test.Findings, Tests: []verdict.Test{test}}}}
	all := Problems(c)
	prints := make(map[string]bool)
	for _, p := range all {
		prints[p.Fingerprint] = true
		if p.Follows {
			t.Errorf("%+v", p)
		}
	}
	if len(all) != 3 || len(prints) != 3 {
		t.Errorf("%+v", all)
	}
}
