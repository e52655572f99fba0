// SPDX-License-Identifier: Apache-2.0

package lock

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"testing"
)

func TestTake(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "locks", "a")
	release, err := Take(t.Context(), path, func() { t.Error("waits for a free lock") })
	if err != nil {
		t.Fatal(err)
	}
	waiting := make(chan struct{})
	got := make(chan func())
	go func() {
		second, err := Take(context.Background(), path, func() { close(waiting) })
		if err != nil {
			t.Error(err)
		}
		got <- second
	}()
	<-waiting
	select {
	case <-got:
		t.Fatal("two hold the lock")
	default:
	}
	release()
	second := <-got
	defer second()

	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("enough")
	_, err = Take(ctx, path, func() { cancel(cause) })
	if !errors.Is(err, cause) {
		t.Errorf("got %v, want %v", err, cause)
	}
}

func TestSweep(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"free", "held"} {
		release, err := Take(t.Context(), filepath.Join(dir, name), nil)
		if err != nil {
			t.Fatal(err)
		}
		if name == "held" {
			defer release()
		} else {
			release()
		}
	}
	var removed []string
	err := Sweep(dir, []string{"free", "held", "never locked"}, func(name string) error {
		removed = append(removed, name)
		return nil
	})
	if err != nil || !slices.Equal(removed, []string{"free"}) {
		t.Errorf("removed %q, %v", removed, err)
	}
}

// What is used is not free, and what is not can be taken.
func TestShare(t *testing.T) {
	path := filepath.Join(t.TempDir(), "locks", "use")
	first, err := Share(path)
	if err != nil {
		t.Fatal(err)
	}
	second, err := Share(path) // as many as there are
	if err != nil {
		t.Fatal(err)
	}
	for _, end := range []func(){first, second} {
		if release, err := Free(path); err != nil || release != nil {
			t.Fatalf("it is in use: %v", err)
		}
		end()
	}
	release, err := Free(path)
	if err != nil || release == nil {
		t.Fatalf("nobody uses it: %v", err)
	}
	if again, err := Free(path); err != nil || again != nil {
		t.Errorf("it is taken: %v", err)
	}
	release()
}
