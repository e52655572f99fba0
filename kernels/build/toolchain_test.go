// SPDX-License-Identifier: Apache-2.0

package build

import (
	"errors"
	"strings"
	"testing"

	"noiommu-farm/internal/fault"
)

func TestFindToolchain(t *testing.T) {
	for _, name := range []string{"", "gcc"} {
		got, err := FindToolchain(t.Context(), name)
		if err != nil || got.Name != "gcc" || !strings.HasPrefix(got.Version, "gcc ") || !strings.Contains(got.Version, ", GNU ld ") || got.make != nil {
			t.Errorf("%q: %+v, %v", name, got, err)
		}
	}
	for name, parts := range map[string][]string{
		"icc":        {`compiler: "icc"`, "gcc", "clang-N"},
		"clang-":     {"clang-N"},
		"clang-19;x": {"clang-N"},
		"clang-998":  {"clang-998 is not installed", "Debian package: clang-998"},
	} {
		_, err := FindToolchain(t.Context(), name)
		if fault.ExitCode(err) != fault.ExitUsage {
			t.Errorf("%q: %v", name, err)
			continue
		}
		for _, part := range parts {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%q: %q is not in: %v", name, part, err)
			}
		}
	}
	got, err := FindToolchain(t.Context(), "clang")
	var usage *fault.Usage
	switch {
	case errors.As(err, &usage):
		if !strings.Contains(err.Error(), "is not installed") {
			t.Errorf("no clang: %v", err)
		}
	case err != nil:
		t.Error(err)
	case !strings.Contains(got.Version, "clang version") || !strings.Contains(got.Version, "LLD") || len(got.make) != 1 || !strings.HasPrefix(got.make[0], "LLVM="):
		t.Errorf("clang: %+v", got)
	}
}

// A compiler that the kernel finds too old is the user's choice, not the
// kernel's fault.
func TestRefused(t *testing.T) {
	tools := Toolchain{Name: "clang-14"}
	const said = "  HOSTCC  scripts/kconfig/conf\n***\n*** C compiler is too old.\n***   Your Clang version:    14.0.6\n***   Minimum Clang version: 15.0.0\n***\nscripts/Kconfig.include:45: Sorry, this C compiler is not supported.\n"
	err := tools.refused(said, "7.3.4")
	if fault.ExitCode(err) != fault.ExitUsage || !strings.Contains(err.Error(), `"clang-14"`) || !strings.Contains(err.Error(), "Linux 7.3.4, which says: C compiler is too old: Clang version: 14.0.6, Minimum Clang version: 15.0.0") {
		t.Errorf("got %v", err)
	}
	if err := tools.refused("drivers/vfio/Kconfig:3: syntax error\n", "7.3.4"); err != nil {
		t.Errorf("got %v", err)
	}
}
