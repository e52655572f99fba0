// SPDX-License-Identifier: Apache-2.0

package gate

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"noiommu-farm/internal/fault"
	"noiommu-farm/kernels/kconfig"
)

func TestStatements(t *testing.T) {
	for i, s := range statements {
		if want := fmt.Sprintf("KC-%02d", i+1); s.id != want {
			t.Errorf("statement %d is %s, want %s", i, s.id, want)
		}
		if s.promise == "" || len(s.lines) == 0 {
			t.Errorf("%s promises nothing, or says not where", s.id)
		}
	}
}

// Every configuration on every kind of machine is held to something, and no
// two statements ask for different values in it.
func TestEveryRequestIsJudged(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range requests() {
		if seen[r.String()] {
			t.Errorf("%v is made twice", r)
		}
		seen[r.String()] = true
		for _, generic := range []bool{false, true} {
			all := values{}
			for _, s := range statements {
				for option, want := range s.wants(r, generic) {
					if was, ok := all[option]; ok && was != want {
						t.Errorf("%v, generic %v: %s wants %s=%s, another %s", r, generic, s.id, option, want, was)
					}
					all[option] = want
				}
			}
			if all["VFIO_NOIOMMU"] == "" || all["IOMMUFD_NOIOMMU"] == "" {
				t.Errorf("%v, generic %v: nobody says what VFIO_NOIOMMU and IOMMUFD_NOIOMMU must be", r, generic)
			}
		}
	}
	if len(seen) != 2*3*2*3*2+1 {
		t.Errorf("%d requests", len(seen))
	}
}

// small is no-IOMMU's options without the rest of a kernel, with a select that
// does not look at what the selected option depends on.
var small = fstest.MapFS{
	"Kconfig": {Data: []byte(`config GENERIC_ATOMIC64
	bool
config VFIO_NOIOMMU
	bool "No-IOMMU"
	select IOMMUFD_NOIOMMU
config IOMMUFD_NOIOMMU
	bool
	depends on !GENERIC_ATOMIC64
`)},
}

func TestJudge(t *testing.T) {
	symbols, err := kconfig.ReadSymbols(small, "m68k")
	if err != nil {
		t.Fatal(err)
	}
	r := request{group: true, container: native, cdev: true, iommufd: "y", noiommu: true}
	other := r
	other.container = compat
	good := map[string]string{"GENERIC_ATOMIC64": "y", "VFIO_GROUP": "y", "VFIO_CONTAINER": "y", "VFIO_DEVICE_CDEV": "y", "VFIO_NOIOMMU": "y"}
	bad := map[string]string{"IOMMUFD_NOIOMMU": "y"}
	for name, v := range good {
		bad[name] = v
	}
	badCompat := map[string]string{"IOMMUFD_VFIO_CONTAINER": "y"}
	for name, v := range bad {
		if name != "VFIO_CONTAINER" {
			badCompat[name] = v
		}
	}
	unmet := []string{"IOMMUFD_NOIOMMU Depends on [n]: !GENERIC_ATOMIC64 [=y] Selected by [y]: - VFIO_NOIOMMU [=y]"}
	statement := statements[8]
	for _, c := range []struct {
		name     string
		requests []request
		outcomes []outcome
		want     Result
	}{
		{"pass", []request{r}, []outcome{{Config: good}}, Result{Verdict: Pass, Judged: 1}},
		{"fail twice", []request{r, other}, []outcome{{bad, unmet}, {badCompat, unmet}}, Result{Verdict: Fail, Judged: 2, Findings: []Finding{{
			Arch: "m68k", Request: r.String(), Cases: 2, Option: "IOMMUFD_NOIOMMU", Want: "n", Got: "y",
			Why:    "unmet direct dependencies: Depends on [n]: !GENERIC_ATOMIC64 [=y] Selected by [y]: - VFIO_NOIOMMU [=y]",
			Place:  "Kconfig:5",
			Change: `VFIO_NOIOMMU selects IOMMUFD_NOIOMMU without looking at "!GENERIC_ATOMIC64": put it behind the "if" of the select at Kconfig:5, or make VFIO_NOIOMMU depend on it`,
		}}}},
		{"unmet elsewhere", []request{r}, []outcome{{good, []string{"PCI Depends on [n]: MMU [=n]"}}}, Result{Verdict: Fail, Judged: 1, Findings: []Finding{{
			Arch: "m68k", Request: r.String(), Cases: 1, Option: "PCI", Want: "n", Got: "n", Why: "unmet direct dependencies: Depends on [n]: MMU [=n]",
		}}}},
		{"nothing to judge", nil, nil, Result{Verdict: NotApplicable, Reason: "no configuration of m68k is one that it speaks of"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := statement.judge([]observation{{
				arch: architecture{name: "m68k"}, generic: true,
				requests: c.requests, outcomes: c.outcomes, symbols: symbols,
			}})
			c.want.ID, c.want.Promise, c.want.Lines = statement.id, statement.promise, statement.lines
			if d := cmp.Diff(c.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestFindingString(t *testing.T) {
	f := Finding{Arch: "m68k", Request: "IOMMUFD=y", Cases: 3, Option: "VFIO_NOIOMMU", Want: "n", Got: "y", Why: "nothing forbids it", Place: "Kconfig:5"}
	if got, want := f.String(), "Kconfig:5: VFIO_NOIOMMU is y, want n: nothing forbids it (m68k: IOMMUFD=y, and 2 more)"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestNotApplicable(t *testing.T) {
	tree := t.TempDir()
	write(t, tree, vfio, "config VFIO_NOIOMMU\n\tbool \"VFIO No-IOMMU support\"\n\tdepends on VFIO_GROUP\n")
	report, err := Run(t.Context(), Job{Tree: tree, Version: "7.2.12", Work: t.TempDir()})
	results := report.Statements
	if err != nil {
		t.Fatal(err)
	}
	if len(results) != len(statements) {
		t.Errorf("%d results", len(results))
	}
	for _, r := range results {
		if r.Verdict != NotApplicable || r.Reason != "Linux 7.2.12 does not have no-IOMMU through the cdev" {
			t.Errorf("%s: %s: %q", r.ID, r.Verdict, r.Reason)
		}
	}
}

// A kernel with the user interface is judged, whatever its Kconfig files say.
func TestHasFeature(t *testing.T) {
	for name, text := range map[string]string{
		vfio:                           "select IOMMUFD_NOIOMMU",
		iommufd:                        "config IOMMUFD_NOIOMMU",
		"include/uapi/linux/iommufd.h": "#define IOMMU_IOAS_NOIOMMU_GET_PA",
	} {
		if has, err := hasFeature(fstest.MapFS{name: {Data: []byte(text)}}); !has || err != nil {
			t.Errorf("%s: %v, %v", name, has, err)
		}
	}
}

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// A tree that cannot build its own conf is a bad kernel.
func TestNoConf(t *testing.T) {
	tree := t.TempDir()
	write(t, tree, iommufd, "config IOMMUFD_NOIOMMU\n\tbool\n")
	write(t, tree, "Makefile", "build_config:\n\t@echo conf.c:1:1: error: no such thing >&2; false\n")
	_, err := Run(t.Context(), Job{Tree: tree, Version: "7.3.99", Work: t.TempDir()})
	if fault.ExitCode(err) != fault.ExitKernel || !strings.Contains(err.Error(), "conf.c:1:1: error: no such thing") {
		t.Error(err)
	}
}

func TestMacros(t *testing.T) {
	include := `comma       := ,
if-success = $(shell,{ $(1); } >/dev/null 2>&1 && echo "$(2)" || echo "$(3)")
success = $(if-success,$(1),y,n)
$(error-if,$(failure,command -v $(CC)),C compiler '$(CC)' not found)
cc-info := $(shell,$(srctree)/scripts/cc-version.sh $(CC))
m32-flag := $(cc-option-bit,-m32)
`
	want := `comma       := ,
if-success = $(2)
success = $(if-success,$(1),y,n)
cc-info := 0
m32-flag := $(cc-option-bit,-m32)
`
	if d := cmp.Diff(want, macros(include)); d != "" {
		t.Error(d)
	}
}

// What the sandbox left need not be what conf writes.
func TestReadResult(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "good", "CONFIG_VFIO=y\n")
	write(t, dir, "long", strings.Repeat("#", maxResult+1))
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o644); err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if text, err := readResult(root, "good"); string(text) != "CONFIG_VFIO=y\n" || err != nil {
		t.Errorf("good: %q, %v", text, err)
	}
	for _, name := range []string{"long", "link", "pipe", "missing"} {
		if text, err := readResult(root, name); err == nil {
			t.Errorf("%s: read %d bytes", name, len(text))
		}
	}
}
