// SPDX-License-Identifier: Apache-2.0

package build

import (
	"os"
	"path/filepath"
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

// Of the objects that an option touches, those go whose files tell y from m.
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
	put(filepath.Join(j.Objects, "include/generated/made.h"), "#ifdef CONFIG_IOMMUFD\n")
	objects := map[string]bool{} // name → stays
	object := func(name string, stays bool, deps string) {
		objects[name] = stays
		put(filepath.Join(j.Objects, "k", name), name)
		put(filepath.Join(j.Objects, "k", "."+name+".cmd"), "savedcmd_k/"+name+" := gcc -Dx -c -o k/"+name+" /src/k/x.c\n\nsource_k/"+name+" := /src/k/x.c\n\ndeps_k/"+name+" := \\\n"+deps+"\nk/"+name+": $(deps_k/"+name+")\n")
	}
	const touches = "    $(wildcard include/config/IOMMUFD) \\\n"
	put(filepath.Join(j.Tree, "k/x.c"), "int x;\n")
	object("same.o", true, "  /src/include/user.h \\\n"+touches+"  /usr/lib/gcc/include/stdarg.h \\\n")
	object("differs.o", false, "  /src/include/user.h \\\n"+touches+"  /src/include/iommufd.h \\\n")
	object("generated.o", false, touches+"  include/generated/made.h \\\n")
	object("gone.o", false, touches+"  /src/include/removed.h \\\n")
	object("other.o", true, "    $(wildcard include/config/PCI) \\\n  /src/include/iommufd.h \\\n")
	old := time.Unix(1_000_000_000, 0)
	put(filepath.Join(j.Objects, marker("IOMMUFD")), "")
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
	if err := spare(objectRoot, treeRoot, map[string]time.Time{"IOMMUFD": old}); err != nil {
		t.Fatal(err)
	}
	for name, stays := range objects {
		if _, err := os.Stat(filepath.Join(j.Objects, "k", name)); (err == nil) != stays {
			t.Errorf("%s: stays %v, want %v", name, err == nil, stays)
		}
	}
	if fi, err := os.Stat(filepath.Join(j.Objects, marker("IOMMUFD"))); err != nil || !fi.ModTime().Equal(old) {
		t.Errorf("the marker: %v, %v", fi.ModTime(), err)
	}
}
