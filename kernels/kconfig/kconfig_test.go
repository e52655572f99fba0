// SPDX-License-Identifier: Apache-2.0

package kconfig

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"noiommu-farm/internal/fault"
)

func TestParse(t *testing.T) {
	text := `# What it is for.

CONFIG_PCI=y
CONFIG_VFIO=m
# CONFIG_BLOCK is not set
CONFIG_VT=n
CONFIG_NR_CPUS=8
CONFIG_PANIC_TIMEOUT=-1
CONFIG_PHYSICAL_START=0x1000000
CONFIG_CMDLINE="a \"b\" c"
	CONFIG_PCI=y
`
	f, err := Parse("x.config", strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"PCI=y", "VFIO=m", "BLOCK=n", "VT=n", "NR_CPUS=8", "PANIC_TIMEOUT=-1", "PHYSICAL_START=0x1000000", `CMDLINE="a \"b\" c"`}
	var got []string
	for _, o := range f.Options {
		got = append(got, o.Name+"="+o.Value)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if o := f.Options[2]; o.File != "x.config" || o.Line != 5 {
		t.Errorf("place %s:%d", o.File, o.Line)
	}
}

func TestParseErrors(t *testing.T) {
	for text, want := range map[string]string{
		"CONFIG_PCI=y\nPCI=y\n":                   `x.config:2: "PCI=y": not a line`,
		"CONFIG_PCI=Y":                            `x.config:1: "CONFIG_PCI=Y"`,
		"CONFIG_PCI":                              `x.config:1:`,
		"CONFIG_PCI = y":                          `x.config:1:`,
		`CONFIG_CMDLINE="a`:                       `x.config:1:`,
		"CONFIG_PCI=y # yes":                      `x.config:1:`,
		"CONFIG_PCI=y\n\nCONFIG_PCI=n\n":          `x.config:3: "CONFIG_PCI=n": line 1 gives it the value y`,
		"# Kernel: 7.3":                           `x.config:1:`,
		"CONFIG_A=\"" + strings.Repeat("x", 5000): `x.config:1:`,
	} {
		_, err := Parse("x.config", strings.NewReader(text))
		var usage *fault.Usage
		if !errors.As(err, &usage) || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: %v, want %q", text, err, want)
		}
	}
}

// What Text writes, Parse reads.
func TestTextRoundTrip(t *testing.T) {
	value := rapid.OneOf(
		rapid.SampledFrom([]string{"y", "m", "n"}),
		rapid.StringMatching(`-?[0-9]{1,9}|0x[0-9a-f]{1,16}`),
		rapid.StringMatching(`"([a-z /=#,]|\\"|\\\\){0,20}"`),
	)
	rapid.Check(t, func(t *rapid.T) {
		var options []Option
		for name, v := range rapid.MapOf(rapid.StringMatching(`[A-Z0-9_]{1,20}`), value).Draw(t, "options") {
			options = append(options, Option{Name: name, Value: v})
		}
		options = Merge([]Fragment{{Options: options}}, "7.3.4")
		f, err := Parse("f", strings.NewReader(Text(options)))
		if err != nil {
			t.Fatal(err)
		}
		if len(f.Options) != len(options) {
			t.Fatalf("%d options, want %d", len(f.Options), len(options))
		}
		for i, o := range f.Options {
			if o.Name != options[i].Name || o.Value != options[i].Value {
				t.Fatalf("got %+v, want %+v", o, options[i])
			}
		}
	})
}

// No text makes the parser do worse than refuse.
func FuzzParse(f *testing.F) {
	f.Add("CONFIG_A=y\n# CONFIG_B is not set\n# Kernel: >= 7.2\n")
	f.Fuzz(func(t *testing.T, text string) {
		_, err := Parse("f", strings.NewReader(text))
		if err != nil && fault.ExitCode(err) != fault.ExitUsage {
			t.Error(err)
		}
	})
}

func TestMerge(t *testing.T) {
	parse := func(name, text string) Fragment {
		f, err := Parse(name, strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	fragments := []Fragment{
		parse("one", "CONFIG_B=y\nCONFIG_A=y\n"),
		parse("new", "# Kernel: >= 7.3\nCONFIG_NEW=y\n"),
		parse("old", "# Kernel: < 7.3\nCONFIG_OLD=y\n"),
		parse("two", "CONFIG_B=n\n"),
	}
	for version, want := range map[string]string{
		"7.3.4":     "CONFIG_A=y\nCONFIG_B=n\nCONFIG_NEW=y\n",
		"7.3.0-rc1": "CONFIG_A=y\nCONFIG_B=n\nCONFIG_NEW=y\n",
		"10.0.0":    "CONFIG_A=y\nCONFIG_B=n\nCONFIG_NEW=y\n",
		"7.2.9":     "CONFIG_A=y\nCONFIG_B=n\nCONFIG_OLD=y\n",
		"6.12.95":   "CONFIG_A=y\nCONFIG_B=n\nCONFIG_OLD=y\n",
	} {
		if d := cmp.Diff(want, Text(Merge(fragments, version))); d != "" {
			t.Errorf("%s:\n%s", version, d)
		}
	}
}

func TestEvaluate(t *testing.T) {
	config := map[string]string{"Y": "y", "M": "m", "S": `"text"`, "N8": "8"}
	for text, want := range map[string]tristate{
		"Y": yes, "M": module, "N": no, "!N": yes, "!M": module, "!Y": no,
		"Y && M": module, "Y || N": yes, "M || N": module, "N && Y || M": module, "N && (Y || M)": no,
		"!(Y && N)": yes, "Y=y": yes, "M=y": no, "M!=n": yes, "N=n": yes, `S="text"`: yes, `S != "text"`: no,
		"$(cc-option,-mfoo)": yes, "N8 >= 4": yes, "!N && !M": module, "": no,
		"M || !M": module, "y": yes,
	} {
		if got := evaluate(text, config); got != want {
			t.Errorf("%s: %d, want %d", text, got, want)
		}
	}
}

var tree = fstest.MapFS{
	"Kconfig": {Data: []byte(`mainmenu "x"
source "arch/$(SRCARCH)/Kconfig"
osource "missing/Kconfig"
menu "Devices"
	depends on HAS_IO
	visible if EXPERT
comment "nothing here"
	depends on NOWHERE
config PCI
	bool "PCI" # with a comment
	select GENERIC if !EXPERT
	select CHOSEN if EXPERT
	help
	  Text.

	  config FAKE
	    bool "not an entry"

menuconfig VFIO
	tristate "VFIO"
	depends on PCI && \
		(IOMMU || NOIOMMU)
if VFIO
config VFIO_SUB
	bool
	prompt "Sub" if EXPERT
endif
endmenu
choice
	prompt "One of"
config ONE
	bool "One"
config TWO
	bool "Two"
	select CHOSEN
endchoice
config HIDDEN
	bool
config CHOSEN
	bool
config GENERIC
	def_bool n
config COUNT
	int "Count"
`)},
	"arch/x86/Kconfig":       {Data: []byte("config HAS_IO\n\tdef_bool y\nconfig EXPERT\n\tbool \"Expert\"\nrsource \"sub/Kconfig.*\"\n")},
	"arch/x86/sub/Kconfig.a": {Data: []byte("config IOMMU\n\tbool \"IOMMU\"\nconfig PCI\n\tbool\n\tdepends on ELSEWHERE\n")},
}

func TestReadSymbols(t *testing.T) {
	s, err := ReadSymbols(tree, "x86")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := s["CHOSEN"].Selects, []Selection{{By: "PCI", If: []string{"EXPERT"}, File: "Kconfig", Line: 12}, {By: "TWO", File: "Kconfig", Line: 35}}; !cmp.Equal(got, want) {
		t.Errorf("CHOSEN is selected by %+v, want %+v", got, want)
	}
	if s["FAKE"] != nil {
		t.Error("a help text defined FAKE")
	}
	want := &Symbol{Name: "PCI", Type: "bool", Definitions: []Definition{
		{File: "arch/x86/sub/Kconfig.a", Line: 3, Depends: []string{"ELSEWHERE"}},
		{File: "Kconfig", Line: 9, Prompt: true, Depends: []string{"HAS_IO"}},
	}}
	if d := cmp.Diff(want, s["PCI"]); d != "" {
		t.Error(d)
	}
	want = &Symbol{Name: "VFIO_SUB", Type: "bool", Definitions: []Definition{
		{File: "Kconfig", Line: 24, Prompt: true, When: "EXPERT", Depends: []string{"HAS_IO", "VFIO"}},
	}}
	if d := cmp.Diff(want, s["VFIO_SUB"]); d != "" {
		t.Error(d)
	}
}

func TestCheck(t *testing.T) {
	symbols, err := ReadSymbols(tree, "x86")
	if err != nil {
		t.Fatal(err)
	}
	config := map[string]string{"HAS_IO": "y", "PCI": "y", "GENERIC": "y", "ONE": "y", "COUNT": "8"}
	for _, c := range []struct{ name, value, want string }{
		{"PCI", "y", ""},
		{"VFIO", "n", ""},
		{"COUNT", "0x8", ""},
		{"COUNT", "9", "it is 8"},
		{"BOGUS", "y", "this kernel has no such option"},
		{"BOGUS", "n", "this kernel has no such option"},
		{"NOIOMMU", "y", "this kernel has no such option"}, // is only depended on
		{"VFIO", "y", "it is n: it depends on (IOMMU || NOIOMMU) [IOMMU=n, NOIOMMU=n]"},
		{"VFIO_SUB", "y", "it is n: it depends on VFIO [=n]"},
		{"TWO", "y", "is one of a choice (Kconfig:29) where another was taken"},
		{"GENERIC", "n", "it is y: selected by PCI"},
		{"HAS_IO", "n", "it is y: it has no prompt"},
		{"HIDDEN", "y", "it is n: it has no prompt, and nothing selects it"},
		{"CHOSEN", "y", "it is n: it has no prompt, and would be selected by PCI [=y] if EXPERT [=n], or by TWO [=n]"},
		{"EXPERT", "y", "is off although"},
		{"EXPERT", "m", "is bool: m is not one of its values"},
	} {
		bad := Check([]Option{{Name: c.name, Value: c.value, File: "f", Line: 1}}, config, symbols)
		switch {
		case c.want == "" && len(bad) > 0:
			t.Errorf("%s=%s: %v", c.name, c.value, bad[0])
		case c.want != "" && (len(bad) != 1 || !strings.Contains(bad[0].Error(), c.want)):
			t.Errorf("%s=%s: %v, want %q", c.name, c.value, bad, c.want)
		}
	}
	bad := Check([]Option{{Name: "VFIO_SUB", Value: "y"}}, map[string]string{"HAS_IO": "y", "VFIO": "y"}, symbols)
	if len(bad) != 1 || !strings.Contains(bad[0].Reason, "can be set only if EXPERT [=n]") {
		t.Errorf("prompt with a condition: %v", bad)
	}
}

func TestUnmetDependencies(t *testing.T) {
	// As conf of 7.3.4 prints it, with lines of make around it.
	out := `  HOSTLD  scripts/kconfig/conf

WARNING: unmet direct dependencies detected for IOMMUFD_NOIOMMU
  Depends on [n]: IOMMU_SUPPORT [=y] && IOMMUFD [=y] && !GENERIC_ATOMIC64 [=y]
  Selected by [y]:
  - VFIO_NOIOMMU [=y] && VFIO [=y]
#
# configuration written to .config
`
	got := UnmetDependencies(out)
	want := []string{"IOMMUFD_NOIOMMU Depends on [n]: IOMMU_SUPPORT [=y] && IOMMUFD [=y] && !GENERIC_ATOMIC64 [=y] Selected by [y]: - VFIO_NOIOMMU [=y] && VFIO [=y]"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if got := UnmetDependencies("#\n# configuration written to .config\n"); got != nil {
		t.Errorf("got %q", got)
	}
}

// kernelTree is a kernel in the user's cache whose noiommu options are those of
// 7.3; absent on a machine that built none yet.
func kernelTree(t *testing.T) fs.FS {
	dir, err := os.UserCacheDir()
	if err != nil {
		t.Skipf("no cache on this machine: %v", err)
	}
	files, _ := filepath.Glob(filepath.Join(dir, "noiommu-farm/sources/*/tree/drivers/vfio/Kconfig"))
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err == nil && strings.Contains(string(text), "depends on !VFIO_GROUP || VFIO_CONTAINER || IOMMUFD_VFIO_CONTAINER\n") {
			return os.DirFS(filepath.Join(filepath.Dir(f), "../.."))
		}
	}
	t.Skip("no kernel source in the cache of this machine: the small tree is all there is to read")
	return nil
}

func TestRealKconfig(t *testing.T) {
	symbols, err := ReadSymbols(kernelTree(t), "x86")
	if err != nil {
		t.Fatal(err)
	}
	if len(symbols) < 10_000 {
		t.Errorf("%d symbols", len(symbols))
	}
	for _, name := range []string{"PCI", "IOMMUFD", "VFIO", "VFIO_PCI", "VFIO_NOIOMMU", "LKDTM", "PVH"} {
		if s := symbols[name]; s == nil || len(s.Definitions) == 0 || !prompted(s) {
			t.Errorf("%s is not there, or has no prompt: %+v", name, s)
		}
	}
	config := map[string]string{"VFIO": "y", "VFIO_GROUP": "y"}
	bad := Check([]Option{{Name: "VFIO_NOIOMMU", Value: "y"}}, config, symbols)
	want := "depends on !VFIO_GROUP || VFIO_CONTAINER || IOMMUFD_VFIO_CONTAINER [VFIO_GROUP=y, VFIO_CONTAINER=n, IOMMUFD_VFIO_CONTAINER=n]"
	if len(bad) != 1 || !strings.Contains(bad[0].Reason, want) {
		t.Errorf("VFIO_NOIOMMU without a container: %v", bad)
	}
}
