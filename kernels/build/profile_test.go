// SPDX-License-Identifier: Apache-2.0

package build

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"noiommu-farm/internal/fault"
	"noiommu-farm/kernels/configs"
	"noiommu-farm/kernels/kconfig"
)

// kernelTree is a kernel of that version in the user's cache; absent on a
// machine that built none yet.
func kernelTree(t *testing.T, version string) string {
	t.Helper()
	dir, err := os.UserCacheDir()
	if err != nil {
		t.Skipf("no cache on this machine: %v", err)
	}
	major, minor, _ := strings.Cut(version, ".")
	files, _ := filepath.Glob(filepath.Join(dir, "noiommu-farm/sources/*/tree/Makefile"))
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err == nil && bytes.Contains(text, []byte("\nVERSION = "+major+"\nPATCHLEVEL = "+minor+"\n")) {
			return filepath.Dir(f)
		}
	}
	t.Skipf("no source of Linux %s in the cache of this machine", version)
	return ""
}

// request is what the configurations and fragments of a list ask of a kernel.
func request(t *testing.T, list, version string) []kconfig.Option {
	t.Helper()
	var fragments []kconfig.Fragment
	for name := range strings.SplitSeq(list, ",") {
		names, ok := configs.Fragments(name)
		if !ok {
			t.Fatalf("no configuration %s", name)
		}
		for _, n := range names {
			text, err := configs.Text(n)
			if err != nil {
				t.Fatal(err)
			}
			f, err := kconfig.Parse(n+".config", bytes.NewReader(text))
			if err != nil {
				t.Fatal(err)
			}
			fragments = append(fragments, f)
		}
	}
	return kconfig.Merge(fragments, version)
}

func configOf(t *testing.T, j Job) []byte {
	t.Helper()
	text, err := read(j.Objects, Config)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// What a profile asks for is what the kernel's Kconfig gives.
func TestProfiles(t *testing.T) {
	type profile struct {
		names   string
		options map[string]string // that tell it from the others; n is not set
		refused string            // part of the error
	}
	all := map[string]string{
		"VFIO": "y", "VFIO_GROUP": "y", "VFIO_CONTAINER": "y", "VFIO_DEVICE_CDEV": "y",
		"VFIO_NOIOMMU": "y", "IOMMUFD": "y", "IOMMUFD_NOIOMMU": "y", "IOMMUFD_VFIO_CONTAINER": "n", "KASAN": "n",
		"MEMCG": "y", "USER_NS": "y", "IA32_EMULATION": "y", "PM": "y", "FAILSLAB": "y", "PCI_P2PDMA": "y", "VFIO_PCI_DMABUF": "n", "KVM": "n",
	}
	but := func(pairs ...string) map[string]string {
		m := map[string]string{}
		for k, v := range all {
			m[k] = v
		}
		for i := 0; i < len(pairs); i += 2 {
			m[pairs[i]] = pairs[i+1]
		}
		return m
	}
	older := func(m map[string]string) map[string]string { m["IOMMUFD_NOIOMMU"] = "n"; return m }
	for version, profiles := range map[string][]profile{
		"7.3": {
			{"noiommu", all, ""},
			{"k-compat", but("VFIO_CONTAINER", "n", "IOMMUFD_VFIO_CONTAINER", "y"), ""},
			{"k-cdev", but("VFIO_GROUP", "n", "VFIO_CONTAINER", "n"), ""},
			{"k-grp", but("VFIO_DEVICE_CDEV", "n", "IOMMUFD_NOIOMMU", "n"), ""},
			{"k-off", but("VFIO_NOIOMMU", "n", "IOMMUFD_NOIOMMU", "n"), ""},
			{"k-mod", but("VFIO", "m", "IOMMUFD", "m", "VFIO_PCI", "m"), ""},
			{"k-dbg", but("KASAN", "y", "PROVE_LOCKING", "y", "DEBUG_SPINLOCK", "y", "DEBUG_KMEMLEAK", "y", "DEBUG_LIST", "y", "FAILSLAB", "y", "FAULT_INJECTION_DEBUG_FS", "y"), ""},
			{"k-more", but("VFIO_MDEV", "y", "VFIO_PCI_DMABUF", "y", "KVM", "y", "KVM_VFIO", "y", "SECURITY_LOCKDOWN_LSM", "y", "MODULES", "n"), ""},
			{"k-cdev,debug", but("VFIO_GROUP", "n", "VFIO_CONTAINER", "n", "KASAN", "y"), ""},
		},
		"7.2": {
			{"k-mod,debug", older(but("VFIO", "m", "IOMMUFD", "m", "KASAN", "y")), ""},
			{"k-cdev", nil, "CONFIG_VFIO_NOIOMMU=y was asked for, but it is n: it depends on VFIO_GROUP [=n]"},
		},
		"6.12": {
			{"k-off,debug", older(but("VFIO_NOIOMMU", "n", "KASAN", "y")), ""},
		},
	} {
		t.Run(version, func(t *testing.T) {
			tree := kernelTree(t, version)
			dir := t.TempDir()
			j := Job{
				Tree: tree, Version: version,
				Objects: filepath.Join(dir, "objects"), Selftests: filepath.Join(dir, "selftests"), Modules: filepath.Join(dir, "modules"),
				See: func(string, int, int, time.Duration) {},
			}
			for _, d := range []string{j.Objects, j.Selftests, j.Modules} {
				if err := os.Mkdir(d, 0o755); err != nil {
					t.Fatal(err)
				}
			}
			asked := "" // the first .config, with the toolchain asked anew
			for i, p := range profiles {
				var log bytes.Buffer
				j.Options, j.Log = request(t, p.names, version), &log
				if i == 0 {
					if err := j.configure(t.Context()); err != nil {
						t.Fatalf("%s: %v\n%s", p.names, err, &log)
					}
					asked = string(configOf(t, j))
					j.Answers, j.Learn = filepath.Join(dir, "answers"), true
				}
				if err := j.configure(t.Context()); err != nil {
					t.Errorf("%s: %v\n%s", p.names, err, &log)
					continue
				}
				if i == 0 { // once more, with answers that are known by now
					learned := string(configOf(t, j))
					if err := j.configure(t.Context()); err != nil {
						t.Fatal(err)
					}
					if known := string(configOf(t, j)); learned != asked || known != asked {
						t.Errorf("%s: the .config differs when the toolchain's answers are kept", p.names)
					}
				}
				config, err := j.check()
				if p.refused != "" {
					if fault.ExitCode(err) != fault.ExitKernel || !strings.Contains(err.Error(), p.refused) {
						t.Errorf("%s: %v, want %q", p.names, err, p.refused)
					}
					continue
				}
				if err != nil {
					t.Errorf("%s: %v", p.names, err)
				}
				for name, want := range p.options {
					got := config[name]
					if got == "" {
						got = "n"
					}
					if got != want {
						t.Errorf("%s: %s=%s, want %s", p.names, name, got, want)
					}
				}
			}
		})
	}
}
