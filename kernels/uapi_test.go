// SPDX-License-Identifier: Apache-2.0

package kernels

import (
	"os"
	"path/filepath"
	"testing"
)

// The source says which ioctls a kernel has, and a link out of it says nothing.
func TestKnowsGetPA(t *testing.T) {
	const knows = "#define IOMMU_IOAS_NOIOMMU_GET_PA _IO(IOMMUFD_TYPE, IOMMUFD_CMD_IOAS_NOIOMMU_GET_PA)\n"
	outside := filepath.Join(t.TempDir(), "iommufd.h")
	if err := os.WriteFile(outside, []byte(knows), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		header string // "->" is a link to the one outside
		want   bool
		bad    bool
	}{
		"has it":         {"/* ioctls */\n" + knows, true, false},
		"speaks of it":   {"/* no IOMMU_IOAS_NOIOMMU_GET_PA here */\n", false, false},
		"has no iommufd": {"", false, false},
		"is a link":      {"->", false, true},
	} {
		tree := t.TempDir()
		header := filepath.Join(tree, iommufdHeader)
		if err := os.MkdirAll(filepath.Dir(header), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		switch c.header {
		case "":
		case "->":
			err = os.Symlink(outside, header)
		default:
			err = os.WriteFile(header, []byte(c.header), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		if got, err := knowsGetPA(tree); got != c.want || (err != nil) != c.bad {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	if _, err := knowsGetPA(filepath.Join(t.TempDir(), "removed")); err == nil {
		t.Error("a tree that was removed says something")
	}
}
