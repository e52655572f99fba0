// SPDX-License-Identifier: Apache-2.0

package kernels

import (
	"math"
	"os"
	"testing"
	"time"
)

// builds makes a build of the lab's tree for each option, in order; the later
// are used later.
func (l *lab) builds(t *testing.T, fragments ...string) []*Build {
	t.Helper()
	var list []*Build
	for i, f := range fragments {
		write(t, l.fragment, f)
		b := l.build(t)
		used := time.Now().Add(time.Duration(i-len(fragments)) * 100 * 24 * time.Hour) // far more than what one may take longer to make than another
		if err := os.Chtimes(b.Dir+"/"+recordName, used, used); err != nil {
			t.Fatal(err)
		}
		list = append(list, b)
	}
	return list
}

func TestStored(t *testing.T) {
	l := newLab(t)
	made := l.builds(t, "CONFIG_PCI=y\n", "CONFIG_PCI=y\nCONFIG_NOIOMMU=y\n")
	list, err := l.cache.Stored(t.Context())
	if err != nil || len(list) != 2 {
		t.Fatalf("%v, %v", list, err)
	}
	for i, s := range list {
		b := made[1-i]
		if s.Key != b.Key || s.Neighbour != b.Neighbour || s.Version != b.Version || s.Bytes < 1000 || !s.InUse || time.Since(s.Made) > time.Hour || s.Configuration != l.fragment {
			t.Errorf("%+v is not %+v", s, b)
		}
	}
	l.cache.forget()
	if list, err = l.cache.Stored(t.Context()); err != nil || list[0].InUse {
		t.Errorf("nobody uses them: %+v, %v", list, err)
	}
}

func TestClear(t *testing.T) {
	l := newLab(t)
	made := l.builds(t, "CONFIG_PCI=y\n", "CONFIG_PCI=y\nCONFIG_NOIOMMU=y\n", "CONFIG_PCI=y\nCONFIG_EDU=y\n")

	// All are in use by the cache that made them.
	got, err := l.cache.Clear(t.Context(), 0)
	if err != nil || len(got.Builds) != 0 || len(got.Sources) != 0 || got.InUse != 3 || got.After != got.Before {
		t.Errorf("in use: %+v, %v", got, err)
	}
	for _, b := range made {
		if !exists(b.Vmlinux) {
			t.Errorf("%s went away while it was in use", b.Key)
		}
	}

	// As another farm sees it: one is used by a third.
	l.cache.forget()
	third := &Cache{Dir: l.cache.Dir}
	if err := third.use(made[1].Key); err != nil {
		t.Fatal(err)
	}
	enough := got.Before
	if got, err := l.cache.Clear(t.Context(), enough); err != nil || len(got.Builds) != 0 {
		t.Errorf("it is small enough: %+v, %v", got, err)
	}
	if got, err = l.cache.Clear(t.Context(), enough-1); err != nil || len(got.Builds) != 1 || got.Builds[0].Key != made[0].Key || got.After >= got.Before {
		t.Errorf("the one that was used longest ago: %+v, %v", got, err)
	}
	got, err = l.cache.Clear(t.Context(), 0)
	if err != nil || len(got.Builds) != 1 || got.Builds[0].Key != made[2].Key || got.InUse != 1 || len(got.Sources) != 0 {
		t.Errorf("all but that in use: %+v, %v", got, err)
	}
	if !exists(made[1].Vmlinux) || exists(made[0].Dir) || exists(made[2].Dir) {
		t.Error("the wrong ones are left")
	}
	noWork(t, l.cache)

	// The source goes with its last build, and comes back when it is wanted.
	third.forget()
	if got, err = l.cache.Clear(t.Context(), 0); err != nil || len(got.Builds) != 1 || len(got.Sources) != 1 {
		t.Errorf("the rest: %+v, %v", got, err)
	}
	// What was counted as it went is what is there, but for directories that grow
	// by the names of locks.
	if is := diskUse(l.cache.Dir); max(is-got.After, got.After-is) > 16<<10 || got.After >= got.Before/2 {
		t.Errorf("%d bytes are left of %d, counted as %d", is, got.Before, got.After)
	}
	if b := l.build(t); b.Cached || b.Neighbour != "" || b.Key != made[2].Key {
		t.Errorf("built again: %+v", b)
	}
}

// forget ends the uses of a farm that goes on.
func (c *Cache) forget() {
	c.uses.Range(func(id, release any) bool {
		release.(func())()
		c.uses.Delete(id)
		return true
	})
}

// A build that is being made is not cleared away, and neither is the one that
// it starts from, nor its source.
func TestClearWhileBuilding(t *testing.T) {
	l := newLab(t)
	first := l.build(t)
	l.cache.forget()
	argument := l.pause(t)
	cmd := l.child(t)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for !running(t, argument) {
		time.Sleep(time.Millisecond)
	}
	got, err := l.cache.Clear(t.Context(), 0)
	if err != nil || len(got.Builds) != 0 || len(got.Sources) != 0 || got.InUse != 2 || !exists(first.Vmlinux) {
		t.Errorf("%+v, %v", got, err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
	for running(t, argument) {
		time.Sleep(time.Millisecond)
	}
}

func TestParseSize(t *testing.T) {
	for text, want := range map[string]int64{
		"0": 0, "7": 7, "1K": 1024, "500M": 500 << 20, "20g": 20 << 30, "1TiB": 1 << 40, "2GB": 2 << 30,
	} {
		if got, err := ParseSize(text); err != nil || got != want {
			t.Errorf("%q: %d, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "G", "-1", "1.5G", "1Q", "99999999999999999999", "9999999T"} {
		if got, err := ParseSize(text); err == nil {
			t.Errorf("%q: %d", text, got)
		}
	}
}

// What took long and is used goes last.
func TestWorth(t *testing.T) {
	now := time.Now()
	full := Stored{Took: 400 * time.Second, Bytes: 250 << 20, Used: now.Add(-14 * 24 * time.Hour)}
	near := Stored{Took: 15 * time.Second, Bytes: 250 << 20, Used: now}
	if full.worth(now) < near.worth(now) {
		t.Error("two weeks outweigh what a full build costs")
	}
	full.Used = now.Add(-100 * 24 * time.Hour)
	if full.worth(now) > near.worth(now) || math.IsNaN(Stored{}.worth(now)) {
		t.Error("a full build that nobody wants stays for ever")
	}
}
