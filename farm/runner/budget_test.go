// SPDX-License-Identifier: Apache-2.0

package runner

import (
	"context"
	"errors"
	"testing"
)

func TestAvailable(t *testing.T) {
	if n, err := availableMiB("MemTotal:  8 kB\nMemAvailable:    2097152 kB\n"); n != 2048 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	if _, err := availableMiB("MemTotal: 8 kB\n"); err == nil {
		t.Error("an older kernel's meminfo was understood")
	}
}

// Guests take what there is, wait for what there is not, and one that is too
// large for the machine waits until it is alone.
func TestBudget(t *testing.T) {
	var b budget
	all, err := b.take(t.Context(), 1<<20, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	waiting := make(chan error)
	go func() {
		_, err := b.take(ctx, 1, 1)
		waiting <- err
	}()
	why := errors.New("interrupted")
	cancel(why)
	if err := <-waiting; !errors.Is(err, why) {
		t.Errorf("a guest beside one that takes everything: %v", err)
	}
	all()
	var releases []func()
	for range b.maxCPU {
		release, err := b.take(t.Context(), 1, 1)
		if err != nil {
			t.Fatal(err)
		}
		releases = append(releases, release)
	}
	if b.cpus.TryAcquire(1) {
		t.Error("there is room for more guests than the machine is for")
	}
	for _, release := range releases {
		release()
	}
	if !b.cpus.TryAcquire(b.maxCPU) || !b.mib.TryAcquire(b.maxMiB) {
		t.Error("not everything was given back")
	}
}
