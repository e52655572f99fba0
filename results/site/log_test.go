// SPDX-License-Identifier: Apache-2.0

package site

import (
	"debug/elf"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"noiommu-farm/results"
	"noiommu-farm/results/console"
	"noiommu-farm/results/report"
	"noiommu-farm/results/verdict"
)

// A complaint in a later guest of a cell is found on the page of all consoles,
// with the lines of the source that the kernel's symbols name.
func TestConsolesOfGuests(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, "src/iommu.c", "int sink;\nvoid iommufd_device_destroy(void)\n{\n\tsink++;\n}\nint main(void) { iommufd_device_destroy(); return 0; }\n")
	cmd := exec.Command("gcc", "-g", "-no-pie", "-o", "vmlinux", "src/iommu.c")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	f, err := elf.Open(filepath.Join(dir, "vmlinux"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	all, err := f.Symbols()
	if err != nil {
		t.Fatal(err)
	}
	size := uint64(0)
	for _, s := range all {
		if s.Name == "iommufd_device_destroy" {
			size = s.Size
		}
	}
	frame := fmt.Sprintf("iommufd_device_destroy+0x6/0x%x", size)
	log := strings.ReplaceAll(oops, "iommufd_device_destroy+0x30/0x80", frame)
	quiet := "[    0.1] up\n[    1.2] noiommu-farm: start 1 get_pa\n"
	put(t, dir, "console.log", quiet)
	put(t, dir, "guests/001.log", quiet)
	put(t, dir, "guests/002.log", log)
	findings, err := console.Classify(strings.NewReader(log))
	if err != nil || len(findings) != 1 {
		t.Fatalf("%d findings, %v", len(findings), err)
	}
	c := &verdict.Cell{Name: "cell", Dir: dir, Verdict: verdict.Crash, Programs: []verdict.Program{{ID: 1, Name: "get_pa", Verdict: verdict.Crash, Tests: []verdict.Test{
		{Name: "get_pa.PA-01", Verdict: verdict.Crash, Reason: "a warning", Guest: 2, Findings: findings},
	}}}}
	rec := &results.Record{Dir: dir, Planned: results.Planned{Kernel: results.Kernel{Build: "a build"}}, Events: []results.Event{
		{Guest: 1, Assigned: &results.Assigned{}}, {Guest: 2, Assigned: &results.Assigned{}},
	}}
	asked := ""
	r := &Run{Run: report.Run{Run: results.Run{ID: "run"}, Dir: dir, Verdict: verdict.Crash, Cells: []*verdict.Cell{c}}, records: []*results.Record{rec},
		Vmlinux: func(build string) string { asked += build; return filepath.Join(dir, "vmlinux") }}
	_, files := sitePages(t, r)
	check(t, files)
	for name, want := range map[string][]string{
		"cells/001/p001.html":    {`<a href="console.html#L7">console line 7</a>`, frame + " (src/iommu.c:4)"},
		"cells/001/console.html": {`<p class="guest">Guest 1</p>`, `<p class="guest">Guest 2</p>`, `<p id="L7" class="find">`, `<a href="console.html#L7">line 7</a>`, frame + " (src/iommu.c:4)"},
	} {
		for _, w := range want {
			if !strings.Contains(strings.ReplaceAll(files[name], "&#43;", "+"), w) {
				t.Errorf("%s has no %q", name, w)
			}
		}
	}
	if asked != "a build" {
		t.Errorf("asked for the kernel of %q", asked)
	}
}
