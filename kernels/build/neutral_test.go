// SPDX-License-Identifier: Apache-2.0

package build

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestNamedOtherwise(t *testing.T) {
	for text, want := range map[string]bool{
		"":                                                         false,
		"#if IS_ENABLED(CONFIG_IOMMUFD)\n":                         false,
		"defined(CONFIG_IOMMUFD_DRIVER)":                           false, // another option
		"MY_CONFIG_IOMMUFD":                                        false,
		"#ifdef CONFIG_IOMMUFD\n":                                  true,
		"IS_BUILTIN(CONFIG_IOMMUFD)":                               true,
		"IS_REACHABLE(CONFIG_IOMMUFD)":                             true,
		"#ifdef CONFIG_IOMMUFD_MODULE":                             true,
		"IS_ENABLED(CONFIG_IOMMUFD_MODULE)":                        true,
		"IS_ENABLED(CONFIG_IOMMUFD) CONFIG_IOMMUFD":                true,
		"IS_ENABLED( CONFIG_IOMMUFD)":                              true, // not seen to be the same: compiled again
		"IS_ENABLED(CONFIG_IOMMUFD) && IS_ENABLED(CONFIG_IOMMUFD)": false,
	} {
		if got := namedOtherwise(text, "IOMMUFD"); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}

func TestAsksFor(t *testing.T) {
	for text, want := range map[string]bool{
		"": false,
		"if (cpu_feature_enabled(X86_FEATURE_PKU))\n":                        false,
		"cpu_feature_enabled(X86_FEATURE_ENQCMD_LIKE)":                       false, // another feature
		"/* the ENQCMD instruction */ int x; // X86_FEATURE_ENQCMD\n":        false,
		"pr_warn(\"no ENQCMD, see https://kernel.org\");\n":                  false,
		"static const u32 bits[] = { X86_FEATURE_PKU, X86_FEATURE_ENQCMD };": true,
		"cpu_feature_enabled(X86_FEATURE_ENQCMD)":                            true,
		"cpu_feature_enabled(X86_FEATURE_\\\nENQCMD)":                        true,
		"F(ENQCMD)":                               true, // X86_FEATURE_##name
		"cpu_feature_enabled(16 * 32 + 29)":       true,
		"cpu_feature_enabled(bit)":                true,
		"u32 mask = DISABLED_MASK16;":             true,
		"if (DISABLED_MASK_BIT_SET(bit))":         true,
		"s = \"a \\\nb\", X86_FEATURE_ENQCMD;":    true,
		"s = \"http://x\"; X86_FEATURE_ENQCMD":    true,
		"c = '\"'; X86_FEATURE_ENQCMD; c = '\"';": true,
		"# it's X86_FEATURE_ENQCMD\n":             true, // not understood
		"# it's X86_FEATURE_PKU\n":                false,
	} {
		if got := asksFor(text, []string{"ENQCMD"}); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}

func TestDifferences(t *testing.T) {
	for _, c := range []struct {
		before, after map[string]string
		want          string
	}{
		{map[string]string{"VFIO": "y", "X": "m"}, map[string]string{"VFIO": "y", "X": "m"}, ""},
		{map[string]string{"VFIO": "y"}, map[string]string{"VFIO": "m"}, marker("VFIO")},
		{map[string]string{"VFIO": "m"}, map[string]string{}, ""},
		{map[string]string{"X86_DISABLED_FEATURE_ENQCMD": "y"}, map[string]string{}, featureMasks},
		{map[string]string{"X86_DISABLED_FEATURE_ENQCMD": "y", "X86_REQUIRED_FEATURE_UP": "y"}, map[string]string{}, ""},
	} {
		var got []string
		for _, d := range differences(c.before, c.after) {
			got = append(got, d.path)
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%v to %v: %v, want %s", c.before, c.after, got, c.want)
		}
	}
}

// Of the objects that a change touches, those go whose files can tell.
func TestSpare(t *testing.T) {
	dir := t.TempDir()
	j := Job{Tree: filepath.Join(dir, "tree"), Objects: filepath.Join(dir, "objects")}
	put := func(path, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	put(filepath.Join(j.Tree, "include/user.h"), "#if IS_ENABLED(CONFIG_IOMMUFD)\n")
	put(filepath.Join(j.Tree, "include/iommufd.h"), "#ifdef CONFIG_IOMMUFD\n")
	put(filepath.Join(j.Tree, "arch/x86/include/asm/cpufeature.h"), "#define cpu_feature_enabled(bit) DISABLED_MASK_BIT_SET(bit)\n")
	put(filepath.Join(j.Tree, "arch/x86/include/asm/cpufeatures.h"), "#define X86_FEATURE_ENQCMD (16*32+29)\n")
	put(filepath.Join(j.Tree, "include/traps.h"), "cpu_feature_enabled(X86_FEATURE_ENQCMD)\n")
	put(filepath.Join(j.Objects, "include/generated/made.h"), "#ifdef CONFIG_IOMMUFD\n")
	objects := map[string]bool{} // name → stays
	object := func(name string, stays bool, deps string) {
		objects[name] = stays
		put(filepath.Join(j.Objects, "k", name), name)
		put(filepath.Join(j.Objects, "k", "."+name+".cmd"), "savedcmd_k/"+name+" := gcc -Dx -c -o k/"+name+" /src/k/x.c\n\nsource_k/"+name+" := /src/k/x.c\n\ndeps_k/"+name+" := \\\n"+deps+"\nk/"+name+": $(deps_k/"+name+")\n")
	}
	const touches = "    $(wildcard include/config/IOMMUFD) \\\n"
	const masks = "  /src/arch/x86/include/asm/cpufeature.h \\\n  /src/arch/x86/include/asm/cpufeatures.h \\\n  " + featureMasks + " \\\n"
	put(filepath.Join(j.Tree, "k/x.c"), "int x;\n")
	object("same.o", true, "  /src/include/user.h \\\n"+touches+"  /usr/lib/gcc/include/stdarg.h \\\n")
	object("differs.o", false, "  /src/include/user.h \\\n"+touches+"  /src/include/iommufd.h \\\n")
	object("generated.o", false, touches+"  include/generated/made.h \\\n")
	object("gone.o", false, touches+"  /src/include/removed.h \\\n")
	object("other.o", true, "    $(wildcard include/config/PCI) \\\n  /src/include/iommufd.h \\\n")
	object("feature-same.o", true, masks+"  /src/include/iommufd.h \\\n")
	object("feature.o", false, masks+"  /src/include/traps.h \\\n")
	object("feature-other.o", true, "  /src/include/traps.h \\\n")
	object("both.o", false, masks+touches+"  /src/include/iommufd.h \\\n")
	old := time.Unix(1_000_000_000, 0)
	objectRoot, err := os.OpenRoot(j.Objects)
	if err != nil {
		t.Fatal(err)
	}
	defer objectRoot.Close()
	treeRoot, err := os.OpenRoot(j.Tree)
	if err != nil {
		t.Fatal(err)
	}
	defer treeRoot.Close()
	list := differences(map[string]string{"IOMMUFD": "y"}, map[string]string{"IOMMUFD": "m", "X86_DISABLED_FEATURE_ENQCMD": "y"})
	if len(list) != 2 {
		t.Fatalf("%d differences", len(list))
	}
	for i := range list {
		put(filepath.Join(j.Objects, list[i].path), "#define DISABLED_MASK_BIT_SET(x) 0\n")
		list[i].time = old
	}
	if err := spare(objectRoot, treeRoot, list); err != nil {
		t.Fatal(err)
	}
	for name, stays := range objects {
		if _, err := os.Stat(filepath.Join(j.Objects, "k", name)); (err == nil) != stays {
			t.Errorf("%s: stays %v, want %v", name, err == nil, stays)
		}
	}
	for _, d := range list {
		if fi, err := os.Stat(filepath.Join(j.Objects, d.path)); err != nil || !fi.ModTime().Equal(old) {
			t.Errorf("%s: %v, %v", d.path, fi.ModTime(), err)
		}
	}
}
