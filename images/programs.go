// SPDX-License-Identifier: Apache-2.0

package images

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"time"
)

// workDir is how the name of a directory begins that programs are built into.
const workDir = "noiommu-farm-image-"

// sweep removes the directories that killed farms left, as far as it may: those
// that were last touched before a time at which nobody can be at work in them.
func sweep(dir string, before time.Time) {
	left, _ := filepath.Glob(filepath.Join(dir, workDir+"*"))
	for _, path := range left {
		if info, err := os.Lstat(path); err == nil && info.IsDir() && info.ModTime().Before(before) {
			os.RemoveAll(path)
		}
	}
}

// addPrograms builds main packages with one run of the go command, so that
// its cache makes an unchanged image cheap. It returns their hash.
func addPrograms(ctx context.Context, t *tree, root string, programs []GoProgram) (string, error) {
	sweep(os.TempDir(), time.Now().Add(-time.Hour))
	tmp, err := os.MkdirTemp("", workDir)
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(tmp)

	// The go command names a program after the last element of its path.
	packages := make(map[string]string)
	args := []string{"build", "-o", tmp + string(filepath.Separator)}
	args = append(args, buildFlags...)
	args = append(args, "--")
	for _, p := range programs {
		base := path.Base(p.Package)
		if other, ok := packages[base]; ok && other != p.Package {
			return "", fmt.Errorf("build programs: %s and %s would have the same name", other, p.Package)
		} else if !ok {
			packages[base] = p.Package
			args = append(args, p.Package)
		}
	}
	if err := goCommand(ctx, root, nil, args...); err != nil {
		return "", fmt.Errorf("build programs: %w", err)
	}
	sum := sha256.New()
	for _, p := range programs {
		name, err := guestName(p.Path)
		if err != nil {
			return "", fmt.Errorf("program %s at %q: %w", p.Package, p.Path, err)
		}
		binary, err := os.ReadFile(filepath.Join(tmp, path.Base(p.Package)))
		if err != nil {
			return "", fmt.Errorf("program %s: %w", p.Package, err)
		}
		if err := t.add(name, binary, 0o755); err != nil {
			return "", fmt.Errorf("program %s: %w", p.Package, err)
		}
		fmt.Fprintf(sum, "%q %d\n%s", name, len(binary), binary)
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// buildFlags keep everything out of a program that is not its source: paths and
// symbols.
var buildFlags = []string{"-trimpath", "-ldflags=-s -w -buildid="}

// goCommand runs the go command in dir for the guest's system.
func goCommand(ctx context.Context, dir string, env []string, args ...string) error {
	c := exec.CommandContext(ctx, "go", args...)
	c.Dir = dir
	// What the user's flags and experiments would change is no difference in the
	// sources. Flags that were empty would be those of go env -w.
	c.Env = append(os.Environ(), "GOFLAGS=-buildvcs=false", "GOEXPERIMENT=", "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64", "GOAMD64=v1", "GOWORK=off")
	c.Env = append(c.Env, env...)
	c.WaitDelay = time.Second // a compiler that outlives the go command holds its output open
	out, err := c.CombinedOutput()
	if err != nil {
		return fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return nil
}
