// SPDX-License-Identifier: Apache-2.0

package gate

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"noiommu-farm/farm/runner"
	"noiommu-farm/images"
	"noiommu-farm/results/verdict"
)

// bench is what a base's results depend on, in one hash: the tree, what runs in
// the guest, QEMU, and what this package asks of both. Results on another bench
// are not comparable.
func (g *gate) bench(ctx context.Context, baseID string) (string, error) {
	image, err := images.Build(ctx, runner.Suites(), g.Images)
	if err != nil {
		return "", fmt.Errorf("build the suites: %w", err)
	}
	qemu, err := runner.QEMU()
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %q %q %q %q", baseID, image.SHA256, qemu, g.Level, Watchful, isolation))
	return hex.EncodeToString(sum[:16]), nil
}

// knownBase finds what another gate found of the same base on the same bench.
func (g *gate) knownBase(plan Plan) ([]Cell, string, bool) {
	heads, _ := filepath.Glob(filepath.Join(g.Runs, "gate-*", headFile)) // the pattern is a good one
	for _, file := range heads {
		var h, own head
		dir := filepath.Dir(file)
		if dir == g.dir || readJSON(file, &h) != nil || readJSON(filepath.Join(g.dir, headFile), &own) != nil || h.Bench != own.Bench {
			continue
		}
		var s State
		if readJSON(filepath.Join(dir, statesDir, "000.json"), &s) != nil || !contains(s.Plan.Points, plan.Points) || !contains(s.Plan.Selftests, plan.Selftests) ||
			slices.ContainsFunc(s.Cells, func(c Cell) bool { return c.Verdict == verdict.Infra && c.Reason != "" || !exists(c.Dir) }) {
			continue
		}
		from := s.From
		if from == "" {
			from = dir
		}
		return slices.DeleteFunc(s.Cells, func(c Cell) bool { return !slices.Contains(plan.Points, c.Point) }), from, true
	}
	return nil, "", false
}

func contains[T comparable](list, all []T) bool {
	return !slices.ContainsFunc(all, func(one T) bool { return !slices.Contains(list, one) })
}

func readJSON(file string, to any) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, to)
}
