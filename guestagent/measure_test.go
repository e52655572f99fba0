// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"noiommu-farm/guestagent/wire"
)

func TestMeasure(t *testing.T) {
	g := newGuest(t)
	for name, text := range map[string]string{
		vmstat:  "nr_free_pages 100\nnr_iommu_pages 7\nnr_foll_pin_acquired 12\nnr_foll_pin_released 10\n",
		meminfo: "MemTotal:         506096 kB\nSUnreclaim:        12345 kB\nHugePages_Total:      64\nHugePages_Free:       63\nHugepagesize:       2048 kB\n",
	} {
		if err := os.WriteFile(g.path(name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want := &wire.Measured{Counters: map[string]int64{
		wire.PinsAcquired: 12, wire.PinsReleased: 10, wire.IOMMUPages: 7,
		wire.HugepagesTotal: 64, wire.HugepagesFree: 63, wire.Unreclaimable: 12345,
	}}
	got, err := g.measure(&wire.Measure{Forget: true, Find: true}) // and there is no kmemleak
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}

	// What is written to kmemleak; what it finds then, only a kernel knows.
	if err := os.MkdirAll(filepath.Dir(g.path(kmemleak)), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(g.path(kmemleak), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := g.measure(&wire.Measure{Forget: true}); err != nil {
		t.Fatal(err)
	}
	if text := g.text(t, kmemleak); text != "clear" {
		t.Errorf("the last command was %q", text)
	}

	// A kmemleak that cannot be asked is not one that has found nothing.
	if err := os.Remove(g.path(kmemleak)); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(g.path(kmemleak), 0o755); err != nil {
		t.Fatal(err)
	}
	if got, err := g.measure(&wire.Measure{Find: true}); err == nil {
		t.Errorf("a kmemleak that cannot be read: %+v", got)
	}
}
