// SPDX-License-Identifier: Apache-2.0

package failure

import (
	"strings"
	"testing"

	"noiommu-farm/results/console"
	"noiommu-farm/results/verdict"
)

func TestSteady(t *testing.T) {
	for text, want := range map[string]string{
		"get_pa.go:41: GET_PA(0x10000abc) = 0x1a3f000, want 0x1a3fabc":  "get_pa.go:41: GET_PA(#) = #, want #",
		"length = 4096, want 273":                                       "length = 4096, want 273",
		"errno = EINVAL, want EPERM":                                    "errno = EINVAL, want EPERM",
		"stopped after 2m0s":                                            "stopped after #",
		"guest hung while waiting for program dma (no pong for 41s)":    "guest hung while waiting for program dma (no pong for #)",
		"did not finish: guest hung (1.5s)":                             "did not finish: guest hung (#)",
		"general protection fault, address 0xdead000000000100 in kfree": "general protection fault, address # in kfree",
		"decade, facade, BUG in iopt_get_phys":                          "decade, facade, BUG in iopt_get_phys",
		"123456 pages and 1234 more":                                    "# pages and 1234 more",
	} {
		if got := Steady(text); got != want {
			t.Errorf("Steady(%q) = %q, want %q", text, got, want)
		}
	}
}

const warning = `[    2.000000] ------------[ cut here ]------------
[    2.000001] WARNING: drivers/iommu/iommu.c:3400 at iommu_device_release_dma_owner+0x1f/0x50, CPU#0: suites/70
[    2.000003] CPU: 0 UID: 0 PID: 70 Comm: suites Not tainted 7.3.4 #1
[    2.000004] RIP: 0010:iommu_device_release_dma_owner+0x1f/0x50
[    2.000005] Call Trace:
[    2.000006]  <TASK>
[    2.000007]  iommufd_device_destroy+0x20/0x60
[    2.000008]  OTHER+0x64/0x90
[    2.000009]  </TASK>
[    2.000010] ---[ end trace 0000000000000000 ]---
`

func warned(t *testing.T, caller string) verdict.Test {
	t.Helper()
	findings, err := console.Classify(strings.NewReader(strings.ReplaceAll(warning, "OTHER", caller)))
	if err != nil || len(findings) != 1 {
		t.Fatalf("%d findings, %v", len(findings), err)
	}
	return verdict.Test{Verdict: verdict.Fail, Reason: findings[0].Title, Findings: findings}
}

// both is the same warning, which came two ways.
func both(t *testing.T, one, other string) verdict.Test {
	t.Helper()
	test := warned(t, one)
	test.Findings = append(test.Findings, warned(t, other).Findings...)
	return test
}

func TestDifference(t *testing.T) {
	plain := verdict.Test{Verdict: verdict.Fail, Reason: "x.go:3: address = 0x1234567, want 0x7654321"}
	for name, c := range map[string]struct {
		a, b verdict.Test
		want string // contained in the difference; empty is the same
	}{
		"the same":                  {plain, plain, ""},
		"another address":           {plain, verdict.Test{Verdict: verdict.Fail, Reason: "x.go:3: address = 0x7777777, want 0x8888888"}, ""},
		"another assertion":         {verdict.Test{Verdict: verdict.Fail, Reason: "x.go:9: no"}, plain, "x.go:9"},
		"passed":                    {verdict.Test{Verdict: verdict.Pass}, plain, "pass instead of fail"},
		"same warning":              {warned(t, "iommufd_fops_release"), warned(t, "iommufd_fops_release"), ""},
		"another way there":         {warned(t, "iommufd_destroy"), warned(t, "iommufd_fops_release"), "iommufd_destroy instead of"},
		"no warning":                {verdict.Test{Verdict: verdict.Fail, Reason: warned(t, "f").Reason}, warned(t, "f"), "without"},
		"the same in another order": {both(t, "f", "g"), both(t, "g", "f"), ""},
		"one more way there":        {both(t, "f", "g"), warned(t, "f"), "besides, by iommu_device_release_dma_owner < iommufd_device_destroy < g"},
		"one way there less":        {warned(t, "f"), both(t, "f", "g"), "without"},
		"one of two ways is new":    {both(t, "f", "h"), both(t, "f", "g"), "h instead of"},
		"one more warning":          {warned(t, "f"), verdict.Test{Verdict: verdict.Fail, Reason: warned(t, "f").Reason}, "besides"},
	} {
		got := Of(c.a).Difference(Of(c.b))
		if c.want == "" && got != "" || !strings.Contains(got, c.want) {
			t.Errorf("%s: difference %q, want %q in it", name, got, c.want)
		}
	}
}

func TestCrashesOnce(t *testing.T) {
	one := warned(t, "f")
	one.Findings = append(one.Findings, one.Findings...)
	if f := Of(one); len(f.Crashes) != 1 || len(f.Crashes[0].Stack) != 3 || f.Crashes[0].Stack[0] != "iommu_device_release_dma_owner" {
		t.Errorf("got %+v", f)
	}
}
