// SPDX-License-Identifier: Apache-2.0

package rooms

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "noiommu-farm/"

// plan lists the rooms and what each may import. A room's inner rooms belong
// to it and may import each other. internal/fault is open to all.
var plan = map[string][]string{
	"farm":     {"farm/cli"},
	"farm/cli": {"farm/gate", "farm/machine", "farm/matrix", "farm/repro", "farm/runner", "kernels", "results"},
	// The gate has a difference repeated, tells how to have it again, and tells
	// by the suites' image whether a base's results are of the same suites.
	"farm/gate": {"images", "farm/matrix", "farm/repro", "farm/runner", "kernels", "results", "suites/contract"},
	// A guest to look at needs a shell in its image, a debugger the source
	// lines of a statement, a test a record as a guest makes it. QEMU itself is
	// asked for a guest's memory.
	"farm/repro":      {"farm/qmp", "farm/runner", "guestagent/wire", "images", "kernels", "results", "suites/contract"},
	"farm/runner":     {"farm/machine", "farm/matrix", "kernels", "images", "results", "guestagent/wire", "suites/contract"},
	"farm/matrix":     {"suites/contract"},
	"farm/machine":    {"farm/qmp"},
	"farm/qmp":        nil,
	"results":         {"suites/contract", "guestagent/wire"},
	"kernels":         nil,
	"images":          nil,
	"guestagent":      {"guestagent/wire", "guestagent/prefault"},
	"guestagent/wire": nil,
	// Both programs of a guest wait in it when it is saved.
	"guestagent/prefault": nil,
	"suites":              {"suites/contract", "suites/uapi", "guestagent/wire", "guestagent/prefault"},
	"suites/contract":     nil,
	"suites/uapi":         nil,
	"internal/fault":      nil,
	"internal/rooms":      nil,
	// It measures the parts of the farm by themselves, and all of it through
	// its command line.
	"internal/bench": {"farm/machine", "farm/runner", "guestagent/wire", "images", "kernels"},
	// It asks the farm through its command line; which statements there are it
	// knows from the data, and where a patch can show from the gate's rules.
	"internal/mutants": {"farm/gate", "suites/contract"},
}

// roomOf is the longest room that a package stands in.
func roomOf(pkg string) string {
	for {
		if _, ok := plan[pkg]; ok {
			return pkg
		}
		i := strings.LastIndexByte(pkg, '/')
		if i < 0 {
			return ""
		}
		pkg = pkg[:i]
	}
}

type goPackage struct {
	ImportPath   string
	Imports      []string
	TestImports  []string
	XTestImports []string
}

func listPackages(t *testing.T) []goPackage {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports,TestImports,XTestImports", module+"...")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var packages []goPackage
	d := json.NewDecoder(strings.NewReader(string(out)))
	for {
		var p goPackage
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return packages
		} else if err != nil {
			t.Fatalf("go list: %v", err)
		}
		packages = append(packages, p)
	}
}

// breach is an import that the plan does not allow, or "".
func breach(from, to string) string {
	to, ok := strings.CutPrefix(to, module)
	if !ok {
		return ""
	}
	a, b := roomOf(strings.TrimPrefix(from, module)), roomOf(to)
	switch {
	case a == "":
		return from + " stands in no room of the plan"
	case b == "":
		return to + " stands in no room of the plan"
	case a == b, b == "internal/fault", slices.Contains(plan[a], b):
		return ""
	}
	return from + " must not import " + to
}

func TestImports(t *testing.T) {
	packages := listPackages(t)
	if len(packages) < len(plan)/2 {
		t.Fatalf("go list found only %d packages", len(packages))
	}
	for _, p := range packages {
		for _, to := range slices.Concat(p.Imports, p.TestImports, p.XTestImports) {
			if b := breach(p.ImportPath, to); b != "" {
				t.Error(b)
			}
		}
	}
}

// The test above can fail.
func TestBreach(t *testing.T) {
	for _, c := range []struct {
		from, to string
		bad      bool
	}{
		{"farm/qmp", "results", true},
		{"results/verdict", "farm/runner", true},
		{"guestagent", "suites/contract", true},
		{"kernels/source", "images", true},
		{"elsewhere", "results", true},
		{"results/verdict", "results/console", false},
		{"farm/machine", "internal/fault", false},
		{"farm/runner", "kernels/build", false},
	} {
		if got := breach(module+c.from, module+c.to) != ""; got != c.bad {
			t.Errorf("%s -> %s: breach is %v, want %v", c.from, c.to, got, c.bad)
		}
	}
	if breach(module+"kernels", "golang.org/x/sync/errgroup") != "" {
		t.Error("packages of others are no breach")
	}
}
