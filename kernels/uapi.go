// SPDX-License-Identifier: Apache-2.0

package kernels

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// iommufdHeader is where a source says which ioctls an iommufd has. It has some
// 50 KB.
const (
	iommufdHeader    = "include/uapi/linux/iommufd.h"
	maxIOMMUFDHeader = 1 << 20
)

// knowsGetPA says whether the kernel of a source tree has the ioctl
// IOMMU_IOAS_NOIOMMU_GET_PA. The release number does not tell: there are trees
// on the way to a release, and backports.
func knowsGetPA(tree string) (bool, error) {
	root, err := os.OpenRoot(tree)
	if err != nil {
		return false, fmt.Errorf("look for the ioctls: %w", err)
	}
	defer root.Close()
	f, err := root.Open(iommufdHeader)
	if errors.Is(err, fs.ErrNotExist) { // before Linux 6.2
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for the ioctls: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxIOMMUFDHeader))
	if err != nil {
		return false, fmt.Errorf("look for the ioctls: %w", err)
	}
	return bytes.Contains(text, []byte("#define IOMMU_IOAS_NOIOMMU_GET_PA ")), nil
}
