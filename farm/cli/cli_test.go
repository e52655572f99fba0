// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"errors"
	"strings"
	"testing"

	"noiommu-farm/internal/fault"
)

func TestErrorsDoNotSteerTheTerminal(t *testing.T) {
	var stderr strings.Builder
	err := errors.New("compile: a.c:1: error: #error \x1b]52;c;cm0gLXJm\x07\n    1 | \u202e\xff\tx")
	if code := tell(&stderr, err); code != fault.ExitInfra {
		t.Errorf("exit code %d", code)
	}
	const want = "farm: compile: a.c:1: error: #error \\x1b]52;c;cm0gLXJm\\a\n    1 | \\u202e\\xff\tx\n"
	if stderr.String() != want {
		t.Errorf("told %q, want %q", stderr.String(), want)
	}
}
