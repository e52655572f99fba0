// SPDX-License-Identifier: Apache-2.0

package images

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/u-root/u-root/pkg/cpio"
)

// unpack makes an image's regular files and links in a directory; device nodes
// would need root.
func unpack(t *testing.T, image Image) string {
	t.Helper()
	dir := t.TempDir()
	for _, r := range read(t, image.Path) {
		if r.Mode&cpio.S_IFMT == cpio.S_IFCHR {
			continue
		}
		if err := cpio.CreateFileInRoot(r, dir, false); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// inside runs a command with the image as its root directory.
func inside(dir string, argv0 string, args ...string) (string, error) {
	c := &exec.Cmd{
		Path: argv0, Args: args, Dir: "/", Env: []string{"PATH=/bin"},
		SysProcAttr: &syscall.SysProcAttr{Chroot: dir},
	}
	if os.Getuid() != 0 {
		c.SysProcAttr.Cloneflags = syscall.CLONE_NEWUSER
		c.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
	}
	out, err := c.CombinedOutput()
	return string(out), err
}

func TestShell(t *testing.T) {
	image := build1(t, Spec{
		Shell: true,
		Files: []File{{Path: "/etc/motd", Data: []byte("welcome\n"), Mode: 0o644}},
	}, t.TempDir())
	dir := unpack(t, image)
	tests := []struct {
		name, path string
		args       []string
		want       string
		code       int
	}{
		{"ls", "/bin/ls", []string{"ls", "/"}, "bin\ndev\netc\ninit\n", 0},
		{"cat", "/bin/cat", []string{"/bin/cat", "/etc/motd"}, "welcome\n", 0},
		{"sh by its path", "/bin/sh", []string{"/bin/sh", "-c", "cat /etc/motd | tr w W && echo $((6*7))"}, "Welcome\n42\n", 0},
		{"sh by its name", "/bin/sh", []string{"sh", "-c", "exit 3"}, "", 3},
		{"sh from sh", "/bin/sh", []string{"sh", "-c", `sh -c "echo inner"`}, "inner\n", 0},
		{"the shell's own name", "/bin/gosh", []string{"gosh", "-c", "echo gosh"}, "gosh\n", 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			out, err := inside(dir, test.path, test.args...)
			code := 0
			if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
				code = exit.ExitCode()
			} else if err != nil {
				t.Fatal(err)
			}
			if out != test.want || code != test.code {
				t.Errorf("%v: %q, exit %d; want %q, exit %d", test.args, out, code, test.want, test.code)
			}
		})
	}
	for _, command := range append([]string{"sh"}, shellCommands...) {
		if _, err := os.Stat(filepath.Join(dir, "bin", command)); err != nil {
			t.Error(err)
		}
	}
}

// A stored program is used as it is; one that was damaged is not.
func TestShellStore(t *testing.T) {
	root, err := moduleRoot()
	if err != nil {
		t.Fatal(err)
	}
	key, err := shellKey(context.Background(), root)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	stored := []byte("stands for the program")
	if err := storeShell(dir, key, stored); err != nil {
		t.Fatal(err)
	}
	// A program of the image changes, the shell does not.
	for _, programs := range [][]GoProgram{nil, {{agentPackage, "/suites/suites"}}} {
		image := build1(t, Spec{Shell: true, Programs: programs}, dir)
		found := false
		for _, r := range read(t, image.Path) {
			if r.Name == multicall {
				found = string(content(t, r)) == string(stored)
			}
		}
		if !found {
			t.Errorf("with %v the shell is not the stored one", programs)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, shellFile(key, stored)), []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	if program, err := storedShell(dir, key); err != nil || program != nil {
		t.Errorf("damaged program used: %q (%v)", program, err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".*")); len(left) != 0 {
		t.Errorf("left behind: %s", strings.Join(left, " "))
	}
}
