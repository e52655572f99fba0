// SPDX-License-Identifier: Apache-2.0

package source

import (
	"context"
	"fmt"
	"os"
)

// Release is the version that a source's Makefile has, without importing it: of
// a Debian package the one in its name, of a tarball "", because it would have
// to be unpacked.
func (s Spec) Release() (string, error) {
	switch {
	case s.kind == kindDebian:
		return s.arg, nil
	case s.kind == kindTarball:
		return "", nil
	case s.ref == "":
		return version(os.DirFS(s.arg))
	}
	text, err := git(context.Background(), s.arg, "show", s.ref+":Makefile")
	if err != nil {
		return "", fmt.Errorf("%w: %w", errNotKernel, err)
	}
	return parseVersion(text)
}
