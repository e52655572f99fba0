// SPDX-License-Identifier: Apache-2.0

package gate

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
)

// What conf makes of a source without a series is the same every time: it is
// kept beside the source, with conf itself, so that a series after another costs
// only what it changes.

// keptConf is the conf of a source: built once when it may be kept.
func (j Job) keptConf(ctx context.Context, tree string) (string, error) {
	if j.Kept != "" {
		if _, err := os.Stat(filepath.Join(j.Kept, "conf")); err == nil {
			return filepath.Join(j.Kept, "conf"), nil
		}
	}
	dir := filepath.Join(j.Work, "conf")
	if err := j.buildConf(ctx, tree, dir); err != nil || j.Kept == "" {
		return dir, err
	}
	if err := os.MkdirAll(j.Kept, 0o755); err != nil {
		return "", err
	}
	if err := os.Rename(dir, filepath.Join(j.Kept, "conf")); err != nil && !os.IsExist(err) { // another farm's
		return "", err
	}
	return filepath.Join(j.Kept, "conf"), nil
}

// outcomes is configure, or what it said the last time.
func (j Job) outcomes(ctx context.Context, p program, dir string, a architecture, top string, fragments map[string]string) (map[string]outcome, error) {
	include, err := os.ReadFile(filepath.Join(p.tree, "scripts/Kconfig.include"))
	if err != nil || p.kept == "" {
		return j.configure(ctx, p, dir, a, top, fragments)
	}
	key := sha256.New()
	fmt.Fprintf(key, "%q", []string{script, macros(string(include)), top, a.name, a.kbuild, a.source, j.Version})
	for _, name := range slices.Sorted(maps.Keys(fragments)) {
		fmt.Fprintf(key, "%q", []string{name, fragments[name]})
	}
	path := filepath.Join(p.kept, hex.EncodeToString(key.Sum(nil))[:40]+".json")
	if text, err := os.ReadFile(path); err == nil {
		var kept map[string]outcome
		// Cut short by a crash, it is made again.
		if json.Unmarshal(text, &kept) == nil && len(kept) == len(fragments) {
			return kept, nil
		}
	}
	made, err := j.configure(ctx, p, dir, a, top, fragments)
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(made)
	if err != nil {
		return nil, err
	}
	return made, keep(path, text)
}

// keep writes a file whole or not at all.
func keep(path string, text []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".kept-")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // unless it has its place
	_, err = f.Write(text)
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
