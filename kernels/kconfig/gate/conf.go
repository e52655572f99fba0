// SPDX-License-Identifier: Apache-2.0

package gate

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"noiommu-farm/internal/fault"
	"noiommu-farm/kernels/kconfig"
	"noiommu-farm/kernels/sandbox"
)

// part takes the place of the tree's top Kconfig: it reads the files that
// no-IOMMU's options can depend on. All of them cost conf half a second and
// more, and there are hundreds of configurations.
const part = `mainmenu "VFIO"
source "scripts/Kconfig.include"
source "arch/Kconfig"
source "kernel/module/Kconfig"
source "mm/Kconfig"
source "lib/Kconfig"
source "drivers/pci/Kconfig"
source "drivers/iommu/Kconfig"
source "drivers/vfio/Kconfig"
`

// script runs conf once for every request. One sandbox does for all of them.
const script = `set -u
mkdir /tmp/work && cd /tmp/work
for request in /requests/*; do
	name=${request##*/}
	mode=${name##*.}
	KCONFIG_ALLCONFIG=$request KCONFIG_CONFIG=/results/$name /conf/scripts/kconfig/conf -s --$mode /gate/Kconfig 2>/results/$name.said
	code=$?
	if test $code -ne 0; then
		cat /results/$name.said >&2
		exit $code
	fi
done
`

// Modes of conf.
const (
	allNo      = "allnoconfig"  // what was not asked for is off
	allDefault = "alldefconfig" // what was not asked for has its default
)

var (
	compilerTest = regexp.MustCompile(`^\$\(error-if,`)
	question     = regexp.MustCompile(`^([A-Za-z0-9_-]+)\s*:=.*\$\(shell,`)
	answer       = regexp.MustCompile(`^if-success\s*=`)
)

// macros is the tree's scripts/Kconfig.include with every question to a
// compiler answered yes, and none asked: no architecture but the machine's own
// has one here, and the processes would take most of the time.
func macros(include string) string {
	var b strings.Builder
	for line := range strings.Lines(include) {
		switch {
		case compilerTest.MatchString(line):
			continue
		case answer.MatchString(line):
			line = "if-success = $(2)\n"
		case question.MatchString(line):
			line = question.FindStringSubmatch(line)[1] + " := 0\n"
		}
		b.WriteString(line)
	}
	return b.String()
}

// withMacros is a top Kconfig file that reads the macros that ask nothing.
func withMacros(top string) string {
	return strings.Replace(top, `source "scripts/Kconfig.include"`, `source "/gate/Kconfig.include"`, 1)
}

// maxResult bounds a file that conf wrote, in bytes.
const maxResult = 4 << 20

// buildConf compiles a tree's own conf in a directory.
func (j Job) buildConf(ctx context.Context, tree, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	var said bytes.Buffer
	err := sandbox.Run(ctx, sandbox.Command{
		Args: []string{"make", "-s", "-C", "/src", "O=/build", "ARCH=x86_64", "build_config"},
		Mounts: []sandbox.Mount{
			{Outside: tree, Inside: "/src"},
			{Outside: dir, Inside: "/build", Writable: true},
		},
		Stderr: &said,
	})
	return failed("build conf", err, said.String())
}

// An outcome is what conf made of one request.
type outcome struct {
	Config map[string]string
	Unmet  []string // as kconfig.UnmetDependencies has them
}

// configure runs conf in dir on the Kconfig file top for every fragment of one
// architecture. A name ends in a dot and the mode of conf.
func (j Job) configure(ctx context.Context, p program, dir string, a architecture, top string, fragments map[string]string) (map[string]outcome, error) {
	for _, d := range []string{"gate", "requests", "results"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return nil, err
		}
	}
	include, err := os.ReadFile(filepath.Join(p.tree, "scripts/Kconfig.include"))
	if err != nil {
		return nil, &fault.Kernel{Stage: "kconfig", Err: err}
	}
	files := map[string]string{"gate/Kconfig": withMacros(top), "gate/Kconfig.include": macros(string(include))}
	for name, text := range fragments {
		files["requests/"+name] = text
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return nil, err
		}
	}
	var said bytes.Buffer
	err = sandbox.Run(ctx, sandbox.Command{
		Args: []string{"sh", "-c", script},
		Env: []string{
			"srctree=/src", "ARCH=" + a.kbuild, "SRCARCH=" + a.source, "KERNELVERSION=" + j.Version,
			"CC=/src/scripts/dummy-tools/gcc", "LD=/src/scripts/dummy-tools/ld", "CC_VERSION_TEXT=gcc",
		},
		Mounts: []sandbox.Mount{
			{Outside: p.tree, Inside: "/src"},
			{Outside: p.conf, Inside: "/conf"},
			{Outside: filepath.Join(dir, "gate"), Inside: "/gate"},
			{Outside: filepath.Join(dir, "requests"), Inside: "/requests"},
			{Outside: filepath.Join(dir, "results"), Inside: "/results", Writable: true},
		},
		Stderr: &said,
	})
	if err := failed("kconfig "+a.name, err, said.String()); err != nil {
		return nil, err
	}
	results, err := os.OpenRoot(filepath.Join(dir, "results"))
	if err != nil {
		return nil, err
	}
	defer results.Close()
	outcomes := map[string]outcome{}
	for name := range fragments {
		config, err := readResult(results, name)
		if err != nil {
			return nil, fmt.Errorf("kconfig %s: %w", a.name, err)
		}
		warnings, err := readResult(results, name+".said")
		if err != nil {
			return nil, fmt.Errorf("kconfig %s: %w", a.name, err)
		}
		o := outcome{Unmet: kconfig.UnmetDependencies(string(warnings))}
		if o.Config, err = kconfig.ReadConfig(bytes.NewReader(config)); err != nil {
			return nil, fmt.Errorf("kconfig %s: %w", a.name, err)
		}
		outcomes[name] = o
	}
	return outcomes, nil
}

// readResult reads a file from where code that nobody has read could write:
// it may be anything.
func readResult(root *os.Root, name string) ([]byte, error) {
	fi, err := root.Lstat(name)
	if err != nil {
		return nil, err
	}
	if !fi.Mode().IsRegular() || fi.Size() > maxResult {
		return nil, fmt.Errorf("%s is no file of conf's", name)
	}
	f, err := root.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxResult))
}

// failed makes a program's failure the kernel's: the programs are the tree's.
func failed(stage string, err error, said string) error {
	var exit *sandbox.ExitError
	switch {
	case err == nil:
		return nil
	case !errors.As(err, &exit):
		return fmt.Errorf("%s: %w", stage, err)
	}
	const keep = 2000
	said = strings.TrimSpace(said)
	if len(said) > keep {
		said = said[:keep] + " ..."
	}
	return &fault.Kernel{Stage: stage, Err: fmt.Errorf("%w: %s", err, said)}
}
