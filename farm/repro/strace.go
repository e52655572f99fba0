// SPDX-License-Identifier: Apache-2.0

package repro

import (
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"

	"noiommu-farm/guestagent/wire"
	"noiommu-farm/images"
	"noiommu-farm/internal/fault"
	"noiommu-farm/results"
)

// Where the host's strace and what it is linked with are in a guest.
const (
	straceInside = "/repro/strace"
	librariesIn  = "/repro/lib"
)

// stracePatience is how many times longer a program may take of which every
// call is written down.
const stracePatience = 20

// straceLimit is how much of a trace is kept, in bytes.
const straceLimit = 256 << 20

// Strace is one try of a case with the system calls of its program written
// down, by this machine's strace. It goes to the file strace.txt in the try's
// folder, whose path is returned; what the program itself says on its standard
// error is among it.
func Strace(ctx context.Context, c Case, opt Options) (Result, string, error) {
	if len(c.repeat.Planned.Programs) == 0 {
		return Result{}, "", &fault.Usage{Key: "--strace", Value: c.Cell, Err: errors.New("needs a test: without one no program runs")}
	}
	strace, err := exec.LookPath("strace")
	if err != nil {
		return Result{}, "", &fault.Usage{Key: "--strace", Value: c.Name(), Err: errors.New("there is no strace on this machine: apt-get install strace")}
	}
	files, loader, err := linked(strace)
	if err != nil {
		return Result{}, "", fmt.Errorf("take strace into the guest: %w", err)
	}
	dir, err := os.MkdirTemp("", "noiommu-farm-strace-")
	if err != nil {
		return Result{}, "", err
	}
	defer os.RemoveAll(dir)
	repeat := c.repeat
	if repeat.Initrd, repeat.Planned.Image, err = with(ctx, c, images.Spec{Files: files}, dir, opt); err != nil {
		return Result{}, "", err
	}
	test := c.repeat.Planned.Programs[0]
	// Go's scheduler interrupts its own threads with SIGURG all the time.
	test.Argv = slices.Concat([]string{loader, "--library-path", librariesIn, straceInside, "-f", "-y", "-s", "128", "-e", "signal=!SIGURG", "--"}, test.Argv)
	test.Timeout = min(stracePatience*test.Timeout, maxTimeout)
	repeat.Planned.Programs = []results.Program{test}
	result, cell, err := c.once(ctx, repeat, opt)
	if err != nil || cell == "" {
		return result, "", err
	}
	path := filepath.Join(cell, "strace.txt")
	return result, path, saveStrace(cell, test.ID, path)
}

// saveStrace copies what a program said on its standard error.
func saveStrace(dir string, id uint32, path string) error {
	rec, err := results.ReadCell(dir)
	if err != nil {
		return err
	}
	from, err := rec.Output(id, wire.Stderr)
	if err != nil {
		return err
	}
	defer from.Close()
	text, err := io.ReadAll(io.LimitReader(from, straceLimit))
	if err != nil {
		return fmt.Errorf("read trace: %w", err)
	}
	if len(text) == 0 {
		return errors.New("read trace: the guest gave none")
	}
	return results.WriteFile(path, text)
}

// linked lists what a dynamically linked program of this machine needs in a
// guest: itself, the libraries and their loader, which must be called for it.
func linked(program string) (files []images.File, loader string, err error) {
	files = []images.File{{Path: straceInside, Host: program, Mode: 0o755}}
	done := make(map[string]bool)
	for todo := []string{program}; len(todo) > 0; {
		f, err := elf.Open(todo[0])
		if err != nil {
			return nil, "", err
		}
		needs, err := f.ImportedLibraries()
		f.Close()
		if err != nil {
			return nil, "", err
		}
		todo = todo[1:]
		for _, name := range needs {
			if done[name] {
				continue
			}
			done[name] = true
			host, err := library(name)
			if err != nil {
				return nil, "", err
			}
			files = append(files, images.File{Path: librariesIn + "/" + name, Host: host, Mode: 0o755})
			todo = append(todo, host)
		}
	}
	const interpreter = "ld-linux-x86-64.so.2"
	if !done[interpreter] {
		host, err := library(interpreter)
		if err != nil {
			return nil, "", err
		}
		files = append(files, images.File{Path: librariesIn + "/" + interpreter, Host: host, Mode: 0o755})
	}
	return files, librariesIn + "/" + interpreter, nil
}

// library finds a shared library where the loader of an amd64 machine looks.
func library(name string) (string, error) {
	for _, dir := range []string{"/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib64", "/usr/lib64", "/lib", "/usr/lib"} {
		if path := filepath.Join(dir, name); exists(path) {
			return path, nil
		}
	}
	return "", fmt.Errorf("library %s: %w", name, fs.ErrNotExist)
}
