// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestModules: the objects in testdata have the section .modinfo of modules and
// nothing else. Each comes after what it depends on, whatever their names.
func TestModules(t *testing.T) {
	root := t.TempDir()
	if err := os.MkdirAll(filepath.Join(root, "lib"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(filepath.Join(root, moduleDir), os.DirFS("testdata/modules")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/", filepath.Join(root, moduleDir, "7.3.4/build")); err != nil {
		t.Fatal(err)
	}
	modules, err := guest{root: root}.modules()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, m := range modules {
		names = append(names, m.name)
	}
	if diff := cmp.Diff([]string{"iommufd", "vfio", "vfio_pci_core", "vfio_pci"}, names); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"vfio", "irqbypass"}, modules[2].depends); diff != "" {
		t.Errorf("depends (-want +got):\n%s", diff)
	}
}

func TestNoModules(t *testing.T) {
	modules, err := guest{root: t.TempDir()}.modules()
	if err != nil || len(modules) != 0 {
		t.Errorf("modules of an image without any: %v, %v", modules, err)
	}
}

// A file that is no module is an error, not an empty list.
func TestDamagedModule(t *testing.T) {
	root := t.TempDir()
	dir := filepath.Join(root, moduleDir)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "x.ko"), []byte("\x7fELF"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := (guest{root: root}).modules(); err == nil {
		t.Error("a damaged module was taken")
	}
}

func TestParameters(t *testing.T) {
	const cmdline = "console=ttyS0 vfio.enable_unsafe_noiommu_mode=1 vfio_pci.enable_sriov=1 vfio-pci.disable_idle_d3 iommufd.x=a.b\n"
	for name, want := range map[string]string{
		"vfio": "enable_unsafe_noiommu_mode=1", "vfio_pci": "enable_sriov=1 disable_idle_d3", "iommufd": "x=a.b", "vfio_pci_core": "", "console=ttyS0": "",
	} {
		if got := parameters(cmdline, name); got != want {
			t.Errorf("parameters of %s = %q, want %q", name, got, want)
		}
	}
}
