// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"testing"
)

// What is asked of the kernel; what it does then, only a kernel knows.
func TestQuiet(t *testing.T) {
	g := newGuest(t)
	for name, text := range map[string]string{
		rcuBarrier:  "",
		statRefresh: "",
		loadavg:     "0.52 0.18 0.06 1/57 73\n",
	} {
		if err := os.MkdirAll(filepath.Dir(g.path(name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(g.path(name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	g.quiet()
	for _, name := range []string{rcuBarrier, statRefresh} {
		if text := g.text(t, name); text != "1" {
			t.Errorf("%s: %q was written", name, text)
		}
	}
}

func TestOthersAreReady(t *testing.T) {
	g := newGuest(t)
	for text, want := range map[string]bool{
		"0.52 0.18 0.06 1/57 73\n":  false,
		"0.52 0.18 0.06 2/57 73\n":  true,
		"0.52 0.18 0.06 12/57 73\n": true,
		"":                          false,
	} {
		if err := os.WriteFile(g.path(loadavg), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if got := g.busy(); got != want {
			t.Errorf("%q: busy %v, want %v", text, got, want)
		}
	}
}
