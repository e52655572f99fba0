// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// A result is what is remembered of a mutant, so that an interrupted run goes
// on where it was.
type result struct {
	Mutant  string    `json:"mutant"`
	Kernel  string    `json:"kernel,omitempty"` // as farm run takes it; "" is the usual one
	Version string    `json:"version"`          // of the tools
	When    time.Time `json:"when"`
	Seconds float64   `json:"seconds"`
	Found   found     `json:"found"`
}

// memory is a directory with a file for each patch that was tried.
type memory string

func (d memory) path(m mutant) string {
	sum := sha256.Sum256(m.text)
	return filepath.Join(string(d), m.name+"-"+hex.EncodeToString(sum[:])[:12]+".json")
}

// recall is the last result of this very patch, if that was on this kernel; ok
// says whether there is one.
func (d memory) recall(m mutant, kernel string) (r result, ok bool) {
	text, err := os.ReadFile(d.path(m))
	if err != nil {
		return result{}, false
	}
	if err := json.Unmarshal(text, &r); err != nil {
		return result{}, false // it will be tried again
	}
	return r, cmp.Or(r.Kernel, usual) == kernel
}

func (d memory) keep(m mutant, r result) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	path := d.path(m)
	fresh := path + ".new"
	if err := errors.Join(os.WriteFile(fresh, append(text, '\n'), 0o644), os.Rename(fresh, path)); err != nil {
		return fmt.Errorf("remember the result: %w", err)
	}
	return nil
}
