// SPDX-License-Identifier: Apache-2.0

// Package images builds initramfs archives: the guest agent as /init, test
// programs, files of the host, and if asked for u-root's shell and commands.
//
// In: a [Spec]. Out: one uncompressed newc archive in a directory of such,
// named by its content. The same sources and files give the same bytes. It
// never boots anything and knows nothing of what the programs do.
package images

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/u-root/u-root/pkg/cpio"
)

// agentPackage becomes /init.
const agentPackage = module + "/guestagent"

// Spec says what is in an image besides the agent.
type Spec struct {
	Programs []GoProgram
	Files    []File
	Shell    bool // u-root's shell (/bin/sh) and core commands
}

// GoProgram is a main package of this module, built static for linux/amd64.
type GoProgram struct {
	Package string // import path: "noiommu-farm/suites"
	Path    string // in the guest: "/suites/suites"
}

// File is one regular file of the guest.
type File struct {
	Path string      // in the guest, below /; ".." is refused
	Host string      // the file on the host whose content it gets
	Data []byte      // its content when Host is ""
	Mode os.FileMode // permission bits only
}

// Image is an archive that QEMU can be given as -initrd.
type Image struct {
	Path   string
	SHA256 string // of the archive, hexadecimal
	Size   int64  // bytes
	// Programs is a SHA-256 of the agent and the Go programs alone, with the
	// places where they are: images of the same sources have the same.
	Programs string
}

// Build makes the image in dir, which is created when missing. Any number of
// processes may build into one directory at once: a file appears there whole,
// under the name of its content, or not at all.
//
// A file of the Spec that cannot be used is a [fault.Usage]. Programs that do
// not build, and everything else, are the farm's own errors.
func Build(ctx context.Context, spec Spec, dir string) (Image, error) {
	image, err := build(ctx, spec, dir)
	if err != nil {
		return Image{}, fmt.Errorf("build image: %w", err)
	}
	return image, nil
}

func build(ctx context.Context, spec Spec, dir string) (Image, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return Image{}, err
	}
	var t tree
	for _, f := range spec.Files {
		if err := t.addFile(f); err != nil {
			return Image{}, err
		}
	}
	root, err := moduleRoot()
	if err != nil {
		return Image{}, err
	}
	programs := append([]GoProgram{{Package: agentPackage, Path: "/init"}}, spec.Programs...)
	sum, err := addPrograms(ctx, &t, root, programs)
	if err != nil {
		return Image{}, err
	}
	if spec.Shell {
		if err := addShell(ctx, &t, root, dir); err != nil {
			return Image{}, fmt.Errorf("shell: %w", err)
		}
	}
	image, err := save(dir, t.records())
	image.Programs = sum
	return image, err
}

// save writes the archive to a temporary file and renames it to its content's
// name. An older file of that name is replaced and not trusted: it may have
// been damaged since.
func save(dir string, records []cpio.Record) (_ Image, err error) {
	f, err := os.CreateTemp(dir, ".image-*")
	if err != nil {
		return Image{}, err
	}
	defer func() {
		f.Close()
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	sum := sha256.New()
	w := cpio.Newc.Writer(io.MultiWriter(f, sum))
	if err := cpio.WriteRecords(w, records); err != nil {
		return Image{}, err
	}
	if err := cpio.WriteTrailer(w); err != nil {
		return Image{}, err
	}
	size, err := f.Seek(0, io.SeekCurrent)
	if err != nil {
		return Image{}, err
	}
	if err := f.Chmod(0o644); err != nil {
		return Image{}, err
	}
	if err := f.Close(); err != nil {
		return Image{}, err
	}
	image := Image{SHA256: hex.EncodeToString(sum.Sum(nil)), Size: size}
	image.Path = filepath.Join(dir, image.SHA256+".cpio")
	return image, os.Rename(f.Name(), image.Path)
}
