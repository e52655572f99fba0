// SPDX-License-Identifier: Apache-2.0

package meaning

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"noiommu-farm/images"
)

// TestModules: regular files that are modules, and nothing that a makefile
// may have left beside them.
func TestModules(t *testing.T) {
	root := t.TempDir()
	dir := filepath.Join(root, "lib/modules/7.3.4/kernel/drivers/vfio")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	vfio := filepath.Join(dir, "vfio.ko")
	for _, file := range []string{vfio, filepath.Join(root, "lib/modules/7.3.4/modules.dep")} {
		if err := os.WriteFile(file, []byte("x"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for link, target := range map[string]string{"link.ko": vfio, "out.ko": "/etc/passwd", "etc": "/etc"} {
		if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	files, err := Modules(root)
	if err != nil {
		t.Fatal(err)
	}
	want := []images.File{{Path: "/lib/modules/7.3.4/kernel/drivers/vfio/vfio.ko", Host: vfio, Mode: 0o644}}
	if diff := cmp.Diff(want, files); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	if files, err := Modules(""); err != nil || files != nil {
		t.Errorf("a kernel without modules: %v, %v", files, err)
	}
	for name, root := range map[string]string{"empty": t.TempDir(), "missing": filepath.Join(root, "none")} {
		if _, err := Modules(root); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
