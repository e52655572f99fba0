// SPDX-License-Identifier: Apache-2.0

package images

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

const module = "noiommu-farm"

// rootVariable names the module's directory when it cannot be found.
const rootVariable = "NOIOMMU_FARM_ROOT"

// moduleRoot finds the directory of this module's go.mod: from the working
// directory upwards, from the executable's directory upwards, or where
// NOIOMMU_FARM_ROOT says.
func moduleRoot() (string, error) {
	var starts []string
	if wd, err := os.Getwd(); err == nil {
		starts = append(starts, wd)
	}
	if exe, err := os.Executable(); err == nil {
		starts = append(starts, filepath.Dir(exe))
	}
	for _, start := range starts {
		for dir := start; ; dir = filepath.Dir(dir) {
			if isModule(dir) {
				return dir, nil
			}
			if dir == filepath.Dir(dir) {
				break
			}
		}
	}
	named := os.Getenv(rootVariable)
	if named == "" {
		return "", fmt.Errorf("find the source of %s: no go.mod of it in or above %s; set %s to its directory",
			module, strings.Join(starts, " or "), rootVariable)
	}
	if !isModule(named) {
		return "", fmt.Errorf("find the source of %s: %s=%s has no go.mod of it", module, rootVariable, named)
	}
	return filepath.Abs(named)
}

// isModule says whether dir holds this module's go.mod.
func isModule(dir string) bool {
	f, err := os.Open(filepath.Join(dir, "go.mod"))
	if err != nil {
		return false
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if name, ok := strings.CutPrefix(lines.Text(), "module "); ok {
			return strings.TrimSpace(name) == module
		}
	}
	return false
}
