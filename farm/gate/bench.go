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

	"noiommu-farm/farm/matrix"
	"noiommu-farm/farm/runner"
	"noiommu-farm/images"
)

// bench is what a base's results depend on, in one hash: the tree, what runs in
// the guest, QEMU, and the guests that this package plans. Results on another
// bench are not comparable, nor are those of another kernel (see
// [State.cellsOf]). Quick and core run the same in a cell.
func (g *gate) bench(ctx context.Context, baseID string) (string, error) {
	image, err := images.Build(ctx, runner.Suites(), g.Images)
	if err != nil {
		return "", fmt.Errorf("build the suites: %w", err)
	}
	qemu, err := runner.QEMU()
	if err != nil {
		return "", err
	}
	guests, err := g.planned()
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %q %q %q", baseID, image.SHA256, qemu, guests, isolation))
	return hex.EncodeToString(sum[:16]), nil
}

// planned are the guests of a base at every point, without the kernel's own
// selftests, as text.
func (g *gate) planned() ([]byte, error) {
	var cells []matrix.Cell
	for _, p := range points(Full) {
		cell := g.cell(&State{}, p)
		cell.Source = "" // however it is spelled
		cells = append(cells, cell)
	}
	return json.Marshal(cells)
}

// knownBase finds what other gates found of the same base on the same bench: its
// cells, as far as they are known, and the directories of those gates.
func (g *gate) knownBase(base *State) (cells []Cell, from []string) {
	var own head
	if readJSON(filepath.Join(g.dir, headFile), &own) != nil {
		return nil, nil
	}
	heads, _ := filepath.Glob(filepath.Join(g.Runs, "gate-*", headFile)) // the pattern is a good one
	for _, file := range heads {
		var h head
		var s State
		dir := filepath.Dir(file)
		if dir == g.dir || readJSON(file, &h) != nil || h.Bench != own.Bench || readJSON(filepath.Join(dir, statesDir, "000.json"), &s) != nil {
			continue
		}
		for _, c := range base.cellsOf(s) {
			if slices.ContainsFunc(cells, func(k Cell) bool { return k.Point == c.Point }) {
				continue
			}
			cells = append(cells, c)
			if !slices.Contains(from, dir) {
				from = append(from, dir)
			}
		}
	}
	return cells, from
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
