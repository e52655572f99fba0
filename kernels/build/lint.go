// SPDX-License-Identifier: Apache-2.0

package build

import (
	"context"
	"fmt"
	"io"
	"slices"

	"noiommu-farm/kernels/sandbox"
)

// HasSparse says whether the checker sparse is installed.
func HasSparse() bool { return sandbox.Look("sparse", "sparse") == nil }

// Lint compiles objects of a finished build directory again with the warnings
// of W=1, and runs sparse over their sources when it is installed. It gives
// what was complained of in the files named. The build directory is of no use
// for a kernel afterwards.
func Lint(ctx context.Context, j Job, objects, files []string) ([]Warning, error) {
	j.See("lint", 0, len(objects), 0)
	args := []string{fmt.Sprintf("-j%d", max(j.Jobs, 1)), "W=1"}
	if HasSparse() {
		args = append(args, "C=2", "CHECK=sparse")
	}
	var f findings
	var w warnings
	if err := j.kbuild(ctx, io.MultiWriter(&f, &w), slices.Concat(args, objects)...); err != nil {
		return nil, j.failed("lint", err, &f)
	}
	return slices.DeleteFunc(w.found, func(w Warning) bool { return !slices.Contains(files, w.File) }), nil
}
