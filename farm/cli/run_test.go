// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"errors"
	"io"
	"testing"

	"noiommu-farm/internal/fault"
	"noiommu-farm/results/verdict"
)

// A run that says nothing of the kernel is no fault of the kernel.
func TestConclude(t *testing.T) {
	broken := errors.New("no room")
	for _, k := range []struct {
		verdict verdict.Verdict
		err     error
		want    int // 0: success
	}{
		{verdict.Pass, nil, 0},
		{verdict.Skip, nil, 0},
		{verdict.Pass, broken, fault.ExitInfra},
		{verdict.Infra, nil, fault.ExitInfra},
		{"", nil, fault.ExitInfra},
		{"", broken, fault.ExitInfra},
		{verdict.Fail, nil, fault.ExitKernel},
		{verdict.Crash, broken, fault.ExitKernel},
	} {
		var code exitCode
		if err := conclude(io.Discard, k.verdict, k.err); err != nil && !errors.As(err, &code) || int(code) != k.want {
			t.Errorf("%q, %v: %v, want exit code %d", k.verdict, k.err, err, k.want)
		}
	}
}
