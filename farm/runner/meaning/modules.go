// SPDX-License-Identifier: Apache-2.0

package meaning

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"noiommu-farm/images"
)

// maxModules bounds how many modules an image may hold.
const maxModules = 500

// Modules are the modules of a build, at the same place in the guest: below
// /lib/modules. root is "" for a kernel without any. What a build leaves was
// made by the makefiles of somebody's tree: only regular files below root are
// taken.
func Modules(root string) ([]images.File, error) {
	if root == "" {
		return nil, nil
	}
	r, err := os.OpenRoot(root)
	if err != nil {
		return nil, fmt.Errorf("read the built modules: %w", err)
	}
	defer r.Close()
	var files []images.File
	err = fs.WalkDir(r.FS(), "lib/modules", func(name string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() || path.Ext(name) != ".ko" {
			return err
		}
		if len(files) == maxModules {
			return fmt.Errorf("more than %d", maxModules)
		}
		files = append(files, images.File{Path: "/" + name, Host: filepath.Join(root, filepath.FromSlash(name)), Mode: 0o644})
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the built modules: %w", err)
	}
	if len(files) == 0 {
		return nil, errors.New("read the built modules: there is none")
	}
	return files, nil
}
