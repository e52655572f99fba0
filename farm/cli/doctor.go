// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"noiommu-farm/farm/machine"
	"noiommu-farm/internal/fault"
	"noiommu-farm/kernels/sandbox"
)

type doctorCmd struct {
	JSON  bool   `name:"json" help:"Print the findings as JSON."`
	Cache string `help:"Directory of sources, builds and images." default:"${cache}" placeholder:"DIR"`
}

func (doctorCmd) Help() string {
	return `One line a finding: "ok", "slow" (works, and could be better) or "missing" (the
main job cannot run), and the command that mends it. Exit code 3 when something
is missing.

Example:

  farm doctor`
}

// finding is one thing that the doctor looked at.
type finding struct {
	State string `json:"state"` // ok, slow, missing
	What  string `json:"what"`
	Says  string `json:"says"`
	Mend  string `json:"mend,omitempty"` // a command
}

const (
	fine    = "ok"
	slow    = "slow"
	missing = "missing"
)

// What the main job needs, measured on it: sources 2 GiB, a build directory
// and its artefacts 1 GiB each; two guests of 512 MiB beside a compiler.
const (
	diskNeeded   = 8 << 30
	memoryNeeded = 2 << 30
)

func install(packages string) string { return "apt-get install --no-install-recommends " + packages }

func (c *doctorCmd) Run(s *surroundings) error {
	var all []finding
	all = append(all, checkQEMU(s.ctx)...)
	all = append(all, checkTools()...)
	all = append(all, checkSandbox(s.ctx), checkDisk(c.Cache), checkMemory())

	bad := false
	for _, f := range all {
		bad = bad || f.State == missing
	}
	if c.JSON {
		enc := json.NewEncoder(s.stdout)
		enc.SetIndent("", "  ")
		if err := enc.Encode(all); err != nil {
			return fmt.Errorf("write findings: %w", err)
		}
	} else {
		for _, f := range all {
			line := fmt.Sprintf("%-8s %s: %s", f.State, f.What, f.Says)
			if f.Mend != "" {
				line += "   mend: " + f.Mend
			}
			if _, err := fmt.Fprintln(s.stdout, line); err != nil {
				return fmt.Errorf("write findings: %w", err)
			}
		}
	}
	if bad {
		return exitCode(fault.ExitInfra)
	}
	return nil
}

func checkQEMU(ctx context.Context) []finding {
	const mend = "make setup"
	path, version, err := machine.FindQEMU()
	if err != nil {
		return []finding{{missing, "QEMU", err.Error(), mend}}
	}
	all := []finding{{fine, "QEMU", version + " at " + path, ""}}
	if lacking, err := machine.MissingDevices(ctx, path); err != nil {
		all = append(all, finding{missing, "QEMU devices", err.Error(), mend})
	} else if len(lacking) > 0 {
		all = append(all, finding{missing, "QEMU devices", "this QEMU has no " + strings.Join(lacking, ", "), mend})
	} else {
		all = append(all, finding{fine, "QEMU devices", "all there", ""})
	}
	ok, why, err := machine.ProbeKVM(ctx, path)
	switch {
	case err != nil:
		all = append(all, finding{slow, "accelerator", "could not tell whether KVM works, so TCG is used: " + err.Error(), ""})
	case ok:
		all = append(all, finding{fine, "accelerator", "KVM (a tiny guest ran on it)", ""})
	default:
		f := finding{State: slow, What: "accelerator", Says: "TCG, several times slower than KVM: " + why}
		if errors.Is(unix.Access("/dev/kvm", unix.R_OK|unix.W_OK), unix.EACCES) {
			f.Mend = "usermod -aG kvm $USER"
		}
		all = append(all, f)
	}
	return all
}

func checkTools() []finding {
	var all []finding
	for _, t := range []struct{ tool, pkg string }{
		{"go", ""}, {"gcc", "gcc"}, {"ld", "binutils"}, {"make", "make"}, {"flex", "flex"}, {"bison", "bison"},
		{"bc", "bc"}, {"xz", "xz-utils"}, {"dpkg-deb", "dpkg"}, {"git", "git"},
	} {
		path, err := exec.LookPath(t.tool)
		switch {
		case err == nil:
			all = append(all, finding{fine, t.tool, path, ""})
		case t.pkg == "":
			all = append(all, finding{missing, t.tool, "not on PATH", "install Go 1.26"})
		default:
			all = append(all, finding{missing, t.tool, "not on PATH", install(t.pkg)})
		}
	}
	for _, f := range []struct{ what, path, pkg string }{
		{"libelf headers", "/usr/include/libelf.h", "libelf-dev"},
		{"uuid headers", "/usr/include/uuid/uuid.h", "uuid-dev"},
		{"Debian's keyring", "/usr/share/keyrings/debian-archive-keyring.gpg", "debian-archive-keyring"},
	} {
		if _, err := os.Stat(f.path); err != nil {
			all = append(all, finding{missing, f.what, f.path + " is not there", install(f.pkg)})
		} else {
			all = append(all, finding{fine, f.what, f.path, ""})
		}
	}
	for _, l := range []struct{ file, pkg string }{{"libuuid.a", "uuid-dev"}, {"libcap.a", "libcap-dev"}, {"libc.a", "libc6-dev"}} {
		out, err := exec.Command("gcc", "-print-file-name="+l.file).Output()
		path := strings.TrimSpace(string(out))
		if err != nil || !filepath.IsAbs(path) {
			all = append(all, finding{missing, "static " + l.file, "gcc does not find it", install(l.pkg)})
		} else {
			all = append(all, finding{fine, "static " + l.file, path, ""})
		}
	}
	return all
}

func checkSandbox(ctx context.Context) finding {
	if err := sandbox.Run(ctx, sandbox.Command{Args: []string{"true"}}); err != nil {
		mend := install("bubblewrap")
		if _, lookErr := exec.LookPath("bwrap"); lookErr == nil {
			mend = "sysctl -w kernel.unprivileged_userns_clone=1 kernel.apparmor_restrict_unprivileged_userns=0"
		}
		return finding{missing, "build sandbox", err.Error(), mend}
	}
	return finding{fine, "build sandbox", "bubblewrap ran a program without network, home and devices", ""}
}

func checkDisk(dir string) finding {
	existing := dir
	for {
		if _, err := os.Stat(existing); err == nil || existing == filepath.Dir(existing) {
			break
		}
		existing = filepath.Dir(existing)
	}
	var st unix.Statfs_t
	if err := unix.Statfs(existing, &st); err != nil {
		return finding{missing, "disk", fmt.Sprintf("%s: %v", existing, err), ""}
	}
	free := st.Bavail * uint64(st.Bsize)
	says := fmt.Sprintf("%d GiB free for %s", free>>30, dir)
	if free < diskNeeded {
		return finding{slow, "disk", fmt.Sprintf("%s; the main job wants %d GiB when its cache is cold", says, uint64(diskNeeded)>>30), "farm run --cache DIR"}
	}
	return finding{fine, "disk", says, ""}
}

func checkMemory() finding {
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return finding{slow, "memory", err.Error(), ""}
	}
	var kib uint64
	for line := range strings.Lines(string(text)) {
		if n, _ := fmt.Sscanf(line, "MemAvailable: %d kB", &kib); n == 1 {
			break
		}
	}
	says := fmt.Sprintf("%d MiB available, %d processors", kib>>10, runtime.NumCPU())
	if kib<<10 < memoryNeeded {
		return finding{slow, "memory", says + "; two guests beside a compiler want 2048 MiB", "farm run --jobs 1"}
	}
	return finding{fine, "memory", says, ""}
}
