// SPDX-License-Identifier: Apache-2.0

package gate

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What was found of a source is not asked again, unless it was damaged; of a
// source with a series nothing is kept.
func TestKept(t *testing.T) {
	base := kernelTree(t)
	kept := filepath.Join(t.TempDir(), "kept")
	run := func(tree, base string) Report {
		t.Helper()
		j := Job{Tree: tree, Base: base, Version: "7.3.4", Work: t.TempDir(), Jobs: 2, Archs: []string{"m68k"}, Kept: kept}
		if base != "" {
			j.Touched = []string{vfio}
		}
		r, err := Run(t.Context(), j)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	first := run(base, "")
	if first.Failed() {
		t.Fatalf("%+v", first)
	}
	files, err := filepath.Glob(filepath.Join(kept, "*.json"))
	if err != nil || len(files) != 1 {
		t.Fatalf("%v, kept %v", err, files)
	}
	text, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	put := func(text []byte) {
		t.Helper()
		if err := os.WriteFile(files[0], text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	// Were it asked again, it would not fail.
	put(bytes.ReplaceAll(text, []byte(`"VFIO_NOIOMMU":"y"`), []byte(`"VFIO_NOIOMMU":"n"`)))
	if !run(base, "").Failed() {
		t.Error("what was kept was not looked at")
	}
	put(text[:len(text)/2])
	if d := cmp.Diff(first.Statements, run(base, "").Statements); d != "" {
		t.Error(d)
	}
	if again, err := os.ReadFile(files[0]); err != nil || !bytes.Equal(text, again) {
		t.Errorf("what was damaged was not made again: %v", err)
	}

	tree := copyKconfig(t, base)
	path := filepath.Join(tree, vfio)
	old, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(strings.Replace(string(old), contract[2], "\tselect IOMMUFD_NOIOMMU if VFIO_DEVICE_CDEV\n", 1)), 0o644); err != nil {
		t.Fatal(err)
	}
	if r := run(tree, base); !r.Failed() || len(r.Difference.Unmet) != 1 {
		t.Errorf("with a series: %+v", r.Difference)
	}
	if all, _ := filepath.Glob(filepath.Join(kept, "*.json")); !cmp.Equal(all, files) {
		t.Errorf("kept %v", all)
	}
}
