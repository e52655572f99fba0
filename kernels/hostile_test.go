// SPDX-License-Identifier: Apache-2.0

package kernels

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"noiommu-farm/internal/fault"
)

// A series whose makefile tries what it must not is stopped or refused, the
// report says what it tried, and the machine is as it was.
func TestHostileMakefiles(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	_, port, _ := net.SplitHostPort(listener.Addr().String())

	outside := t.TempDir()
	secret := filepath.Join(outside, "secret")
	write(t, secret, "a secret of the user\n")
	programs := t.TempDir() // of the user
	for _, name := range []string{"true", "false"} {
		write(t, filepath.Join(programs, name), string(read(t, "/usr/bin/"+name)))
	}
	t.Setenv("HOME", outside)
	t.Setenv("TOKEN", "a secret of the user")

	for name, c := range map[string]struct {
		recipe string // of vmlinux, before all else
		limits Limits
		want   []string
	}{
		"writes in the source":     {`: > /src/Makefile`, Limits{}, []string{"compile", "Read-only file system"}},
		"writes in the machine":    {`: > /usr/bin/new`, Limits{}, []string{"Read-only file system"}},
		"writes in /etc":           {`: > /etc/new`, Limits{}, []string{"Read-only file system"}},
		"writes where the user is": {`: > ` + outside + `/new`, Limits{}, []string{"new: Directory nonexistent"}},
		"writes a device":          {`: > /dev/new`, Limits{}, []string{"Read-only file system"}},
		"changes the machine":      {`: > /proc/sys/kernel/panic_on_warn`, Limits{}, []string{"Read-only file system"}},
		"opens a socket":           {`bash -c "exec 3<>/dev/tcp/127.0.0.1/` + port + `"`, Limits{}, []string{"Connection refused"}},
		"reads the home directory": {`cat ~/.ssh/id_rsa`, Limits{}, []string{"No such file or directory"}},
		"reads the user's files":   {`cat ` + secret, Limits{}, []string{"No such file or directory"}},
		"reads the environment":    {`echo $${TOKEN:?is not there}`, Limits{}, []string{"is not there"}},
		"makes a namespace":        {`unshare --user --map-root-user true`, Limits{}, []string{"unshare failed"}},
		"forks without end":        {`while :; do sleep 600 & done`, Limits{Processes: 64}, []string{"compile", "it ran more than 64 processes at once"}},
		"eats memory":              {`x=$$(head -c 60M /dev/zero | tr '\0' x); sleep 600`, Limits{Memory: 64 << 20}, []string{"it used more than 64 MiB of memory"}},
		"fills the disk":           {`i=0; while :; do i=$$((i+1)); head -c 1M /dev/zero > $(B)$$i; done`, Limits{Disk: 24 << 20}, []string{"it wrote more than 24 MiB"}},
		"makes files without end":  {`i=0; while :; do i=$$((i+1)); : > $(B)$$i; done`, Limits{Files: 2000}, []string{"it made more than 2000 files"}},
		"writes one large file":    {`exec head -c 9M /dev/zero > $(B)large`, Limits{File: 8 << 20}, []string{"compile", "File size limit exceeded"}},
		"fills /tmp":               {`head -c 9M /dev/zero > /tmp/large`, Limits{Scratch: 8 << 20}, []string{"compile", "No space left on device"}},
		"prints without end":       {`yes "what nobody wants to read"`, Limits{Output: 128 << 10}, []string{"it printed more than 128 KiB", "what nobody wants to read"}},
		"runs for ever":            {`trap "" TERM INT HUP; while :; do sleep 600; done`, Limits{Time: 2 * time.Second}, []string{"it ran for more than 2s"}},
		"leaves a link for vmlinux": {
			`ln -s ` + secret + ` $(B)vmlinux; false || mkdir -p $(B)include/config && echo 7.3.99-mini > $(B)include/config/kernel.release; exit 0; :`,
			Limits{}, []string{"the build left no vmlinux", "path escapes"},
		},
		"leaves a pipe for vmlinux": {
			`mkfifo $(B)vmlinux; mkdir -p $(B)include/config && echo 7.3.99-mini > $(B)include/config/kernel.release; exit 0; :`,
			Limits{}, []string{"the build left no vmlinux", "is no file"},
		},
		"leaves a path for a release": {
			`mkdir -p $(B)include/config && echo ../../../etc > $(B)include/config/kernel.release; exit 0; :`,
			Limits{}, []string{"read release", `"../../../etc" is no release`},
		},
		"takes the selftests' place": {`mkdir /selftests/vfio`, Limits{}, []string{"compile", "No such file or directory"}},
		"selftests that are a link": {
			`rmdir /selftests/vfio && ln -s ` + programs + ` /selftests/vfio`,
			Limits{}, []string{"selftests/vfio", "the build left no directory vfio"},
		},
		"selftests that are gone": {`rmdir /selftests/vfio`, Limits{}, []string{"selftests/vfio", "no such file or directory"}},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			l.cache.Limits = c.limits
			file := "Makefile"
			if strings.HasPrefix(name, "selftests") {
				file = "tools/testing/selftests/vfio/Makefile"
			}
			path := filepath.Join(l.tree, file)
			text := strings.Replace(string(read(t, path)), "vmlinux: $(objects)\n", "vmlinux: $(objects)\n\t@"+c.recipe+"\n", 1)
			switch {
			case strings.HasPrefix(name, "selftests"):
				text = "all:\n\t@" + c.recipe + "\n"
			case strings.HasPrefix(name, "leaves"):
				// The recipe is all that there is of vmlinux.
				head, _, _ := strings.Cut(text, "vmlinux: $(objects)")
				_, tail, _ := strings.Cut(text, "\nmodules:\n")
				text = head + "vmlinux: $(objects)\n\t@" + c.recipe + "\n\nmodules:\n" + tail
			}
			before := string(read(t, path))
			if text == before {
				t.Fatal("the small kernel's makefile has changed")
			}
			r := l.request(t)
			r.Source = r.Source.With(l.patches(t, map[string]string{file: text}))
			_, err := l.cache.Build(t.Context(), r, nil)
			var kernel *fault.Kernel
			if !errors.As(err, &kernel) || fault.ExitCode(err) != fault.ExitKernel {
				t.Fatalf("got %v", err)
			}
			for _, part := range c.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%q is not in: %v", part, err)
				}
			}
			for _, f := range []string{"/usr/bin/new", "/etc/new", "/dev/new", filepath.Join(outside, "new")} {
				if exists(f) {
					os.Remove(f)
					t.Errorf("%s was made", f)
				}
			}
			if string(read(t, path)) != before {
				t.Error("the source was changed")
			}
			if left, err := os.ReadDir(programs); err != nil || len(left) != 2 {
				t.Errorf("of the user's programs %v are left: %v", left, err)
			}
			if kernel.Log != "" && strings.Contains(string(read(t, kernel.Log)), "a secret of the user") {
				t.Error("the secret was read")
			}
			noWork(t, l.cache)
		})
	}
	if err := listener.(*net.TCPListener).SetDeadline(time.Now()); err != nil {
		t.Fatal(err)
	}
	if c, err := listener.Accept(); err == nil {
		t.Errorf("%v connected", c.RemoteAddr())
	}
}

// What a build leaves running ends with it.
func TestHostileBuildLeavesNothingRunning(t *testing.T) {
	l := newLab(t)
	argument := l.pause(t)
	if err := os.Remove(filepath.Join(l.tree, "pause")); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(l.tree, "Makefile")
	write(t, path, strings.Replace(string(read(t, path)), "vmlinux: $(objects)\n", "vmlinux: $(objects)\n\t@setsid sleep "+argument+" >/dev/null 2>&1 </dev/null &\n", 1))
	l.build(t)
	if running(t, argument) {
		t.Error("a process of the build is left")
	}
}
