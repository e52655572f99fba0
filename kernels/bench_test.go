// SPDX-License-Identifier: Apache-2.0

package kernels

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

var (
	bench       = flag.Bool("noiommu.bench", false, "measure twelve builds of the VFIO family from an empty cache")
	benchCcache = flag.Int("noiommu.ccache", 0, "measure so many of these builds with plain make and ccache")
)

// family is twelve kernels that a matrix over VFIO's options asks for, the
// first one from nothing.
var family = []struct{ name, config, more string }{
	{"K-ALL", "k-all", ""},
	{"K-COMPAT", "k-compat", ""},
	{"K-CDEV", "k-cdev", ""},
	{"K-GRP", "k-grp", ""},
	{"K-OFF", "k-off", ""},
	{"K-MOD", "k-mod", ""},
	{"K-ALL without INTEL_IOMMU", "k-all", withoutIntel},
	{"K-ALL without AMD_IOMMU", "k-all", "CONFIG_AMD_IOMMU=n\n"},
	{"K-ALL without VIRTIO_IOMMU", "k-all", "CONFIG_VIRTIO_IOMMU=n\n"},
	{"K-ALL with the mtty sample", "k-all,mtty", ""},
	{"K-ALL with dma-buf and P2PDMA", "k-all,p2pdma,dma-buf", ""},
	{"K-ALL with IOMMUFD_TEST", "k-all,iommufd-test", ""},
}

const withoutIntel = "CONFIG_INTEL_IOMMU=n\nCONFIG_INTEL_IOMMU_DEFAULT_ON=n\nCONFIG_INTEL_IOMMU_SVM=n\nCONFIG_INTEL_IOMMU_DEBUGFS=n\n"

// familyConfiguration is that of the i-th kernel of the family. work is where a
// fragment of its own is put.
func familyConfiguration(t *testing.T, work string, i int) Configuration {
	t.Helper()
	spec := family[i].config
	if more := family[i].more; more != "" {
		path := filepath.Join(work, fmt.Sprintf("%d.config", i))
		write(t, path, more)
		spec += "," + path
	}
	c, err := LoadConfiguration(spec)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// What a family of kernels costs beside its first: a measurement, printed as
// docs/benchmarks.md has it. It holds nothing to a time.
func TestBenchBuilds(t *testing.T) {
	if !*bench {
		t.Skip("measures real builds: run with -noiommu.bench")
	}
	users, debian := usersCache(t)
	tree, err := users.tree(t.Context(), debian, func(Progress) {})
	if err != nil {
		t.Fatal(err)
	}
	// Beside it, so that files can be shared: the source, and no build.
	work, err := os.MkdirTemp(users.Dir, "test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(work) })
	cache := &Cache{Dir: filepath.Join(work, "cache"), Jobs: runtime.NumCPU()}
	share(t, users, cache, "sources/"+tree.ID, "downloads", "imports")

	var total, first time.Duration
	names := map[string]string{}
	fmt.Println("| configuration | wall clock | kbuild's steps | from |\n|---|---|---|---|")
	for i, f := range family {
		start := time.Now()
		b, err := cache.Build(t.Context(), Request{Source: debian, Config: familyConfiguration(t, work, i)}, nil)
		took := time.Since(start)
		if err != nil {
			t.Fatal(err)
		}
		if b.Cached {
			t.Fatalf("%s is the kernel of another", f.name)
		}
		names[b.Key] = f.name
		from := "nothing"
		if b.Neighbour != "" {
			from = names[b.Neighbour]
		}
		fmt.Printf("| %s | %.0f s | %d | %s |\n", f.name, took.Seconds(), b.Steps, from)
		if total += took; i == 0 {
			first = took
		}
	}
	fmt.Printf("| all twelve | %.0f s | | |\n\n%.2f times the first alone (%.0f s), on %d processors\n", total.Seconds(), total.Seconds()/first.Seconds(), first.Seconds(), runtime.NumCPU())
}

// What somebody pays for the same kernels without the farm: a build directory
// each, all with one ccache, empty at first.
func TestBenchCcache(t *testing.T) {
	if *benchCcache == 0 {
		t.Skip("measures real builds: run with -noiommu.ccache")
	}
	if _, err := exec.LookPath("ccache"); err != nil {
		t.Fatal("ccache is not installed (Debian package: ccache)")
	}
	users, debian := usersCache(t)
	tree, err := users.tree(t.Context(), debian, func(Progress) {})
	if err != nil {
		t.Fatal(err)
	}
	work := t.TempDir()
	fmt.Println("\n| plain make with ccache | wall clock |\n|---|---|")
	var total time.Duration
	count := min(*benchCcache, len(family))
	for i, f := range family[:count] {
		// Its .config is the farm's.
		b, err := users.Build(t.Context(), Request{Source: debian, Config: familyConfiguration(t, work, i)}, nil)
		if err != nil {
			t.Fatal(err)
		}
		config := b.ConfigPath
		build := filepath.Join(work, fmt.Sprint(i))
		if err := os.MkdirAll(build, 0o755); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(build, ".config"), string(read(t, config)))
		targets := []string{"vmlinux"}
		if strings.Contains(string(read(t, config)), "=m\n") {
			targets = append(targets, "modules")
		}
		start := time.Now()
		cmd := exec.CommandContext(t.Context(), "make", append([]string{"-s", "-C", tree.Dir, "O=" + build, "ARCH=x86_64", "CC=ccache gcc", fmt.Sprintf("-j%d", runtime.NumCPU())}, targets...)...)
		cmd.Env = append(os.Environ(), "CCACHE_DIR="+filepath.Join(work, "ccache"), "KBUILD_BUILD_TIMESTAMP=Thu Jan  1 00:00:00 UTC 1970")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("plain make: %v: %.2000s", err, out)
		}
		took := time.Since(start)
		total += took
		fmt.Printf("| %s | %.0f s |\n", f.name, took.Seconds())
		if err := os.RemoveAll(build); err != nil {
			t.Fatal(err)
		}
	}
	fmt.Printf("| these %d | %.0f s |\n", count, total.Seconds())
}
