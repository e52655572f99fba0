// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// tools are the programs that a result depends on.
type tools struct {
	farm    string // path
	version string // hash of the farm, of what it runs in a guest, and of the versions of compiler and QEMU
}

// buildTools builds the farm into a directory, and what the farm will build
// for its guests, to know whether it is what it was the last time. Neither
// has the commit in it: one that changes no code changes no result.
func buildTools(ctx context.Context, dir string) (tools, error) {
	sum := sha256.New()
	for _, program := range []string{"farm", "suites", "guestagent"} {
		path := filepath.Join(dir, program)
		cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-o", path, "./"+program)
		if out, err := cmd.CombinedOutput(); err != nil {
			return tools{}, fmt.Errorf("build %s: %w: %s", program, err, out)
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return tools{}, fmt.Errorf("build %s: %w", program, err)
		}
		sum.Write(text)
	}
	for _, program := range []string{"gcc", "qemu-system-x86_64"} {
		out, err := exec.CommandContext(ctx, program, "--version").Output()
		if err != nil {
			return tools{}, fmt.Errorf("ask %s for its version: %w", program, err)
		}
		sum.Write(out)
	}
	return tools{farm: filepath.Join(dir, "farm"), version: hex.EncodeToString(sum.Sum(nil))[:16]}, nil
}
