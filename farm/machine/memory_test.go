// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"sync"
	"testing"
)

// The kernel is found in memory where it was loaded, whoever else reads.
func TestReadPhysical(t *testing.T) {
	g := boot(t, helloMachine(t))
	if _, err := bufio.NewReader(g.Console()).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	var readers sync.WaitGroup
	for n := range len(helloCode) {
		readers.Go(func() {
			got, err := g.ReadPhysical(t.Context(), loadAddress+uint64(n), len(helloCode)-n)
			if err != nil || !bytes.Equal(got, helloCode[n:]) {
				t.Errorf("at byte %d of the kernel: %x, %v; want %x", n, got, err, helloCode[n:])
			}
		})
	}
	readers.Wait()
	// A long read leaves nothing for a short one.
	most, err := g.ReadPhysical(t.Context(), loadAddress, MaxPhysicalRead)
	if err != nil || len(most) != MaxPhysicalRead || !bytes.HasPrefix(most, helloCode) {
		t.Errorf("%d bytes, %v", len(most), err)
	}
	if one, err := g.ReadPhysical(t.Context(), maxPhysicalAddress-1, 1); err != nil || len(one) != 1 {
		t.Errorf("last byte: %x, %v", one, err)
	}

	for _, bad := range []struct {
		addr uint64
		size int
	}{
		{0, 0}, {0, -1}, {0, MaxPhysicalRead + 1}, {maxPhysicalAddress - 1, 2}, {maxPhysicalAddress, 1}, {1<<64 - 1, 1},
	} {
		if got, err := g.ReadPhysical(t.Context(), bad.addr, bad.size); err == nil {
			t.Errorf("%d bytes at %#x: %d bytes and no error", bad.size, bad.addr, len(got))
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := g.ReadPhysical(ctx, loadAddress, 1); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}
