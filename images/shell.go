// SPDX-License-Identifier: Apache-2.0

package images

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/u-root/gobusybox/src/pkg/bb"
	"github.com/u-root/gobusybox/src/pkg/bb/findpkg"
	"github.com/u-root/gobusybox/src/pkg/golang"
	"github.com/u-root/u-root/pkg/cpio"
	"github.com/u-root/uio/ulog"
)

// shellCommands are u-root's core commands in an image with a shell. gosh is
// the shell; it is /bin/sh too.
var shellCommands = strings.Fields(`
	basename cat chmod chroot comm cp date df dirname dmesg du echo false find
	free gosh grep head hexdump hostname id kill ln ls lsmod mkdir mknod mktemp
	more mount mv pci poweroff printenv ps pwd readlink realpath rm seq
	shasum sleep sort strings stty sync tail tee time timeout touch tr true tty
	umount uname uniq uptime wc which xargs`)

const (
	uroot = "github.com/u-root/u-root"
	// shellTag leaves gosh's line editor and its dependencies out.
	shellTag = "goshsmall"
	// multicall is the one program that is all the commands.
	multicall = "bin/bb"
	// shellAlias makes the multi-call program answer to sh: it looks for a
	// command by the name it was called with, and sh is no command of u-root.
	shellAlias = `package main

import (
	"os"
	"path/filepath"
)

func init() {
	if filepath.Base(os.Args[0]) == "sh" {
		os.Args[0] = "gosh"
	}
}
`
)

// addShell adds the commands to /bin, built or from the store in dir.
func addShell(ctx context.Context, t *tree, root, dir string) error {
	key, err := shellKey(ctx, root)
	if err != nil {
		return err
	}
	program, err := storedShell(dir, key)
	if err != nil {
		return err
	}
	if program == nil {
		if program, err = buildShell(ctx, root); err != nil {
			return err
		}
		if err := storeShell(dir, key, program); err != nil {
			return err
		}
	}
	if err := t.add(multicall, program, 0o755); err != nil {
		return err
	}
	for _, command := range append([]string{"sh"}, shellCommands...) {
		if err := t.put(cpio.Symlink("bin/"+command, filepath.Base(multicall))); err != nil {
			return err
		}
	}
	return nil
}

// shellKey names everything that goes into the multi-call program: which
// commands, the versions of all modules, the compiler.
func shellKey(ctx context.Context, root string) (string, error) {
	version := exec.CommandContext(ctx, "go", "env", "GOVERSION")
	version.Dir = root
	compiler, err := version.Output()
	if err != nil {
		return "", fmt.Errorf("go env GOVERSION: %w", err)
	}
	sums, err := os.ReadFile(filepath.Join(root, "go.sum"))
	if err != nil {
		return "", err
	}
	mod, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		return "", err
	}
	sum := sha256.New()
	fmt.Fprintf(sum, "%q %q %q %q %q %q %q", compiler, mod, sums, shellCommands, buildFlags, shellTag, shellAlias)
	return hex.EncodeToString(sum.Sum(nil)[:16]), nil
}

// storedShell finds the program in the store. Its name ends with the hash of
// its content; one that does not match, having been damaged since, is passed
// over. It returns nil when there is none.
func storedShell(dir, key string) ([]byte, error) {
	found, err := filepath.Glob(filepath.Join(dir, "shell-"+key+"-*"))
	if err != nil {
		return nil, err
	}
	for _, name := range found {
		program, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		if filepath.Base(name) == shellFile(key, program) {
			return program, nil
		}
	}
	return nil, nil
}

func shellFile(key string, program []byte) string {
	return fmt.Sprintf("shell-%s-%x", key, sha256.Sum256(program))
}

// storeShell adds the program to the store, whole or not at all.
func storeShell(dir, key string, program []byte) error {
	f, err := os.CreateTemp(dir, ".shell-*")
	if err != nil {
		return err
	}
	_, err = f.Write(program)
	if err == nil {
		err = f.Close()
	}
	if err == nil {
		err = os.Rename(f.Name(), filepath.Join(dir, shellFile(key, program)))
	}
	if err != nil {
		f.Close()
		os.Remove(f.Name())
	}
	return err
}

// buildShell rewrites the commands into one program and builds it. It takes
// some 20 seconds.
func buildShell(ctx context.Context, root string) ([]byte, error) {
	gen, err := os.MkdirTemp("", "noiommu-farm-shell-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(gen)

	var paths []string
	for _, command := range shellCommands {
		paths = append(paths, uroot+"/cmds/core/"+command)
	}
	generated := filepath.Join(gen, "tree")
	err = bb.BuildBusybox(ulog.Null, &bb.Opts{
		Env: golang.Default(golang.DisableCGO(), golang.WithGOOS("linux"), golang.WithGOARCH("amd64"),
			golang.WithGO111MODULE("on"), golang.WithBuildTag(shellTag), golang.WithWorkingDir(root)),
		LookupEnv:    &findpkg.Env{},
		GenSrcDir:    generated,
		CommandPaths: paths,
		GenerateOnly: true,
	})
	if err != nil {
		return nil, fmt.Errorf("generate multi-call program: %w", err)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	main := filepath.Join(generated, "src/bb.u-root.com/bb")
	if err := os.WriteFile(filepath.Join(main, "sh.go"), []byte(shellAlias), 0o644); err != nil {
		return nil, err
	}
	binary := filepath.Join(gen, "bb")
	args := append([]string{"build", "-tags", shellTag, "-o", binary}, buildFlags...)
	if err := goCommand(ctx, main, []string{"GO111MODULE=off", "GOPATH=" + generated}, args...); err != nil {
		return nil, err
	}
	return os.ReadFile(binary)
}
