// SPDX-License-Identifier: Apache-2.0

package results

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// Run is the head of a run directory: what was asked for, when, and with what.
type Run struct {
	ID       string            `json:"id"`
	Started  time.Time         `json:"started"`
	Command  []string          `json:"command"`        // the farm's own arguments
	Cells    []string          `json:"cells"`          // names, in the order of the plan
	Left     []string          `json:"left,omitempty"` // those for which there was no time
	Versions map[string]string `json:"versions"`       // farm, go, qemu, host kernel
}

const (
	runFile  = "run.json"
	cellsDir = "cells"
)

// What a run came to, which the farm writes when it comes to the end of it.
const (
	ConclusionJSON  = "results.json"
	ConclusionKTAP  = "results.ktap"
	ConclusionJUnit = "junit.xml"
)

// Reopen takes away what a run came to. Whoever goes on with one calls it when
// nothing speaks against that any more.
func Reopen(dir string) error {
	for _, name := range []string{ConclusionJSON, ConclusionKTAP, ConclusionJUnit} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%w: go on with a run: %w", ErrNotRecorded, err)
		}
	}
	return nil
}

// CreateRun makes a run directory below root, with a new ID that sorts by time,
// and points root/latest at it.
func CreateRun(root string, r *Run) (dir string, err error) {
	var salt [2]byte
	rand.Read(salt[:])
	r.Started = time.Now().UTC()
	r.ID = r.Started.Format("20060102-150405-") + hex.EncodeToString(salt[:])
	dir = filepath.Join(root, r.ID)
	if err := os.MkdirAll(filepath.Join(dir, cellsDir), 0o755); err != nil {
		return "", fmt.Errorf("create run directory: %w", err)
	}
	if err := WriteJSON(filepath.Join(dir, runFile), *r); err != nil {
		return "", fmt.Errorf("create run directory: %w", err)
	}
	latest := filepath.Join(root, "latest")
	next := latest + "." + r.ID
	if err := os.Symlink(r.ID, next); err == nil {
		// A link that cannot be replaced is no reason to lose a run.
		if os.Rename(next, latest) != nil {
			os.Remove(next)
		}
	}
	return dir, nil
}

// WriteRun replaces the head of a run directory.
func WriteRun(dir string, r Run) error {
	if err := WriteJSON(filepath.Join(dir, runFile), r); err != nil {
		return fmt.Errorf("%w: %w", ErrNotRecorded, err)
	}
	return nil
}

// ReadRun reads the head of a run directory.
func ReadRun(dir string) (Run, error) {
	var r Run
	text, err := os.ReadFile(filepath.Join(dir, runFile))
	if err != nil {
		return r, fmt.Errorf("read run: %w", err)
	}
	if err := json.Unmarshal(text, &r); err != nil {
		return r, fmt.Errorf("read run: %s: %w", runFile, err)
	}
	return r, nil
}

// CellDir is the folder of a cell in a run directory.
func CellDir(runDir, cell string) string { return filepath.Join(runDir, cellsDir, cell) }

// maxJSON bounds what is read of one file, in bytes.
const maxJSON = 1 << 30

// ReadJSON reads a file that [WriteJSON] wrote. Keys that are not known are left
// out: a newer farm may have written it.
func ReadJSON(path string, v any) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := json.NewDecoder(io.LimitReader(f, maxJSON)).Decode(v); err != nil {
		return fmt.Errorf("%s: %w", filepath.Base(path), err)
	}
	return nil
}

// WriteJSON writes a file whole or not at all.
func WriteJSON(path string, v any) error {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return WriteFile(path, append(text, '\n'))
}

// WriteFile writes a file whole or not at all.
func WriteFile(path string, text []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".tmp-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	if _, err := f.Write(text); err != nil {
		f.Close()
		return err
	}
	if err := f.Chmod(0o644); err != nil {
		f.Close()
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
